//! What can go wrong with a task, and with a pool.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::io;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cause {
    /// This signal killed it.
    Signal(i32),
    /// It exited by itself with this status.
    Exited(i32),
    /// Nobody could see its exit status, because the process that would have reaped it died as well.
    Unknown,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Cause::Exited(status) => write!(f, "exited with status {status}"),
            Cause::Unknown => f.write_str("ended for an unknown reason"),
            Cause::Signal(number) => match signal_name(number) {
                Some(name) => write!(f, "was killed by {name}"),
                None => write!(f, "was killed by signal {number}"),
            },
        }
    }
}

fn signal_name(number: i32) -> Option<&'static str> {
    Some(match number {
        libc::SIGHUP => "SIGHUP",
        libc::SIGINT => "SIGINT",
        libc::SIGQUIT => "SIGQUIT",
        libc::SIGILL => "SIGILL",
        libc::SIGTRAP => "SIGTRAP",
        libc::SIGABRT => "SIGABRT",
        libc::SIGBUS => "SIGBUS",
        libc::SIGFPE => "SIGFPE",
        libc::SIGKILL => "SIGKILL",
        libc::SIGUSR1 => "SIGUSR1",
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGUSR2 => "SIGUSR2",
        libc::SIGPIPE => "SIGPIPE",
        libc::SIGALRM => "SIGALRM",
        libc::SIGTERM => "SIGTERM",
        libc::SIGSYS => "SIGSYS",
        libc::SIGXCPU => "SIGXCPU",
        libc::SIGXFSZ => "SIGXFSZ",
        _ => return None,
    })
}

/// The reason why a task gave no result. The last four concern the whole pool, the others that task alone.
///
/// Its `Debug` form is the sentence that `Display` gives, so that a `main` which returns it with `?`
/// prints something to read.
#[derive(Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum TaskError {
    /// The task panicked. Its worker goes on.
    #[error("the task panicked at {location}: {message}")]
    Panicked {
        /// What it said.
        message: String,
        /// `file:line:column`.
        location: String,
    },
    /// The worker process ended while it ran the task. Another one has taken its place.
    #[error("worker {pid} {cause} while it ran {task}")]
    WorkerDied {
        /// The task's path.
        task: String,
        /// The process that was running it.
        pid: u32,
        /// How it ended.
        cause: Cause,
    },
    /// The argument's `Serialize` implementation failed, so the task was not started.
    #[error("the argument cannot be encoded: {reason}")]
    ArgumentNotEncoded {
        /// What serde said.
        reason: String,
    },
    /// The worker could not make the argument out of its bytes, so the task was not started.
    #[error("the worker cannot decode the argument: {reason}")]
    ArgumentNotDecoded {
        /// What serde said.
        reason: String,
    },
    /// The task ran, but the `Serialize` implementation of its result failed.
    #[error("the result cannot be encoded: {reason}")]
    ResultNotEncoded {
        /// What serde said.
        reason: String,
    },
    /// The task ran, but its result cannot be made out of its bytes.
    #[error("the result cannot be decoded: {reason}")]
    ResultNotDecoded {
        /// What serde said.
        reason: String,
    },
    /// A handle of shared memory in the argument or the result was kept where it was made, as behind an `Rc`, so that its block could not go. The value is
    /// dropped, and what it alone had is free. An argument is refused when it is submitted; a result after the task ran.
    #[error(
        "a handle in the argument or result was kept, so that its block could not go: values must own their handles"
    )]
    HandleKept,
    /// A slice for [`map_slice`](crate::Pool::map_slice) does not lie in the pool's arena, where workers would find it.
    #[error("the slice is not in the pool's arena: allocate it with Pool::arena()")]
    NotInArena,
    /// The output of [`map_slice_into`](crate::Pool::map_slice_into) is not as long as the input.
    #[error("the output has {output} items and the input {input}: they must be of one length")]
    Lengths {
        /// The input's.
        input: u64,
        /// The output's.
        output: u64,
    },
    /// The workers have no such task. It must be linked into the executable that called `skep::init()`.
    #[error(
        "the workers do not know the task {name}: link it into this executable, a library that is loaded later is too late"
    )]
    UnknownTask {
        /// The task's path.
        name: String,
    },
    /// One macro call has made two tasks of the same path and signature, so that workers cannot tell which one is meant. Other
    /// tasks are not affected.
    #[error("two tasks are both named {name}, at {first} and at {second}: rename one")]
    DuplicateTask {
        /// Their path.
        name: String,
        /// Where one is.
        first: String,
        /// Where the other is.
        second: String,
    },
    /// The encoded argument or result is longer than 4 GiB, or a result is that no longer fits behind the others of its chunk of a
    /// [`map`](crate::Pool::map), which together may have 4 GiB.
    #[error(
        "{bytes} bytes are too many for one argument or result (the limit is {limit}): pass a file or split the work"
    )]
    TooLarge {
        /// How many there are.
        bytes: u64,
        /// How many there may be.
        limit: u64,
    },
    /// There was no memory for the argument or result.
    #[error("no shared memory for the argument or result: {reason}")]
    NoMemory {
        /// What there is too little of, as [`skep_ipc::Shortage`] says it.
        reason: String,
    },
    /// The time was over before the task had a result. It was submitted, and goes on; its result is
    /// dropped when it comes.
    #[error("timed out: the task has no result yet, and goes on")]
    TimedOut,
    /// The time was over before a record was free, so the task was not submitted.
    #[error(
        "timed out: all records of the pool are in use, so the task was not submitted: collect results, or raise the queue depth"
    )]
    Full,
    /// The pool was closed before the task was submitted.
    #[error("the pool is closed: submit before close()")]
    Closed,
    /// The pool was terminated or dropped before the task had a result.
    #[error("the pool was terminated before the task had a result")]
    Terminated,
    /// The pool cannot run tasks any more.
    #[error("the pool is broken: {reason}")]
    PoolBroken {
        /// What happened.
        reason: String,
    },
    /// This process is a forked child of the one that has the pool, and the pool is not its own.
    #[error("the pool belongs to the process that made it, and this is a forked child: make a pool here")]
    Forked,
}

