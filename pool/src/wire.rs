//! What parent and zygote say to each other: one message a packet over a `SOCK_SEQPACKET` pair, with descriptors beside it.

use crate::error::Cause;
use crate::origin::Manners;
use crate::sys::insist;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use skep_ipc::codec;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// No message is longer.
const MESSAGE_BYTES: usize = 1024;
/// How much of a reason goes into a message.
pub(crate) const REASON_BYTES: usize = 512;
/// So many names of threads fit into a message: the kernel cuts each to 15 bytes.
pub(crate) const NAMES: usize = 16;
/// How many descriptors go with [`Request::Setup`].
pub(crate) const SETUP_FDS: usize = 7;
/// How many go with [`Request::Work`], which has the most.
pub(crate) const WORK_FDS: usize = 8;

/// Parent to zygote.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// With descriptors: the parent's pidfd, tasks, done, records, spill file, arena, standard output.
    Setup(Manners),
    /// Start workers with these numbers.
    Spawn { first: u32, count: u32 },
    /// From a zygote to a worker that it has executed, with descriptors: tasks, done, records, spill file, arena, standard output, the zygote's end
    /// of the conversation, and the lifeline. Be the worker with this number, of the pool of that process.
    Work { worker: u32, pool: u32 },
}

/// Zygote to parent; the last two are from the worker itself.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    /// The worker entry is reached.
    Ready,
    /// The worker entry is reached, but the process has other threads, some of which have these names.
    Refused { others: Vec<String> },
    /// The zygote could not begin, and exits.
    Failed { reason: String },
    /// A worker ended, and was reaped.
    Exited { worker: u32, cause: Cause },
    /// A worker could not be started.
    NotForked { worker: u32, errno: i32 },
    /// With its pidfd (unless the parent has no room for it): the worker has attached, and takes tasks from now on.
    Fit { worker: u32, pid: u32 },
    /// The worker could not attach, and exits.
    Unfit { worker: u32, reason: String },
}

/// Makes a conversation.
pub(crate) fn pair() -> Result<(OwnedFd, OwnedFd), Errno> {
    rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
}

/// Sends a message.
///
/// Blocks while the socket's buffer is full.
pub(crate) fn send(socket: impl AsFd, message: &impl Serialize, fds: &[BorrowedFd<'_>]) -> Result<(), Errno> {
    send_with(SendFlags::empty(), socket, message, fds)
}

/// As [`send`], but gives [`Errno::AGAIN`] instead of blocking.
pub(crate) fn try_send(socket: impl AsFd, message: &impl Serialize) -> Result<(), Errno> {
    send_with(SendFlags::DONTWAIT, socket, message, &[])
}

fn send_with(
    flags: SendFlags,
    socket: impl AsFd,
    message: &impl Serialize,
    fds: &[BorrowedFd<'_>],
) -> Result<(), Errno> {
    let mut bytes = Vec::new();
    codec::encode(&mut bytes, message).map_err(|_| Errno::INVAL)?;
    if bytes.len() > MESSAGE_BYTES {
        return Err(Errno::MSGSIZE);
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(WORK_FDS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(Errno::MSGSIZE);
    }
    let iov = [IoSlice::new(&bytes)];
    insist(|| rustix::net::sendmsg(&socket, &iov, &mut control, flags | SendFlags::NOSIGNAL)).map(drop)
}

/// Receives a message; `None` at the end of the conversation. A descriptor is missing if this process has as many as it may.
///
/// Blocks until one is there.
pub(crate) fn receive<M: DeserializeOwned>(socket: impl AsFd) -> Result<Option<(M, Vec<OwnedFd>)>, Errno> {
    let mut buffer = [0; MESSAGE_BYTES];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(WORK_FDS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let got = insist(|| {
        let mut iov = [IoSliceMut::new(&mut buffer)];
        rustix::net::recvmsg(&socket, &mut iov, &mut control, RecvFlags::CMSG_CLOEXEC)
    });
    let got = match got {
        Err(Errno::CONNRESET) => return Ok(None),
        got => got?,
    };
    let fds = control
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => Some(fds),
            _ => None,
        })
        .flatten()
        .collect();
    if got.bytes == 0 {
        return Ok(None);
    }
    if got.flags.contains(ReturnFlags::TRUNC) {
        return Err(Errno::MSGSIZE);
    }
    let message = codec::decode(&buffer[..got.bytes]).map_err(|_| Errno::BADMSG)?;
    Ok(Some((message, fds)))
}
