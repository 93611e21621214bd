//! Labelled places at which a torture run kills or stops its own process: under `--cfg skep_faults` only, elsewhere nothing at all.
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
    static ARMED: Mutex<Option<Blow>> = Mutex::new(None);

    struct Blow {
        label: String,
        /// How many passes from now; 0: it has fallen.
        countdown: u32,
        strike: fn(),
    }

    /// Kills this process (`SIGKILL`) when it passes a label for the `countdown`-th time from now on, counted from 1. `"*"` is any label.
    pub fn arm(label: &str, countdown: u32) {
        prepare(label, countdown, || crate::sys::kill_self());
    }

    /// Stops this process (`SIGSTOP`) there, once: it goes on when somebody sends `SIGCONT`.
    pub fn arm_stop(label: &str, countdown: u32) {
        prepare(label, countdown, crate::sys::stop_self);
    }

    fn prepare(label: &str, countdown: u32, strike: fn()) {
        if let Ok(mut armed) = ARMED.lock() {
            *armed = Some(Blow { label: label.to_owned(), countdown, strike });
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
        let Some(blow) = armed.as_mut().filter(|blow| blow.label == "*" || blow.label == label) else {
            return;
        };
        let falls = blow.countdown == 1;
        blow.countdown = blow.countdown.saturating_sub(1);
        if falls {
            (blow.strike)();
        }
    }
}
