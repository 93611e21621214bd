//! What a primitive has to give to be tortured. To add one: a file with a [`Subject`], and its [`Kind`] in the list in `main.rs`.

use crate::journal::{Journal, Wrong};
use crate::random::Random;
use std::time::Duration;

/// What goes wrong around the primitive rather than in it: an error that no participant should get, told to a person.
pub type Trouble = String;

/// A primitive: its name on the command line, and how one of its objects is made for a round.
pub struct Kind {
    pub name: &'static str,
    pub make: fn(Stage) -> Result<Box<dyn Subject>, Trouble>,
}

/// What a round is played with.
pub struct Stage {
    /// The first seats.
    pub producers: usize,
    /// The seats after them.
    pub consumers: usize,
    /// Items, or what is like it.
    pub capacity: usize,
    /// How many lives there are in a round at most; they are numbered from 0.
    pub lives: usize,
    /// The object's name, which is removed after the round; anonymous without one.
    pub name: Option<String>,
    pub random: Random,
}

impl Stage {
    pub fn seats(&self) -> usize {
        self.producers + self.consumers
    }
}

/// One object under torture, and what its auditor knows of it.
pub trait Subject {
    /// Where a participant can be made to kill or stop itself: the labels that it passes.
    fn fault_points(&self, seat: usize) -> &'static [&'static str];

    /// Whether the others get on while one seat is empty, if another one does the same.
    fn goes_on_without_one(&self) -> bool {
        true
    }

    /// The mean time between two blows.
    fn between_blows(&self) -> Duration {
        Duration::from_micros(2500)
    }

    /// How many processes participants have killed themselves.
    fn kills_of_its_own(&self) -> u64 {
        0
    }

    /// In a process of its own: joins, and works until it is killed, or asked to leave.
    ///
    /// Handles that were made before the fork must not be used here; skep refuses them. Their descriptors can be.
    fn play(&self, part: Part<'_>) -> Result<(), Trouble>;

    /// Called again and again while the round goes on, with the seats whose processes live: none of them was killed from outside.
    fn audit(&mut self, _playing: &[usize]) -> Result<(), Trouble> {
        Ok(())
    }

    /// A process has ended: the last look at its journal.
    fn bury(&mut self, dead: &Dead<'_>);

    /// Everybody is dead. Recovers once, takes out what is left, and counts.
    fn judge(self: Box<Self>) -> Result<Findings, Trouble>;
}

/// A participant's side of a round.
pub struct Part<'a> {
    pub seat: usize,
    pub life: u64,
    pub journal: &'a Journal,
    pub random: Random,
    /// After so many operations it leaves.
    pub patience: u64,
}

impl Part<'_> {
    /// Whether it takes part in one more operation.
    pub fn stays(&mut self) -> bool {
        let stays = self.patience > 0 && !self.journal.shall_leave();
        self.patience = self.patience.saturating_sub(1);
        stays
    }

    /// Some lives are in a hurry, some are not: then others wait for them, asleep.
    pub fn pace(&mut self) -> Pace {
        if self.random.one_in(3) { Pace(self.random.skewed(9)) } else { Pace(0) }
    }
}

/// How long a participant thinks between two operations, in microseconds at most.
#[derive(Clone, Copy)]
pub struct Pace(u64);

impl Pace {
    pub fn think(self, random: &mut Random) {
        if self.0 > 0 {
            std::thread::sleep(Duration::from_micros(random.below(self.0)));
        }
    }
}

/// A process that has ended.
pub struct Dead<'a> {
    pub seat: usize,
    pub life: u64,
    pub end: End,
    pub journal: &'a Journal,
}

/// How it ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// In good order.
    Left,
    /// Killed from outside, at a moment that nobody knows.
    Killed,
    /// Killed by itself, right behind the step of this label.
    At(&'static str),
    /// It crashed, or gave up.
    Failed,
}

/// What was found wrong; all zeroes: nothing.
#[derive(Default, Clone, Copy, Debug)]
pub struct Findings {
    pub lost: u64,
    pub duplicated: u64,
    pub torn: u64,
    pub reordered: u64,
    pub wedged: u64,
    /// Entries of the peer table that the dead still have after a recovery.
    pub entries: u64,
    /// Bytes that are neither free nor anybody's, or both.
    pub bytes: u64,
}

impl Findings {
    /// What participants saw themselves.
    pub fn witnessed(&mut self, journal: &Journal) {
        for wrong in [Wrong::Lost, Wrong::Duplicated, Wrong::Torn, Wrong::Reordered] {
            *self.of(wrong) += journal.has_seen(wrong);
        }
    }

    pub fn count(&mut self, wrong: Wrong) {
        *self.of(wrong) += 1;
    }

    fn of(&mut self, wrong: Wrong) -> &mut u64 {
        match wrong {
            Wrong::Lost => &mut self.lost,
            Wrong::Duplicated => &mut self.duplicated,
            Wrong::Torn => &mut self.torn,
            Wrong::Reordered => &mut self.reordered,
        }
    }

    pub fn add(&mut self, other: Findings) {
        self.lost += other.lost;
        self.duplicated += other.duplicated;
        self.torn += other.torn;
        self.reordered += other.reordered;
        self.wedged += other.wedged;
        self.entries += other.entries;
        self.bytes += other.bytes;
    }
}
