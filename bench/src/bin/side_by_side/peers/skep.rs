//! skep's pipes and queues.

use crate::measure::crowd::{self, Crowd};
use crate::measure::item::{Bulk, Item};
use crate::measure::{pingpong, wake};
use crate::part::Part;
use crate::row::Outcome;
use skep_ipc::{Pipe, QueueOptions, Receiver, Sender, SimpleQueue};

/// One pipe in each direction; part 0 makes them.
fn pipes(part: &Part, capacity: usize) -> Result<(Sender, Receiver), skep_ipc::Error> {
    let names = [part.object("a"), part.object("b")];
    let pipes = if part.number == 0 {
        let made = [Pipe::create(&names[0], capacity)?, Pipe::create(&names[1], capacity)?];
        part.meet(0);
        part.meet(1);
        names.iter().try_for_each(|name| Pipe::unlink(name))?;
        made
    } else {
        part.meet(0);
        let opened = [Pipe::open(&names[1])?, Pipe::open(&names[0])?];
        part.meet(1);
        opened
    };
    Ok((pipes[0].sender()?, pipes[1].receiver()?))
}

fn read<T: Item>(message: &[u8]) -> u64 {
    bytemuck::pod_read_unaligned::<T>(message).number()
}

/// Ping-pong without sleeping.
pub fn latency<T: Item>(part: &Part) -> Outcome {
    let (mut sender, mut receiver) = pipes(part, 4096)?;
    let send = |n| sender.try_send(bytemuck::bytes_of(&T::of(n))).is_ok();
    let receive = || receiver.try_recv().ok().map(|message| read::<T>(&message));
    if part.number == 0 { pingpong::ask(part, 100, send, receive) } else { pingpong::answer(part, send, receive) }
}

/// Ping-pong with calls that sleep if nothing comes; it comes before they do.
pub fn blocking_latency(part: &Part) -> Outcome {
    let (mut sender, mut receiver) = pipes(part, 4096)?;
    let send = |n: u64| sender.send(bytemuck::bytes_of(&n)).is_ok();
    let receive = || receiver.recv().ok().map(|message| read::<u64>(&message));
    if part.number == 0 { pingpong::ask(part, 100, send, receive) } else { pingpong::answer(part, send, receive) }
}

/// Ping-pong of large messages that are copied into the pipe's room and out of it.
pub fn bulk_latency<const BYTES: usize>(part: &Part) -> Outcome {
    let (mut sender, mut receiver) = pipes(part, 3 * BYTES)?;
    let (mut out, mut into) = (Bulk::new(BYTES), Bulk::new(BYTES));
    let send = |n| match sender.try_reserve(BYTES) {
        Ok(mut grant) => {
            grant.copy_from_slice(out.say(n));
            grant.commit().is_ok()
        }
        Err(_) => false,
    };
    let receive = || {
        let message = receiver.try_recv().ok()?;
        into.room().copy_from_slice(&message);
        Some(into.number())
    };
    if part.number == 0 { pingpong::ask(part, 4, send, receive) } else { pingpong::answer(part, send, receive) }
}

/// Ping-pong of a block of an arena, of which 32 bytes go through the pipe, and the first word is written and read.
pub fn descriptor_latency(part: &Part) -> Outcome {
    use skep_ipc::{Arena, Descriptor, ShmSlice};
    let (mut sender, mut receiver) = pipes(part, 4096)?;
    let name = part.object("arena");
    let (arena, block) = if part.number == 0 {
        let arena = Arena::create(&name, 4 << 20)?;
        part.meet(5);
        part.meet(6);
        Arena::unlink(&name)?;
        let block = arena.slice_zeroed::<u64>(1 << 17)?;
        (arena, Some(block))
    } else {
        part.meet(5);
        let arena = Arena::open(&name)?;
        part.meet(6);
        (arena, None)
    };
    let block = std::cell::RefCell::new(block);
    let send = |n| {
        let Some(mut held) = block.take() else { return false };
        held[0] = n;
        let descriptor = held.into_descriptor();
        descriptor.is_some_and(|descriptor| sender.send(bytemuck::bytes_of(&descriptor)).is_ok())
    };
    let receive = || {
        let message = receiver.try_recv().ok()?;
        let descriptor: Descriptor = bytemuck::pod_read_unaligned(&message);
        drop(message);
        let held = ShmSlice::<u64>::from_descriptor(&arena, &descriptor).ok()?;
        let n = held[0];
        block.replace(Some(held));
        Some(n)
    };
    if part.number == 0 { pingpong::ask(part, 100, send, receive) } else { pingpong::answer(part, send, receive) }
}

/// One to one through a pipe, message by message.
pub fn stream<T: Item>(part: &Part) -> Outcome {
    // So many messages as the others' rings have slots, each with its header.
    let (mut sender, mut receiver) = pipes(part, super::bare::SLOTS as usize * (size_of::<T>() + 8) - 8)?;
    crowd::processes(
        part,
        |crowd: Crowd<'_>| {
            crowd.produce::<T, 1>(0, |items| {
                usize::from(sender.try_send(bytemuck::bytes_of(&items[0])).is_ok())
            });
            Ok(())
        },
        |crowd| {
            crowd.consume::<T, 1>(|into| match receiver.try_recv() {
                Ok(message) => {
                    into[0] = bytemuck::pod_read_unaligned(&message);
                    1
                }
                Err(_) => 0,
            })
        },
    )
}

/// A receiver asleep in `recv`.
pub fn wake(part: &Part) -> Outcome {
    let (mut sender, mut receiver) = pipes(part, 4096)?;
    if part.number == 0 {
        wake::send(part, |n| sender.send(bytemuck::bytes_of(&n)).expect("the receiver lives"))
    } else {
        wake::receive(part, || read::<u64>(&receiver.recv().expect("the sender lives")))
    }
}

/// Items that a queue has room for.
pub const QUEUE: usize = 8192;

/// This part's handle of one queue that all share.
fn queue(part: &Part) -> Result<SimpleQueue<u64>, skep_ipc::Error> {
    let name = part.object("queue");
    if part.number > 0 {
        part.meet(0);
        let queue = SimpleQueue::open(&name)?;
        part.meet(1);
        return Ok(queue);
    }
    let queue = QueueOptions::new(QUEUE).create(&name)?;
    part.meet(0);
    part.meet(1);
    SimpleQueue::<u64>::unlink(&name)?;
    Ok(queue)
}

/// Half of the parts put, the others get, item by item.
pub fn queue_one_by_one(part: &Part) -> Outcome {
    let queue = std::cell::RefCell::new(queue(part)?);
    crowd::processes(
        part,
        |crowd: Crowd<'_>| {
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
pub fn queue_batches(part: &Part) -> Outcome {
    let queue = std::cell::RefCell::new(queue(part)?);
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
