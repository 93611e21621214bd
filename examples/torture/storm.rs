//! One round: everybody plays, and one after the other is killed or stopped, or does it to itself at a fault point; then calm, in which all must get on; then
//! all go.
//!
//! Where a dead one's successor would help the others out of what its death did to them, that would go unseen. So now and then nobody succeeds, and nobody else is
//! killed, until each of the others has got on without.
//!
//! # Whose fault is a stall?
//! A stopped participant is alive, and whoever waits for it waits rightly. So time counts only while nobody is stopped, and of that clock no
//! participant may need more than [`LIMIT`] from one finished operation to the next, however many others die meanwhile. One that rests waits
//! for a role that another has; of those it is asked that anybody at all gets on.

use crate::journal::{Journal, Shared};
use crate::process::{self, News, Process};
use crate::random::Random;
use crate::subject::{Dead, End, Part, Subject, Trouble};
use crate::tally::Tally;
use std::time::{Duration, Instant};

/// Lives in a round, at most.
pub const LIVES: usize = 4096;
/// Without progress for so long, a participant is wedged.
const LIMIT: Duration = Duration::from_secs(5);
/// The most that the clock moves from one look to the next.
const LONGEST_STEP: Duration = Duration::from_millis(10);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_millis(50);
/// One blow in so many is a pause and not a kill.
const PAUSE_ONE_IN: u64 = 16;
/// One death in so many has no successor until all the others have got on.
const MOURNED_ONE_IN: u64 = 16;
/// Up to two to the power of this many passes of a fault point until the blow falls.
const COUNTDOWN_BITS: u64 = 11;
/// One fault point in so many stops and does not kill.
const STOP_ONE_IN: u64 = 4;
/// One life in so many leaves by itself, after up to two to the power of some operations.
const LEAVES_ONE_IN: u64 = 6;
const PATIENCE_BITS: u64 = 10;

pub struct Storm<'a> {
    subject: &'a mut dyn Subject,
    journals: &'a Shared<Journal>,
    seats: Vec<Seat>,
    /// Only they are killed before all are.
    prey: Vec<usize>,
    random: Random,
    tally: &'a mut Tally,
    clock: FairClock,
    /// When anybody last got on.
    any_progress: Duration,
    /// The seats of the stopped, and until when.
    paused: Vec<(usize, Instant)>,
    lives: usize,
    /// The seat that stays empty for now, and how much each one had done when it became so.
    mourned: Option<(usize, Vec<u64>)>,
    /// A seat may be left empty for a while.
    mourns: bool,
    /// New lives are armed, every other one.
    arms: bool,
    /// All of them are, and strike at the first or second pass: so that a blow meets the traces of the one before it.
    at_once: bool,
}

/// Where one participant after the other plays.
struct Seat {
    process: Option<Process>,
    life: u64,
    /// The fault point at which it is to kill or stop itself.
    armed: Option<&'static str>,
    was_killed: bool,
    /// Operations done when last looked at, and when they became more.
    done: u64,
    since: Duration,
    /// Its operations before this life, for the calm.
    before: u64,
}

impl<'a> Storm<'a> {
    pub fn new(
        subject: &'a mut dyn Subject,
        journals: &'a Shared<Journal>,
        prey: Vec<usize>,
        has_spares: bool,
        mut random: Random,
        tally: &'a mut Tally,
    ) -> Self {
        let mourns = has_spares && subject.goes_on_without_one();
        let at_once = random.one_in(4);
        let seat = |_| Seat {
            process: None,
            life: 0,
            armed: None,
            was_killed: false,
            done: 0,
            since: Duration::ZERO,
            before: 0,
        };
        Storm {
            subject,
            journals,
            seats: (0..journals.len()).map(seat).collect(),
            prey,
            random,
            tally,
            clock: FairClock::new(),
            any_progress: Duration::ZERO,
            paused: vec![],
            lives: 0,
            mourned: None,
            mourns,
            arms: true,
            at_once,
        }
    }

