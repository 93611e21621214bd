//! How many messages a second go from one process to another.

use crate::peers::skep::pipe;
use crate::peers::{bare, iceoryx, in_process, shaq, shmem_ipc};
use crate::row::{Goal, Row, Unit};

type Line = [u64; 8];
const PLAIN: &str = "plain ring";

pub fn rows() -> Vec<Row> {
    vec![
        Row::new("stream-8", "Pipe, 8 B one at a time, 1 to 1", Unit::Rate)
            .parts("skep", "try_send, try_recv", 2, pipe::stream::<u64>)
            .parts(PLAIN, "cached positions, bare u64", 2, bare::stream::<u64, 1>)
            .parts("shmem-ipc", "sharedring without signals", 2, shmem_ipc::stream::<u64, 8, 1>)
            .parts("shaq", "spsc", 2, shaq::spsc_stream::<u64>)
            .parts(
                "iceoryx2",
                "no overflow; refused messages are sent again at once",
                2,
                iceoryx::stream::<u64>,
            )
            .parts("rtrb", "threads of one process", 1, in_process::rtrb::<u64>)
            .goal(Goal::AtLeast(0.4, PLAIN))
            .goal(Goal::AtLeast(5.0, "shmem-ipc")),
        Row::new("stream-64", "Pipe, 64 B one at a time, 1 to 1", Unit::Rate)
            .parts("skep", "try_send, try_recv", 2, pipe::stream::<Line>)
            .parts(PLAIN, "cached positions, bare lines", 2, bare::stream::<Line, 1>)
            .parts("shmem-ipc", "sharedring without signals", 2, shmem_ipc::stream::<Line, 64, 1>)
            .parts("shaq", "spsc", 2, shaq::spsc_stream::<Line>)
            .parts(
                "iceoryx2",
                "no overflow; refused messages are sent again at once",
                2,
                iceoryx::stream::<Line>,
            )
            .parts("rtrb", "threads of one process", 1, in_process::rtrb::<Line>)
            .goal(Goal::AtLeast(0.8, PLAIN)),
        Row::new("stream-64-batch", "Pipe, 64 B in batches of 64, 1 to 1", Unit::Rate)
            .parts("skep", "try_send_batch, try_recv_batch", 2, pipe::stream_batches::<Line, 64>)
            .parts(PLAIN, "cached positions, bare lines", 2, bare::stream::<Line, 64>)
            .parts("shmem-ipc", "sharedring without signals", 2, shmem_ipc::stream::<Line, 64, 64>)
            .parts("rtrb", "threads of one process, chunks", 1, in_process::rtrb_batches::<Line>)
            .goal(Goal::AtLeast(0.8, PLAIN)),
    ]
}
