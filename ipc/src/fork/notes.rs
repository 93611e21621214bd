//! Which descriptors a forked child has to close, and the gate that no fork passes while one is opened.
//!
//! An allocator may have fork handlers of its own, which hold its locks across a fork. So nobody may
//! allocate, or free, while the gate is held: a thread that waits for such a lock with the gate in its
//! hands, and a fork that has the lock and waits for the gate, would wait for each other for ever. Places
//! are taken before the gate, and under it a note is one store. Nothing of the gate is thread-local
//! either, since a library that is loaded later gets its thread-locals from the allocator.
//!
//! | step | | |
//! | --- | --- | --- |
//! | N1 | CAS a place from `FREE` to `TAKEN`; a new chunk is allocated if there is none | before the gate |
//! | N2 | open the descriptor, store its mark, then its number | under the gate |
//! | N3 | store `FREE`, and close | under the gate |
//! | N4 | close what is noted, store `FREE` | in a child, which has one thread |

use crate::sys;
use std::os::fd::RawFd;
use std::ptr;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicI32, AtomicI64, AtomicPtr, AtomicU32};

/// In a place that nobody has.
const FREE: i32 = 0;
/// In one that somebody has who has not opened anything yet. Other values are a number plus one.
const TAKEN: i32 = -1;

/// A place for one descriptor.
pub(super) struct Place {
    number: AtomicI32,
    /// The offset by which the descriptor is known, should the program close it and open another file
    /// under its number.
    mark: AtomicI64,
}

/// Places that are never given back.
struct Chunk {
    places: [Place; 63],
    next: AtomicPtr<Chunk>,
}

static FIRST: Chunk = Chunk::new();

impl Chunk {
    const fn new() -> Chunk {
        let places = [const { Place { number: AtomicI32::new(FREE), mark: AtomicI64::new(0) } }; 63];
        Chunk { places, next: AtomicPtr::new(ptr::null_mut()) }
    }

    fn next(&self) -> Option<&'static Chunk> {
        // SAFETY: a chunk is published whole (Release, in `grown`), and never freed.
        unsafe { self.next.load(Acquire).as_ref() }
    }

    /// The next chunk, which is made if there is none.
    fn grown(&self) -> &'static Chunk {
        if let Some(next) = self.next() {
            return next;
        }
        let fresh = Box::into_raw(Box::new(Chunk::new()));
        match self.next.compare_exchange(ptr::null_mut(), fresh, AcqRel, Acquire) {
            // SAFETY: made in the line above, and never freed now.
            Ok(_) => unsafe { &*fresh },
            Err(other) => {
                // SAFETY: nobody has seen it.
                drop(unsafe { Box::from_raw(fresh) });
                // SAFETY: as in `next`.
                unsafe { &*other }
            }
        }
    }
}

fn places() -> impl Iterator<Item = &'static Place> {
    std::iter::successors(Some(&FIRST), |chunk| chunk.next()).flat_map(|chunk| &chunk.places)
}

impl Place {
    /// Takes a place: N1. It may allocate.
    pub(super) fn take() -> &'static Place {
        let mut chunk = &FIRST;
        loop {
            let is_taken =
                |place: &&Place| place.number.compare_exchange(FREE, TAKEN, AcqRel, Relaxed).is_ok();
            let free = |place: &&Place| place.number.load(Relaxed) == FREE;
            if let Some(place) = chunk.places.iter().filter(free).find(is_taken) {
                return place;
            }
            chunk = chunk.grown();
        }
    }

    /// Notes a descriptor: the end of N2. The caller is behind the gate.
    pub(super) fn note(&self, fd: RawFd, mark: i64) {
        self.mark.store(mark, Relaxed);
        self.number.store(fd + 1, Release);
    }

    /// Gives a place up in which nothing was noted.
    pub(super) fn give_up(&self) {
        self.number.store(FREE, Release);
    }
}

/// Forgets a descriptor, and closes it unless its number leads elsewhere by now: N3. The caller is behind
/// the gate.
pub(super) fn forget(fd: RawFd, mark: i64) {
    let is_it = |place: &&Place| place.number.load(Relaxed) == fd + 1 && place.mark.load(Relaxed) == mark;
    if let Some(place) = places().find(is_it) {
        place.number.store(FREE, Release);
    }
    close_if_marked(fd, mark);
}

/// Closes all that is noted: N4.
pub(super) fn close_all() {
    for place in places() {
        // Also what another thread of the parent had taken and not filled yet.
        let number = place.number.swap(FREE, Relaxed);
        if number > 0 {
            close_if_marked(number - 1, place.mark.load(Relaxed));
        }
    }
}

fn close_if_marked(fd: RawFd, mark: i64) {
    if sys::offset_of_number(fd) == Some(mark) {
        sys::close_number(fd);
    }
}

/// Held while a descriptor is opened or closed, and across a fork.
pub(super) struct Gate {
    /// The thread that holds it; 0: nobody.
    owner: AtomicU32,
    /// How often the owner holds it. The owner alone reads and writes it.
    depth: AtomicU32,
}

pub(super) static GATE: Gate = Gate { owner: AtomicU32::new(0), depth: AtomicU32::new(0) };

impl Gate {
    /// Takes the gate, as soon as no other thread has it. A thread may take it again: the fork handlers
    /// may be registered twice, and a signal handler may fork.
    pub(super) fn close(&self) {
        let me = sys::thread_id();
        while self.owner.load(Relaxed) != me && self.owner.compare_exchange(0, me, Acquire, Relaxed).is_err()
        {
            std::thread::yield_now();
        }
        self.depth.store(self.depth.load(Relaxed) + 1, Relaxed);
    }

    /// Lets go of the gate. In a child too, where the owner has the number of the thread that forked.
    pub(super) fn open(&self) {
        let depth = self.depth.load(Relaxed) - 1;
        self.depth.store(depth, Relaxed);
        if depth == 0 {
            self.owner.store(0, Release);
        }
    }

    /// Runs `work` behind the gate; also where it panics, the gate is opened.
    pub(super) fn with<R>(&self, work: impl FnOnce() -> R) -> R {
        struct Opens<'a>(&'a Gate);
        impl Drop for Opens<'_> {
            fn drop(&mut self) {
                self.0.open();
            }
        }
        self.close();
        let _opens = Opens(self);
        work()
    }
}
