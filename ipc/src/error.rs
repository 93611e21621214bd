//! What can go wrong, in small enums. An operation that refuses a value hands it back.
//!
//! The `Debug` form of each is the sentence that `Display` gives, so that a `main` that returns one with
//! `?` prints something to read.

use std::convert::Infallible;
use std::io;

/// Why an object could not be created, attached or cloned.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A system call failed.
    #[error("{call}: {source}")]
    Os {
        /// The system call and what it was for.
        call: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// The capacity is zero, or the object would not fit into the address space.
    #[error("a capacity of {capacity} is not possible: choose between 1 and {max}")]
    Capacity {
        /// What was asked for.
        capacity: usize,
        /// The largest that is possible.
        max: usize,
    },
    /// The number of participants is zero or too large.
    #[error("{peers} participants are not possible: choose between 1 and {max}")]
    Peers {
        /// What was asked for.
        peers: usize,
        /// The largest that is possible.
        max: usize,
    },
    /// The memory for the object is not there.
    #[error("no memory for {bytes} bytes of shared memory: {short}")]
    NoMemory {
        /// How much was asked for.
        bytes: u64,
        /// What there is too little of.
        short: Shortage,
    },
    /// The name cannot be a segment's name.
    #[error("{name:?} cannot name a segment: use 1 to 250 characters, no '/', no leading '.', no NUL")]
    Name {
        /// The name.
        name: String,
    },
    /// An object of that name is there already.
    #[error("a segment named {name:?} exists: open it, or unlink it first")]
    Exists {
        /// The name.
        name: String,
    },
    /// No object of that name is there.
    #[error("there is no segment named {name:?}: create it first")]
    NotFound {
        /// The name.
        name: String,
    },
    /// What was opened is not what was expected.
    #[error("this is not the expected segment: {0}")]
    Mismatch(#[from] Mismatch),
    /// An object cannot start like that.
    #[error("{0}")]
    Setup(&'static str),
    /// All entries of the peer table belong to living participants.
    #[error("all {limit} participants are taken: drop one, or create the object with a higher number")]
    TooManyPeers {
        /// How many the object was created for.
        limit: usize,
    },
    /// A living participant holds this role.
    #[error("process {pid} is the {role} already")]
    RoleTaken {
        /// The role.
        role: &'static str,
        /// The process that holds it (its id in its own pid namespace).
        pid: u32,
    },
    /// This handle was inherited through `fork()`.
    #[error(
        "this handle belongs to the process that forked: attach anew in the child, by name or descriptor"
    )]
    Forked,
    /// Somebody else's code in this process has closed the descriptors of this object, and no other way leads to its file.
    #[error(
        "this object's descriptors were closed behind its back: attach anew, by name or descriptor, and look \
         for code that closes descriptors twice, or all of them"
    )]
    DescriptorLost,
    /// A lock was not taken, or was taken from a dead holder.
    #[error(transparent)]
    Lock(LockError<()>),
    /// A word in shared memory has an impossible value.
    #[error("the shared memory is corrupt: some process wrote where it may not")]
    Corrupt,
}

/// Makes the `Debug` form of errors what their `Display` form is.
macro_rules! debug_as_display {
    ($($error:ident $(<$value:ident>)?),* $(,)?) => {$(
        impl $(<$value>)? std::fmt::Debug for $error $(<$value>)? {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Display::fmt(self, f)
            }
        }
    )*};
}
pub(crate) use debug_as_display;

debug_as_display!(
    Error,
    Shortage,
    Mismatch,
    PutError<T>,
    PutBatchError,
    GetError,
    WaitError,
    ReleaseError,
    BarrierError,
    LockError<G>,
    SendError,
    SendBatchError,
    RecvError,
);

impl Error {
    pub(crate) fn os(call: &'static str, source: impl Into<io::Error>) -> Self {
        Error::Os { call, source: source.into() }
    }
}

