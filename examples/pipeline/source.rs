//! The log as blocks of whole lines, which are the same ones whoever cuts it.
//!
//! Block `n` has the lines that begin in the bytes from `n · stride` on, up to `(n + 1) · stride`. So a block's number alone says what is in it, and a reader that is started
//! again cuts the rest of the log as the one before it would have.

use std::{
    fs::File,
    hash::{DefaultHasher, Hash, Hasher},
    io,
    os::unix::fs::{FileExt, MetadataExt},
    path::Path,
};

use crate::Outcome;

pub struct Source {
    file: File,
    /// The file as it was when it was opened.
    size: u64,
    identity: u64,
    stride: u64,
    longest: u64,
    block: u64,
}

impl Source {
    /// Opens a log, to be cut into blocks of at most `block` bytes.
    pub fn open(path: &Path, block: u64) -> Outcome<Self> {
        let unreadable = |error: io::Error| format!("{}: {error}", path.display());
        let file = File::open(path).map_err(unreadable)?;
        let metadata = file.metadata().map_err(unreadable)?;
        if !metadata.is_file() {
            Err(format!(
                "{}: not a regular file, so it cannot be read again from where a reader died",
                path.display()
            ))?;
        }
        let longest = block / 16;
        let identity = identity(&metadata, block);
        Ok(Source { file, size: metadata.len(), identity, stride: block - longest, longest, block })
    }

    /// How many bytes the log has.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// How many blocks it is cut into: at least one, so that an empty log comes to an end too.
    pub fn blocks(&self) -> u64 {
        self.size.div_ceil(self.stride).max(1)
    }

    /// Tells it from other logs, from its own other states, and from other ways to cut it. Never zero.
    pub fn identity(&self) -> u64 {
        self.identity
    }

    /// Where a block begins, which is where the one before it ends.
    pub fn start(&self, number: u64) -> Outcome<u64> {
        let Some(offset) = number.checked_mul(self.stride).filter(|&offset| offset < self.size) else {
            return Ok(self.size);
        };
        if offset == 0 {
            return Ok(0);
        }
        // The line that begins here, or the first one behind: behind the next end of a line, which may be the byte before.
        let mut look = [0; 512];
        let mut from = offset - 1;
        while from < offset + self.longest {
            let length = self.file.read_at(&mut look, from)?;
            match look[..length].iter().position(|&byte| byte == b'\n') {
                Some(at) => return Ok((from + at as u64 + 1).min(self.size)),
                None if length == 0 => return Ok(self.size),
                None => from += length as u64,
            }
        }
        let (longest, block) = (self.longest, self.block);
        let about = format!("the log has a line of more than {longest} bytes around byte {offset}");
        Err(format!("{about}, and blocks of {block} bytes have no room for that: try a larger --block"))?
    }

    /// Reads the bytes from `start` on: those of the log that was opened, if it has not changed by now.
    pub fn read(&self, start: u64, into: &mut [u8]) -> Outcome {
        let is_read = self.file.read_exact_at(into, start);
        if identity(&self.file.metadata()?, self.block) != self.identity {
            Err("the log has changed while it was read: its counts would be those of no log")?;
        }
        Ok(is_read?)
    }
}

fn identity(metadata: &std::fs::Metadata, block: u64) -> u64 {
    let mut hasher = DefaultHasher::new(); // which has the same keys in each process
    (metadata.dev(), metadata.ino(), metadata.len(), metadata.mtime(), metadata.mtime_nsec(), block)
        .hash(&mut hasher);
    hasher.finish() | 1
}
