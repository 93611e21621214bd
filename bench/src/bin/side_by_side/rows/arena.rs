//! What shared memory costs to allocate.

use crate::peers::mimalloc;
use crate::peers::skep::arena;
use crate::row::{Goal, Row, Unit};

pub fn rows() -> Vec<Row> {
    vec![
        Row::new(
            "arena-blocks",
            "Arena, blocks of 64 B to 1 MiB allocated and freed, 2 processes",
            Unit::Rate,
        )
        .parts("skep", "slice_unfilled, first word written", 2, arena::churn)
        .parts("mimalloc", "two threads of one process", 1, mimalloc::churn)
        .goal(Goal::AtLeast(0.5, "mimalloc")),
    ]
}
