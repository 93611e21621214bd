//! How long a pool goes on trying to have workers, and how often it tries.
//!
//! A shortage (of processes, descriptors, memory) may last for seconds and pass, so it is time that counts, and not the number of tries, of which there are hundreds in
//! no time. A worker that takes tasks ends the count.

use crate::error::PoolError;
use rustix::io::Errno;
use std::time::{Duration, Instant};

/// So long a pool without workers goes on, unless asked otherwise.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// The longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// The tries that have failed since one succeeded.
pub(crate) struct Patience {
    limit: Duration,
    failing: Option<Failing>,
}

struct Failing {
    since: Instant,
    tries: u32,
    /// Whether the latest try is counted: however many workers fail of one request, that is one.
    is_counted: bool,
    not_before: Instant,
    /// Why the latest one failed.
    reason: String,
}

impl Patience {
    pub(crate) fn new(limit: Duration) -> Patience {
        Patience { limit, failing: None }
    }

    pub(crate) fn limit(&self) -> Duration {
        self.limit
    }

    /// Something has succeeded, or was there until now: failures count from here on.
    pub(crate) fn renew(&mut self) {
        self.failing = None;
    }

    /// Another try begins.
    pub(crate) fn begin(&mut self) {
        if let Some(failing) = &mut self.failing {
            failing.is_counted = false;
        }
    }

    /// The latest try has failed.
    pub(crate) fn fail(&mut self, reason: String) {
        let now = Instant::now();
        let failing = self.failing.get_or_insert_with(|| Failing {
            since: now,
            tries: 0,
            is_counted: false,
            not_before: now,
            reason: String::new(),
        });
        failing.reason = reason;
        if !std::mem::replace(&mut failing.is_counted, true) {
            failing.tries = failing.tries.saturating_add(1);
            failing.not_before = now + Duration::from_millis(1 << failing.tries.min(16)).min(LONGEST_PAUSE);
        }
    }

    /// How long to wait before the next try.
    pub(crate) fn pause(&self) -> Option<Duration> {
        let pause = self.failing.as_ref()?.not_before.saturating_duration_since(Instant::now());
        (!pause.is_zero()).then_some(pause)
    }

    /// Why the latest try failed, if it did.
    pub(crate) fn reason(&self) -> Option<&str> {
        self.failing.as_ref().map(|failing| &failing.reason[..])
    }

    /// An error if it has come to its end.
    pub(crate) fn check(&self) -> Result<(), String> {
        match &self.failing {
            Some(failing) if failing.since.elapsed() >= self.limit => Err(format!(
                "for {:?} no worker could be started, in {} tries: {}",
                self.limit, failing.tries, failing.reason
            )),
            _ => Ok(()),
        }
    }
}

/// Says what is short, and what to do.
pub(crate) fn shortage(call: &str, error: Errno) -> String {
    let remedy = match error {
        Errno::AGAIN => {
            "processes are short: raise `ulimit -u` or the control group's pids.max, or have fewer workers"
        }
        Errno::MFILE => "descriptors are short in this process: raise `ulimit -n`, or have fewer workers",
        Errno::NFILE => "descriptors are short in the whole system: raise fs.file-max",
        Errno::NOMEM | Errno::NOBUFS => {
            "memory is short: have fewer workers, or give the machine or control group more"
        }
        Errno::BADF => "code of this program has closed the pool's descriptors",
        Errno::NOSPC => "shared memory is short: enlarge /dev/shm, or have a smaller pool",
        _ => return format!("{call}: {error}"),
    };
    format!("{call}: {error}; {remedy}")
}

/// The same for what has kept a zygote from starting.
pub(crate) fn shortage_of(error: &PoolError) -> String {
    match error {
        PoolError::Os { call, source } => match source.raw_os_error() {
            Some(number) => shortage(call, Errno::from_raw_os_error(number)),
            None => error.to_string(),
        },
        _ => error.to_string(),
    }
}
