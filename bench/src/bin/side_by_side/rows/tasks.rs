//! How many tasks a second a pool of two workers runs.

use crate::peers::skep::pool;
use crate::peers::{procspawn, rayon};
use crate::row::{Goal, Row, Unit};

const MP: &str = "mp.Pool";

pub fn rows() -> Vec<Row> {
    vec![
        Row::new("pool-noop", "Pool, no-op tasks one by one, 2 workers", Unit::Rate)
            .parts("skep", "apply_async, 256 ahead", 1, pool::noop_calls::<2>)
            .parts("skep unordered", "imap_unordered", 1, pool::noop_unordered)
            .parts("rayon", "threads of one process, scope.spawn", 1, rayon::noop_spawned::<2>)
            .parts("procspawn", "4 ahead", 1, procspawn::noop::<2>)
            .python(MP, "fork, map with chunksize=1", "pool noop")
            .python("joblib", "loky, batch_size=1", "joblib noop")
            .goal(Goal::Above(1.0))
            .goal(Goal::AtLeast(20.0, MP))
            .goal(Goal::AtLeast(0.3, "rayon")),
        Row::new("pool-map", "Pool, map over 10 M no-ops, 2 workers", Unit::Rate)
            .parts("skep", "map", 1, pool::noop_map)
            .parts("skep in place", "map_slice_into, numbers in the arena", 1, pool::noop_in_place)
            .parts("rayon", "threads of one process, par_iter in the same chunks", 1, rayon::noop_map)
            .python(MP, "fork, map", "pool map")
            .python("joblib", "loky", "joblib map")
            .goal(Goal::AtLeast(5.0, MP))
            .goal(Goal::AtLeast(0.5, "rayon")),
        Row::new("pool-50us", "Pool, 50 µs tasks one by one, efficiency of 2 workers", Unit::Fraction)
            .parts("skep", "apply_async, 256 ahead", 1, pool::efficiency::<50>)
            .parts("skep unordered", "imap_unordered", 1, pool::efficiency_unordered::<50>)
            .parts("rayon", "threads of one process, scope.spawn", 1, rayon::efficiency::<50>)
            .parts("procspawn", "4 ahead", 1, procspawn::efficiency::<50>)
            .python(MP, "fork, map with chunksize=1", "pool efficiency 50")
            .python("joblib", "loky", "joblib efficiency 50")
            .goal(Goal::Above(0.95)),
    ]
}
