//! `Arena` under torture, and the queues in it: the auditor accounts for each byte.
//!
//! Everybody allocates, fills, grows, shares, clones and frees, and sends what it has to others through queues in the arena. Every now and then the auditor asks all to
//! stand still between two operations and to say what they have. It repairs for the dead, takes out what the queues hold, and then
//!
//! - **no byte is lost**: what is free is the arena's size less the blocks of those who stand there, of the auditor, and of the queues; and **none is given twice**:
//!   nothing that is owned alone is owned by two, and all contents are what their owners wrote;
//! - **the counts are right**: a shared value has as many handles as were told, and goes with the last.
//!
//! At the end of a round everybody is dead, and nobody has anything but the auditor. When that has dropped what came out of the queues, all that is free can be allocated, to
//! the last byte.
//!
//! Of the items in the queues the same is known as in `queue.rs`: what was put comes out, once. In rounds of leases nothing may be missing; otherwise each death in a `get`
//! excuses one.

use crate::journal::Shared;
use crate::random::Random;
use crate::stock::{Boards, Entry, Held, Thing};
use crate::subject::{Dead, End, Findings, Part, Stage, Subject, Trouble};
use crate::worker::{self, Worker};
use skep::{AllocError, Arena, ArenaOptions, Queue, ShmSlice};
use std::collections::{HashMap, HashSet};
use std::os::fd::AsFd;
use std::sync::atomic::{
    AtomicU8, AtomicU64, Ordering::AcqRel, Ordering::Acquire, Ordering::Relaxed, Ordering::Release,
};
use std::time::{Duration, Instant};

/// The most items that one life puts.
pub const QUOTA: u64 = 1 << 14;
/// The queues, which whoever comes first creates.
pub const QUEUES: [&str; 2] = ["some", "others"];
/// The mean time between two audits.
const BETWEEN_AUDITS: Duration = Duration::from_millis(20);

/// What goes through a queue: its number, and bytes, so that some items have a block of their own.
pub type Item = (u64, Vec<Held>, Vec<u8>);

pub struct Memory {
    pub arena: Arena,
    /// The bytes of the smallest block.
    pub granule: usize,
    /// Slots of a queue.
    pub slots: usize,
    /// Items are taken by leases.
    pub keeps: bool,
    pub boards: Boards,
    /// How often each item came out, by its id.
    pub ledger: Shared<AtomicU8>,
    /// The audit that is asked for; zero: none.
    pub asked: Shared<AtomicU64>,
    name: Option<String>,
    peers: usize,
    /// The auditor's, as soon as somebody has created them.
    queues: Vec<Queue<Item>>,
    /// What a queue's block takes.
    queue_bytes: u64,
    audits: u64,
    next_audit: Instant,
    random: Random,
    /// What each life has begun to put, and put.
    lives: Vec<(u64, u64)>,
    excused: u64,
    once_more: HashMap<u64, u8>,
    findings: Findings,
}

pub fn make(mut stage: Stage) -> Result<Box<dyn Subject>, Trouble> {
    let random = &mut stage.random;
    // Sizes that are no powers of two; often so few places that a newcomer must take a dead one's.
    let peers = 2 * (stage.producers + stage.consumers) + 4 + random.below(6) as usize;
    let (granule, granules) =
        if random.one_in(4) { (4096, 200 + random.below(600)) } else { (64, 300 + random.below(2000)) };
    let ring = (64 * stage.capacity + 128 * peers + 4096).next_power_of_two() as u64;
    let bytes = granules * granule as u64 + 3 * ring;
    // In many steps, or at once.
    let first = if random.one_in(2) { (20 + random.below(60)) * granule as u64 } else { bytes };
    let options = ArenaOptions::new(first).limit(bytes).smallest_block(granule).peers(peers);
    let trouble = |what: &'static str| move |e: skep::Error| format!("{what}: {e}");
    let queue_bytes = {
        let scratch = options.anonymous().map_err(trouble("making an arena"))?;
        let _queue = Queue::<Item>::create_in(&scratch, QUEUES[0], stage.capacity)
            .map_err(trouble("making a queue in an arena"))?;
        scratch.size() - scratch.free_bytes()
    };
    let arena = match &stage.name {
        Some(name) => options.create(name),
        None => options.anonymous(),
    };
    let memory = |e: std::io::Error| format!("memory for the auditor: {e}");
    Ok(Box::new(Memory {
        arena: arena.map_err(trouble("making an arena"))?,
        granule,
        slots: stage.capacity,
        keeps: stage.random.one_in(2),
        boards: Boards::new(stage.seats()).map_err(memory)?,
        ledger: Shared::new(stage.lives * QUOTA as usize).map_err(memory)?,
        asked: Shared::new(1).map_err(memory)?,
        name: stage.name.clone(),
        peers,
        queues: vec![],
        queue_bytes,
        audits: 0,
        next_audit: Instant::now(),
        random: stage.random.fork(),
        lives: vec![(0, 0); stage.lives],
        excused: 0,
        once_more: HashMap::new(),
        findings: Findings::default(),
    }))
}

