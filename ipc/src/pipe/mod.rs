//! `Pipe`: messages of any length between two processes, one that sends and one that receives.

pub(crate) mod handover;
pub(crate) mod layout;
pub(crate) mod ring;

#[cfg(loom)]
pub(crate) mod model;

#[cfg(not(loom))]
mod batch;
#[cfg(not(loom))]
mod copy;
#[cfg(not(loom))]
mod grant;
#[cfg(not(loom))]
mod handle;
#[cfg(not(loom))]
mod held;
#[cfg(not(loom))]
mod map;
#[cfg(not(loom))]
mod receiver;
#[cfg(not(loom))]
mod role;
#[cfg(not(loom))]
mod sender;

#[cfg(not(loom))]
pub use {
    batch::ReadBatch,
    grant::{ReadGrant, WriteGrant},
    handle::{Connection, Pipe, pipe},
    receiver::Receiver,
    sender::Sender,
};
