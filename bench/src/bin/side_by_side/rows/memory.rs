//! What there is to pay while nothing happens.

use crate::peers::procspawn;
use crate::peers::skep::{memory, pool};
use crate::row::{Goal, Row, Unit};

pub fn rows() -> Vec<Row> {
    vec![
        Row::new("idle-pool", "Pool of 2 idle workers, of one core", Unit::Percent)
            .parts("skep", "", 1, pool::idle::<2>)
            .python("mp.Pool", "fork", "pool idle")
            .goal(Goal::Below(0.1)),
        Row::new("idle-get", "Queue, a process that waits in get, of one core", Unit::Percent)
            .parts("skep", "", 2, memory::idle_get)
            .goal(Goal::Below(0.1)),
        Row::new("memory-worker", "Pool, private memory of an idle worker", Unit::Kibibytes)
            .parts("skep", "", 1, pool::memory)
            .parts("procspawn", "", 1, procspawn::memory)
            .python("mp.Pool", "fork", "pool memory")
            .goal(Goal::Below(1024.0)),
        Row::new("memory-queue", "SimpleQueue of 1 M u64, full", Unit::Kibibytes)
            .parts("skep", "", 1, memory::million)
            .goal(Goal::Below(17.0 * 1024.0)),
    ]
}
