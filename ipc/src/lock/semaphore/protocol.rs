//! The semaphore: permits that participants hold, and that come back when their holder dies.
//!
//! A permit moves between the pool and a holder, two places that one CAS cannot write. So the word that the CAS changes says *whose* change was the last
//! and *which* of that author's; what that change came to stands in a record of its author's. To take permits and to know oneself as their holder
//! is then one step. It is a detectable CAS, of the family of Attiya, Ben-Baruch and Hendler ("Nesting-Safe Recoverable Linearizability", PODC 2018): it
//! can be told of each attempt, by others and after its author's death, whether it succeeded.
//!
//! # The words
//! | word | | meaning |
//! | --- | --- | --- |
//! | control | `{ number: 52, author: 12 }` | the last change: the author's change of that number |
//! | claim, one a participant | op | the number of the change that it is about: all before that have succeeded; it alone writes this |
//! | | certified | a number of its changes of which others have written down that it succeeded, the highest one |
//! | | records: 2 × ( `{ total: 32, available: 32 }`, held ) | what its changes of even and odd number came to |
//!
//! `available` permits are free, `total` of them exist, free or held, and the author held `held` after the change. Everybody holds what stands in the record
//! of its own last change.
//!
//! # Steps of a change, by participant p
//! | step | | pairs with |
//! | --- | --- | --- |
//! | C1 | read op\[p\] (Acquire): number n; the record of n - 1 says what p holds | C6, M2 |
//! | C2 | read the word (Acquire): `{ m, q }`, and the record of q's change m (Acquire) | C5, C4 |
//! | C3 | op\[q\] is m: certified\[q\] := m, unless it is that already, or more | M1 |
//! | C4 | write p's record of n: what there will be (Release) | C2 |
//! | C5 | CAS the word `{ m, q }` → `{ n, p }` (AcqRel): **the change**; it fails: back to C2 | C2, M1 |
//! | C6 | op\[p\] := n + 1 (Release) | C1, C3 |
//! | C7 | wake those who wait, if the change has freed permits | |
//!
//! If the record shows that the change is not possible, and the word has not changed since C2, it is refused; n is used for the next one.
//!
//! # Mending for a participant d that is dead, or leaves
//! | step | | pairs with |
//! | --- | --- | --- |
//! | M1 | (d's entry lock is held, so d's last step is seen.) op\[d\] is n. The word (Acquire) is `{ n, d }`, or else certified\[d\] is n: change n succeeded; otherwise it did not | C5, C3 |
//! | M2 | if it did: op\[d\] := n + 1 (Release), which is d's own C6 | C1 |
//! | M3 | the record of d's last change says that it holds something: give that back by a change *of d's*, C1 to C6 | |
//! | M4 | wake those who wait, if permits are free: d may have been woken for them, or have died before it woke anybody | |
//!
//! # Invariants
//! 1. **A participant's changes are numbered without a gap**, over all who have had its place one after the other, since only C6 and M2 count up, and only after a
//!    success. So no value of the word ever comes again, and a CAS that succeeds at C5 has found the very change that C2 read. (A place whose 2⁵² numbers are
//!    used up, after years of nothing else, makes no more changes.)
//! 2. **Of a change that succeeded, the word says so, or it is certified, or its author has counted up.** Whoever replaces `{ m, q }` at C5 has been at C3 with it before.
//!    What it read of op\[q\] there was m or more, since q wrote m by C6 or M2 before its C5 with it, which C2 has acquired; and where it was m, certified\[q\] became
//!    m at least before C5. Whoever finds the word replaced (M1, Acquire: all changes of the word are CASes, so the chain of them is one release sequence) finds it certified.
//! 3. **Nothing is certified that did not succeed**: C3 certifies a number only that it found in the word. So `certified` is m at most, as long as m is the
//!    last that succeeded, however late a slow certifier writes.
//! 4. **The record of the change in the word is whole, and stays so while the word does.** C4 comes before C5; and q writes the same record again only for m + 2, after
//!    the word has become `{ m + 1, q }`, and by invariant 1 it is not `{ m, q }` again. A read of that later record has acquired this, so the second look at the word, or
//!    the CAS, finds it changed.
//! 5. **Permits are conserved**: `available` + what all hold = `total`. One CAS, C5, makes the record of n the one that says what the pool is, and the one that says
//!    what p holds.
//!
//! # Why a number and not a bit
//! A word `{ available, author, parity }` with records of one word is smaller, but comes again: between another's C3 and C5, q may take, give back and take, and leave the very word
//! that was certified for the first of the three. The CAS then succeeds, and replaces the third without its having been certified: if q dies before it
//! counts up, its permit is lost.
//!
//! # A kill at each step
//! - before C5: nothing has changed. A half-written record belongs to a change that did not happen; M1 finds it neither in the word nor certified.
//!   What C3 has certified is so, whoever wrote it down.
//! - between C5 and C6: the change happened; M1 finds it by invariant 2, M3 gives back what it took.
//! - between C6 and the end of C7: M4 wakes; until somebody mends, sleepers look again at the end of their slice.
//! - with permits held: M3.
//! - the mender, in M1 or M2: one store, done or not. In M3: this is d dying once more, in the middle of a change; M1 starts again. In M4: likewise, and M3 then finds nothing to give back.
//!
//! # Waiting
//! Who waits for one permit sleeps apart from who waits for several, so that who frees n permits wakes n of the former, each of whom can use one, and all of the latter, as
//! some may not have enough yet. Permits are taken all at once or not at all.

