//! How many items a second go through a queue of several producers and consumers.

use crate::peers::skep::queue;
use crate::peers::{boost, in_process, shaq};
use crate::row::{Goal, Row, Unit};

const BOOST: &str = "message_queue with circular index, try_send, try_receive";

pub fn rows() -> Vec<Row> {
    let one_by_one = |name, title, parts, array_queue| {
        Row::new(name, title, Unit::Rate)
            .parts("skep", "try_put, try_get", parts, queue::one_by_one)
            .parts("ArrayQueue", "crossbeam, threads of one process", 1, array_queue)
            .parts("shaq", "mpmc", parts, shaq::mpmc_one_by_one)
            .boost(BOOST, parts, boost::one_by_one)
            .goal(Goal::AtLeast(1.0, "ArrayQueue"))
            .goal(Goal::AtLeast(10.0, "boost"))
            .goal(Goal::AtLeast(3.0, "shaq"))
    };
    let batches = |name, title, parts| {
        Row::new(name, title, Unit::Rate)
            .parts("skep", "try_put_batch, try_get_batch", parts, queue::batches)
            .parts("shaq", "mpmc, try_write_slice, try_reserve_read_batch", parts, shaq::mpmc_batches)
            .goal(Goal::AtLeast(1.5, "shaq"))
    };
    vec![
        one_by_one("queue-1-1", "SimpleQueue of u64, 1 to 1", 2, in_process::array_queue::<1>),
        one_by_one("queue-2-2", "SimpleQueue of u64, 2 to 2", 4, in_process::array_queue::<2>),
        batches("queue-1-1-batch", "SimpleQueue, batches of 64 u64, 1 to 1", 2),
        batches("queue-2-2-batch", "SimpleQueue, batches of 64 u64, 2 to 2", 4),
        Row::new(
            "queue-fair",
            "SimpleQueue, 16 to 16, the least that one has of its side's mean",
            Unit::Fraction,
        )
        .parts("skep", "try_put, try_get, for a second", 32, queue::fairness)
        .goal(Goal::Above(0.5)),
    ]
}
