//! The shim between the algorithms and what they run on: the machine, or loom's model of one.
//!
//! Both twins offer the same names: atomics, [`Cell`] for payloads, `fence` and its asymmetric pair, `spin_loop`, `yield_now`, and the futex.
//! Only `sync/loom.rs`, `sync/pair.rs`, `model.rs` and the `model.rs` of each primitive name loom.

#[cfg(not(loom))]
mod asymmetric;
pub(crate) mod biased;
#[cfg(not(loom))]
mod real;
#[cfg(not(loom))]
pub(crate) use {asymmetric::*, real::*};

#[cfg(loom)]
pub(crate) mod loom;
#[cfg(loom)]
pub(crate) mod pair;
#[cfg(loom)]
pub(crate) use self::{loom::*, pair::*};

pub(crate) use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};

/// Two cache lines, in bytes.
#[cfg(not(loom))]
pub(crate) const LINE: usize = 128;

/// A word on cache lines of its own, two, since processors fetch them in pairs.
#[cfg_attr(not(loom), repr(C, align(128)))]
pub(crate) struct Line<T>(pub(crate) T);
