//! Queues.

use crate::measure::crowd::{self, Crowd};
use crate::part::Part;
use crate::row::Outcome;
use skep::{QueueOptions, SimpleQueue};
use std::time::Duration;

/// Items that a queue has room for.
pub const QUEUE: usize = 8192;

/// This part's handle of one queue of so many slots that all share.
pub fn queue(part: &Part, slots: usize) -> Result<SimpleQueue<u64>, skep::Error> {
    let name = part.object("queue");
    if part.number > 0 {
        part.meet(0);
        let queue = SimpleQueue::open(&name)?;
        part.meet(1);
        return Ok(queue);
    }
    let queue = QueueOptions::new(slots).create(&name)?;
    part.meet(0);
    part.meet(1);
    SimpleQueue::<u64>::unlink(&name)?;
    Ok(queue)
}

/// Half of the parts put, the others get, item by item.
pub fn one_by_one(part: &Part) -> Outcome {
    through_slots::<QUEUE>(part)
}

/// The same through a queue of so many slots.
pub fn through_slots<const SLOTS: usize>(part: &Part) -> Outcome {
    item_by_item(part, SLOTS, Duration::ZERO)
}

/// The same for so long that each part should have its share: what the part with the least has of the mean of its side.
pub fn fairness(part: &Part) -> Outcome {
    item_by_item(part, QUEUE, Duration::from_secs(1))?;
    if part.number == 0 {
        let half = part.parties / 2;
        let sides = [0..half, half..part.parties].map(|side| part.stage.fairness(side));
        part.stage.set_figure(sides[0].min(sides[1]));
    }
    Ok(())
}

fn item_by_item(part: &Part, slots: usize, least: Duration) -> Outcome {
    let queue = std::cell::RefCell::new(queue(part, slots)?);
    crowd::processes(
        part,
        |crowd: Crowd<'_>| {
            let crowd = crowd.at_least(least);
            let queue = &mut *queue.borrow_mut();
            crowd.produce::<u64, 1>(part.number, |items| usize::from(queue.try_put(items[0]).is_ok()));
            Ok(())
        },
        |crowd| {
            let queue = &mut *queue.borrow_mut();
            crowd.consume::<u64, 1>(|into| match queue.try_get() {
                Ok(item) => {
                    into[0] = item;
                    1
                }
                Err(_) => 0,
            })
        },
    )
}

/// The same in batches of 64.
pub fn batches(part: &Part) -> Outcome {
    let queue = std::cell::RefCell::new(queue(part, QUEUE)?);
    crowd::processes(
        part,
        |crowd: Crowd<'_>| {
            let queue = &mut *queue.borrow_mut();
            crowd.produce::<u64, 64>(part.number, |items| queue.try_put_batch(items).unwrap_or(0));
            Ok(())
        },
        |crowd| {
            let queue = &mut *queue.borrow_mut();
            crowd.consume::<u64, 64>(|into| queue.try_get_batch(into).unwrap_or(0))
        },
    )
}
