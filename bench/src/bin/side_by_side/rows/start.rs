//! How long workers take to be there.

use super::CROSSMIST;
use crate::peers::procspawn;
use crate::peers::skep::pool;
use crate::row::{Goal, Row, Unit};

const SMALL: &str = "skep small";

pub fn rows() -> Vec<Row> {
    vec![
        Row::new("start", "Pool, until 2 workers have answered", Unit::Milliseconds)
            .parts("skep", "build", 1, pool::start_two)
            .parts("procspawn", "Pool::new", 1, procspawn::start_two)
            .absent("crossmist", CROSSMIST)
            .python("mp.Pool", "fork", "pool start")
            .python("joblib", "loky", "joblib start")
            .goal(Goal::Below(3.0)),
        Row::new("start-further", "Pool, each further worker until it has answered", Unit::Milliseconds)
            .parts("skep", "six workers less two, by four", 1, pool::start_further)
            .goal(Goal::Below(0.5)),
        Row::new(
            "start-large",
            "Pool, until 2 workers have answered, from a process of 1 GiB",
            Unit::Milliseconds,
        )
        .parts("skep", "build", 1, pool::start_from_large)
        .parts(SMALL, "from a process without", 1, pool::start_two)
        .goal(Goal::Below(3.0))
        .goal(Goal::AtMost(1.15, SMALL)),
        Row::new("replace", "Pool, from a killed worker to its successor's first result", Unit::Milliseconds)
            .parts("skep", "1 worker", 1, pool::replace)
            .parts("procspawn", "1 worker", 1, procspawn::replace)
            .goal(Goal::Below(2.0)),
    ]
}
