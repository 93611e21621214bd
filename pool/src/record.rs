//! The table of records in shared memory. A record carries one task function and the arguments of one or more calls of it, one
//! after the other, and receives their results.
//!
//! ```text
//! byte 0          64       72         76      80                       320          328                 512
//!      +----------+--------+----------+-------+------------------------+------------+-------------------+
//!      | state,   | task   | argument | count | first 240 bytes of the | progress   | first 184 bytes   |
//!      | handles  | u64    | bytes u32| u32   | stream of arguments    | {items:32, | of the stream of  |
//!      | own line |        |          |       |                        |  bytes:32} | results           |
//!      +----------+--------+----------+-------+------------------------+------------+-------------------+
//! ```
//! What does not fit lies in the spill file (`spill.rs`), the frames in `frame.rs`.
//!
//! # Invariants
//! - R1. The state word says who may write: the parent while FREE, the named worker while RUNNING, the parent again when DONE or
//!   when that worker is dead. Nobody reads what another may write.
//! - R2. `progress` counts whole results, and is stored after their bytes. So at whatever instruction a worker is killed, item
//!   `progress.items` is the one that it was running, and the bytes before `progress.bytes` are the results of those before.
//!   A result's handles are the record's from then on: `handles` says, before the first such is counted, that results may have some.
//! - R3. Lengths and counts read from here are checked before they are used; no reference is made to the streams' bytes.

#[cfg_attr(loom, path = "model/memory.rs")]
mod memory;

use crate::error::TaskError;
use crate::frame::{self, STREAM_LIMIT};
use crate::spill::{MappedWindow, Side, Spill};
use crate::state::{Phase, StateWord};
use crate::sync::{AtomicU32, AtomicU64, Bytes, Span};
use memory::Memory;
use rustix::io::Errno;
use std::sync::atomic::Ordering;

/// A model's records are small, as each byte is an object of loom's.
const INLINE_ARGUMENTS: usize = if cfg!(loom) { 8 } else { 240 };
const INLINE_RESULTS: usize = if cfg!(loom) { 8 } else { 184 };
/// A window that holds no more than this keeps its pages for the record's next task.
const KEPT_BYTES: u32 = 16 << 10;

/// One record. Zeroes are a free one.
#[cfg_attr(not(loom), repr(C, align(64)))]
pub(crate) struct Record {
    pub(crate) state: StateWord,
    /// Whether a result may have handles of shared memory: 0 or 1.
    handles: AtomicU32,
    /// 1: the worker that the state names ends, and has not begun the item that is next.
    handed_back: AtomicU32,
    #[cfg(not(loom))]
    own_line: [u8; 48],
    task: AtomicU64,
    argument_bytes: AtomicU32,
    count: AtomicU32,
    arguments: Bytes<INLINE_ARGUMENTS>,
    progress: AtomicU64,
    results: Bytes<INLINE_RESULTS>,
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<Record>() == 512);

/// How far the worker has come (R2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Progress {
    pub(crate) items: u32,
    pub(crate) bytes: u32,
}

/// A task as it lies in a record.
pub(crate) struct Work {
    pub(crate) task: u64,
    pub(crate) count: u32,
}

pub(crate) struct Table {
    memory: Memory,
    spill: Spill,
}

impl Table {
    /// Whether this process made or attached it, and is not a forked child of the one that did.
    pub(crate) fn is_own(&self) -> bool {
        self.memory.is_own()
    }

    pub(crate) fn len(&self) -> u32 {
        self.memory.len()
    }

    /// `None` for an index out of the table (R3).
    pub(crate) fn record(&self, index: u32) -> Option<&Record> {
        self.memory.record(index)
    }

    /// Whether a record is not free, as far as one can tell.
    pub(crate) fn is_in_use(&self, index: u32) -> bool {
        let state = self.record(index).map(|record| record.state.load());
        state.is_some_and(|state| state.is_none_or(|state| state.phase != Phase::Free))
    }

    fn stream<'a>(&'a self, record: &'a Record, index: u32, side: Side) -> Stream<'a> {
        let inline = match side {
            Side::Arguments => record.arguments.span(),
            Side::Results => record.results.span(),
        };
        Stream { inline, spill: &self.spill, index, side }
    }