/// What there is too little of for an object's memory.
///
/// skep asks before it commits memory: beyond these the kernel would kill a process.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Shortage {
    /// The memory of the machine.
    #[error("the machine has {available} bytes available: end something, or ask for less")]
    Machine {
        /// The bytes that are free, or that the kernel can free without swapping.
        available: u64,
    },
    /// The limit of a control group that this process is in: a container's, a service's, or one above.
    #[error(
        "the control group {group} has {available} bytes available of its limit of {limit}: raise the limit \
         (memory.max), or ask for less"
    )]
    Group {
        /// The group's folder.
        group: &'static str,
        /// Its limit in bytes.
        limit: u64,
        /// The bytes that are left, with those that the kernel can take back.
        available: u64,
    },
    /// The file system of named objects, `/dev/shm`.
    #[error(
        "/dev/shm has {available} bytes free: unlink what is not used, mount it larger \
         (mount -o remount,size=… /dev/shm), or use an anonymous object"
    )]
    FileSystem {
        /// Its free bytes.
        available: u64,
    },
    /// The addresses that this process may use.
    #[error("this process may map {limit} bytes in all (ulimit -v): raise the limit, or ask for less")]
    AddressSpace {
        /// The limit in bytes.
        limit: u64,
    },
    /// The length that this process may give a file.
    #[error("this process may make files of {limit} bytes (ulimit -f): raise the limit, or ask for less")]
    FileSize {
        /// The limit in bytes.
        limit: u64,
    },
    /// The arena that the object would lie in.
    #[error("the arena has no free block for it: drop something, or create the arena larger")]
    Arena,
}

/// Which part of a segment's header is not as expected.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Mismatch {
    /// The file does not start with skep's magic number.
    #[error("it was not made by skep")]
    Magic,
    /// It was made by another version of skep.
    #[error("its format is version {found}, this program reads version {expected}")]
    Version {
        /// In the header.
        found: u32,
        /// What this program reads.
        expected: u32,
    },
    /// It was made on another architecture or against another C library.
    #[error("it was made for {found}, this program is built for {expected}")]
    Arch {
        /// In the header.
        found: String,
        /// What this program is built for.
        expected: String,
    },
    /// It holds another kind of object.
    #[error("it holds a {found}, not a {expected}")]
    Kind {
        /// In the header.
        found: String,
        /// What the caller wants to open.
        expected: String,
    },
    /// It holds items of another type.
    #[error(
        "its items are {found}, those of this program are {expected}: put the type into a crate that both programs use, build both \
         with one compiler, or give the type one name in both (`QueueOptions::type_name`, `Item::named`)"
    )]
    Item {
        /// What it holds: the type's name, its size, and the compiler of the program that made it.
        found: String,
        /// The same of what the caller wants to open.
        expected: String,
    },
    /// Capacity or number of peers are impossible.
    #[error("its geometry is impossible (capacity {capacity}, {peers} peers)")]
    Geometry {
        /// In the header.
        capacity: u64,
        /// In the header.
        peers: u32,
    },
    /// The file is smaller than its header says.
    #[error("it has {found} bytes where its geometry needs {expected}")]
    Size {
        /// The file's size.
        found: u64,
        /// What the geometry needs.
        expected: u64,
    },
    /// It was made with other options than the caller asks for.
    #[error(
        "its {option} is {found}, not {expected}: ask for the same, take it as it is with `open`, or unlink it"
    )]
    Option {
        /// Which of them.
        option: &'static str,
        /// What it was made with.
        found: u64,
        /// What the caller asks for.
        expected: u64,
    },
    /// The file is anonymous, and could be shrunk: whoever touched it then would be killed by SIGBUS.
    #[error(
        "it can be shrunk, which kills those who use it: seal it with F_SEAL_SHRINK (memfd_create, fcntl)"
    )]
    Unsealed,
    /// Users other than the file's owner may write to it.
    #[error(
        "users other than its owner may write to it (mode {mode:o}), and could spoil it: chmod it to 600, or \
         unlink it"
    )]
    Mode {
        /// The file's permissions.
        mode: u32,
    },
    /// The file belongs to another user.
    #[error("it belongs to user {found}, this process is user {expected}")]
    Owner {
        /// The file's owner.
        found: u32,
        /// This process.
        expected: u32,
    },
    /// It is not a regular file.
    #[error("it is not a regular file")]
    FileType,
    /// It names threads by numbers that mean others in this process's pid namespace.
    #[error(
        "it was made in pid namespace {found}, this process is in {expected}: a mutex works within one namespace"
    )]
    PidNamespace {
        /// Where it was made.
        found: u64,
        /// Where this process is.
        expected: u64,
    },
    /// The name does not lead to the memory that is mapped.
    #[error("its name {name:?} was removed or given to another file: map it again by that name")]
    Renamed {
        /// The name in `/dev/shm`.
        name: String,
    },
}

/// A value that a queue did not take; [`into_inner`](PutError::into_inner) gives it back.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PutError<T> {
    /// No slot was free (for [`put_timeout`](crate::SimpleQueue::put_timeout): until the time was over).
    #[error("the queue is full")]
    Full(T),
    /// The queue was closed.
    #[error("the queue is closed")]
    Closed(T),
    /// See [`Error::Forked`].
    #[error("this handle belongs to the process that forked: attach anew in the child")]
    Forked(T),
    /// See [`Error::Corrupt`].
    #[error("the queue's shared memory is corrupt: some process wrote where it may not")]
    Corrupt(T),
}

