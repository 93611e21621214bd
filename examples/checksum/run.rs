//! Many files through the pool, results in the order of the files.
//!
//! As many threads as keep every worker supplied each take a job (a batch of small files, or one big file), have it
//! done by the pool, and put the result into its place in line. Whoever completes the head of the line writes out all
//! that is ready, so results stream in order without a thread that waits for them; who would run too far ahead of
//! the head waits, so memory stays bounded when a huge file holds up the line.

use std::{
    collections::BTreeMap,
    io,
    iter::Peekable,
    ops::ControlFlow,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};

use skep::{Pool, TaskError};

use crate::{
    hash::{Hashed, Links, Piece, hash_files, hash_piece, hash_stream, reason},
    ui::Ui,
    walk::File,
};

/// A batch ends at so many files... (from 16 to 1024 the speed is the same)
const BATCH_FILES: usize = 64;
/// ...or so many bytes, whichever comes first; a bigger file goes alone.
const BATCH_BYTES: u64 = 1 << 20;
/// Jobs in line at most: a quarter of a million small files, some 50 MB, if a huge one holds up the line.
const LINE: u64 = 4096;

/// Why a run ended before its files did.
pub enum Stop {
    /// A result could not be written.
    Output(io::Error),
    /// The pool can do no more work.
    Pool(TaskError),
}

/// Hashes the files of `source`, each with a `T` that goes along with it, and hands each result to `emit`, in order.
pub fn run<T, S, E>(pool: &Pool, ui: &Ui, links: Links, source: S, emit: E) -> Result<(), Stop>
where
    T: Send,
    S: Iterator<Item = (File, T)> + Send,
    E: Emit<T> + Send,
{
    let line = Line {
        state: Mutex::new(State {
            source: source.peekable(),
            emit,
            taken: 0,
            written: 0,
            ready: BTreeMap::new(),
            stop: None,
        }),
        moved: Condvar::new(),
    };
    thread::scope(|scope| {
        // Two each: while a worker's result is on its way, its next job is there already.
        for _ in 0..2 * pool.stats().workers {
            scope.spawn(|| {
                while let Some((number, files)) = line.take() {
                    let result = hash_job(pool, ui, links, &files);
                    if line.put(number, files, result).is_break() {
                        // Others may be deep in huge files: nobody wants those any more.
                        pool.terminate();
                    }
                }
            });
        }
    });
    line.state.into_inner().unwrap_or_else(PoisonError::into_inner).stop.map_or(Ok(()), Err)
}

/// Where results go, in order.
pub trait Emit<T> {
    fn emit(&mut self, file: File, with: T, hashed: Hashed) -> io::Result<()>;
    /// Nothing more is ready: what was held back for speed has to leave now.
    fn flush(&mut self) -> io::Result<()>;
}

/// The line of jobs, from the source to the output.
struct Line<T, S: Iterator<Item = (File, T)>, E> {
    state: Mutex<State<T, S, E>>,
    /// The head moved, or it is all over.
    moved: Condvar,
}

struct State<T, S: Iterator<Item = (File, T)>, E> {
    source: Peekable<S>,
    emit: E,
    /// Jobs taken from the source: the next one's number.
    taken: u64,
    /// Jobs written out: the head's number.
    written: u64,
    /// Done, but behind the head.
    ready: BTreeMap<u64, Vec<(File, T, Hashed)>>,
    stop: Option<Stop>,
}

impl<T, S: Iterator<Item = (File, T)>, E: Emit<T>> Line<T, S, E> {
    fn lock(&self) -> MutexGuard<'_, State<T, S, E>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next job and its number; waits while the line is full. `None` when there are no more.
    fn take(&self) -> Option<(u64, Vec<(File, T)>)> {
        // Whoever holds the head is not in here, so it moves.
        let full = |state: &mut State<T, S, E>| state.stop.is_none() && state.taken - state.written >= LINE;
        let mut state = self.moved.wait_while(self.lock(), full).unwrap_or_else(PoisonError::into_inner);
        if state.stop.is_some() {
            return None;
        }
        let mut files = vec![state.source.next()?];
        let mut bytes = files[0].0.size;
        while files.len() < BATCH_FILES
            && let Some((file, with)) =
                state.source.next_if(|(file, _)| bytes.saturating_add(file.size) <= BATCH_BYTES)
        {
            bytes += file.size;
            files.push((file, with));
        }
        state.taken += 1;
        Some((state.taken - 1, files))
    }