    /// Parent, record FREE: lays a task into it.
    pub(crate) fn write_task(&self, index: u32, work: Work, arguments: &[u8]) -> Result<(), TaskError> {
        let record = self.record(index).ok_or_else(|| TaskError::no_memory("the pool has no such record"))?;
        self.stream(record, index, Side::Arguments).write(0, arguments).inspect_err(|_| {
            // Half of it may be there, and no length says so.
            self.spill.release(index, Side::Arguments);
        })?;
        // Relaxed: S1 publishes them.
        record.task.store(work.task, Ordering::Relaxed);
        record.argument_bytes.store(arguments.len() as u32, Ordering::Relaxed);
        record.count.store(work.count, Ordering::Relaxed);
        record.progress.store(0, Ordering::Relaxed);
        record.handles.store(0, Ordering::Relaxed);
        record.handed_back.store(0, Ordering::Relaxed);
        Ok(())
    }

    /// Whether no way leads to the spill file any more.
    pub(crate) fn has_lost_spill(&self) -> bool {
        self.spill.is_lost()
    }

    /// Worker, record RUNNING: the task; its arguments replace the contents of `arguments`. `BADF`: the spill file is lost.
    pub(crate) fn read_task(&self, index: u32, arguments: &mut Vec<u8>) -> Result<Work, Errno> {
        let record = self.record(index).ok_or(Errno::RANGE)?;
        // Relaxed: S2 has seen them published.
        let bytes = record.argument_bytes.load(Ordering::Relaxed);
        let work =
            Work { task: record.task.load(Ordering::Relaxed), count: record.count.load(Ordering::Relaxed) };
        arguments.clear();
        self.stream(record, index, Side::Arguments).read(bytes, arguments)?;
        Ok(work)
    }

    /// Parent, record DONE: how many results there are, and whether they may have handles; their stream is appended to `results`.
    pub(crate) fn read_results(&self, index: u32, results: &mut Vec<u8>) -> Result<(u32, bool), Errno> {
        let record = self.record(index).ok_or(Errno::RANGE)?;
        let progress = record.progress();
        self.stream(record, index, Side::Results).read(progress.bytes, results)?;
        Ok((progress.items, record.may_have_handles()))
    }

    /// Parent, while nobody gives the record another task: the blocks that its counted results hold, beside a worker who may append further ones.
    pub(crate) fn each_result_entry(&self, index: u32, held: &mut dyn FnMut(u64)) {
        let Some(record) = self.record(index) else { return };
        let end = u64::from(record.progress().bytes); // P2, before the look at `handles`
        if !record.may_have_handles() {
            return;
        }
        let stream = self.stream(record, index, Side::Results);
        frame::each_entry(end, |at, into| stream.read_at(at, into).is_ok(), held);
    }

    /// Parent: gives back the pages of large streams. `all`: also such as a killed worker may have left behind.
    pub(crate) fn release(&self, index: u32, all: bool) {
        let Some(record) = self.record(index) else { return };
        // Relaxed: R1, the record is the parent's.
        let is_chunk = record.count.load(Ordering::Relaxed) > 1;
        if record.argument_bytes.load(Ordering::Relaxed) > KEPT_BYTES {
            self.spill.release(index, Side::Arguments);
        }
        let results = record.progress().bytes;
        if all || results > KEPT_BYTES || is_chunk && results > INLINE_RESULTS as u32 {
            self.spill.release(index, Side::Results);
        }
    }

    /// Worker, record RUNNING, or supervisor for a dead one: goes on behind the results that are there.
    pub(crate) fn append_results(&self, index: u32, is_chunk: bool) -> Option<ResultWriter<'_>> {
        let record = self.record(index)?;
        let window = is_chunk.then(|| self.spill.results_window(index));
        let stream = self.stream(record, index, Side::Results);
        let at = record.progress();
        // Else the window would be mapped, and reserved, up to wherever a broken word says.
        stream.holds(u64::from(at.bytes)).ok()?.then_some(ResultWriter { record, stream, window, at })
    }
}

impl Record {
    /// Worker, record RUNNING: it ends now, and the next item was not begun. (The word is its process's last, so it needs no order.)
    pub(crate) fn hand_back(&self) {
        self.handed_back.store(1, Ordering::Relaxed);
    }

    /// Supervisor, for a dead worker: whether it had handed the record back. Says so once.
    pub(crate) fn take_handed_back(&self) -> bool {
        let is_handed_back = self.handed_back.load(Ordering::Relaxed) == 1;
        if is_handed_back {
            self.handed_back.store(0, Ordering::Relaxed);
        }
        is_handed_back
    }

    /// P2 (Acquire) pairs with P1: who sees an item counted sees its bytes.
    pub(crate) fn progress(&self) -> Progress {
        let word = self.progress.load(Ordering::Acquire);
        Progress { items: (word >> 32) as u32, bytes: word as u32 }
    }

    /// Whether the results that are counted, as [`progress`](Self::progress) was read before, may have handles.
    pub(crate) fn may_have_handles(&self) -> bool {
        self.handles.load(Ordering::Relaxed) != 0 // P2 has seen it
    }
}

