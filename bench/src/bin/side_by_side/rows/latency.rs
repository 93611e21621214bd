//! How long a message takes from one process to another.

use crate::peers::skep::{arena, pipe};
use crate::peers::{bare, iceoryx, shmem_ipc};
use crate::row::{Goal, Row, Unit};

const FLOOR: &str = "bare flag and line";
const MIB: usize = 1 << 20;

pub fn rows() -> Vec<Row> {
    vec![
        Row::new("latency-8", "Pipe, 8 B one way, spinning", Unit::Nanoseconds)
            .parts("skep", "try_send, try_recv", 2, pipe::latency::<u64>)
            .parts(FLOOR, "", 2, bare::latency::<u64>)
            .parts("shmem-ipc", "sharedring without signals", 2, shmem_ipc::latency::<u64, 8>)
            .parts(
                "iceoryx2",
                "buffer of 1, safe overflow, next sample loaned after sending",
                2,
                iceoryx::latency::<u64>,
            )
            .goal(Goal::AtMost(1.15, FLOOR)),
        Row::new("latency-64", "Pipe, 64 B one way, spinning", Unit::Nanoseconds)
            .parts("skep", "try_send, try_recv", 2, pipe::latency::<[u64; 8]>)
            .parts(FLOOR, "", 2, bare::latency::<[u64; 8]>)
            .parts("shmem-ipc", "sharedring without signals", 2, shmem_ipc::latency::<[u64; 8], 64>)
            .parts(
                "iceoryx2",
                "buffer of 1, safe overflow, next sample loaned after sending",
                2,
                iceoryx::latency::<[u64; 8]>,
            )
            .goal(Goal::AtMost(1.15, FLOOR)),
        Row::new("latency-1m", "Pipe, 1 MiB one way in place, written and read whole", Unit::Nanoseconds)
            .parts(
                "skep",
                "try_reserve, copied into the grant; try_recv, copied out of it",
                2,
                pipe::bulk_latency::<MIB>,
            )
            .parts(
                "two copies",
                "into shared memory and out of it, a flag, four buffers in turn",
                2,
                bare::bulk_latency::<MIB>,
            )
            .parts("shmem-ipc", "sharedring without signals, 4 items", 2, shmem_ipc::bulk_latency::<MIB>)
            .parts("iceoryx2", "loaned, copied in and out", 2, iceoryx::bulk_latency::<MIB>)
            .goal(Goal::AtMost(1.05, "two copies")),
        Row::new(
            "latency-1m-block",
            "1 MiB block of an arena through a Pipe, zero-copy, one way",
            Unit::Nanoseconds,
        )
        .parts("skep", "descriptor of 32 bytes; first word written and read", 2, arena::descriptor_latency)
        .parts(FLOOR, "8 B", 2, bare::latency::<u64>)
        .parts("flag that names a line", "8 B", 2, bare::named_latency::<u64>)
        .parts("iceoryx2", "loaned; first word written and read", 2, iceoryx::untouched_latency::<MIB>)
        .goal(Goal::AtMost(1.3, FLOOR)),
        Row::new(
            "latency-awake",
            "Pipe, 8 B one way, blocking calls within the time that they look around",
            Unit::Nanoseconds,
        )
        .parts("skep", "send, recv", 2, pipe::blocking_latency)
        .parts("skep spinning", "try_send, try_recv", 2, pipe::latency::<u64>)
        .goal(Goal::AtMost(2.0, "skep spinning")),
        Row::new("latency-asleep", "Pipe, 8 B one way to a receiver asleep", Unit::Microseconds)
            .parts("skep", "send, recv", 2, pipe::wake)
            .parts("bare futex", "", 2, bare::wake)
            .goal(Goal::AtMost(1.1, "bare futex")),
    ]
}