use crate::fault;
use crate::sync::{AcqRel, Acquire, AtomicU32, AtomicU64, Relaxed, Release};
use crate::table::Table;
use crate::wait::{Until, WaitWord, wait};

/// The most permits that may exist.
pub(crate) const MOST: u32 = i32::MAX as u32;

const AUTHOR_BITS: u32 = 12;
#[cfg(not(loom))]
const _: () = assert!(crate::header::MAX_PEERS <= 1 << AUTHOR_BITS);
/// Where a participant's numbers end.
const LAST: u64 = u64::MAX >> AUTHOR_BITS;
/// A participant's first change; the number before it is that of the state at birth, of which participant 0 is the author.
const FIRST: u64 = 1;

/// The words that all share. Zeroes name the state at birth.
#[cfg_attr(not(loom), repr(C))]
pub(crate) struct Control {
    word: AtomicU64,
    /// How many permits may exist; written before anybody sees it.
    bound: AtomicU32,
    /// Who waits for one permit sleeps here.
    singles: WaitWord,
    /// Who waits for several.
    several: WaitWord,
}

/// The words of one participant. [`Permits::init`] makes zeroes one that holds nothing.
#[cfg_attr(not(loom), repr(C, align(128)))]
pub(crate) struct Claim {
    /// The number of the change that the participant is about.
    op: AtomicU64,
    certified: AtomicU64,
    records: [Record; 2],
}

/// What a change came to.
#[cfg_attr(not(loom), repr(C))]
struct Record {
    /// `{ total: 32, available: 32 }`
    pool: AtomicU64,
    held: AtomicU32,
}

/// The control word: which change was the last one.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Last {
    author: usize,
    number: u64,
}

impl Last {
    fn unpack(word: u64) -> Self {
        Last { author: (word & ((1 << AUTHOR_BITS) - 1)) as usize, number: word >> AUTHOR_BITS }
    }

    fn pack(self) -> u64 {
        self.number << AUTHOR_BITS | self.author as u64
    }
}

/// How many permits there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pool {
    pub(crate) total: u32,
    pub(crate) available: u32,
}

/// What a participant does to the permits.
#[derive(Clone, Copy)]
enum Change {
    /// Free ones become its own.
    Take(u32),
    /// His become free.
    Give(u32),
    /// His are gone for good.
    Spend(u32),
    /// New ones appear, which are free.
    Add(u32),
}

/// Why a change was not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// There are not so many permits, or there would be too many of them.
    Not,
    /// A word has an impossible value.
    Corrupt,
}

impl Pool {
    fn unpack(word: u64) -> Self {
        Pool { total: (word >> 32) as u32, available: word as u32 }
    }

    fn pack(self) -> u64 {
        u64::from(self.total) << 32 | u64::from(self.available)
    }

