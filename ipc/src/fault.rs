//! Labelled places at which a torture run kills its own process: under `--cfg skep_faults` only, elsewhere nothing at all.
//!
//! A label says which steps of which protocol lie before it and after it: `"put: claimed"` is behind P3 and before P4. Each has its row in
//! `CRASHES.md`.

/// A place between two steps.
#[cfg(not(skep_faults))]
#[inline(always)]
pub(crate) fn point(_label: &'static str) {}

#[cfg(skep_faults)]
pub(crate) use armed::point;

/// What a torture run arms.
#[cfg(skep_faults)]
pub mod armed {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, Ordering};

    static IS_ARMED: AtomicBool = AtomicBool::new(false);
    static ARMED: Mutex<Option<(String, u32)>> = Mutex::new(None);

    /// Kills this process (`SIGKILL`) when it passes a label for the `countdown`-th time from now on, counted from 1. `"*"` is any label.
    pub fn arm(label: &str, countdown: u32) {
        if let Ok(mut armed) = ARMED.lock() {
            *armed = Some((label.to_owned(), countdown));
            IS_ARMED.store(true, Ordering::Release);
        }
    }

    pub(crate) fn point(label: &'static str) {
        if IS_ARMED.load(Ordering::Acquire) {
            pass(label);
        }
    }

    #[cold]
    fn pass(label: &str) {
        let Ok(mut armed) = ARMED.lock() else { return };
        let Some((wanted, countdown)) = armed.as_mut() else { return };
        if wanted == "*" || wanted == label {
            *countdown = countdown.saturating_sub(1);
            if *countdown == 0 {
                crate::sys::kill_self();
            }
        }
    }
}
