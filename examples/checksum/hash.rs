//! What the workers do: the two tasks.
//!
//! Both only read, so a worker that dies in one costs the time of doing it again, and both are declared safe to
//! retry, so often that only a file that kills whoever reads it comes to an end of tries.

use std::{
    cell::RefCell,
    ffi::OsStr,
    fs,
    io::{self, ErrorKind, Read, Seek, SeekFrom},
    os::{
        fd::AsFd,
        unix::{
            ffi::OsStrExt,
            fs::{MetadataExt, OpenOptionsExt},
        },
    },
};

use nix::{
    errno::Errno,
    fcntl::{PosixFadviseAdvice, posix_fadvise},
};
use serde::{Deserialize, Serialize};
use sha2::{
    Digest as _, Sha256,
    digest::common::hazmat::{SerializableState, SerializedState},
};

use crate::list::Digest;

/// How much of a big file one task reads: some 5 ms of work, about what a killed worker costs. From 4 MiB to 1 GiB the
/// speed is the same.
const PIECE: u64 = 8 << 20;

/// Read at once: it fits into a core's own cache until it is hashed. From 32 KiB to 1 MiB the speed hardly differs.
const BUFFER: usize = 128 << 10;

/// A file's digest and length, or why there is none.
pub type Hashed = Result<(Digest, u64), String>;

/// How to open a path.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Links {
    /// Refuse a symbolic link: the path was found as a regular file.
    Refuse,
    /// Follow symbolic links: the path was written down by somebody.
    Follow,
}

/// Hashes small files, each path ended by a NUL byte as `xargs -0` takes them.
#[skep::task(retry = 255)]
pub fn hash_files(paths: Vec<u8>, links: Links) -> Vec<Hashed> {
    paths.split_inclusive(|byte| *byte == 0).map(|path| hash_whole(&path[..path.len() - 1], links)).collect()
}

/// Hashes the next [`PIECE`] of a big file.
///
/// SHA-256 goes through a file in order, so its pieces follow one another, but each is a task of its own: the state
/// of the hash travels from one to the next. So progress shows inside a file, and a death in the last second of
/// 10 GB repeats one piece.
#[skep::task(retry = 255)]
pub fn hash_piece(path: Vec<u8>, links: Links, from: Option<Paused>) -> Result<Piece, String> {
    hash_from(&path, links, from).map_err(|error| reason(&error))
}

/// What came of a piece.
#[derive(Serialize, Deserialize)]
pub enum Piece {
    More(Paused),
    End(Digest, u64),
}

/// A hash that is to go on.
#[derive(Serialize, Deserialize)]
pub struct Paused {
    /// Bytes hashed so far.
    pub offset: u64,
    /// Device and inode: the pieces of two files must not be hashed into one.
    file: (u64, u64),
    state: Vec<u8>,
}

/// The digest and length of all that `input` gives.
pub fn hash_stream(input: &mut impl Read) -> io::Result<(Digest, u64)> {
    let mut hash = Sha256::new();
    let length = feed(&mut hash, input, u64::MAX)?;
    Ok((hash.finalize().into(), length))
}

/// An error's reason in the system's words, without its number.
pub fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    let number = error.raw_os_error().map(|errno| format!(" (os error {errno})")).unwrap_or_default();
    text.strip_suffix(&number).unwrap_or(&text).to_owned()
}

fn hash_whole(path: &[u8], links: Links) -> Hashed {
    open(path, links).and_then(|(mut file, _)| hash_stream(&mut file)).map_err(|error| reason(&error))
}

fn hash_from(path: &[u8], links: Links, from: Option<Paused>) -> io::Result<Piece> {
    let (mut file, found) = open(path, links)?;
    let id = (found.dev(), found.ino());
    let (mut hash, offset) = match from {
        None => (Sha256::new(), 0),
        Some(paused) if paused.file != id => {
            return Err(io::Error::other("replaced by another file while it was read"));
        }
        Some(paused) => {
            file.seek(SeekFrom::Start(paused.offset))?;
            (resume(&paused.state)?, paused.offset)
        }
    };
    // Advice: if it is refused, reading is slower at worst.
    let _ = posix_fadvise(file.as_fd(), 0, 0, PosixFadviseAdvice::POSIX_FADV_SEQUENTIAL);
    let read = feed(&mut hash, &mut file, PIECE)?;
    let offset = offset + read;
    if read < PIECE {
        return Ok(Piece::End(hash.finalize().into(), offset));
    }
    Ok(Piece::More(Paused { offset, file: id, state: hash.serialize().to_vec() }))
}

fn resume(state: &[u8]) -> io::Result<Sha256> {
    SerializedState::<Sha256>::try_from(state)
        .ok()
        .and_then(|state| Sha256::deserialize(&state).ok())
        .ok_or_else(|| io::Error::other("the state of its hash was damaged on the way"))
}

/// Opens a regular file, and nothing else: a fifo would block and reading a device may have effects.
fn open(path: &[u8], links: Links) -> io::Result<(fs::File, fs::Metadata)> {
    let path = OsStr::from_bytes(path);
    let mut flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    match links {
        Links::Refuse => flags |= libc::O_NOFOLLOW,
        // Nobody has looked at what the path leads to. In between it may change: hence the flags as well.
        Links::Follow => regular(&fs::metadata(path)?)?,
    }
    let file = fs::File::options().read(true).custom_flags(flags).open(path)?;
    let found = file.metadata()?;
    regular(&found)?;
    Ok((file, found))
}

fn regular(found: &fs::Metadata) -> io::Result<()> {
    if found.is_file() {
        Ok(())
    } else if found.is_dir() {
        Err(Errno::EISDIR.into())
    } else {
        Err(io::Error::other("not a regular file"))
    }
}

/// Feeds up to `limit` bytes to the hash and says how many there were; fewer than `limit` means the end.
fn feed(hash: &mut Sha256, input: &mut impl Read, limit: u64) -> io::Result<u64> {
    thread_local! {
        // A worker reads file after file: one buffer serves them all.
        static BYTES: RefCell<Vec<u8>> = RefCell::new(vec![0; BUFFER]);
    }
    BYTES.with_borrow_mut(|buffer| {
        let mut done = 0;
        while done < limit {
            let want = usize::try_from(limit - done).map_or(BUFFER, |left| left.min(BUFFER));
            match input.read(&mut buffer[..want]) {
                Ok(0) => break,
                Ok(read) => {
                    hash.update(&buffer[..read]);
                    done += read as u64;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    })
}
