//! The laws of the pool, with real processes and signals.
//!
//! Each test is a sentence about a pool. This executable also plays the programs that some of them need: `as:<role>` as its first
//! argument.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

#[path = "pool/api.rs"]
mod api;
#[path = "pool/arena.rs"]
mod arena;
#[path = "pool/arena_deaths.rs"]
mod arena_deaths;
#[path = "pool/death.rs"]
mod death;
#[path = "pool/descriptors.rs"]
mod descriptors;
#[path = "pool/entry.rs"]
mod entry;
#[path = "pool/host.rs"]
mod host;
#[path = "pool/host_programs.rs"]
mod host_programs;
#[path = "pool/life.rs"]
mod life;
#[path = "pool/programs.rs"]
mod programs;
#[path = "pool/slices.rs"]
mod slices;
#[path = "pool/support.rs"]
mod support;
#[path = "pool/tasks.rs"]
mod tasks;

use libtest_mimic::{Arguments, Trial};

fn main() {
    programs::before_init();
    skep::init();
    programs::after_init();
    let tests = [
        api::laws(),
        life::laws(),
        death::laws(),
        descriptors::laws(),
        entry::laws(),
        host::laws(),
        arena::laws(),
        arena_deaths::laws(),
        slices::laws(),
    ]
    .concat();
    let trials = tests.into_iter().map(|law| Trial::test(law.name, move || support::within(law))).collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}
