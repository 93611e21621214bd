//! The spill file: where the bytes of a record go that do not fit into it.
//!
//! One sparse memfd. Record `i` owns two windows of it by construction, so that there is nothing to allocate, and nothing to
//! repair when a process dies:
//!
//! ```text
//! offset  2i · 4 GiB        (2i+1) · 4 GiB      (2i+2) · 4 GiB
//!         +------------------+-------------------+----
//!         | i's arguments    | i's results       | i+1's arguments …
//!         +------------------+-------------------+----
//! ```
//!
//! Byte `n` of a stream lies at offset `n` of its window (the first few lie in the record instead). Pages come into being when
//! they are written, and are given back when the record is free again. Memory that is not there is an error and never a
//! signal: each write asks first, as everything does that commits shared memory (`skep_ipc::memory`), and what is mapped is
//! committed first.
//!
//! A task may close its process's descriptors, and have other files opened under their numbers. So the descriptor is looked at before each
//! use, and if it is lost the file is opened again: through the zygote's, which workers come from.

use crate::error::{PoolError, TaskError};
use crate::sync::lock;
use memmap2::{MmapOptions, MmapRaw};
use rustix::fs::{FallocateFlags, SeekFrom};
use rustix::io::Errno;
use skep_ipc::KeptFd;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Mutex;

/// The bytes of one window.
const WINDOW: u64 = 1 << 32;
/// So many records' windows fit into a file.
pub(crate) const MAX_RECORDS: u32 = 1 << 20;
/// The first piece that is mapped of a window; each further one doubles it.
const FIRST_PIECE: u64 = 256 << 10;

/// Which of a record's two streams.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Side {
    Arguments,
    Results,
}

pub(crate) struct Spill {
    file: KeptFd,
    /// Another descriptor of it, once the first one is lost.
    again: Mutex<Option<KeptFd>>,
}

/// What a file that is lost means for the value at hand.
fn lost(side: Side) -> TaskError {
    let reason = "code of this process has closed the descriptor of the pool's spill file".to_owned();
    match side {
        Side::Arguments => TaskError::ArgumentNotEncoded { reason },
        Side::Results => TaskError::ResultNotEncoded { reason },
    }
}

impl Spill {
    pub(crate) fn create(records: u32) -> Result<Spill, PoolError> {
        let bytes = 2 * u64::from(records) * WINDOW;
        // The file is sparse. Beyond the file size limit every write would be a fatal SIGXFSZ.
        Ok(Spill::from_fd(skep_ipc::memory::anonymous_file(c"skep-spill", bytes)?)?)
    }

    pub(crate) fn from_fd(file: OwnedFd) -> Result<Spill, skep_ipc::Error> {
        let file = KeptFd::new(file)
            .map_err(|source| skep_ipc::Error::Os { call: "fstat of the spill file", source })?;
        Ok(Spill { file, again: Mutex::default() })
    }

    /// Gives a descriptor of the file; `None` if it is lost.
    fn with<R>(&self, f: impl FnOnce(&OwnedFd) -> R) -> Option<R> {
        match self.file.get() {
            Some(file) => Some(f(file)),
            None => self.with_again(f),
        }
    }