    /// Puts a job's results into their place, and writes out all that is ready. Says whether to go on.
    fn put(
        &self,
        number: u64,
        files: Vec<(File, T)>,
        result: Result<Vec<Hashed>, TaskError>,
    ) -> ControlFlow<()> {
        let mut state = self.lock();
        match result {
            Ok(hashed) => {
                let done = files.into_iter().zip(hashed).map(|((file, with), hashed)| (file, with, hashed));
                state.ready.insert(number, done.collect());
                if let Err(error) = state.write_ready() {
                    state.stop.get_or_insert(Stop::Output(error));
                }
            }
            Err(error) => {
                state.stop.get_or_insert(Stop::Pool(error));
            }
        }
        self.moved.notify_all();
        if state.stop.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

impl<T, S: Iterator<Item = (File, T)>, E: Emit<T>> State<T, S, E> {
    fn write_ready(&mut self) -> io::Result<()> {
        let head = self.written;
        while self.stop.is_none()
            && let Some(done) = self.ready.remove(&self.written)
        {
            for (file, with, hashed) in done {
                self.emit.emit(file, with, hashed)?;
            }
            self.written += 1;
        }
        if self.written > head { self.emit.flush() } else { Ok(()) }
    }
}

/// Has one job done. An error is one that ends the run; what is wrong with a file is that file's result.
fn hash_job<T>(pool: &Pool, ui: &Ui, links: Links, files: &[(File, T)]) -> Result<Vec<Hashed>, TaskError> {
    let hashed = match files {
        [(file, _)] => hash_alone(pool, ui, links, &file.path).map(|hashed| vec![hashed]),
        files => hash_batch(pool, ui, links, files),
    };
    match hashed {
        Ok(hashed) => {
            ui.files_done(hashed.iter().flatten().count());
            Ok(hashed)
        }
        Err(error @ (TaskError::Closed | TaskError::Terminated | TaskError::PoolBroken { .. })) => Err(error),
        Err(error) => Ok(files.iter().map(|_| Err(error.to_string())).collect()),
    }
}

fn hash_batch<T>(pool: &Pool, ui: &Ui, links: Links, files: &[(File, T)]) -> Result<Vec<Hashed>, TaskError> {
    let mut paths = Vec::new();
    for (file, _) in files {
        paths.extend_from_slice(&file.path);
        paths.push(0);
    }
    let hashed = pool.apply(hash_files, (paths, links))?;
    ui.bytes_done(hashed.iter().flatten().map(|(_, bytes)| bytes).sum());
    Ok(hashed)
}

/// One file, piece after piece.
fn hash_alone(pool: &Pool, ui: &Ui, links: Links, path: &[u8]) -> Result<Hashed, TaskError> {
    if links == Links::Follow && path == b"-" {
        // A list that names "-" means standard input, which only this process has.
        let hashed = hash_stream(&mut io::stdin().lock());
        return Ok(hashed.map_err(|error| reason(&error)));
    }
    let mut paused = None;
    let mut before = 0;
    loop {
        match pool.apply(hash_piece, (path.to_vec(), links, paused))? {
            Err(reason) => return Ok(Err(reason)),
            Ok(Piece::End(digest, length)) => {
                ui.bytes_done(length - before);
                return Ok(Ok((digest, length)));
            }
            Ok(Piece::More(next)) => {
                ui.bytes_done(next.offset - before);
                before = next.offset;
                paused = Some(next);
            }
        }
    }
}
