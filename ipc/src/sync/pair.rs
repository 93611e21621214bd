//! Loom's twin of `asymmetric.rs`: the pair of fences, as weak as the kernel's.
//!
//! Loom knows no kernel that fences for others. A full fence in the place of a light one would be
//! stronger than the machine: it would order light fences among each other, and a model would pass
//! that needs such an order, or that needs no heavy fence at all. So each participant has a word,
//! and a fence is made of read-modify-writes that add nothing:
//!
//! | fence | | |
//! | --- | --- | --- |
//! | light | F1 | my word: add 0 (AcqRel) |
//! | heavy | H1 | full fence |
//! | | H2 | the word of each other participant, also of those that have not begun: add 0 (Relaxed) |
//! | | H3 | full fence |
//!
//! # Why this is the pair
//! 1. All changes of a word are read-modify-writes, so they are in one order, each reads the one
//!    before, and they are one release sequence. A light fence and a heavy one of two participants
//!    meet at the word of the former, and loom explores both orders.
//! 2. The heavy one is first: F1 acquires what H1 released. What follows the light fence sees what
//!    came before the heavy one.
//! 3. The light one is first: H3 acquires what F1 released. What follows the heavy fence sees what
//!    came before the light one.
//! 4. Two light fences are changes of two words and order nothing. H2 is relaxed so that this stays
//!    so: it releases what H1 had, and not what it has just read of another participant. What the
//!    heavy fence learns from H2 only its own participant knows, after H3.
//! 5. Two heavy fences are full ones.
//!
//! # Where it is weaker than the kernel
//! `membarrier` runs a full fence on each processor at some instruction of whatever runs there;
//! here the fence takes effect at the light fences of the others alone. An algorithm that the
//! kernel's fence orders, though no light one is there, fails here; none of ours relies on that. So
//! what passes here is right, as far as loom goes; what fails is to be looked at twice.
//!
//! # A kernel that refuses
//! [`Membarrier`] says what a participant's kernel does. Where it has never granted anything, light
//! fences are full ones; and heavy ones cover nobody else's.

use super::{AcqRel, Relaxed, SeqCst};
use crate::model::is_alive;
use loom::sync::atomic::{AtomicU32, fence};
use std::cell::Cell;
use std::sync::atomic::AtomicUsize;

/// What a participant's kernel does when it is asked to fence for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Membarrier {
    /// It does so.
    Granted,
    /// It has never done so.
    Refused,
    /// It refuses now what it has granted before.
    Withdrawn,
}

/// The participants of one execution.
struct Participants {
    words: Vec<AtomicU32>,
    begun: AtomicUsize,
}

loom::lazy_static! {
    static ref PARTICIPANTS: Participants = Participants {
        words: (0..MOST.get()).map(|_| AtomicU32::new(0)).collect(),
        begun: AtomicUsize::new(0),
    };
}

loom::thread_local! {
    static ME: Cell<Option<usize>> = Cell::new(None);
    static MEMBARRIER: Cell<Membarrier> = Cell::new(Membarrier::Granted);
}

thread_local! {
    /// How many participants an execution may have: their words exist before the first fence.
    static MOST: Cell<usize> = const { Cell::new(0) };
}

/// Sets how many participants each further execution may have. None is known: as many as loom can
/// simulate.
pub(crate) fn expect_participants(most: Option<usize>) {
    MOST.set(most.unwrap_or(loom::MAX_THREADS));
}

/// Gives the next participant of this execution its number; the first one is the thread that runs
/// the model, before anything else.
pub(crate) fn next_participant() -> usize {
    let number = PARTICIPANTS.begun.fetch_add(1, Relaxed);
    let most = PARTICIPANTS.words.len();
    assert!(number < most, "each execution of a model spawns as many participants as its first one: {most}");
    number
}

/// The calling thread is that participant.
pub(crate) fn begin(number: usize) {
    ME.with(|me| me.set(Some(number)));
}

/// How many participants this execution has had.
pub(crate) fn participants() -> usize {
    PARTICIPANTS.begun.load(Relaxed)
}

/// Says what the calling participant's kernel does from now on; it is [`Membarrier::Granted`] at
/// first.
///
/// A participant that misses the first announcement of one whose kernel refuses is made up for by a
/// slice of time, which no model has. So words on which participants sleep know of a refusal from
/// the beginning where it is the one who makes them that is refused.
pub fn set_membarrier(membarrier: Membarrier) {
    MEMBARRIER.with(|mine| mine.set(membarrier));
}

fn membarrier() -> Membarrier {
    MEMBARRIER.with(Cell::get)
}

/// Whether the words that the calling participant makes know of a refusal.
pub(crate) fn is_refused() -> bool {
    membarrier() != Membarrier::Granted
}

fn me() -> usize {
    ME.with(Cell::get).expect("participants are started by `skep::model::spawn`")
}

/// See `asymmetric.rs`.
pub fn light_fence() {
    if !is_alive() {
        return;
    }
    match membarrier() {
        Membarrier::Refused => fence(SeqCst),
        _ => drop(PARTICIPANTS.words[me()].fetch_add(0, AcqRel)), // F1
    }
}

/// See `asymmetric.rs`.
pub fn heavy_fence() -> bool {
    if !is_alive() {
        return true;
    }
    fence(SeqCst); // H1
    if is_refused() {
        return false;
    }
    let me = me();
    for (_, word) in PARTICIPANTS.words.iter().enumerate().filter(|&(number, _)| number != me) {
        word.fetch_add(0, Relaxed); // H2
    }
    fence(SeqCst); // H3
    true
}

/// See `asymmetric.rs`.
pub(crate) fn heavy_fence_here() -> bool {
    heavy_fence() || membarrier() == Membarrier::Refused
}
