//! A pipe before its roles are claimed, and two of them as a connection.

use super::grant::ReadGrant;
use super::layout;
use super::map::{BLUEPRINT, Memory, ROLES};
use super::receiver::Receiver;
use super::role::{Role, Side};
use super::sender::Sender;
use crate::error::{Error, RecvError, SendError};
use crate::participant::Participant;
use crate::segment::{Segment, agree, open_or_create};
use crate::sys;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

/// Messages of any length, up to a capacity, from one sender to one receiver, in order.
///
/// A `Pipe` holds no role. [`sender`](Self::sender) and [`receiver`](Self::receiver) claim one each, in this process or in another that has the pipe
/// [by name](Self::open) or [by descriptor](Self::from_fd). A role has one holder at a time: while that lives, another claim gives [`Error::RoleTaken`]. Once it
/// was dropped, [detached](Sender::detach), or its process ended, however it ended, the role can be claimed again: a new sender goes on behind the last message
/// that was sent, a new receiver with the first one that was not released.
///
/// Messages are written and read in place, without a copy, by [`reserve`](Sender::reserve) and [`recv`](Receiver::recv). Within one process, [`pipe()`] is
/// the short form.
///
/// # Capacity
/// is the longest message that must fit. The ring has the next power of two of bytes, at least a page, with eight bytes to spare for each message;
/// [`capacity`](Self::capacity) says the longest message that does fit.
///
/// ```
/// use skep_ipc::{Pipe, RecvError};
/// use std::os::fd::AsFd;
///
/// let pipe = Pipe::new(64 << 10)?;
/// let descriptor = pipe.as_fd().try_clone_to_owned()?; // for the other process: inherited, or sent over a socket
/// let mut sender = pipe.sender()?;
///
/// let mut receiver = Pipe::from_fd(descriptor)?.receiver()?; // there
/// sender.send(b"of any length")?;
/// assert_eq!(&*receiver.recv()?, b"of any length");
/// drop(sender);
/// assert_eq!(receiver.recv().unwrap_err(), RecvError::Eof);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Pipe(Arc<Memory>);

impl Pipe {
    /// Makes an anonymous pipe for messages of up to `capacity` bytes.
    ///
    /// # Errors
    /// [`Error::Capacity`], [`Error::NoMemory`], [`Error::Os`].
    pub fn new(capacity: usize) -> Result<Pipe, Error> {
        Pipe::build(None, capacity)
    }

    /// Makes a named pipe, which stays until it is [unlinked](Self::unlink).
    ///
    /// # Errors
    /// [`Error::Exists`], [`Error::Name`], and as [`new`](Self::new).
    pub fn create(name: &str, capacity: usize) -> Result<Pipe, Error> {
        Pipe::build(Some(name), capacity)
    }

    fn build(name: Option<&str>, capacity: usize) -> Result<Pipe, Error> {
        let size = (ring_bytes(capacity)?, ROLES);
        Segment::build(name, &BLUEPRINT, size, |_| Ok(()), Pipe::map)
    }

    /// Opens the pipe of that name.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Mismatch`] (it holds something else), [`Error::Os`].
    pub fn open(name: &str) -> Result<Pipe, Error> {
        Pipe::map(Segment::open(name, &BLUEPRINT)?)
    }

    /// Opens the pipe of that name, or makes it if there is none.
    ///
    /// # Errors
    /// [`Mismatch::Option`] if there is one with another [`capacity`](Self::capacity):
    /// [`open`](Self::open) takes it as it is. Other errors are those of [`create`](Self::create) and
    /// [`open`](Self::open).
    ///
    /// [`Mismatch::Option`]: crate::Mismatch::Option
    pub fn open_or_create(name: &str, capacity: usize) -> Result<Pipe, Error> {
        let ring = ring_bytes(capacity)?;
        let open = || {
            let segment = Segment::open(name, &BLUEPRINT)?;
            agree("capacity", layout::longest(segment.capacity()), layout::longest(ring))?;
            Pipe::map(segment)
        };
        open_or_create(open, || Pipe::create(name, capacity))
    }

    /// Removes a pipe's name. Who has it goes on; the memory is freed with the last of them.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Name`], [`Error::Os`].
    pub fn unlink(name: &str) -> Result<(), Error> {
        Segment::unlink(name)
    }

    /// Opens the pipe behind a descriptor that another process passed on ([`AsFd`]).
    ///
    /// # Errors
    /// [`Error::Mismatch`], [`Error::Os`].
    pub fn from_fd(file: OwnedFd) -> Result<Pipe, Error> {
        Pipe::map(Segment::from_fd(file, &BLUEPRINT)?)
    }

