//! A runner: what a worker does of a call on a slice.

use super::chunks::Chunks;
use crate::core::corrupt;
use crate::error::TaskError;
use crate::frame;
use crate::sys;
use crate::task::{Call, Ran, contained};
use serde::{Deserialize, Serialize};
use skep_ipc::{Arena, Pod};
use std::ptr::NonNull;

/// A runner's argument. Where things lie is said in bytes behind the beginning of the arena's memory.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Assignment {
    /// Its number.
    pub(super) runner: u32,
    pub(super) control: u64,
    pub(super) input: u64,
    /// How many items there are.
    pub(super) length: u64,
    /// How many of them a chunk has; the last one may have fewer.
    pub(super) chunk: u64,
    pub(super) output: u64,
}

/// What the output has one of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Results {
    PerChunk,
    PerItem,
}

/// For `#[skep::task]`: the body of a task from a slice to a value.
#[doc(hidden)]
pub fn run_slice<'a, A: Pod, R: Pod>(call: Call<'_, 'a>, function: fn(&[A]) -> R) -> Ran<'a> {
    run_chunks(call, Results::PerChunk, |input: &[A], output: &mut [R]| output[0] = function(input))
}

/// For `#[skep::task]`: the body of a task from a slice into a slice.
#[doc(hidden)]
pub fn run_slice_into<'a, A: Pod, B: Pod>(call: Call<'_, 'a>, function: fn(&[A], &mut [B])) -> Ran<'a> {
    run_chunks(call, Results::PerItem, function)
}

fn run_chunks<'a, A: Pod, B: Pod>(
    call: Call<'_, 'a>,
    results: Results,
    function: impl Fn(&[A], &mut [B]),
) -> Ran<'a> {
    let Call { argument, result, arena, .. } = call;
    let result = contained(|| {
        let assignment: Assignment =
            argument.argument().map_err(|reason| TaskError::ArgumentNotDecoded { reason })?;
        let lent = Lent::<A, B>::at(arena, &assignment, results).ok_or_else(corrupt)?;
        let ran = lent.chunks.run_all(assignment.runner, |chunk| {
            let (input, mut output) = lent.chunk(chunk);
            // SAFETY: the caller has lent this memory until no runner is left, and nobody writes the input meanwhile; the chunk is this runner's by its claim, so nobody else
            // touches its output. Any bytes are an `A`, and a `B`.
            unsafe { function(input.as_ref(), output.as_mut()) };
            if !arena.is_own() {
                // The task has forked, and returned here as well: the chunk is the other one's.
                sys::vanish();
            }
        });
        ran.ok_or_else(corrupt)?;
        frame::encode(result, (), arena, |reason| TaskError::ResultNotEncoded { reason })
    });
    // SAFETY: the table is that of a record which this worker has claimed: its submitter has let go of the blocks.
    let lading = unsafe { arena.lading(argument.entries()) };
    Ran { result, argument: lading }
}

/// What a call has lent, checked.
struct Lent<'a, A, B> {
    chunks: Chunks<'a>,
    input: NonNull<A>,
    length: usize,
    chunk: usize,
    output: NonNull<B>,
    results: Results,
}

impl<'a, A: Pod, B: Pod> Lent<'a, A, B> {
    /// `None`: some of it is not memory of the arena.
    fn at(arena: &'a Arena, assignment: &Assignment, results: Results) -> Option<Self> {
        let length = usize::try_from(assignment.length).ok()?;
        let chunk = usize::try_from(assignment.chunk).ok().filter(|&chunk| chunk > 0)?;
        let count = length.div_ceil(chunk);
        let outputs = if results == Results::PerChunk { count } else { length };
        let (input, output) = (length.checked_mul(size_of::<A>())?, outputs.checked_mul(size_of::<B>())?);
        Some(Lent {
            chunks: Chunks::at(arena, assignment.control, count)?,
            input: arena.memory_at(assignment.input, input, align_of::<A>())?.cast(),
            length,
            chunk,
            output: arena.memory_at(assignment.output, output, align_of::<B>())?.cast(),
            results,
        })
    }

    /// The items of a chunk, and where their results go.
    fn chunk(&self, chunk: usize) -> (NonNull<[A]>, NonNull<[B]>) {
        let start = chunk * self.chunk;
        let items = self.chunk.min(self.length - start);
        let (at, results) = if self.results == Results::PerChunk { (chunk, 1) } else { (start, items) };
        // SAFETY: a chunk that was claimed is one of `count`, so both lie within the memory that `at` has checked.
        let (input, output) = unsafe { (self.input.add(start), self.output.add(at)) };
        (NonNull::slice_from_raw_parts(input, items), NonNull::slice_from_raw_parts(output, results))
    }
}
