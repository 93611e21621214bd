//! Items a second from some producers to some consumers, one at a time or in batches.
//!
//! A producer's items are numbered. With one producer and one consumer each must come in its turn; with more, a consumer sees each producer's in
//! rising order, and in the end their number and sum are those of what was sent.

use super::item::Item;
use crate::part::Part;
use crate::row::Outcome;
use crate::stage::{Stage, now};
use std::time::{Duration, Instant};

/// Who takes part: as many consume as produce.
#[derive(Clone, Copy)]
pub struct Crowd<'a> {
    pub stage: &'a Stage,
    pub time: Duration,
    pub producers: u32,
    /// Which part this is.
    number: u32,
}

impl<'a> Crowd<'a> {
    /// The first half of a run's processes produce, the others consume.
    pub fn of(part: &'a Part) -> Crowd<'a> {
        Crowd { stage: &part.stage, time: part.time, producers: part.parties / 2, number: part.number }
    }

    /// The same in the threads of one process.
    pub fn threads(part: &'a Part, producers: u32) -> Crowd<'a> {
        Crowd { stage: &part.stage, time: part.time, producers, number: 0 }
    }

    /// Produces until the time is over: `put` takes some of the items from the first on, if it has room.
    pub fn produce<T: Item, const BATCH: usize>(&self, producer: u32, mut put: impl FnMut(&[T]) -> usize) {
        let first = u64::from(producer) << 48;
        let (mut n, mut sum) = (first, 0_u64);
        let mut items = [T::of(0); BATCH];
        self.stage.meet(3, 2 * self.producers);
        let end = Instant::now() + self.time;
        self.stage.began(now());
        loop {
            for _ in 0..1024 / BATCH {
                for item in &mut items {
                    *item = T::of(n);
                    sum = sum.wrapping_add(n);
                    n += 1;
                }
                let mut done = 0;
                while done < BATCH {
                    done += self.insist(|| match put(&items[done..]) {
                        0 => None,
                        count => Some(count),
                    });
                }
            }
            if Instant::now() >= end {
                break;
            }
        }
        self.stage.set_share(self.number, n - first);
        self.stage.finish_sending(n - first, sum);
    }

    /// Consumes until there will be no more: `get` fills some of the places from the first on, if there is anything.
    ///
    /// # Errors
    /// An item that came out of its turn.
    pub fn consume<T: Item, const BATCH: usize>(&self, mut get: impl FnMut(&mut [T]) -> usize) -> Outcome {
        let mut tally = Tally { crowd: self.producers > 1, next: [0; 16], count: 0, sum: 0, in_order: true };
        let mut items = [T::of(0); BATCH];
        let mut over = false;
        self.stage.meet(3, 2 * self.producers);
        loop {
            // Whether all was sent is seen before the look that finds nothing.
            let count = match get(&mut items) {
                0 if over => break,
                0 => self.insist(|| {
                    over = self.stage.all_is_sent(self.producers);
                    match get(&mut items) {
                        0 if !over => None,
                        count => Some(count),
                    }
                }),
                count => count,
            };
            tally.add(&items[..count]);
        }
        self.stage.ended(now());
        if !tally.in_order {
            return Err("an item came out of its turn".into());
        }
        self.stage.set_share(self.number, tally.count);
        self.stage.finish_receiving(tally.count, tally.sum);
        Ok(())
    }

    /// The same for longer, if it is shorter than this.
    pub fn at_least(self, time: Duration) -> Crowd<'a> {
        Crowd { time: self.time.max(time), ..self }
    }

    /// Once all have ended: whether nothing was lost, and the figure, in millions a second.
    ///
    /// # Errors
    /// Something was lost or changed.
    pub fn settle(&self) -> Outcome {
        let items = self.stage.balance()?;
        self.stage.set_figure(items as f64 * 1e3 / self.stage.nanoseconds());
        Ok(())
    }

    /// Tries until it succeeds. Who shares a core gives it away now and then.
    #[inline]
    fn insist<R>(&self, mut attempt: impl FnMut() -> Option<R>) -> R {
        let mut tries = 0_u32;
        loop {
            if let Some(result) = attempt() {
                return result;
            }
            tries = tries.wrapping_add(1);
            if tries.is_multiple_of(1 << 16) {
                self.stage.check();
            }
            if self.producers > 1 && tries.is_multiple_of(64) {
                std::thread::yield_now();
            } else {
                std::hint::spin_loop();
            }
        }
    }
}

/// What a consumer has got.
struct Tally {
    crowd: bool,
    next: [u64; 16],
    count: u64,
    sum: u64,
    in_order: bool,
}

impl Tally {
    #[inline]
    fn add<T: Item>(&mut self, items: &[T]) {
        if self.crowd {
            for item in items {
                let n = item.number();
                let next = &mut self.next[(n >> 48) as usize & 15];
                self.in_order &= n & ((1 << 48) - 1) >= *next;
                *next = (n & ((1 << 48) - 1)) + 1;
                self.sum = self.sum.wrapping_add(n);
            }
        } else {
            for (n, item) in (self.count..).zip(items) {
                self.in_order &= item.number() == n;
                self.sum = self.sum.wrapping_add(n);
            }
        }
        self.count += items.len() as u64;
    }
}

/// A run in processes: the first half produce, the others consume.
///
/// # Errors
/// Those of `produce` and `consume`, and what was lost or changed.
pub fn processes(
    part: &Part,
    produce: impl FnOnce(Crowd<'_>) -> Outcome,
    consume: impl FnOnce(Crowd<'_>) -> Outcome,
) -> Outcome {
    let crowd = Crowd::of(part);
    let consumes = part.number >= crowd.producers;
    part.pin(u32::from(consumes));
    if consumes {
        consume(crowd)?
    } else {
        produce(crowd)?
    }
    part.meet(4);
    if part.number == 0 { crowd.settle() } else { Ok(()) }
}

/// A run in the threads of one process: for each producer a pair of ends.
///
/// # Errors
/// Those of `consume`, and what was lost or changed.
pub fn threads<P: Send, C: Send>(
    part: &Part,
    ends: Vec<(P, C)>,
    produce: impl Fn(Crowd<'_>, u32, P) + Sync,
    consume: impl Fn(Crowd<'_>, C) -> Outcome + Sync,
) -> Outcome {
    let crowd = Crowd::threads(part, ends.len() as u32);
    std::thread::scope(|threads| {
        for (number, (producer, consumer)) in ends.into_iter().enumerate() {
            let (produce, consume) = (&produce, &consume);
            threads.spawn(move || {
                part.pin(0);
                produce(crowd, number as u32, producer);
            });
            threads.spawn(move || {
                part.pin(1);
                if let Err(error) = consume(crowd, consumer) {
                    part.stage.fail();
                    eprintln!("{error}");
                }
            });
        }
    });
    part.stage.check();
    crowd.settle()
}