    /// Makes two anonymous pipes, one in each direction, and gives both ends with their roles claimed.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn duplex(capacity: usize) -> Result<(Connection, Connection), Error> {
        let (a, b) = (Pipe::new(capacity)?, Pipe::new(capacity)?);
        Ok((Connection::join(&a, &b)?, Connection::join(&b, &a)?))
    }

    /// Becomes the sender.
    ///
    /// # Errors
    /// [`Error::RoleTaken`] while another one lives, in this process or elsewhere; [`Error::Forked`], [`Error::Corrupt`], [`Error::Os`].
    pub fn sender(&self) -> Result<Sender, Error> {
        Sender::new(Role::claim(self.0.clone(), Side::Sender)?)
    }

    /// Becomes the receiver.
    ///
    /// # Errors
    /// As [`sender`](Self::sender).
    pub fn receiver(&self) -> Result<Receiver, Error> {
        Receiver::new(Role::claim(self.0.clone(), Side::Receiver)?)
    }

    /// Lists who has the roles: the sender puts, the receiver gets. A role's holder that is dead is listed until another one takes the role.
    ///
    /// # Errors
    /// [`Error::Forked`], [`Error::DescriptorLost`].
    pub fn participants(&self) -> Result<Vec<Participant>, Error> {
        let segment = self.0.segment();
        segment.participants(segment.peers(), usize::MAX)
    }

    /// The longest message, in bytes.
    pub fn capacity(&self) -> usize {
        layout::longest(self.0.segment().capacity()) as usize
    }

    pub(crate) fn of(memory: Arc<Memory>) -> Pipe {
        Pipe(memory)
    }

    fn map(segment: Segment) -> Result<Pipe, Error> {
        Ok(Pipe(Arc::new(Memory::map(segment)?)))
    }
}

fn ring_bytes(capacity: usize) -> Result<u64, Error> {
    let bytes = layout::ring_bytes(capacity as u64, sys::page_size() as u64);
    bytes.ok_or(Error::Capacity { capacity, max: usize::try_from(layout::LONGEST).unwrap_or(usize::MAX) })
}

impl AsFd for Pipe {
    /// The descriptor to pass to another process, which opens it with [`from_fd`](Pipe::from_fd).
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.segment().as_fd()
    }
}

impl std::fmt::Debug for Pipe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pipe").field("capacity", &self.capacity()).finish_non_exhaustive()
    }
}

/// Makes a pipe for messages of up to `capacity` bytes and claims both roles.
///
/// The two can be sent to other threads, or [detached](Sender::detach) for other processes.
///
/// ```
/// let (mut sender, mut receiver) = skep_ipc::pipe(1024)?;
/// let thread = std::thread::spawn(move || sender.send(b"hello"));
/// assert_eq!(&*receiver.recv()?, b"hello");
/// # thread.join().unwrap()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// As [`Pipe::new`].
pub fn pipe(capacity: usize) -> Result<(Sender, Receiver), Error> {
    let pipe = Pipe::new(capacity)?;
    Ok((pipe.sender()?, pipe.receiver()?))
}

/// One end of two pipes, one in each direction: made by [`Pipe::duplex`], or from pipes of any origin by [`join`](Self::join).
///
/// Another process gets its end as two descriptors:
///
/// ```
/// use skep_ipc::{Connection, Pipe};
/// use std::os::fd::AsFd;
///
/// let (mut here, there) = Pipe::duplex(4096)?;
/// let (outgoing, incoming) = there.detach()?; // gives up its roles, so that the other process can claim them
/// let descriptors = (outgoing.as_fd().try_clone_to_owned()?, incoming.as_fd().try_clone_to_owned()?);
///
/// // There, with the descriptors inherited or received over a socket:
/// let mut there = Connection::join(&Pipe::from_fd(descriptors.0)?, &Pipe::from_fd(descriptors.1)?)?;
/// here.send(b"ping")?;
/// assert_eq!(&*there.recv()?, b"ping");
/// there.send(b"pong")?;
/// assert_eq!(&*here.recv()?, b"pong");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Connection {
    /// To the other end.
    pub sender: Sender,
    /// From the other end.
    pub receiver: Receiver,
}

impl Connection {
    /// Becomes the sender of one pipe and the receiver of another.
    ///
    /// # Errors
    /// As [`Pipe::sender`]; if one role is taken, the other is left as it was.
    pub fn join(outgoing: &Pipe, incoming: &Pipe) -> Result<Connection, Error> {
        let sender = outgoing.sender()?;
        match incoming.receiver() {
            Ok(receiver) => Ok(Connection { sender, receiver }),
            Err(e) => {
                sender.give_back()?; // the other end must see neither an end of file now, nor none where there was one
                Err(e)
            }
        }
    }

    /// Gives both roles up, without end of file, for another process to claim: the outgoing and the incoming pipe.
    ///
    /// # Errors
    /// [`Error::Forked`].
    pub fn detach(self) -> Result<(Pipe, Pipe), Error> {
        Ok((self.sender.detach()?, self.receiver.detach()?))
    }

    /// Sends a message to the other end: [`Sender::send`].
    ///
    /// # Errors
    /// As there.
    #[inline]
    pub fn send(&mut self, message: &[u8]) -> Result<(), SendError> {
        self.sender.send(message)
    }

    /// Receives the next message from the other end: [`Receiver::recv`].
    ///
    /// # Errors
    /// As there.
    #[inline]
    pub fn recv(&mut self) -> Result<ReadGrant<'_>, RecvError> {
        self.receiver.recv()
    }
}
