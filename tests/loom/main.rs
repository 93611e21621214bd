//! Models of the primitives, explored by loom. Each lists the outcomes that it permits, and an interleaving that gives each.
//!
//! ```text
//! RUSTFLAGS="--cfg loom" cargo test --profile loom --test loom -- --nocapture
//! ```
#![cfg(loom)]

mod arena;
mod arena_carriers;
mod arena_sharing;
mod barrier;
mod biased;
mod condvar;
mod event;
mod fences;
mod once;
mod pipe;
mod pipeline;
mod pool_slices;
mod pool_tasks;
mod pool_waiters;
mod queue;
mod queue_deaths;
mod queue_joins;
mod queue_leases;
mod queue_sleep;
mod refused;
mod rwlock;
mod semaphore;
mod support;