impl Subject for Memory {
    fn fault_points(&self, _seat: usize) -> &'static [&'static str] {
        worker::FAULT_POINTS
    }

    fn play(&self, part: Part<'_>) -> Result<(), Trouble> {
        Worker::play(self, part)
    }

    fn bury(&mut self, dead: &Dead<'_>) {
        self.findings.witnessed(dead.journal);
        let board = self.boards.of(dead.seat);
        self.lives[dead.life as usize] = board.puts();
        board.clear();
        if dead.end == End::Left {
            return;
        }
        match (dead.journal.held(), dead.end) {
            (None, _) => {}
            // It still had the item's place.
            (Some(worker::GETTING), End::At("get: announced" | "get: claimed" | "lease: written")) => {}
            (Some(worker::GETTING), End::At("lease: taken" | "take: taken")) => {}
            (Some(worker::GETTING), _) => self.excused += 1,
            (Some(id), _) => *self.once_more.entry(id).or_default() += 1,
        }
    }

    fn audit(&mut self, playing: &[usize]) -> Result<(), Trouble> {
        let asked = self.asked[0].load(Relaxed);
        if asked == 0 {
            if Instant::now() >= self.next_audit {
                self.audits += 1;
                self.asked[0].store(self.audits, Release);
            }
        } else if playing.iter().all(|&seat| self.boards.of(seat).stands_still_for(asked)) {
            let taken = self.account(playing)?;
            self.put_back(taken);
            self.next_audit = Instant::now() + BETWEEN_AUDITS.mul_f64(self.random.below(200) as f64 / 100.0);
            self.asked[0].store(0, Release);
        }
        Ok(())
    }

    fn judge(mut self: Box<Self>) -> Result<Findings, Trouble> {
        let taken = self.account(&[])?;
        taken.iter().for_each(|(_, item)| _ = self.record(item));
        drop(taken);
        self.account(&[])?;
        let free = self.arena.limit() - self.queues.len() as u64 * self.queue_bytes;
        self.miss("bytes that can be allocated", free, self.allocate_all()?);
        self.count();
        self.findings.entries += self.places_left()?;
        Ok(self.findings)
    }
}

impl Memory {
    /// As any process joins: by name, or by descriptor.
    pub fn join(&self) -> Result<Arena, skep::Error> {
        match (&self.name, self.arena.as_fd().try_clone_to_owned()) {
            (Some(name), _) => Arena::open(name),
            (None, Ok(descriptor)) => Arena::from_fd(descriptor),
            (None, Err(_)) => Err(skep::Error::Setup("duplicating a descriptor")),
        }
    }

    /// Counts an item that came out.
    pub fn record(&self, item: &Item) -> bool {
        let count = self.ledger.get(item.0 as usize);
        count.inspect(|count| _ = count.fetch_add(1, AcqRel)).is_some()
    }

    // --- the books -----------------------------------------------------------------------------------------------