    /// What a change makes of the pool and of what its author holds.
    fn after(self, held: u32, change: Change, bound: u32) -> Result<(Pool, u32), Refusal> {
        let Pool { total, available } = self;
        // What is free and what the author holds are parts of what there is, and that is within the bound.
        let is_possible = available.checked_add(held).is_some_and(|sum| sum <= total) && total <= bound;
        if !is_possible {
            return Err(Refusal::Corrupt);
        }
        let less = |from: u32, n: u32, or: Refusal| from.checked_sub(n).ok_or(or);
        match change {
            Change::Take(n) => {
                less(available, n, Refusal::Not).map(|available| (Pool { total, available }, held + n))
            }
            Change::Give(n) => {
                less(held, n, Refusal::Corrupt).map(|held| (Pool { total, available: available + n }, held))
            }
            Change::Spend(n) => {
                let held = less(held, n, Refusal::Corrupt)?;
                Ok((Pool { total: total - n, available }, held))
            }
            Change::Add(n) => {
                let total = total.checked_add(n).filter(|&sum| sum <= bound).ok_or(Refusal::Not)?;
                Ok((Pool { total, available: available + n }, held))
            }
        }
    }
}

impl Claim {
    #[cfg(loom)]
    pub(crate) fn new() -> Self {
        let record = || Record { pool: AtomicU64::new(0), held: AtomicU32::new(0) };
        Claim { op: AtomicU64::new(0), certified: AtomicU64::new(0), records: [record(), record()] }
    }

    /// The record of a change.
    fn record(&self, number: u64) -> &Record {
        &self.records[(number % 2) as usize]
    }

    /// What the participant held after a change.
    fn held_after(&self, number: u64) -> u32 {
        self.record(number).held.load(Relaxed) // ordered by C1, or by M1
    }

    /// C3: writes down that change `number`, which was found in the word, succeeded.
    fn certify(&self, number: u64) {
        if self.op.load(Relaxed) != number {
            return; // C3: C2 has acquired a C6 or M2
        }
        let mut seen = self.certified.load(Relaxed);
        while seen < number {
            // C3 pairs with M1 by way of the word
            match self.certified.compare_exchange(seen, number, Relaxed, Relaxed) {
                Ok(_) => break,
                Err(now) => seen = now,
            }
        }
        fault::point("semaphore: certified");
    }
}

#[cfg(loom)]
impl Control {
    pub(crate) fn new() -> Self {
        let sleepers = WaitWord::new;
        Control {
            word: AtomicU64::new(0),
            bound: AtomicU32::new(0),
            singles: sleepers(),
            several: sleepers(),
        }
    }
}

/// A semaphore's words.
#[derive(Clone, Copy)]
pub(crate) struct Permits<'a> {
    control: &'a Control,
    claims: Table<'a, Claim>,
}

impl<'a> Permits<'a> {
    pub(crate) fn new(control: &'a Control, claims: Table<'a, Claim>) -> Self {
        Permits { control, claims }
    }

    /// Makes zeroes a semaphore with free permits, before anybody else sees it.
    pub(crate) fn init(self, permits: u32, bound: u32) {
        let birth = Last::unpack(0);
        let record = self.claims.entry(birth.author).record(birth.number);
        record.pool.store(Pool { total: permits, available: permits }.pack(), Release);
        self.claims.iter().for_each(|claim| claim.op.store(FIRST, Release));
        self.control.bound.store(bound, Release);
    }

    /// How many permits may exist.
    pub(crate) fn bound(self) -> u32 {
        self.control.bound.load(Relaxed).min(MOST) // constant since before anybody else saw it
    }

    /// How many permits there are at one moment.
    pub(crate) fn pool(self) -> Result<Pool, Refusal> {
        loop {
            let (last, pool) = self.last()?;
            if self.is_still(last) {
                return if pool.available <= pool.total { Ok(pool) } else { Err(Refusal::Corrupt) };
            }
        }
    }

    /// C2.
    fn last(self) -> Result<(Last, Pool), Refusal> {
        let last = Last::unpack(self.control.word.load(Acquire)); // C2 pairs with C5
        if last.author >= self.claims.count() {
            return Err(Refusal::Corrupt);
        }
        let record = self.claims.entry(last.author).record(last.number);
        Ok((last, Pool::unpack(record.pool.load(Acquire)))) // C2 pairs with C4
    }

    /// Whether what C2 read was read whole (invariant 4).
    fn is_still(self, last: Last) -> bool {
        self.control.word.load(Acquire) == last.pack()
    }