    /// Plays the round; `tick` is called now and then. Returns once all are dead.
    pub fn rage(mut self, length: Duration, tick: &mut dyn FnMut(&Tally)) -> Result<(), Trouble> {
        let until = Instant::now() + length;
        let mut outcome = self.fill();
        while outcome.is_ok() && Instant::now() < until && self.lives + 2 * self.seats.len() < LIVES {
            self.strike();
            let pause =
                Duration::from_micros(self.random.below(2 * self.subject.between_blows().as_micros() as u64));
            outcome = self.watch_for(pause);
            tick(self.tally);
        }
        while outcome.is_ok() && self.mourned.is_some() {
            outcome = self.watch_for(Duration::from_micros(200));
        }
        self.arms = false;
        let outcome = outcome.and_then(|()| self.calm()).and_then(|()| self.dismiss());
        self.end();
        match outcome {
            Err(Stop::Wedged) | Ok(()) => Ok(()),
            Err(Stop::Trouble(trouble)) => Err(trouble),
        }
    }

    // --- blows ---------------------------------------------------------------------------------------------------

    /// Kills one, or stops one for a while.
    fn strike(&mut self) {
        if self.mourned.is_some() {
            return;
        }
        if self.paused.is_empty() && self.random.one_in(PAUSE_ONE_IN) {
            let seat = self.random.below(self.seats.len() as u64) as usize;
            if let Some(process) = self.seats[seat].process {
                process.stop();
                self.pause(seat);
            }
        } else if let Some(&seat) = self.random.pick(&self.prey) {
            self.reap(); // so that one that has just killed itself is not taken for one killed now
            self.kill(seat);
        }
    }

    fn kill(&mut self, seat: usize) {
        if let Some(process) = self.seats[seat].process {
            process.kill();
            self.seats[seat].was_killed = true;
        }
    }

    /// Notes that one is stopped, for a time.
    fn pause(&mut self, seat: usize) {
        let length = Duration::from_micros(self.random.skewed(15)).min(LONGEST_PAUSE);
        self.paused.push((seat, Instant::now() + length));
        self.clock.stand_still(true);
        self.tally.pauses += 1;
    }

    /// Lets the stopped go on whose time is over.
    fn go_on(&mut self, now: Instant) {
        for &(seat, until) in &self.paused {
            if let Some(process) = self.seats[seat].process.filter(|_| until <= now) {
                process.go_on();
            }
        }
        self.paused.retain(|&(_, until)| until > now);
        self.keep_time();
    }

    fn keep_time(&mut self) {
        self.clock.stand_still(!self.paused.is_empty());
    }

    // --- lives ---------------------------------------------------------------------------------------------------

    /// Starts a process for each empty seat.
    fn fill(&mut self) -> Result<(), Stop> {
        for seat in 0..self.seats.len() {
            let is_mourned = matches!(self.mourned, Some((mourned, _)) if mourned == seat);
            if self.seats[seat].process.is_none() && !is_mourned && !self.journals[seat].shall_leave() {
                self.start(seat)?;
            }
        }
        Ok(())
    }

    fn start(&mut self, number: usize) -> Result<(), Stop> {
        let journal = &self.journals[number];
        let life = self.lives as u64;
        let points = self.subject.fault_points(number);
        let is_prey = self.prey.contains(&number);
        let armed = if self.arms && is_prey && can_arm() && (self.at_once || self.random.one_in(2)) {
            self.random.pick(points).copied()
        } else {
            None
        };
        let bits = if self.at_once || self.random.one_in(2) { 1 } else { COUNTDOWN_BITS };
        let (countdown, stops) = (self.random.skewed(bits) as u32, self.random.one_in(STOP_ONE_IN));
        let leaves = self.arms && self.random.one_in(LEAVES_ONE_IN);
        let patience = if leaves { self.random.skewed(PATIENCE_BITS) } else { u64::MAX };
        let part = Part { seat: number, life, journal, random: self.random.fork(), patience };
        let subject = &*self.subject;
        let process = process::start(|| {
            if let Some(label) = armed {
                arm(label, countdown, stops);
            }
            subject.play(part)
        });
        let process = process.map_err(|e| Stop::Trouble(format!("starting a process: {e}")))?;
        self.lives += 1;
        let seat = &mut self.seats[number];
        let before = seat.before;
        *seat = Seat {
            process: Some(process),
            life,
            armed,
            was_killed: false,
            done: 0,
            since: self.clock.now(),
            before,
        };
        Ok(())
    }

