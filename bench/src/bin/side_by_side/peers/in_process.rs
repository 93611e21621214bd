//! What a program loses, or not, by going to other processes: queues between threads, and work on the numbers that it has.

use super::bare::SLOTS;
use super::skep::queue::QUEUE;
use crate::measure::arrays::{self, NUMBERS};
use crate::measure::crowd;
use crate::measure::item::Item;
use crate::part::Part;
use crate::row::Outcome;
use crossbeam_queue::ArrayQueue;
use std::sync::Arc;

/// rtrb, one to one.
pub fn rtrb<T: Item + Send>(part: &Part) -> Outcome {
    let ends = rtrb::RingBuffer::<T>::new(SLOTS as usize);
    crowd::threads(
        part,
        vec![ends],
        |crowd, number, mut sender| {
            crowd.produce::<T, 1>(number, |items| usize::from(sender.push(items[0]).is_ok()))
        },
        |crowd, mut receiver| {
            crowd.consume::<T, 1>(|into| match receiver.pop() {
                Ok(item) => {
                    into[0] = item;
                    1
                }
                Err(_) => 0,
            })
        },
    )
}

/// rtrb, one to one, by its chunks of 64.
pub fn rtrb_batches<T: Item + Send>(part: &Part) -> Outcome {
    let ends = rtrb::RingBuffer::<T>::new(SLOTS as usize);
    crowd::threads(
        part,
        vec![ends],
        |crowd, number, mut sender| {
            crowd.produce::<T, 64>(number, |items| {
                let count = sender.slots().min(items.len());
                let Ok(chunk) = sender.write_chunk_uninit(count) else { return 0 };
                chunk.fill_from_iter(items.iter().copied())
            });
        },
        |crowd, mut receiver| {
            crowd.consume::<T, 64>(|into| {
                let count = receiver.slots().min(into.len());
                let Ok(chunk) = receiver.read_chunk(count) else { return 0 };
                let (first, rest) = chunk.as_slices();
                into[..first.len()].copy_from_slice(first);
                into[first.len()..count].copy_from_slice(rest);
                chunk.commit_all();
                count
            })
        },
    )
}

/// crossbeam's ArrayQueue, so many producers and as many consumers.
pub fn array_queue<const PAIRS: usize>(part: &Part) -> Outcome {
    array_queue_of::<PAIRS, QUEUE>(part)
}

/// The same with so many slots.
pub fn array_queue_of<const PAIRS: usize, const SLOTS: usize>(part: &Part) -> Outcome {
    let queue = Arc::new(ArrayQueue::<u64>::new(SLOTS));
    let ends = (0..PAIRS).map(|_| (queue.clone(), queue.clone())).collect();
    crowd::threads(
        part,
        ends,
        |crowd, number, queue| {
            crowd.produce::<u64, 1>(number, |items| usize::from(queue.push(items[0]).is_ok()))
        },
        |crowd, queue| {
            crowd.consume::<u64, 1>(|into| match queue.pop() {
                Some(item) => {
                    into[0] = item;
                    1
                }
                None => 0,
            })
        },
    )
}

/// Numbers added up by whoever has them.
pub fn sums(part: &Part) -> Outcome {
    let values: Vec<f64> = (0..NUMBERS).map(arrays::number).collect();
    arrays::sums(part, || Ok(arrays::sum(&values)))
}

/// Numbers doubled into memory that is there.
pub fn doubles(part: &Part) -> Outcome {
    let values: Vec<f64> = (0..NUMBERS).map(arrays::number).collect();
    let mut doubled = vec![0.0; NUMBERS];
    arrays::doubles(part, |take| {
        arrays::double(&values, &mut doubled);
        take(&doubled);
        Ok(())
    })
}
