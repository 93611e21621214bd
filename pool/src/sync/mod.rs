//! The pool's door to what its protocol runs on: the machine, or loom's model of one.
//!
//! Both twins offer the same names: atomics, [`Bytes`] for payloads, the locks that stay within one process, and
//! the rings and the arena, which have models of their own and are stood in for here.
//! Words of shared memory are ipc's under loom, so each access is a step before which a simulated worker may be
//! killed. Locks are loom's own: only the parent has them, and nothing outlives it.
//!
//! Mutexes of this crate guard plain data that is whole between any two statements, so a panic elsewhere does not
//! spoil it.

#[cfg(not(loom))]
mod real;
#[cfg(not(loom))]
pub(crate) use real::*;

#[cfg(loom)]
mod loom;
#[cfg(loom)]
pub(crate) use self::loom::*;

use std::sync::PoisonError;

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
