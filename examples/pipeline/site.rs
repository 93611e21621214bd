//! Where the stages meet: a board and an arena, found by name.
//!
//! The board says who has which role, how far he is, and whether it is all over. The arena has the queues, and what travels through them. Its name is the board's with the
//! number of the board's file, so an arena belongs to one board, also if that name is given up and taken again.

use std::{
    ffi::OsString,
    fs::{self, File},
    io,
    os::{fd::AsFd, unix::fs::MetadataExt},
    path::Path,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use skep::{Arena, ArenaOptions, Error, Event, LockError, Mutex, MutexGuard, Part, Queue, ShmSlice};

use crate::{Outcome, args::Stage, table::Table, ui::say};

/// Values in each queue at a time, those that are leased included. They bound what the pipeline takes of memory.
const CAPACITY: usize = 8;
/// What the arena begins with, and grows by.
const STRETCH: u64 = 16 << 20;
/// The arena's smallest block. What is smaller than the kernel's pages here is a message of handles.
const SMALLEST: usize = 512;
/// For so long a stage waits for memory, which others free as long as they live.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// Where named shared memory is found.
const SHM: &str = "/dev/shm";

skep::shared_struct! {
    /// Two words for each role; who holds it, writes them. Each is whole at any instant, and says something by itself, so whoever gets a role from a dead one has nothing to repair.
    pub struct Board {
        /// The log's identity (0: nobody has read yet), and the next block to be put.
        pub reader: Mutex<[u64; 2]>,
        /// The checkpoint that counts (0: none), and the last one that was begun.
        pub aggregator: Mutex<[u64; 2]>,
        /// The result is out.
        pub over: Event,
    }
}

/// A block's place in its log.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct Place {
    pub number: u64,
    /// How many blocks and bytes the whole log has.
    pub blocks: u64,
    pub size: u64,
}

/// A block of the log, from the reader to a parser.
#[derive(Serialize, Deserialize)]
pub struct Chunk {
    pub place: Place,
    pub lines: ShmSlice<u8>,
}

/// What a block counts, from a parser to the aggregator.
#[derive(Serialize, Deserialize)]
pub struct Partial {
    pub place: Place,
    pub table: Table,
}

/// All that was counted, from the aggregator to the one after it.
#[derive(Serialize, Deserialize)]
pub struct Checkpoint {
    pub id: u64,
    /// Which blocks are counted in it: all before this one...
    pub before: u64,
    /// ...and these.
    pub beyond: Vec<u64>,
    pub blocks: u64,
    pub size: u64,
    pub table: Table,
}

pub struct Site {
    pub board: Board,
    pub arena: Arena,
    name: String,
    number: u64,
}

impl Site {
    /// Joins the pipeline of that name, or makes it. `None`: it is over, or there is none and this stage is to join only.
    pub fn join(stage: &Stage) -> Outcome<Option<Site>> {
        let name = stage.name.name.clone();
        let board =
            if stage.join { Board::open(&name) } else { Board::open_or_create(&name, Board::fresh()) };
        let board = match board {
            Err(Error::NotFound { .. }) if stage.join => return Ok(None),
            board => board.map_err(|error| about(&name, error))?,
        };
        let number = number(&board)?;
        let called = arena_of(&name, number);
        let options = ArenaOptions::new(STRETCH.min(stage.memory.memory)).limit(stage.memory.memory);
        let options = options.smallest_block(SMALLEST);
        let over = board.over.is_set();
        let arena = if over { Arena::open(&called) } else { Arena::open_or_create(&called, options) };
        let arena = match arena {
            // Only its board was left.
            Err(Error::NotFound { .. }) if over => {
                remove(&name, number)?;
                return Ok(None);
            }
            arena => arena.map_err(|error| about(&called, error))?.within(PATIENCE),
        };
        let site = Site { board, arena, name, number };
        if site.is_over() {
            // Perhaps the arena was removed before it was opened, and so made again.
            site.remove()?;
            return Ok(None);
        }
        Ok(Some(site))
    }

