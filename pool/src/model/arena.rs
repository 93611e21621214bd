//! What stands in for the arena: blocks of one word, each with the word that says whose it is.
//!
//! A block is free, held by a process, or sent by one and then in a carrier's place; whoever takes it out of there names itself by
//! one CAS. A repair asks the carriers: what a dead process had and a carrier holds is in that carrier's place, anything else of it is
//! free. The arena itself has its own models.

use super::kernel::Kernel;
use crate::core::Core;
use skep_ipc::model::{AtomicU64, Cell};
use std::collections::VecDeque;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::{Arc, OnceLock, Weak};

/// A process's handle of an arena.
#[derive(Clone)]
pub(crate) struct Arena {
    memory: Arc<Memory>,
    /// Who that is; the parent is 0.
    me: u64,
}

struct Memory {
    blocks: Box<[Block]>,
    /// How many were ever allocated: none is allocated twice, as no generation is.
    allocated: AtomicUsize,
    kernel: Arc<Kernel>,
    /// Whom a repair asks.
    carriers: OnceLock<Weak<Core>>,
}

struct Block {
    /// `{ whose: 8, phase: 8 }`; 0: it is free.
    word: AtomicU64,
    says: Cell<u64>,
}

// SAFETY: words are loom's atomics; contents are loom's cells, which check that the protocol keeps accesses apart.
unsafe impl Sync for Memory {}
// SAFETY: as above.
unsafe impl Send for Memory {}

const HELD: u64 = 1;
const SENT: u64 = 2;

impl Arena {
    pub(crate) fn new(blocks: usize, kernel: &Arc<Kernel>) -> Self {
        let block = |_| Block { word: AtomicU64::new(0), says: Cell::new(0) };
        let blocks = (0..blocks).map(block).collect();
        let memory = Memory {
            blocks,
            allocated: AtomicUsize::new(0),
            kernel: kernel.clone(),
            carriers: OnceLock::new(),
        };
        Arena { memory: Arc::new(memory), me: 0 }
    }

    pub(crate) fn hook(&self, core: Weak<Core>) {
        assert!(self.memory.carriers.set(core).is_ok(), "a core is hooked once");
    }

    /// Another process's handle.
    pub(crate) fn attach(&self, me: u64) -> Self {
        Arena { memory: self.memory.clone(), me }
    }

    pub(crate) fn is_own(&self) -> bool {
        true
    }

    fn mine(&self, phase: u64) -> u64 {
        self.me << 8 | phase
    }

    /// Allocates a block that says `says`, and sends it.
    pub(crate) fn send(&self, says: u64) -> Freight {
        let block = self.memory.allocated.fetch_add(1, Relaxed);
        self.memory.blocks[block].word.store(self.mine(HELD), Release);
        self.memory.blocks[block].says.write(says);
        self.memory.blocks[block].word.store(self.mine(SENT), Release);
        Freight(Some((self.clone(), block as u64)))
    }

    /// Takes a block out of a carrier's place.
    fn take(&self, block: u64) -> bool {
        let word = &self.memory.blocks[block as usize].word;
        let mut seen = word.load(Acquire);
        while seen & 0xff == SENT {
            match word.compare_exchange(seen, self.mine(HELD), AcqRel, Acquire) {
                Ok(_) => return true,
                Err(changed) => seen = changed, // by a repair
            }
        }
        false
    }

    /// What a block says that this process has.
    fn says(&self, block: u64) -> u64 {
        self.memory.blocks[block as usize].says.read()
    }

    /// Frees a block that this process has.
    fn free(&self, block: u64) {
        // Whatever was there is gone.
        self.memory.blocks[block as usize].says.write(0);
        self.memory.blocks[block as usize].word.store(0, Release);
    }

    pub(crate) unsafe fn lading(&self, entries: impl Iterator<Item = u64>) -> Lading<'_> {
        Lading { arena: self, entries: entries.collect() }
    }

    pub(crate) unsafe fn take_sent(&self, entries: impl Iterator<Item = u64>) -> Taken {
        Taken { arena: self.clone(), blocks: entries.map(|block| (block, self.take(block))).collect() }
    }

    pub(crate) unsafe fn free_sent(&self, entries: impl Iterator<Item = u64>) {
        entries.filter(|&block| self.take(block)).for_each(|block| self.free(block));
    }

    /// Repairs for the dead.
    pub(crate) fn recover(&self) -> Result<usize, ()> {
        let mut carried = Vec::new();
        if let Some(core) = self.memory.carriers.get().and_then(Weak::upgrade) {
            core.each_carried(&mut |block| carried.push(block));
        }
        let mut repaired = 0;
        for (number, block) in (0..).zip(&self.memory.blocks) {
            let word = block.word.load(Acquire);
            if word != 0 && self.memory.kernel.is_dead(word >> 8) {
                let mended = if carried.contains(&number) { self.mine(SENT) } else { 0 };
                repaired += usize::from(block.word.compare_exchange(word, mended, AcqRel, Acquire).is_ok());
            }
        }
        Ok(repaired)
    }

    /// How many blocks are not free.
    pub(crate) fn in_use(&self) -> usize {
        self.memory.blocks.iter().filter(|block| block.word.load(Acquire) != 0).count()
    }
}

/// A block on its way into a carrier.
#[derive(Default)]
pub(crate) struct Freight(Option<(Arena, u64)>);

impl Freight {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    pub(crate) fn entries(&self) -> impl ExactSizeIterator<Item = u64> + '_ {
        self.0.as_ref().map(|(_, block)| *block).into_iter()
    }

    /// A carrier has it now.
    pub(crate) unsafe fn let_go(mut self) {
        self.0 = None;
    }
}

impl Drop for Freight {
    fn drop(&mut self) {
        if let Some((arena, block)) = self.0.take() {
            arena.free(block); // its value is gone
        }
    }
}

/// The blocks of a carrier's table.
pub(crate) struct Lading<'a> {
    arena: &'a Arena,
    entries: Vec<u64>,
}

impl Lading<'_> {
    /// Takes the blocks, has `work` see what they say, and drops them: back into their place if a retry may want them.
    pub(crate) fn within(&mut self, is_retried: bool, mut work: impl FnMut(u64)) {
        for &block in &self.entries {
            assert!(self.arena.take(block), "a block of an argument that does not count is in its record");
            work(self.arena.says(block));
            if is_retried {
                self.arena.memory.blocks[block as usize].word.store(self.arena.mine(SENT), Release);
            } else {
                self.arena.free(block);
            }
        }
        if !is_retried {
            self.entries.clear();
        }
    }
}

impl Drop for Lading<'_> {
    fn drop(&mut self) {
        // SAFETY: as for whoever has made this.
        unsafe { self.arena.free_sent(self.entries.drain(..)) };
    }
}

/// Blocks that were taken out of a carrier.
pub(crate) struct Taken {
    arena: Arena,
    blocks: VecDeque<(u64, bool)>,
}

impl Taken {
    /// What the next block says, which is free then.
    pub(crate) fn next(&mut self) -> Option<u64> {
        let (block, is_taken) = self.blocks.pop_front()?;
        is_taken.then(|| {
            let says = self.arena.says(block);
            self.arena.free(block);
            says
        })
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        while self.next().is_some() {}
    }
}
