//! The arena.

use super::pipe::pipes;
use crate::measure::{churn, pingpong};
use crate::part::Part;
use crate::row::Outcome;
use skep::{Arena, Descriptor, ShmSlice};

/// Ping-pong of a block of an arena, of which 32 bytes go through the pipe, and the first word is written and read.
pub fn descriptor_latency(part: &Part) -> Outcome {
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
    if part.number == 0 {
        pingpong::ask(part, 100, send, receive)
    } else {
        pingpong::answer(part, send, receive)
    }
}

/// Blocks allocated and freed by several processes.
pub fn churn(part: &Part) -> Outcome {
    let name = part.object("arena");
    let arena = if part.number == 0 {
        let arena = Arena::create(&name, 128 << 20)?;
        part.meet(0);
        part.meet(1);
        Arena::unlink(&name)?;
        arena
    } else {
        part.meet(0);
        let arena = Arena::open(&name)?;
        part.meet(1);
        arena
    };
    let allocate = |bytes: usize, word| {
        let mut block = arena.slice_unfilled::<u64>(bytes / 8).ok()?;
        block[0] = word;
        Some(block)
    };
    churn::churn(&part.stage, part.time, [part.number, part.parties], allocate, |block| block[0])?;
    part.meet(4);
    churn::settle(&part.stage);
    Ok(())
}
