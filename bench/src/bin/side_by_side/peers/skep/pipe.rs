//! Pipes.

use crate::measure::crowd::{self, Crowd};
use crate::measure::item::{Bulk, Item};
use crate::measure::{pingpong, wake};
use crate::part::Part;
use crate::peers::bare::SLOTS;
use crate::row::Outcome;
use skep::{Pipe, Receiver, Sender};

/// One pipe in each direction; part 0 makes them.
pub fn pipes(part: &Part, capacity: usize) -> Result<(Sender, Receiver), skep::Error> {
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
    if part.number == 0 {
        pingpong::ask(part, 100, send, receive)
    } else {
        pingpong::answer(part, send, receive)
    }
}

/// Ping-pong with calls that sleep if nothing comes; it comes before they do.
pub fn blocking_latency(part: &Part) -> Outcome {
    let (mut sender, mut receiver) = pipes(part, 4096)?;
    let send = |n: u64| sender.send(bytemuck::bytes_of(&n)).is_ok();
    let receive = || receiver.recv().ok().map(|message| read::<u64>(&message));
    if part.number == 0 {
        pingpong::ask(part, 100, send, receive)
    } else {
        pingpong::answer(part, send, receive)
    }
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
    if part.number == 0 {
        pingpong::ask(part, 4, send, receive)
    } else {
        pingpong::answer(part, send, receive)
    }
}

/// One to one through a pipe, message by message.
pub fn stream<T: Item>(part: &Part) -> Outcome {
    // So many messages as the others' rings have slots, each with its header.
    let (mut sender, mut receiver) = pipes(part, SLOTS as usize * (size_of::<T>() + 8) - 8)?;
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

/// The same in batches of 64; N is the size of a message.
pub fn stream_batches<T: Item, const N: usize>(part: &Part) -> Outcome {
    let (mut sender, mut receiver) = pipes(part, SLOTS as usize * (N + 8) - 8)?;
    crowd::processes(
        part,
        |crowd: Crowd<'_>| {
            crowd.produce::<T, 64>(0, |items| {
                sender.try_send_batch(bytemuck::cast_slice::<T, [u8; N]>(items)).unwrap_or(0)
            });
            Ok(())
        },
        |crowd| {
            crowd.consume::<T, 64>(|into| {
                let Ok(mut batch) = receiver.try_recv_batch() else { return 0 };
                let mut count = 0;
                while let Some(place) = into.get_mut(count)
                    && let Some(message) = batch.next_message()
                {
                    *place = bytemuck::pod_read_unaligned(message);
                    count += 1;
                }
                count
            })
        },
    )
}