    /// Takes note of who was stopped, and buries all who have ended.
    fn reap(&mut self) {
        while let Some((process, news)) = process::news() {
            let Some(number) = self.seats.iter().position(|seat| seat.process == Some(process)) else {
                continue;
            };
            let seat = &self.seats[number];
            let end = match (news, seat.armed) {
                (News::Stopped, armed) => {
                    let is_paused = self.paused.iter().any(|&(paused, _)| paused == number);
                    if armed.is_some() && !is_paused {
                        self.pause(number);
                    }
                    continue;
                }
                (News::Left, _) => End::Left,
                (News::Killed, _) if seat.was_killed => End::Killed,
                (News::Killed, Some(label)) => End::At(label),
                (News::Killed, None) | (News::Failed, _) => End::Failed,
            };
            self.bury(number, end);
        }
    }

    fn bury(&mut self, number: usize, end: End) {
        let (seat, journal) = (&mut self.seats[number], &self.journals[number]);
        self.tally.end_of(end, journal.done());
        self.subject.bury(&Dead { seat: number, life: seat.life, end, journal });
        seat.before += journal.done() + 1;
        seat.process = None;
        let leaves = journal.shall_leave();
        journal.clear();
        if leaves {
            journal.ask_to_leave();
        }
        self.paused.retain(|&(paused, _)| paused != number);
        self.keep_time();
        let mourns = self.arms && self.mourned.is_none() && self.mourns;
        self.mourned = (mourns && self.random.one_in(MOURNED_ONE_IN)).then(|| (number, self.all_done()));
    }

    /// Whether each one has got on since, or rests, or is not there.
    fn have_got_on(&self, since: &[u64]) -> bool {
        let now = self.all_done();
        let has = |n: usize| {
            let is_mourned = matches!(self.mourned, Some((mourned, _)) if mourned == n);
            now[n] > since[n] || self.journals[n].is_resting() || is_mourned
        };
        (0..self.seats.len()).all(has)
    }

    /// How much has been done in each seat.
    fn all_done(&self) -> Vec<u64> {
        self.seats
            .iter()
            .zip(self.journals.iter())
            .map(|(seat, journal)| seat.before + journal.done())
            .collect()
    }

    // --- watching ------------------------------------------------------------------------------------------------

    /// Buries, starts and watches for a while.
    fn watch_for(&mut self, length: Duration) -> Result<(), Stop> {
        let until = Instant::now() + length;
        loop {
            self.reap();
            if self.mourned.as_ref().is_some_and(|(_, since)| self.have_got_on(since)) {
                self.mourned = None;
            }
            self.fill()?;
            self.look()?;
            self.audit()?;
            self.go_on(Instant::now());
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            std::thread::sleep(left.min(Duration::from_millis(1)));
        }
    }