    /// Opens what there is under a name, as `status` does.
    pub fn look(name: &str) -> Outcome<Option<(Board, Option<Arena>)>> {
        let board = match Board::open(name) {
            Err(Error::NotFound { .. }) => return Ok(None),
            board => board.map_err(|error| about(name, error))?,
        };
        let arena = match Arena::open(&arena_of(name, number(&board)?)) {
            Err(Error::NotFound { .. }) => None,
            arena => Some(arena.map_err(|error| about(name, error))?),
        };
        Ok(Some((board, arena)))
    }

    pub fn chunks(&self) -> Outcome<Queue<Chunk>> {
        Ok(Queue::open_or_create_in(&self.arena, "chunks", CAPACITY)?)
    }

    pub fn partials(&self) -> Outcome<Queue<Partial>> {
        Ok(Queue::open_or_create_in(&self.arena, "partials", CAPACITY)?)
    }

    pub fn checkpoints(&self) -> Outcome<Queue<Checkpoint>> {
        Ok(Queue::open_or_create_in(&self.arena, "checkpoints", CAPACITY)?)
    }

    /// Whether the result is out.
    pub fn is_over(&self) -> bool {
        self.board.over.is_set()
    }

    /// Removes the names; whoever has joined goes on.
    pub fn remove(&self) -> Outcome {
        remove(&self.name, self.number)
    }
}

impl Board {
    pub fn fresh() -> <Board as Part>::Setup {
        ([0; 2], [0; 2], ())
    }
}

/// Takes a role, for as long as the guard lives: as soon as nobody living has it.
pub fn take<'a>(role: &'a Mutex<[u64; 2]>, what: &str, quiet: bool) -> Outcome<MutexGuard<'a, [u64; 2]>> {
    let role = match role.try_lock() {
        Err(LockError::WouldBlock) => {
            if !quiet {
                say(format_args!("another {what} is at work: this one takes over if it dies"));
            }
            role.lock()
        }
        outcome => outcome,
    };
    Ok(role.or_else(|error| error.recover(|_each_word_is_whole| {}))?)
}

/// Removes all that lies in shared memory under a pipeline's name, of whatever board.
pub fn remove_all(name: &str) -> Outcome<usize> {
    let mut removed = 0;
    for file in fs::read_dir(SHM)? {
        let file = file?.file_name();
        if is_of(name, &file) {
            gone(Arena::unlink(&file.to_string_lossy()))?;
            removed += 1;
        }
    }
    Ok(removed)
}

/// Whether a file is a board of that name, or an arena of one.
fn is_of(name: &str, file: &OsString) -> bool {
    let Some(rest) = file.to_str().and_then(|file| file.strip_prefix(name)) else { return false };
    let digits = rest.strip_prefix('.');
    rest.is_empty()
        || digits.is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Removes the names of a board that is over, and of its arena.
fn remove(name: &str, number: u64) -> Outcome {
    gone(Arena::unlink(&arena_of(name, number)))?;
    // Under that name there may be another board by now.
    match fs::metadata(Path::new(SHM).join(name)) {
        Ok(found) if found.ino() == number => gone(Board::unlink(name)),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// Removing what another one has removed is no error.
fn gone(unlinked: Result<(), Error>) -> Outcome {
    match unlinked {
        Err(Error::NotFound { .. }) => Ok(()),
        outcome => Ok(outcome?),
    }
}

fn arena_of(name: &str, number: u64) -> String {
    format!("{name}.{number}")
}

/// What no other board has as long as this one is open.
fn number(board: &Board) -> Outcome<u64> {
    Ok(File::from(board.as_fd().try_clone_to_owned()?).metadata()?.ino())
}

fn about(name: &str, error: Error) -> String {
    format!("{name}: {error}")
}