    /// C1 to C6, as participant `p`. Says how many permits became free.
    fn change(self, p: usize, change: Change) -> Result<u32, Refusal> {
        let (claim, bound) = (self.claims.entry(p), self.bound());
        let number = claim.op.load(Acquire); // C1 pairs with C6 and M2
        if !(FIRST..LAST).contains(&number) {
            return Err(Refusal::Corrupt);
        }
        let held = claim.held_after(number - 1);
        loop {
            let (last, pool) = self.last()?; // C2
            let (next, will_hold) = match pool.after(held, change, bound) {
                Ok(next) => next,
                Err(refusal) if self.is_still(last) => return Err(refusal),
                Err(_) => continue,
            };
            self.claims.entry(last.author).certify(last.number); // C3
            let record = claim.record(number);
            record.pool.store(next.pack(), Release); // C4 pairs with C2
            record.held.store(will_hold, Relaxed); // C5 and C6 publish it
            fault::point("semaphore: recorded");
            let mine = Last { author: p, number };
            // C5 pairs with C2 and M1
            if self.control.word.compare_exchange(last.pack(), mine.pack(), AcqRel, Relaxed).is_ok() {
                fault::point("semaphore: changed");
                claim.op.store(number + 1, Release); // C6 pairs with C1 and C3
                fault::point("semaphore: counted up");
                return Ok(next.available.saturating_sub(pool.available));
            }
        }
    }

    /// C7. Wakes those who can use what became free.
    fn wake(self, freed: u32) {
        if freed > 0 {
            self.control.singles.wake(freed);
            fault::point("semaphore: woke those who wait for one");
            self.control.several.wake(u32::MAX);
        }
    }

    /// Takes `n` permits for `p`, if so many are free.
    #[inline]
    pub(crate) fn take(self, p: usize, n: u32) -> Result<(), Refusal> {
        self.change(p, Change::Take(n)).map(drop)
    }

    /// Takes `n` permits for `p` as soon as so many are free; `Not` when the time is over.
    pub(crate) fn take_until(
        self,
        p: usize,
        n: u32,
        until: Until,
        check: impl FnMut() -> bool,
    ) -> Result<(), Refusal> {
        let look = || match self.take(p, n) {
            Err(Refusal::Not) => None,
            result => Some(result),
        };
        let word = if n > 1 { &self.control.several } else { &self.control.singles };
        wait(word, until, look, check).unwrap_or(Err(Refusal::Not))
    }

    /// Gives back `n` permits that `p` holds.
    pub(crate) fn give(self, p: usize, n: u32) -> Result<(), Refusal> {
        self.change(p, Change::Give(n)).map(|freed| self.wake(freed))
    }

    /// Ends `n` permits that `p` holds.
    pub(crate) fn spend(self, p: usize, n: u32) -> Result<(), Refusal> {
        self.change(p, Change::Spend(n)).map(drop)
    }

    /// Makes `n` more, in `p`'s name; `Not` beyond the bound.
    pub(crate) fn add(self, p: usize, n: u32) -> Result<(), Refusal> {
        self.change(p, Change::Add(n)).map(|freed| self.wake(freed))
    }

    /// What `p` holds, who is not in the middle of a change.
    pub(crate) fn held(self, p: usize) -> u32 {
        let claim = self.claims.entry(p);
        claim.held_after(claim.op.load(Acquire).saturating_sub(1))
    }

    /// M1 to M4, for `d`, which is dead or leaves, and for which nobody else does it.
    pub(crate) fn mend(self, d: usize) {
        let claim = self.claims.entry(d);
        let number = claim.op.load(Acquire);
        if self.has_succeeded(d, number) {
            claim.op.store(number.saturating_add(1), Release); // M2 pairs with C1
            fault::point("semaphore mend: counted up");
        }
        let held = self.held(d);
        if held > 0 {
            let _ = self.change(d, Change::Give(held)); // M3; of a corrupt semaphore nothing can be given back
            fault::point("semaphore mend: given back");
        }
        self.wake(self.pool().map_or(0, |pool| pool.available)); // M4
    }

    /// M1.
    fn has_succeeded(self, d: usize, number: u64) -> bool {
        let last = Last::unpack(self.control.word.load(Acquire)); // M1 pairs with C5, and by it with C3
        last == Last { author: d, number } || self.claims.entry(d).certified.load(Relaxed) == number
    }
}
