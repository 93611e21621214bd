//! What stands in for a ring of ids: a bag.
//!
//! It promises less than the ring does, and as much as the pool's protocol asks of it: an id that was put is taken, in any order,
//! and whoever takes it sees what was written before it was put; one that a dead consumer had in hand is in the bag again after
//! a repair. Nothing else is ordered. The ring itself has its own models.

use super::kernel::Kernel;
use skep_ipc::model::{AtomicU32, AtomicU64, fence, futex_wait, futex_wake};
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::Ordering::{self, Acquire, Relaxed, Release, SeqCst};
use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum GetError {
    #[error("empty")]
    Empty,
    #[error("closed")]
    Closed,
    #[error("corrupt")]
    Corrupt,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PutError<T> {
    #[error("full")]
    Full(T),
    #[error("closed")]
    Closed(T),
    #[error("forked")]
    Forked(T),
    #[error("corrupt")]
    Corrupt(T),
}

/// A process's handle of a bag.
pub(crate) struct SimpleQueue<T> {
    bag: Arc<Bag>,
    /// Who that is; the parent is 0.
    me: u64,
    kernel: Arc<Kernel>,
    items: PhantomData<T>,
}

struct Bag {
    /// `{ who has it in hand, plus 1: 8, id, plus 1: 56 }`; 0: nothing is here.
    places: Box<[AtomicU64]>,
    /// Changes with each put.
    news: AtomicU32,
    closed: AtomicU32,
}

const ID: u64 = (1 << 56) - 1;

/// An id in fewer bits: a model's generations and indices are small.
fn shorten(id: u64) -> u64 {
    if id == u64::MAX { ID } else { id + 1 }
}

fn lengthen(word: u64) -> u64 {
    if word & ID == ID { u64::MAX } else { (word & ID) - 1 }
}

impl SimpleQueue<u64> {
    pub(crate) fn new(places: usize, kernel: &Arc<Kernel>) -> Self {
        let places = (0..places).map(|_| AtomicU64::new(0)).collect();
        let bag = Bag { places, news: AtomicU32::new(0), closed: AtomicU32::new(0) };
        SimpleQueue { bag: Arc::new(bag), me: 0, kernel: kernel.clone(), items: PhantomData }
    }

    /// Another process's handle.
    pub(crate) fn attach(&self, me: u64) -> Self {
        SimpleQueue { bag: self.bag.clone(), me, kernel: self.kernel.clone(), items: PhantomData }
    }

    pub(crate) fn try_put(&mut self, id: u64) -> Result<(), PutError<u64>> {
        if self.bag.closed.load(Relaxed) != 0 {
            return Err(PutError::Closed(id));
        }
        let word = shorten(id);
        let put = self.bag.places.iter().any(|place| change(place, 0, word, Release));
        if !put {
            return Err(PutError::Full(id));
        }
        self.tell();
        Ok(())
    }

    /// A worker's put finds room: the pool sees to it.
    pub(crate) fn put(&mut self, id: u64) -> Result<(), PutError<u64>> {
        self.try_put(id)
    }

    fn tell(&self) {
        fence(SeqCst);
        self.bag.news.fetch_add(1, Relaxed);
        futex_wake(&self.bag.news, u32::MAX);
    }

    /// Takes an id in hand, has `work` look at it, and lets go of it.
    fn try_get_with<R>(&mut self, work: impl FnOnce(u64) -> R) -> Result<R, GetError> {
        for place in &self.bag.places {
            let word = place.load(Acquire);
            let in_hand = word | (self.me + 1) << 56;
            if word != 0 && word <= ID && change(place, word, in_hand, Acquire) {
                let result = work(lengthen(word));
                assert!(change(place, in_hand, 0, Relaxed), "what is in hand stays there");
                return Ok(result);
            }
        }
        Err(if self.bag.closed.load(Relaxed) != 0 { GetError::Closed } else { GetError::Empty })
    }

    pub(crate) fn get_with<R>(&mut self, mut work: impl FnMut(u64) -> R) -> Result<R, GetError> {
        loop {
            let seen = self.bag.news.load(Relaxed);
            fence(SeqCst);
            match self.try_get_with(&mut work) {
                Err(GetError::Empty) => futex_wait(&self.bag.news, seen, None),
                got => return got,
            }
        }
    }

    pub(crate) fn try_get(&mut self) -> Result<u64, GetError> {
        self.try_get_with(|id| id)
    }

    pub(crate) fn get(&mut self) -> Result<u64, GetError> {
        self.get_with(|id| id)
    }

    pub(crate) fn get_timeout(&mut self, _: Duration) -> Result<u64, GetError> {
        self.try_get()
    }

    pub(crate) fn len(&self) -> usize {
        self.bag.places.iter().filter(|place| place.load(Relaxed) != 0).count()
    }

    pub(crate) fn close(&mut self) {
        self.bag.closed.store(1, Relaxed);
        self.tell();
    }

    /// What the dead had in hand is in the bag again.
    pub(crate) fn recover(&mut self) -> Result<usize, GetError> {
        let mut repaired = 0;
        for place in &self.bag.places {
            let word = place.load(Relaxed);
            if word > ID && self.kernel.is_dead((word >> 56) - 1) && change(place, word, word & ID, Release) {
                repaired += 1;
            }
        }
        if repaired > 0 {
            self.tell();
        }
        Ok(repaired)
    }
}

fn change(place: &AtomicU64, from: u64, to: u64, order: Ordering) -> bool {
    place.compare_exchange(from, to, order, Relaxed).is_ok()
}