    /// Nobody moves, and those who play have said what they have. Repairs for the dead, takes everything out of the queues, and compares.
    fn account(&mut self, playing: &[usize]) -> Result<Vec<(usize, Item)>, Trouble> {
        let recover = || self.arena.recover().map_err(|e| format!("recover: {e}"));
        recover()?;
        let not_at_once = recover()?;
        self.findings.entries += not_at_once as u64;
        self.open_queues()?;
        let taken = self.take_out();
        let entries: Vec<Entry> = {
            let of_others = playing.iter().flat_map(|&seat| self.boards.of(seat).entries());
            let ours = taken.iter().flat_map(|(_, item)| item.1.iter().map(|held| held.entry(self.granule)));
            of_others.chain(ours).collect()
        };
        let (mut owned, mut shared) = (HashSet::new(), HashMap::<u64, (u64, usize)>::new());
        let mut held = self.queues.len() as u64 * self.queue_bytes;
        for &Entry { id, bytes, is_shared } in &entries {
            if is_shared {
                held += self.granule as u64;
                shared.entry(id).or_insert((bytes, 0)).1 += 1;
            } else {
                held += bytes;
                self.findings.duplicated += u64::from(!owned.insert(id));
            }
        }
        held += shared.values().map(|&(bytes, _)| bytes).sum::<u64>();
        for held in taken.iter().flat_map(|(_, item)| &item.1) {
            self.findings.torn += u64::from(!held.is_whole());
            if let Thing::Shared(arc) = &held.thing {
                let told = shared.get(&held.id).map_or(0, |&(_, count)| count);
                self.miss("references to what is shared", told as u64, arc.count() as u64);
            }
        }
        self.miss("bytes that are free", self.arena.size() - held, self.arena.free_bytes());
        Ok(taken)
    }

    /// Notes what is not as it should be.
    fn miss(&mut self, what: &str, expected: u64, found: u64) {
        if expected != found {
            eprintln!("torture: {what}: {expected} expected, {found} found, in audit {}", self.audits);
            self.findings.bytes += expected.abs_diff(found);
        }
    }

    /// Joins the queues that there are by now.
    fn open_queues(&mut self) -> Result<(), Trouble> {
        for name in &QUEUES[self.queues.len()..] {
            match Queue::open_in(&self.arena, name) {
                Ok(queue) => self.queues.push(queue),
                Err(skep::Error::NotFound { .. }) => break, // they are created in order
                Err(e) => return Err(format!("joining a queue: {e}")),
            }
        }
        Ok(())
    }

    fn take_out(&mut self) -> Vec<(usize, Item)> {
        let mut taken = vec![];
        for (number, queue) in self.queues.iter_mut().enumerate() {
            loop {
                match queue.try_get() {
                    Ok(item) => taken.push((number, item)),
                    Err(skep::RecvValueError::Empty) => break,
                    Err(e) => {
                        eprintln!("torture: taking an item out: {e}");
                        self.findings.torn += 1;
                        break;
                    }
                }
            }
        }
        taken
    }

    fn put_back(&mut self, taken: Vec<(usize, Item)>) {
        for (queue, item) in taken {
            if let Err(refused) = self.queues[queue].try_put(item)
                && let Some(item) = refused.into_value()
            {
                self.record(&item); // there is no room for it as the arena is cut up now
            }
        }
    }

    /// Takes everything that is free, the largest blocks first: so many bytes.
    fn allocate_all(&self) -> Result<u64, Trouble> {
        let mut all: Vec<ShmSlice<u8>> = vec![];
        let mut bytes = self.arena.limit().next_power_of_two() as usize;
        while bytes >= self.granule {
            match self.arena.slice_unfilled(bytes) {
                Ok(slice) => all.push(slice),
                Err(AllocError::Full { .. } | AllocError::TooLarge { .. }) => bytes /= 2,
                Err(e) => return Err(format!("allocating what is free: {e}")),
            }
        }
        Ok(all.iter().map(|slice| slice.len() as u64).sum())
    }

    /// Compares what came out with what was put.
    fn count(&mut self) {
        let mut missing = 0;
        for (life, &(begun, done)) in self.lives.iter().enumerate() {
            // Behind the last one that was begun nothing may have come out; a few are looked at.
            for number in 0..(begun + 8).min(QUOTA) {
                let id = life as u64 * QUOTA + number;
                let came_out = u64::from(self.ledger[id as usize].load(Acquire));
                let once_more = self.once_more.get(&id).copied().unwrap_or(0);
                missing += u64::from(number < done && came_out == 0);
                self.findings.duplicated += came_out.saturating_sub(1 + u64::from(once_more));
                self.findings.torn += u64::from(number >= begun && came_out > 0);
            }
        }
        self.findings.lost += missing.saturating_sub(self.excused);
    }

    /// How many places the arena does not give, though nobody else is there.
    fn places_left(&self) -> Result<u64, Trouble> {
        let mut others = vec![];
        while let Ok(other) = self.arena.another() {
            others.push(other);
        }
        let ours = 1 + self.queues.len() + others.len();
        Ok(self.peers.abs_diff(ours) as u64)
    }
}
