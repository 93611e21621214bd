//! Places at which a test has a stage die: `PIPELINE_DIES_AT="parse: put" PIPELINE_DIES_AFTER=3` kills it there, the fourth time that it comes by.

use std::{
    env,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering, compiler_fence},
    },
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

struct Death {
    place: String,
    after: AtomicU64,
}

static DEATH: OnceLock<Option<Death>> = OnceLock::new();

/// Dies here if that was asked for, as any `kill -9` would have it.
pub fn point(place: &str) {
    let death = DEATH.get_or_init(|| {
        let after = env::var("PIPELINE_DIES_AFTER").ok().and_then(|after| after.parse().ok()).unwrap_or(0);
        env::var("PIPELINE_DIES_AT").ok().map(|place| Death { place, after: AtomicU64::new(after) })
    });
    let Some(death) = death else { return };
    // Who comes by when nothing is left to wait for, dies: the count does not get any lower.
    if death.place == place && death.after.fetch_sub(1, Ordering::Relaxed) == 0 {
        let _ = kill(Pid::this(), Signal::SIGKILL);
    }
}

/// What stands before this in the program is in memory when a kill between the two comes: the processor keeps its order for whoever looks afterwards, and the
/// compiler is told to.
pub fn in_order() {
    compiler_fence(Ordering::SeqCst);
}
