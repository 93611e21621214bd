//! How long one task takes there and back.

use super::CROSSMIST;
use crate::peers::skep::pool;
use crate::peers::{bare, procspawn, rayon};
use crate::row::{Goal, Row, Unit};

const HOPS: &str = "two futex hops";

pub fn rows() -> Vec<Row> {
    vec![
        Row::new("call", "Pool, there and back, worker just busy, median", Unit::Microseconds)
            .parts("skep", "apply", 1, pool::call_median)
            .parts("rayon", "install, a thread of one process", 1, rayon::call_median)
            .parts("procspawn", "spawn, join", 1, procspawn::call_median)
            .absent("crossmist", CROSSMIST)
            .python("mp.Pool", "fork, apply", "pool call 50")
            .goal(Goal::Below(5.0)),
        Row::new("call-p99", "Pool, there and back, worker just busy, 99 %", Unit::Microseconds)
            .parts("skep", "apply", 1, pool::call_slowest)
            .parts("rayon", "install, a thread of one process", 1, rayon::call_slowest)
            .parts("procspawn", "spawn, join", 1, procspawn::call_slowest)
            .absent("crossmist", CROSSMIST)
            .python("mp.Pool", "fork, apply", "pool call 99")
            .goal(Goal::Below(100.0)),
        Row::new("call-asleep", "Pool, there and back, worker asleep, median", Unit::Microseconds)
            .parts("skep", "apply", 1, pool::call_asleep)
            .parts(HOPS, "", 2, bare::two_hops)
            .parts("procspawn", "spawn, join", 1, procspawn::call_asleep)
            .goal(Goal::AtMost(1.3, HOPS)),
    ]
}