impl<T> PutError<T> {
    /// The value that was not put.
    pub fn into_inner(self) -> T {
        match self {
            PutError::Full(v) | PutError::Closed(v) | PutError::Forked(v) | PutError::Corrupt(v) => v,
        }
    }
}

/// Why a batch was not put whole: its first `put` items are in the queue, the others are not.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{put} items of the batch were put, then: {reason}")]
pub struct PutBatchError {
    /// How many items are in the queue.
    pub put: usize,
    /// Why the rest is not.
    pub reason: PutError<()>,
}

/// Why a queue gave nothing.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GetError {
    /// Nothing is there (for [`get_timeout`](crate::SimpleQueue::get_timeout): until the time was over).
    #[error("the queue is empty")]
    Empty,
    /// The queue was closed, and what was put before is gone.
    #[error("the queue is closed and drained")]
    Closed,
    /// Nobody is left who could put anything ([`get_while_attached`](crate::SimpleQueue::get_while_attached)): the others are
    /// dead, have left, or only get.
    #[error("the queue is empty, and nobody is attached who puts: wait with get, or start a producer")]
    Alone,
    /// This handle holds as many [leases](crate::Lease) as it may, eight.
    #[error("this handle holds 8 leases already: ack or nack one, or lease with another handle")]
    TooManyLeases,
    /// See [`Error::Forked`].
    #[error("this handle belongs to the process that forked: attach anew in the child")]
    Forked,
    /// See [`Error::Corrupt`].
    #[error("the queue's shared memory is corrupt: some process wrote where it may not")]
    Corrupt,
}

/// Why a call that waits did not get what it waits for.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WaitError {
    /// It is not so now (for the forms with a timeout: until the time was over).
    #[error("timed out, or not possible without waiting")]
    Timeout,
    /// This handle itself is what it would wait for.
    #[error("this handle would wait for itself: end first what it has begun")]
    WouldDeadlock,
    /// It never will be so: more is wanted than there can be.
    #[error("more is wanted than there can be: ask for less, or create the object with a higher bound")]
    TooMany,
    /// See [`Error::Forked`].
    #[error("this handle belongs to the process that forked: attach anew in the child")]
    Forked,
    /// See [`Error::Corrupt`].
    #[error("the shared memory is corrupt: some process wrote where it may not")]
    Corrupt,
}

/// Why a semaphore got no new permits.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReleaseError {
    /// There would be more than there may be; nothing has changed.
    #[error(
        "the semaphore would have more than {bound} permits, free and held: something was released too often"
    )]
    TooMany {
        /// How many there may be.
        bound: u32,
    },
    /// See [`Error::Forked`].
    #[error("this handle belongs to the process that forked: attach anew in the child")]
    Forked,
    /// See [`Error::Corrupt`].
    #[error("the shared memory is corrupt: some process wrote where it may not")]
    Corrupt,
}

/// Why not all came to a barrier. The caller's own arrival has not counted.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BarrierError {
    /// Not all came until the time was over.
    #[error("timed out: not all parties have arrived")]
    Timeout,
    /// Somebody aborted it, or reset it while the caller waited.
    #[error("the barrier was aborted, or reset meanwhile: reset it, and wait again")]
    Broken,
    /// Participants died or left, and nobody has taken their places.
    #[error("{lost} of the barrier's places are lost: start as many participants anew, or reset it")]
    Incomplete {
        /// How many places.
        lost: usize,
    },
    /// Each place is a living participant's, or a dead one's whom somebody else mends at this moment.
    #[error("all places of the barrier are taken: drop a participant that has one")]
    Full,
    /// See [`Error::Forked`].
    #[error("this handle belongs to the process that forked: attach anew in the child")]
    Forked,
    /// See [`Error::Corrupt`].
    #[error("the barrier's shared memory is corrupt: some process wrote where it may not")]
    Corrupt,
}