    #[cold]
    fn with_again<R>(&self, f: impl FnOnce(&OwnedFd) -> R) -> Option<R> {
        let mut again = lock(&self.again);
        if again.as_ref().is_none_or(|kept| kept.get().is_none()) {
            let parent = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get().cast_unsigned());
            *again = self.file.again(parent);
        }
        again.as_ref().and_then(KeptFd::get).map(f)
    }

    /// Whether no way leads to the file any more.
    pub(crate) fn is_lost(&self) -> bool {
        self.with(|_| ()).is_none()
    }

    pub(crate) fn write(&self, record: u32, side: Side, at: u64, mut bytes: &[u8]) -> Result<(), TaskError> {
        let mut offset = window(record, side) + at;
        while !bytes.is_empty() {
            let left = bytes.len() as u64;
            let room = skep_ipc::memory::ask(left, offset + left).map_err(TaskError::no_memory)?;
            let piece = &bytes[..left.min(room) as usize];
            let written = self.with(|file| rustix::io::pwrite(file, piece, offset));
            match written.ok_or_else(|| lost(side))? {
                Ok(written) if written > 0 => {
                    bytes = &bytes[written..];
                    offset += written as u64;
                }
                Err(Errno::INTR) => {}
                Err(e) => return Err(TaskError::no_memory(e)),
                Ok(_) => {
                    return Err(TaskError::no_memory("the kernel writes nothing more to the spill file"));
                }
            }
        }
        Ok(())
    }

    pub(crate) fn read(&self, record: u32, side: Side, at: u64, mut into: &mut [u8]) -> Result<(), Errno> {
        let mut offset = window(record, side) + at;
        while !into.is_empty() {
            let read = self.with(|file| rustix::io::pread(file, &mut *into, offset));
            match read.ok_or(Errno::BADF)? {
                Ok(0) => return Err(Errno::IO),
                Ok(read) => {
                    into = &mut into[read..];
                    offset += read as u64;
                }
                Err(Errno::INTR) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Whether a window's bytes from `at` up to `end` have been written: a length that says more is none that a stream ever had. `BADF`: the
    /// file is lost.
    pub(crate) fn holds(&self, record: u32, side: Side, at: u64, end: u64) -> Result<bool, Errno> {
        if at >= end {
            return Ok(true);
        }
        // Moves the descriptor's offset, which nothing else uses. Past the end of the file nothing is held.
        let hole = self.with(|file| rustix::fs::seek(file, SeekFrom::Hole(window(record, side) + at)));
        match hole.ok_or(Errno::BADF)? {
            Ok(hole) => Ok(hole >= window(record, side) + end),
            Err(Errno::NXIO) => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Gives a window's pages back.
    pub(crate) fn release(&self, record: u32, side: Side) {
        self.release_from(record, side, 0);
    }

    /// Gives the pages back that begin at `at` in a window, or behind it.
    pub(crate) fn release_from(&self, record: u32, side: Side, at: u64) {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        // If this fails the pages stay with the record and are used by its next task.
        let _ = self.with(|file| rustix::fs::fallocate(file, flags, window(record, side) + at, WINDOW - at));
    }

    /// Nothing mapped yet.
    pub(crate) fn results_window(&self, record: u32) -> MappedWindow<'_> {
        MappedWindow { spill: self, record, piece: None }
    }
}

impl AsFd for Spill {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.number()
    }
}

fn window(record: u32, side: Side) -> u64 {
    (2 * u64::from(record) + side as u64) * WINDOW
}

/// A results window that is mapped as far as it is used, for many small writes without a syscall each.
pub(crate) struct MappedWindow<'a> {
    spill: &'a Spill,
    record: u32,
    piece: Option<MmapRaw>,
}

impl MappedWindow<'_> {
    /// So many bytes are mapped.
    pub(crate) fn len(&self) -> u64 {
        self.piece.as_ref().map_or(0, |piece| piece.len() as u64)
    }

    pub(crate) fn write(&mut self, at: u64, bytes: &[u8]) -> Result<(), TaskError> {
        let end = at + bytes.len() as u64;
        let piece = match &self.piece {
            Some(piece) if end <= piece.len() as u64 => piece,
            _ => {
                let offset = window(self.record, Side::Results);
                let mapped = self.len();
                let piece = self.spill.with(|file| {
                    let reserve = |length| {
                        // What is mapped is committed already.
                        skep_ipc::memory::commit(file, offset + mapped..offset + length).map(|()| length)
                    };
                    // Where there is no room to spare, what is needed may still fit. A stream's limit is below a window's length.
                    let length =
                        reserve(end.next_power_of_two().max(FIRST_PIECE)).or_else(|_| reserve(end))?;
                    let piece = MmapOptions::new().offset(offset).len(length as usize).map_raw(file);
                    piece.map_err(|e| skep_ipc::memory::unmapped("mmap of the spill file", length, e))
                });
                let piece = piece.ok_or_else(|| lost(Side::Results))?;
                self.piece.insert(piece.map_err(TaskError::no_memory)?)
            }
        };
        // SAFETY: `at + len` lies within the piece, whose pages are reserved and cannot be cut off (sealed); the record is this
        // worker's (R1), so nobody else writes its results.
        unsafe {
            piece.as_mut_ptr().add(at as usize).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
        }
        Ok(())
    }
}
