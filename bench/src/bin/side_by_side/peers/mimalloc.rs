//! mimalloc: what an allocator gives that serves one process alone.

use crate::measure::churn;
use crate::part::Part;
use crate::row::Outcome;
use mimalloc::MiMalloc;
use std::alloc::{GlobalAlloc, Layout};

struct Block {
    words: *mut u64,
    layout: Layout,
}

impl Block {
    fn new(bytes: usize, word: u64) -> Option<Block> {
        let layout = Layout::from_size_align(bytes, 8).ok()?;
        // SAFETY: never of no bytes.
        let words: *mut u64 = unsafe { MiMalloc.alloc(layout) }.cast();
        if words.is_null() {
            return None;
        }
        // SAFETY: at least 64 bytes, just allocated.
        unsafe { words.write_volatile(word) };
        Some(Block { words, layout })
    }

    fn word(&self) -> u64 {
        // SAFETY: written by `new`.
        unsafe { self.words.read_volatile() }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: allocated by `new` with this layout.
        unsafe { MiMalloc.dealloc(self.words.cast(), self.layout) };
    }
}

/// Blocks allocated and freed by two threads.
pub fn churn(part: &Part) -> Outcome {
    let outcomes = std::thread::scope(|threads| {
        let threads = [0, 1].map(|side| {
            threads.spawn(move || {
                part.pin(side);
                churn::churn(&part.stage, part.time, [side, 2], Block::new, Block::word)
                    .map_err(|e| e.to_string())
            })
        });
        threads.map(|thread| thread.join())
    });
    for outcome in outcomes {
        outcome.map_err(|_| "a thread panicked")??;
    }
    churn::settle(&part.stage);
    Ok(())
}
