//! For the project's fuzz targets, and not part of the API: what decodes the bytes of shared memory and of the zygote's socket, given any bytes.

use crate::error::{PoolError, TaskError};
use crate::frame;
use crate::outcome::Outcome;
use crate::record::Table;
use crate::state::Id;
use crate::task::{self, Call};
use crate::wire::{self, Reply, Request};
use crate::worker::Worker;
use crate::zygote::Setup;
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType};

use serde::de::DeserializeOwned;
use skep_ipc::{Arena, Message, SimpleQueue};
use std::os::fd::{AsFd, OwnedFd};

/// The words of a record that say how its streams are to be read.
#[derive(Debug, Clone, Copy)]
pub struct Words {
    /// The task's number.
    pub task: u64,
    /// How long the arguments are said to be.
    pub argument_bytes: u32,
    /// How many calls there are said to be.
    pub count: u32,
    /// How many results there are said to be.
    pub items: u32,
    /// How long these are said to be.
    pub result_bytes: u32,
}

/// Runs a task on each argument in a stream, until it ends or breaks off.
pub fn run_each<A: Message, R: Message>(
    mut stream: &[u8],
    arena: &Arena,
    is_retried: bool,
    task: impl Fn(A) -> R,
) -> Vec<Result<(), TaskError>> {
    let next = || {
        let argument = frame::next(&mut stream)?;
        let call = Call { argument: &argument, result: &mut Vec::new(), arena, is_retried };
        Some(task::run(call, &task).result.map(drop).map_err(|error| *error))
    };
    std::iter::from_fn(next).collect()
}

/// The results in a stream, until it ends or breaks off, as a parent takes them.
pub fn results<R: DeserializeOwned>(stream: &[u8], arena: &Arena) -> Vec<Result<R, TaskError>> {
    let mut rest = stream;
    let count = std::iter::from_fn(|| frame::next(&mut rest)).count();
    let mut outcome = Outcome::take("fuzzed", stream.to_vec(), Some(arena));
    (0..count).map(|_| outcome.next()).collect()
}

/// What comes of a value that is a task's argument, and that the task returns: it went through a frame of each kind.
///
/// # Errors
/// What the frames say of it.
pub fn there_and_back<T: Message>(value: T, arena: &Arena) -> Result<T, TaskError> {
    let (mut there, mut back) = (Vec::new(), Vec::new());
    drop(frame::put_argument(&mut there, value, arena).map_err(|error| *error)?);
    let argument = frame::next(&mut &there[..]).ok_or(TaskError::Closed)?;
    drop(frame::write_result(&mut back, |result| {
        task::run(Call { argument: &argument, result, arena, is_retried: false }, |value: T| value).result
    }));
    results(&back, arena).pop().ok_or(TaskError::Closed)?
}

/// Receives a packet as a zygote does, and as a parent does; whether either understood it.
///
/// # Errors
/// [`PoolError::Os`]: there is no socket to be had.
pub fn message(packet: &[u8]) -> Result<[bool; 2], PoolError> {
    let family = AddressFamily::UNIX;
    let (here, there) = rustix::net::socketpair(family, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .map_err(PoolError::os("socketpair"))?;
    for _ in 0..2 {
        rustix::net::send(&here, packet, SendFlags::NOSIGNAL).map_err(PoolError::os("send"))?;
    }
    let as_zygote = matches!(wire::receive::<Request>(&there), Ok(Some(_)));
    let as_parent = matches!(wire::receive::<Reply>(&there), Ok(Some(_)));
    Ok([as_zygote, as_parent])
}

/// Has a worker run a record with these words and these bytes as both of its streams, then collects its results. Returns the stream of them, if it can be read.
///
/// # Errors
/// [`PoolError`]: there is no memory for a table and two rings.
pub fn record(words: Words, stream: &[u8]) -> Result<Option<Vec<u8>>, PoolError> {
    // As the files `record.rs` and `spill.rs` draw them, in a segment for one participant.
    const BODY: u64 = 8192;
    const RESULTS_WINDOW: u64 = 1 << 32;
    let os = |file: &dyn AsFd, bytes: &[u8], at| {
        rustix::io::pwrite(file.as_fd(), bytes, at).map(drop).map_err(PoolError::os("pwrite"))
    };
    let table = Table::create(1)?;
    let [records, spill] = table.fds();
    os(&records, &words.task.to_ne_bytes(), BODY + 64)?;
    os(&records, &words.argument_bytes.to_ne_bytes(), BODY + 72)?;
    os(&records, &words.count.to_ne_bytes(), BODY + 76)?;
    os(&records, &stream[..stream.len().min(240)], BODY + 80)?;
    let progress = u64::from(words.items) << 32 | u64::from(words.result_bytes);
    os(&records, &progress.to_ne_bytes(), BODY + 320)?;
    os(&records, &stream[..stream.len().min(184)], BODY + 328)?;
    if stream.len() > 240 {
        os(&spill, stream, 0)?;
    }
    if stream.len() > 184 {
        os(&spill, stream, RESULTS_WINDOW)?;
    }
    if let Ok(mut worker) = worker(&table) {
        let _ = worker.run(Id { generation: 0, index: 0 });
    }
    table.each_result_entry(0, &mut |_| {});
    let mut results = Vec::new();
    Ok(table.read_results(0, &mut results).ok().map(|_| results))
}

fn worker(table: &Table) -> Result<Worker, String> {
    let copy = |file: &dyn AsFd| -> Result<OwnedFd, String> {
        file.as_fd().try_clone_to_owned().map_err(|e| e.to_string())
    };
    let ring = SimpleQueue::<u64>::new(1).map_err(|e| e.to_string())?;
    let [records, spill] = table.fds();
    let arena = Arena::new(1 << 16).map_err(|e| e.to_string())?;
    let setup = Setup {
        tasks: copy(&ring)?,
        done: copy(&ring)?,
        records: copy(&records)?,
        spill: copy(&spill)?,
        arena: copy(&arena)?,
    };
    Worker::attach(0, &setup).map(|(worker, _)| worker)
}
