//! shmem-ipc: a ring for one sender and one receiver in a memfd, copied in and out, without its signals.

use super::bare::SLOTS;
use crate::measure::crowd::{self, Crowd};
use crate::measure::item::{Bulk, Item};
use crate::measure::pingpong;
use crate::part::Part;
use crate::row::Outcome;
use shmem_ipc::sharedring::{Receiver, Sender};
use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd};
use std::sync::atomic::Ordering::{Acquire, Release};

/// A message in the form that the library asks for.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Bytes<const N: usize>([u8; N]);

// SAFETY: bytes, of which every value is valid, without padding for the multiples of 8 that are used.
unsafe impl<const N: usize> zerocopy::AsBytes for Bytes<N> {
    fn only_derive_is_allowed_to_implement_this_trait() {}
}
// SAFETY: as above.
unsafe impl<const N: usize> zerocopy::FromBytes for Bytes<N> {
    fn only_derive_is_allowed_to_implement_this_trait() {}
}

type Ends<const N: usize> = (Sender<Bytes<N>>, Receiver<Bytes<N>>);

/// One ring in each direction: each part makes the one that it sends on, and opens the other's.
fn rings<const N: usize>(part: &Part, capacity: usize) -> Result<Ends<N>, Box<dyn std::error::Error>> {
    let sender = Sender::new(capacity)?;
    let me = part.number as usize;
    part.stage.note(2 * me).store(u64::from(std::process::id()), Release);
    part.stage.note(2 * me + 1).store(sender.memfd().as_file().as_raw_fd() as u64, Release);
    part.meet(0);
    let of_other = |word| part.stage.note(2 * (1 - me) + word).load(Acquire);
    let ring =
        File::options().read(true).write(true).open(format!("/proc/{}/fd/{}", of_other(0), of_other(1)))?;
    let receiver = Receiver::open(capacity, ring, unused_signal()?, unused_signal()?)?;
    part.meet(1);
    Ok((sender, receiver))
}

/// The library wants eventfds, which nobody uses who does not sleep.
fn unused_signal() -> std::io::Result<File> {
    // SAFETY: the descriptor is checked, and ours.
    unsafe {
        let fd = libc::eventfd(0, libc::EFD_CLOEXEC);
        if fd < 0 { Err(std::io::Error::last_os_error()) } else { Ok(File::from_raw_fd(fd)) }
    }
}

/// Copies a message into the ring if there is room.
#[inline]
fn send<const N: usize>(sender: &mut Sender<Bytes<N>>, message: &[u8]) -> bool {
    let mut sent = 0;
    let outcome = sender.sender_mut().send(|room, count| {
        sent = count.min(1);
        if sent == 1 {
            // SAFETY: the library says that there is room for one.
            unsafe { room.cast::<u8>().copy_from_nonoverlapping(message.as_ptr(), N) };
        }
        sent
    });
    outcome.is_ok() && sent == 1
}

/// Hands the messages that lie in a row, at most so many, to `read`, which copies them out.
#[inline]
fn receive<const N: usize>(
    receiver: &mut Receiver<Bytes<N>>,
    most: usize,
    read: impl FnOnce(*const u8, usize),
) -> usize {
    let mut received = 0;
    if receiver.receiver_mut().read_count().unwrap_or(0) == 0 {
        return 0;
    }
    let outcome = receiver.receiver_mut().recv(|messages, count| {
        received = count.min(most);
        read(messages.cast(), received);
        received
    });
    if outcome.is_ok() { received } else { 0 }
}

/// Ping-pong.
pub fn latency<T: Item, const N: usize>(part: &Part) -> Outcome {
    let (mut there, mut back) = rings::<N>(part, 4)?;
    let send = |n| send(&mut there, bytemuck::bytes_of(&T::of(n)));
    let receive = || {
        let mut number = None;
        receive(&mut back, 1, |message, _| {
            // SAFETY: one message, which is the receiver's; of N bytes, which T has.
            number = Some(unsafe { message.cast::<T>().read_unaligned() }.number());
        });
        number
    };
    if part.number == 0 {
        pingpong::ask(part, 100, send, receive)
    } else {
        pingpong::answer(part, send, receive)
    }
}

/// Ping-pong of large messages.
pub fn bulk_latency<const N: usize>(part: &Part) -> Outcome {
    let (mut there, mut back) = rings::<N>(part, 4)?;
    let (mut out, mut into) = (Bulk::new(N), Bulk::new(N));
    let send = |n| send(&mut there, out.say(n));
    let receive = || {
        let count = receive(&mut back, 1, |message, _| {
            // SAFETY: one message, which is the receiver's, of as many bytes as there is room for.
            unsafe { into.room().as_mut_ptr().copy_from_nonoverlapping(message, N) };
        });
        (count == 1).then(|| into.number())
    };
    if part.number == 0 {
        pingpong::ask(part, 4, send, receive)
    } else {
        pingpong::answer(part, send, receive)
    }
}

/// One to one: each message published by itself, or as many of a batch as lie in a row.
pub fn stream<T: Item, const N: usize, const BATCH: usize>(part: &Part) -> Outcome {
    let (mut sender, mut receiver) = rings::<N>(part, SLOTS as usize)?;
    crowd::processes(
        part,
        |crowd: Crowd<'_>| {
            crowd.produce::<T, BATCH>(0, |items| {
                let mut sent = 0;
                let outcome = sender.sender_mut().send(|room, count| {
                    sent = count.min(items.len());
                    // SAFETY: the library says that there is room for so many.
                    unsafe { room.cast::<T>().copy_from_nonoverlapping(items.as_ptr(), sent) };
                    sent
                });
                if outcome.is_ok() { sent } else { 0 }
            });
            Ok(())
        },
        |crowd| {
            crowd.consume::<T, BATCH>(|into| {
                let most = into.len();
                receive(&mut receiver, most, |messages, count| {
                    // SAFETY: so many messages, which are the receiver's, and room for them.
                    unsafe { into.as_mut_ptr().copy_from_nonoverlapping(messages.cast(), count) };
                })
            })
        },
    )
}