impl fmt::Debug for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The error of one call among many: what went wrong, and with which input.
///
/// Turns into a [`TaskError`] with `?`. Its `Debug` form is the sentence that `Display` gives.
#[derive(Clone, PartialEq, Eq)]
pub struct MapError {
    /// The number of the input, from 0; for [`map_slice`](crate::Pool::map_slice) that of the chunk.
    /// `None` if the error concerns no single one.
    pub input: Option<usize>,
    /// What went wrong.
    pub error: TaskError,
}

impl MapError {
    pub(crate) fn at(input: usize) -> impl FnOnce(TaskError) -> MapError {
        move |error| MapError { input: Some(input), error }
    }
}

impl fmt::Display for MapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.input {
            Some(input) => write!(f, "input {input}: {}", self.error),
            None => self.error.fmt(f),
        }
    }
}

impl fmt::Debug for MapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for MapError {}

impl From<TaskError> for MapError {
    fn from(error: TaskError) -> Self {
        MapError { input: None, error }
    }
}

impl From<MapError> for TaskError {
    fn from(error: MapError) -> Self {
        error.error
    }
}

/// The reason why a pool could not be started or ended.
///
/// Its `Debug` form is the sentence that `Display` gives, so that a `main` which returns it with `?`
/// prints something to read.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum PoolError {
    /// This program has not called [`init`](crate::init).
    #[error(
        "call skep::init() first in main (in a test file, write skep::test_entry!() at its root): workers start there"
    )]
    NotInitialised,
    /// [`init`](crate::init) was called when the process had other threads, so workers could not be forked safely. An attribute
    /// such as `#[tokio::main]` starts threads before the body of `main`: [`init`](crate::init) shows what to do.
    #[error(
        "skep::init() found other threads ({}): call it first in main, before any thread is started; \
         #[tokio::main] starts some before it, so put that on a function that main calls afterwards; \
         if they are there before main, use Builder::start_by(Start::Execute)",
        others.join(", ")
    )]
    InitAfterThreads {
        /// Their names.
        others: Vec<String>,
    },
    /// The kernel has started this program with rights that its caller lacks: its file has the set-user-ID or set-group-ID bit, or
    /// capabilities. Its worker entry is closed then, since a caller could use it with these rights.
    #[error(
        "this program has rights of its file (set-user-ID, set-group-ID or capabilities), with which anybody \
         could command its workers: start it without them"
    )]
    Privileged,
    /// This process was started to be a pool's, but [`init`](crate::init) found another standard input than the pool's socket.
    #[error(
        "SKEP_ZYGOTE is set, but standard input is not a pool's socket: call skep::init() before standard input is replaced, and leave the variable unset"
    )]
    StdinReplaced,
    /// The new process ended before it came to [`init`](crate::init).
    #[error("the worker entry was not reached, the new process {cause}: call skep::init() first in main")]
    EntryNotReached {
        /// How it ended.
        cause: Cause,
    },
    /// The new process did not come to [`init`](crate::init) in time, and was killed.
    #[error("the worker entry was not reached within {seconds} s: call skep::init() first in main")]
    EntryTimeout {
        /// How long the pool waited.
        seconds: u64,
    },
    /// The workers could not be started.
    #[error("the workers could not be started: {reason}")]
    Start {
        /// What happened to them.
        reason: String,
    },
    /// The number of workers is zero or too large.
    #[error("{workers} workers are not possible: choose between 1 and {max}")]
    Workers {
        /// What was asked for.
        workers: usize,
        /// The largest that is possible.
        max: usize,
    },
    /// The queue depth is zero or too large.
    #[error("a queue depth of {depth} is not possible: choose between 1 and {max}")]
    QueueDepth {
        /// What was asked for.
        depth: usize,
        /// The largest that is possible.
        max: usize,
    },
    /// [`join`](crate::Pool::join) was called on a pool that still takes tasks.
    #[error("the pool is still open: call close() or terminate() before join()")]
    StillOpen,
    /// The time was over before every task had its outcome and every process was gone.
    #[error("timed out: the pool still has tasks or processes: join again, or terminate() it")]
    TimedOut,
    /// This process is a forked child of the one that has the pool, and the pool is not its own.
    #[error("the pool belongs to the process that made it, and this is a forked child: make a pool here")]
    Forked,
    /// [`arena`](crate::arena()) was called outside of a worker.
    #[error("skep::arena() is the arena of a worker, and this process is none: use Pool::arena() here")]
    NotAWorker,
    /// Shared memory could not be set up.
    #[cfg(not(loom))]
    #[error(transparent)]
    Ipc(#[from] skep_ipc::Error),
    /// A system call failed.
    #[error("{call}: {source}")]
    Os {
        /// The system call and what it was for.
        call: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

impl TaskError {
    pub(crate) fn no_memory(short: impl fmt::Display) -> TaskError {
        TaskError::NoMemory { reason: short.to_string() }
    }
}

impl fmt::Debug for PoolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl PoolError {
    pub(crate) fn os(call: &'static str) -> impl FnOnce(rustix::io::Errno) -> PoolError {
        move |e| PoolError::Os { call, source: e.into() }
    }
}