/// Why a lock was not taken, or was taken from a dead holder.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LockError<G> {
    /// The lock is taken, and this is its guard. But an earlier holder died with it or panicked, and nobody has
    /// [marked](crate::MutexGuard::mark_consistent) the value as in order since: check it first.
    ///
    /// A call that gives no guard, such as [`Mutex::get`](crate::Mutex::get), has released the lock again; instead of the guard there is a copy of the value, or nothing.
    #[error("a holder of the lock died: the value may not be in order")]
    OwnerDied(G),
    /// Another thread holds the lock.
    #[error("the lock is held by another thread")]
    WouldBlock,
    /// Another thread held the lock until the time was over.
    #[error("timed out: another thread holds the lock")]
    Timeout,
    /// This thread holds the lock already, and would wait for itself.
    #[error("this thread holds the lock already: drop the guard first")]
    WouldDeadlock,
    /// A program that uses the same `pthread_mutex_t` without skep unlocked it after a death without `pthread_mutex_consistent`.
    #[error(
        "the lock is beyond repair: a program that uses it without skep released it after a death without \
         pthread_mutex_consistent; unlink it, and make a new one"
    )]
    Unrecoverable,
    /// See [`Error::Forked`].
    #[error("this handle belongs to the process that forked: attach anew in the child")]
    Forked,
    /// See [`Error::Corrupt`].
    #[error("the lock's shared memory is corrupt: some process wrote where it may not")]
    Corrupt,
}

impl<G> LockError<G> {
    /// The guard in [`OwnerDied`](Self::OwnerDied); any other error as it is, without a guard in its type.
    pub(crate) fn into_guard(self) -> Result<G, LockError<Infallible>> {
        Err(match self {
            LockError::OwnerDied(guard) => return Ok(guard),
            LockError::WouldBlock => LockError::WouldBlock,
            LockError::Timeout => LockError::Timeout,
            LockError::WouldDeadlock => LockError::WouldDeadlock,
            LockError::Unrecoverable => LockError::Unrecoverable,
            LockError::Forked => LockError::Forked,
            LockError::Corrupt => LockError::Corrupt,
        })
    }

    /// The same, with what `change` makes of the guard.
    pub fn map<H>(self, change: impl FnOnce(G) -> H) -> LockError<H> {
        match self.into_guard() {
            Ok(guard) => LockError::OwnerDied(change(guard)),
            Err(other) => other.of_another_guard(),
        }
    }
}

impl LockError<Infallible> {
    /// The same refusal, to a caller whose success is a guard `G`.
    pub(crate) fn of_another_guard<G>(self) -> LockError<G> {
        match self {
            LockError::OwnerDied(never) => match never {},
            LockError::WouldBlock => LockError::WouldBlock,
            LockError::Timeout => LockError::Timeout,
            LockError::WouldDeadlock => LockError::WouldDeadlock,
            LockError::Unrecoverable => LockError::Unrecoverable,
            LockError::Forked => LockError::Forked,
            LockError::Corrupt => LockError::Corrupt,
        }
    }
}

impl<G> From<LockError<G>> for Error {
    /// Lets `?` pass a refusal on where a function returns [`Error`]. The guard of
    /// [`OwnerDied`](LockError::OwnerDied) is dropped, and the value stays suspect.
    fn from(refused: LockError<G>) -> Self {
        Error::Lock(refused.map(drop))
    }
}

/// Why a pipe did not take a message.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The message is longer than the pipe, or than the grant that it was written to.
    #[error("a message of {len} bytes is too long: at most {max} fit")]
    TooLong {
        /// The message's length.
        len: usize,
        /// The longest that is possible.
        max: usize,
    },
    /// There is no room (for the forms with a timeout: until the time was over).
    #[error("the pipe is full")]
    Full,
    /// The receiver is gone: dropped, or its process ended.
    #[error("the pipe's receiver is gone")]
    Disconnected,
    /// See [`Error::Forked`].
    #[error("this handle belongs to the process that forked: attach anew in the child")]
    Forked,
    /// See [`Error::Corrupt`].
    #[error("the pipe's shared memory is corrupt: some process wrote where it may not")]
    Corrupt,
}

/// Why a batch was not sent whole: its first `sent` messages are in the pipe, the others are not.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{sent} messages of the batch were sent, then: {reason}")]
pub struct SendBatchError {
    /// How many messages are in the pipe.
    pub sent: usize,
    /// Why the rest is not.
    pub reason: SendError,
}

/// Why a pipe gave no message.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecvError {
    /// No message is there (for the forms with a timeout: until the time was over).
    #[error("the pipe is empty")]
    Empty,
    /// The sender is gone, dropped or ended with its process, and all that it sent was received.
    #[error("the pipe's sender is gone, and the pipe is drained")]
    Eof,
    /// See [`Error::Forked`].
    #[error("this handle belongs to the process that forked: attach anew in the child")]
    Forked,
    /// See [`Error::Corrupt`].
    #[error("the pipe's shared memory is corrupt: some process wrote where it may not")]
    Corrupt,
}
