//! What large arguments and results cost.

use crate::peers::skep::array;
use crate::peers::{in_process, procspawn};
use crate::row::{Goal, Row, Unit};

const HERE: &str = "in process";
const SMALL: &str = "skep 1 KiB";

pub fn rows() -> Vec<Row> {
    vec![
        Row::new("array-sum", "Pool, 64 MiB of f64 added up by a worker", Unit::Milliseconds)
            .parts("skep", "they are in the pool's arena", 1, array::sums)
            .parts(HERE, "by the one who has them", 1, in_process::sums)
            .parts("skep copied", "into the pool's arena for each call", 1, array::sums_of_new)
            .parts("procspawn", "IpcSharedMemory", 1, procspawn::sums)
            .python("mp.Pool", "fork, apply, pickled", "pool sum")
            .python("joblib", "loky, the same memory-mapped array again", "joblib sum")
            .goal(Goal::AtMost(1.1, HERE)),
        Row::new("array-double", "Pool, 64 MiB of f64 doubled by a worker, and back", Unit::Milliseconds)
            .parts("skep", "they are in the pool's arena, and so is the result", 1, array::doubles)
            .parts(HERE, "into a warm buffer", 1, in_process::doubles)
            .parts(
                "skep Pipe",
                "copied through one there, through another one back",
                2,
                array::doubles_through_pipes,
            )
            .parts("procspawn", "IpcSharedMemory there and back", 1, procspawn::doubles)
            .python("mp.Pool", "fork, apply, pickled", "pool double")
            .python("joblib", "loky, the same memory-mapped array again", "joblib double")
            .goal(Goal::AtMost(1.2, HERE)),
        Row::new("argument-1m", "Pool, a task with 1 MiB of which it reads a word", Unit::Microseconds)
            .parts("skep", "a block of the arena there and back", 1, array::call::<{ 1 << 20 }>)
            .parts(SMALL, "", 1, array::call::<{ 1 << 10 }>)
            .goal(Goal::AtMost(1.2, SMALL)),
        Row::new("argument-1g", "Pool, a task with 1 GiB of which it reads a word", Unit::Microseconds)
            .parts("skep", "a block of the arena there and back", 1, array::call::<{ 1 << 30 }>)
            .parts(SMALL, "", 1, array::call::<{ 1 << 10 }>)
            .goal(Goal::AtMost(1.2, SMALL)),
    ]
}
