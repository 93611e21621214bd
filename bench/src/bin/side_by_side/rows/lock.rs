//! What a lock costs.

use crate::peers::skep::lock;
use crate::peers::{boost, pthread};
use crate::row::{Goal, Row, Unit};

const PRIVATE: &str = "private pthread mutex";

pub fn rows() -> Vec<Row> {
    vec![
        Row::new("mutex-free", "Mutex, taken and released by one process", Unit::Nanoseconds)
            .parts("skep", "lock", 1, lock::uncontended)
            .parts(PRIVATE, "one of two threads", 1, pthread::uncontended)
            .parts("private pthread mutex, alone", "in a process without threads", 1, pthread::alone)
            .parts(
                "robust pthread mutex",
                "one thread, process-shared: what skep's lock is",
                1,
                pthread::robust,
            )
            .boost("interprocess_mutex", 1, boost::uncontended)
            .goal(Goal::AtMost(1.5, PRIVATE))
            .goal(Goal::AtMost(1.0, "boost")),
        Row::new(
            "mutex-contended",
            "Mutex, from one taking to the next, by two processes",
            Unit::Nanoseconds,
        )
        .parts("skep", "lock", 2, lock::contended)
        .parts(PRIVATE, "two threads", 1, pthread::contended)
        .boost("interprocess_mutex", 2, boost::contended)
        .goal(Goal::AtMost(1.5, PRIVATE))
        .goal(Goal::AtMost(1.0, "boost")),
    ]
}