/// Appends one result after the other.
pub(crate) struct ResultWriter<'a> {
    record: &'a Record,
    stream: Stream<'a>,
    window: Option<MappedWindow<'a>>,
    at: Progress,
}

impl ResultWriter<'_> {
    /// Room for results that is left in the stream.
    pub(crate) fn room(&self) -> u64 {
        STREAM_LIMIT - u64::from(self.at.bytes)
    }

    /// Appends a result's frame, and counts it: its handles are the record's then.
    pub(crate) fn append(&mut self, frame: &[u8], has_handles: bool) -> Result<(), TaskError> {
        if frame.len() as u64 > self.room() {
            let bytes = u64::from(self.at.bytes) + frame.len() as u64;
            return Err(TaskError::TooLarge { bytes, limit: STREAM_LIMIT });
        }
        let rest = self.stream.write_inline(u64::from(self.at.bytes), frame);
        if !rest.is_empty() {
            let at = u64::from(self.at.bytes) + (frame.len() - rest.len()) as u64;
            let Stream { spill, index, .. } = self.stream;
            let written = match &mut self.window {
                Some(window) => window.write(at, rest),
                None => spill.write(index, Side::Results, at, rest),
            };
            if written.is_err() {
                // Half of it may be there, and `progress` does not say so. What is mapped stays reserved.
                let mapped = self.window.as_ref().map_or(0, MappedWindow::len);
                spill.release_from(index, Side::Results, at.max(mapped));
            }
            written?;
        }
        if has_handles {
            self.record.handles.store(1, Ordering::Relaxed); // P1 publishes it
        }
        self.at =
            Progress { items: self.at.items.wrapping_add(1), bytes: self.at.bytes + frame.len() as u32 };
        let word = u64::from(self.at.items) << 32 | u64::from(self.at.bytes);
        // P1 (Release) pairs with P2.
        self.record.progress.store(word, Ordering::Release);
        Ok(())
    }
}

/// A stream of bytes: its first ones in the record, the others in the spill file.
struct Stream<'a> {
    inline: Span<'a>,
    spill: &'a Spill,
    index: u32,
    side: Side,
}

impl Stream<'_> {
    fn write(&self, at: u64, bytes: &[u8]) -> Result<(), TaskError> {
        let rest = self.write_inline(at, bytes);
        let at = at + (bytes.len() - rest.len()) as u64;
        if rest.is_empty() { Ok(()) } else { self.spill.write(self.index, self.side, at, rest) }
    }

    /// Writes what belongs into the record, and returns the rest.
    fn write_inline<'b>(&self, at: u64, bytes: &'b [u8]) -> &'b [u8] {
        let room = (self.inline.len() as u64).saturating_sub(at) as usize;
        let (here, rest) = bytes.split_at(room.min(bytes.len()));
        if !here.is_empty() {
            // SAFETY: `at + here.len()` is within the inline bytes; they are this process's to write (R1).
            unsafe { self.inline.write(at as usize, here) };
        }
        rest
    }

    /// Whether the stream can be so long (R3): what does not fit into the record has been written to the spill file. So a length that makes no sense
    /// costs no memory that is not in use already.
    fn holds(&self, length: u64) -> Result<bool, Errno> {
        self.spill.holds(self.index, self.side, self.inline.len() as u64, length)
    }

    /// Reads what lies at `at`, which is known to be there.
    fn read_at(&self, at: u64, into: &mut [u8]) -> Result<(), Errno> {
        let end = at + into.len() as u64;
        if !self.holds(end)? {
            return Err(Errno::BADMSG);
        }
        let here = (self.inline.len() as u64).saturating_sub(at).min(into.len() as u64) as usize;
        let (first, rest) = into.split_at_mut(here);
        if !first.is_empty() {
            // SAFETY: `at + here` is within the inline bytes; counted ones are not written any more (R2).
            unsafe { self.inline.read(at as usize, first) };
        }
        self.spill.read(self.index, self.side, at + here as u64, rest)
    }

    /// Appends the first `length` bytes to `into`.
    fn read(&self, length: u32, into: &mut Vec<u8>) -> Result<(), Errno> {
        let (length, before) = (length as usize, into.len());
        let here = length.min(self.inline.len());
        if !self.holds(length as u64)? {
            return Err(Errno::BADMSG);
        }
        into.try_reserve(length).map_err(|_| Errno::NOMEM)?;
        into.resize(before + length, 0);
        // SAFETY: `here` is within the inline bytes, which nobody writes now (R1).
        unsafe { self.inline.read(0, &mut into[before..before + here]) };
        self.spill.read(self.index, self.side, here as u64, &mut into[before + here..])
    }
}
