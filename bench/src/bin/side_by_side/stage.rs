//! The memory on which the processes of one run meet: when to begin, what was counted, the figure.

use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU32, AtomicU64};

/// Two cache lines, so that neighbours do not share a pair that the processor fetches together.
#[repr(C, align(128))]
#[derive(Default)]
pub struct Line<T>(pub T);

/// How often the processes of a run can wait for each other.
const BARRIERS: usize = 8;
/// The most processes of a run whose shares are told apart.
const PARTIES: usize = 64;
/// The bytes for whoever needs some: of those that nobody touches there are none.
const SCRATCH: usize = 520 << 20;

#[repr(C)]
struct Words {
    arrived: [Line<AtomicU64>; BARRIERS],
    failed: Line<AtomicU32>,
    figure: Line<AtomicU64>,
    notes: [AtomicU64; 8],
    shares: [AtomicU64; PARTIES],
    sent: Line<AtomicU64>,
    received: Line<AtomicU64>,
    sum: Line<AtomicU64>,
    finished: Line<AtomicU64>,
    began: Line<AtomicU64>,
    ended: Line<AtomicU64>,
}

/// A run's shared memory.
pub struct Stage {
    file: File,
    base: *mut u8,
}

// SAFETY: all words are atomics; the scratch is for the contenders to agree upon.
unsafe impl Sync for Stage {}
// SAFETY: as above; the mapping stays for as long as the process.
unsafe impl Send for Stage {}

impl Stage {
    /// An empty stage, whose descriptor child processes inherit.
    pub fn new() -> std::io::Result<Stage> {
        // SAFETY: a constant name; the descriptor is checked, and ours.
        let file = unsafe {
            let fd = libc::memfd_create(c"skep-bench".as_ptr(), 0);
            if fd < 0 {
                return Err(std::io::Error::last_os_error());
            }
            File::from_raw_fd(fd)
        };
        file.set_len((size_of::<Words>() + SCRATCH).next_multiple_of(4096) as u64)?;
        Stage::map(file)
    }

    /// The stage behind an inherited descriptor.
    pub fn inherit(fd: RawFd) -> std::io::Result<Stage> {
        // SAFETY: the conductor passed it for this.
        Stage::map(unsafe { File::from_raw_fd(fd) })
    }

    fn map(file: File) -> std::io::Result<Stage> {
        let len = file.metadata()?.len() as usize;
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new shared mapping of the whole file.
        let base =
            unsafe { libc::mmap(std::ptr::null_mut(), len, access, libc::MAP_SHARED, file.as_raw_fd(), 0) };
        if base == libc::MAP_FAILED {
            return Err(std::io::Error::last_os_error());
        }
        Ok(Stage { file, base: base.cast() })
    }

    pub fn fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    fn words(&self) -> &Words {
        // SAFETY: the mapping begins with them, and zeroes are valid.
        unsafe { &*self.base.cast() }
    }

    /// Memory that starts as zeroes, page-aligned; `at` and `len` in bytes.
    pub fn scratch(&self, at: usize, len: usize) -> *mut u8 {
        assert!(at + len <= SCRATCH, "the stage's scratch is too small");
        // SAFETY: within the mapping, as just checked.
        unsafe { self.base.add(size_of::<Words>().next_multiple_of(4096) + at) }
    }

    /// Waits until `parties` have come to this barrier.
    pub fn meet(&self, barrier: usize, parties: u32) {
        let arrived = &self.words().arrived[barrier].0;
        arrived.fetch_add(1, AcqRel);
        let mut tries = 0_u32;
        while arrived.load(Acquire) < u64::from(parties) {
            self.check();
            tries += 1;
            if tries.is_multiple_of(256) { std::thread::yield_now() } else { std::hint::spin_loop() }
        }
    }

    /// Says that this run is lost, so that nobody waits for the others.
    pub fn fail(&self) {
        self.words().failed.0.store(1, Release);
    }

    /// Ends this part if another one has failed.
    pub fn check(&self) {
        assert_eq!(self.words().failed.0.load(Relaxed), 0, "another part has failed");
    }

    /// A word that parts tell each other something by.
    pub fn note(&self, number: usize) -> &AtomicU64 {
        &self.words().notes[number]
    }

    pub fn set_figure(&self, figure: f64) {
        self.words().figure.0.store(figure.to_bits(), Release);
    }

    pub fn figure(&self) -> f64 {
        f64::from_bits(self.words().figure.0.load(Acquire))
    }

    /// A producer has put so many items, of that sum, and puts no more.
    pub fn finish_sending(&self, items: u64, sum: u64) {
        let words = self.words();
        words.sent.0.fetch_add(items, AcqRel);
        words.sum.0.fetch_add(sum, AcqRel);
        words.finished.0.fetch_add(1, AcqRel);
    }

    /// This part has put, or got, so many items.
    pub fn set_share(&self, part: u32, items: u64) {
        if let Some(share) = self.words().shares.get(part as usize) {
            share.store(items, Release);
        }
    }

    /// The least share of these parts, beside their mean.
    pub fn fairness(&self, parts: std::ops::Range<u32>) -> f64 {
        let shares = &self.words().shares[parts.start as usize..parts.end as usize];
        let shares: Vec<f64> = shares.iter().map(|share| share.load(Acquire) as f64).collect();
        let mean = shares.iter().sum::<f64>() / shares.len() as f64;
        shares.iter().copied().fold(f64::INFINITY, f64::min) / mean
    }

    /// Whether all producers are done: what cannot be got after this was seen is not there.
    pub fn all_is_sent(&self, producers: u32) -> bool {
        self.words().finished.0.load(Acquire) == u64::from(producers)
    }

    /// A consumer has got so many items, of that sum.
    pub fn finish_receiving(&self, items: u64, sum: u64) {
        self.words().received.0.fetch_add(items, AcqRel);
        self.words().sum.0.fetch_sub(sum, AcqRel);
    }

    /// The number of items, if all that were sent were received.
    pub fn balance(&self) -> Result<u64, String> {
        let words = self.words();
        let (sent, received) = (words.sent.0.load(Acquire), words.received.0.load(Acquire));
        if sent != received || words.sum.0.load(Acquire) != 0 {
            return Err(format!("{sent} items were sent and {received} received, or one was changed"));
        }
        Ok(sent)
    }

    /// How many items all producers have put.
    pub fn sent(&self) -> u64 {
        self.words().sent.0.load(Acquire)
    }

    /// From when to when: the first of all to begin, the last of all to end.
    pub fn began(&self, now: u64) {
        let _ = self.words().began.0.compare_exchange(0, now, AcqRel, Relaxed);
    }

    pub fn ended(&self, now: u64) {
        self.words().ended.0.fetch_max(now, AcqRel);
    }

    pub fn nanoseconds(&self) -> f64 {
        self.words().ended.0.load(Acquire).saturating_sub(self.words().began.0.load(Acquire)) as f64
    }
}

/// The machine's clock, which all its processes share.
pub fn now() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a place for the result, on the stack.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