    /// Who has got on since the last look, and who has not for too long.
    fn look(&mut self) -> Result<(), Stop> {
        let now = self.clock.now();
        let mut wedged = 0;
        for (number, seat) in self.seats.iter_mut().enumerate() {
            let journal = &self.journals[number];
            let done = journal.done();
            if done != seat.done {
                (seat.done, seat.since, self.any_progress) = (done, now, now);
            }
            if seat.process.is_none() || journal.is_resting() {
                seat.since = now;
            }
            let stall = now - seat.since;
            self.tally.stall(stall);
            if stall > LIMIT {
                wedged += 1;
                eprintln!(
                    "torture: seat {number}, life {}: no progress for {stall:?} after {done} operations",
                    seat.life
                );
            }
        }
        let stall = now - self.any_progress;
        self.tally.stall(stall);
        if wedged == 0 && stall > LIMIT {
            wedged = 1;
            eprintln!("torture: nobody has got on for {stall:?}");
        }
        self.tally.findings.wedged += wedged;
        if wedged == 0 { Ok(()) } else { Err(Stop::Wedged) }
    }

    /// Lets the subject compare, unless somebody was killed whose end is not known yet.
    fn audit(&mut self) -> Result<(), Stop> {
        let playing = |&number: &usize| self.seats[number].process.is_some();
        let playing: Vec<usize> = (0..self.seats.len()).filter(playing).collect();
        if playing.iter().any(|&number| self.seats[number].was_killed) {
            return Ok(());
        }
        self.subject.audit(&playing).map_err(Stop::Trouble)
    }

    // --- the end -------------------------------------------------------------------------------------------------

    /// Nobody is killed or stopped any more: each one must get on.
    fn calm(&mut self) -> Result<(), Stop> {
        let start = self.all_done();
        while !self.have_got_on(&start) {
            self.watch_for(Duration::from_micros(200))?;
        }
        Ok(())
    }

    /// Those who are not prey leave in good order, while the prey plays on.
    fn dismiss(&mut self) -> Result<(), Stop> {
        let leaving: Vec<usize> = (0..self.seats.len()).filter(|seat| !self.prey.contains(seat)).collect();
        leaving.iter().for_each(|&seat| self.journals[seat].ask_to_leave());
        while leaving.iter().any(|&seat| self.seats[seat].process.is_some()) {
            // The prey may have nothing to do once the others are gone: only who leaves is watched.
            let now = self.clock.now();
            self.any_progress = now;
            self.prey.iter().for_each(|&seat| self.seats[seat].since = now);
            self.watch_for(Duration::from_micros(200))?;
        }
        Ok(())
    }

    /// Kills whoever is left, all at the same time.
    fn end(&mut self) {
        (0..self.seats.len()).for_each(|seat| self.kill(seat)); // the stopped ones too
        while self.seats.iter().any(|seat| seat.process.is_some()) {
            self.reap();
            std::thread::yield_now();
        }
        self.journals.iter().for_each(Journal::clear);
    }
}

/// Why a round is cut short.
enum Stop {
    /// Counted already.
    Wedged,
    Trouble(Trouble),
}

/// Time during which nobody was stopped, and the machine had time for its processes.
struct FairClock {
    passed: Duration,
    /// Until when that was counted.
    counted: Instant,
    stands_still: bool,
}

impl FairClock {
    fn new() -> Self {
        FairClock { passed: Duration::ZERO, counted: Instant::now(), stands_still: false }
    }

    fn now(&mut self) -> Duration {
        let step = self.counted.elapsed();
        self.counted += step;
        if !self.stands_still {
            // Who asks every millisecond and could not for longer has got no processor; nor had others.
            self.passed += step.min(LONGEST_STEP);
        }
        self.passed
    }

    fn stand_still(&mut self, stands_still: bool) {
        self.now();
        self.stands_still = stands_still;
    }
}

/// Whether this program was built with fault points.
fn can_arm() -> bool {
    cfg!(skep_faults)
}

/// Makes this process kill or stop itself when it passes a fault point for the `countdown`-th time.
fn arm(label: &str, countdown: u32, stops: bool) {
    #[cfg(skep_faults)]
    match stops {
        true => skep_ipc::faults::arm_stop(label, countdown),
        false => skep_ipc::faults::arm(label, countdown),
    }
    #[cfg(not(skep_faults))]
    let _ = (label, countdown, stops);
}
