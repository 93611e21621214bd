//! shaq: queues in a file under /dev/shm, for one or several of each side.

use super::skep::queue::QUEUE;
use crate::measure::crowd::{self, Crowd};
use crate::measure::item::Item;
use crate::part::Part;
use crate::row::Outcome;
use shaq::{mpmc, spsc};
use std::fs::File;
use std::num::NonZeroUsize;
use std::path::PathBuf;

/// Calls `create` with a new file in part 0, and `join` with it in the others.
fn shared<Q>(
    part: &Part,
    create: impl FnOnce(&File) -> Result<Q, shaq::error::Error>,
    join: impl FnOnce(&File) -> Result<Q, shaq::error::Error>,
) -> Result<Q, Box<dyn std::error::Error>> {
    let path = PathBuf::from("/dev/shm").join(part.object("shaq"));
    if part.number > 0 {
        part.meet(0);
        let queue = join(&File::options().read(true).write(true).open(path)?);
        part.meet(1);
        return queue.map_err(|e| format!("shaq: {e:?}").into());
    }
    let queue = create(&File::options().read(true).write(true).create_new(true).open(&path)?);
    part.meet(0);
    part.meet(1);
    std::fs::remove_file(path)?;
    queue.map_err(|e| format!("shaq: {e:?}").into())
}

enum End<P, C> {
    Producer(P),
    Consumer(C),
}

/// One to one.
pub fn spsc_stream<T: Item + Send + Sync>(part: &Part) -> Outcome {
    let bytes = spsc::minimum_file_size::<T>(super::bare::SLOTS as usize);
    // SAFETY: part 0 alone creates and produces, part 1 consumes; of the same type.
    let end = shared(
        part,
        |file| unsafe { spsc::Producer::<T>::create(file, bytes) }.map(End::Producer),
        |file| unsafe { spsc::Consumer::<T>::join(file) }.map(End::Consumer),
    )?;
    let end = std::cell::RefCell::new(end);
    crowd::processes(
        part,
        |crowd: Crowd<'_>| {
            let End::Producer(sender) = &mut *end.borrow_mut() else { return Err("not a producer".into()) };
            crowd.produce::<T, 1>(0, |items| usize::from(sender.try_write(items[0]).is_ok()));
            Ok(())
        },
        |crowd| {
            let End::Consumer(receiver) = &mut *end.borrow_mut() else { return Err("not a consumer".into()) };
            crowd.consume::<T, 1>(|into| match receiver.try_read() {
                Some(item) => {
                    into[0] = item;
                    1
                }
                None => 0,
            })
        },
    )
}

fn mpmc(part: &Part) -> Result<mpmc::Producer<u64>, Box<dyn std::error::Error>> {
    let bytes = mpmc::minimum_file_size::<u64>(QUEUE);
    // SAFETY: part 0 alone creates, all of the same type.
    shared(
        part,
        |file| unsafe { mpmc::Producer::create(file, bytes) },
        |file| unsafe { mpmc::Producer::join(file) },
    )
}

/// Half of the parts put, the others get, item by item.
pub fn mpmc_one_by_one(part: &Part) -> Outcome {
    let queue = mpmc(part)?;
    crowd::processes(
        part,
        |crowd: Crowd<'_>| {
            crowd.produce::<u64, 1>(part.number, |items| usize::from(queue.try_write(items[0]).is_ok()));
            Ok(())
        },
        |crowd| {
            let queue = queue.join_as_consumer();
            crowd.consume::<u64, 1>(|into| match queue.try_read() {
                Some(item) => {
                    into[0] = item;
                    1
                }
                None => 0,
            })
        },
    )
}

/// The same in batches of 64.
pub fn mpmc_batches(part: &Part) -> Outcome {
    let queue = mpmc(part)?;
    crowd::processes(
        part,
        |crowd: Crowd<'_>| {
            crowd.produce::<u64, 64>(
                part.number,
                |items| {
                    if queue.try_write_slice(items) { items.len() } else { 0 }
                },
            );
            Ok(())
        },
        |crowd| {
            let queue = queue.join_as_consumer();
            crowd.consume::<u64, 64>(|into| {
                let most = NonZeroUsize::new(into.len()).unwrap_or(NonZeroUsize::MIN);
                let Some(batch) = queue.try_reserve_read_batch(most) else { return 0 };
                let (first, rest) = batch.as_slices();
                into[..first.len()].copy_from_slice(first);
                into[first.len()..batch.len()].copy_from_slice(rest);
                batch.len()
            })
        },
    )
}
