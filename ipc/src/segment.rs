//! A segment: one region of shared memory, its peer table, and this process's part in it.
//!
//! A segment is built whole and then published in one step: an anonymous one (a memfd, sealed against shrinking, growing and
//! further seals) by handing out its descriptor, a named one by linking its nameless file into `/dev/shm`. Every page is
//! committed before it is touched: at creation, but for an arena's, which are as it grows. Whoever attaches
//! checks the header first.

use crate::error::{Error, Mismatch};
use crate::fault;
use crate::fork::Epoch;
#[cfg(feature = "shared_memory")]
use crate::header::has_magic;
use crate::header::{Blueprint, Geometry, HEADER_BYTES, MAX_PEERS, PAGE_BYTES};
use crate::kept_fd::KeptFd;
use crate::liveness::Locks;
use crate::mapping::Mapping;
use crate::memory;
use crate::participant::Participant;
use crate::peer::{self, Entry, GETS, JOINED, Membership, PUTS, Peers, Repair, VACANT};
use crate::process::Process;
use crate::sync::{Acquire, Relaxed, Release};
use crate::sys::{self, Access, FileFacts};
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, OnceLock};

/// How often a newcomer tries to become the repairer before it looks for another entry.
const PATIENCE: u32 = 1000;

/// Instead of an entry's number: of no participant.
const GUEST: usize = usize::MAX;

/// Shared memory that was created or attached, mapped into this process. Clones share the mapping and the descriptor.
///
/// This is the ground that queues, pipes and locks stand on, and public for objects of your own. The body is plain memory; who may touch
/// which of its bytes when is the business of the protocol that you run in it.
///
/// ```
/// use skep_ipc::{Blueprint, Item, Kind, Segment};
/// let blueprint = Blueprint { kind: Kind::new(*b"counters"), item: Item::of::<u64>(), body_len: |n| n.checked_mul(8) };
/// use std::os::fd::AsFd;
/// let here = Segment::anonymous(&blueprint, 16, 2)?;
/// let there = Segment::from_fd(here.as_fd().try_clone_to_owned().unwrap(), &blueprint)?; // in any process
/// assert_eq!(there.capacity(), 16);
/// # Ok::<(), skep_ipc::Error>(())
/// ```
#[derive(Clone)]
pub struct Segment(Arc<Inner>);

struct Inner {
    map: Mapping,
    geometry: Geometry,
    file: KeptFd,
    /// The same, once the program has closed the first one.
    file_again: OnceLock<KeptFd>,
    /// When no way led to the file any more, in milliseconds; 0: it was never so.
    blind_since: AtomicU32,
    locks: Locks,
    process: Process,
}

/// How long, in milliseconds, a process that finds no way to its file waits before it looks again: it looks through `/proc`.
const BLIND: u32 = 1000;

impl Segment {
    // --- create and attach ---------------------------------------------------------------------------------------

    /// Creates an anonymous segment: zeroed, sealed, all pages reserved. It lives as long as a descriptor or mapping of it.
    ///
    /// # Errors
    /// [`Error::Capacity`], [`Error::Peers`], [`Error::NoMemory`], [`Error::Os`].
    pub fn anonymous(blueprint: &Blueprint, capacity: u64, peers: usize) -> Result<Segment, Error> {
        Segment::build(None, blueprint, (capacity, peers), |_| Ok(()), Ok)
    }

    /// Creates an object, anonymous or named, whose whole segment is committed.
    ///
    /// `init` fills the zeroed body, and `handle` makes the object's first handle, before anybody else
    /// can find the segment: the name comes last, and in one step. So whatever fails, and at whatever
    /// instruction this process is killed, the name leads to a whole object or does not exist.
    pub(crate) fn build<H>(
        name: Option<&str>,
        blueprint: &Blueprint,
        (capacity, peers): (u64, usize),
        init: impl FnOnce(NonNull<u8>) -> Result<(), Error>,
        handle: impl FnOnce(Segment) -> Result<H, Error>,
    ) -> Result<H, Error> {
        let geometry = possible(blueprint, capacity, peers)?;
        let reserve = |file: &OwnedFd| memory::commit(file, 0..geometry.total);
        Segment::build_with(name, blueprint, geometry, reserve, init, handle)
    }

    /// Creates an object as [`build`](Self::build) does, whose segment has its full length but memory
    /// for some ranges of its body only: the others must not be touched before they are
    /// [reserved](Self::reserve).
    pub(crate) fn build_sparse<H>(
        name: Option<&str>,
        blueprint: &Blueprint,
        (capacity, peers): (u64, usize),
        ranges: &[Range<u64>],
        init: impl FnOnce(NonNull<u8>) -> Result<(), Error>,
        handle: impl FnOnce(Segment) -> Result<H, Error>,
    ) -> Result<H, Error> {
        let geometry = possible(blueprint, capacity, peers)?;
        let reserve = |file: &OwnedFd| {
            memory::set_length(file, geometry.total)?;
            memory::commit(file, 0..geometry.body)?;
            ranges.iter().try_for_each(|range| reserve_in(file, &geometry, range.clone()))
        };
        Segment::build_with(name, blueprint, geometry, reserve, init, handle)
    }

    /// Has the kernel commit memory for a range of the body, whole pages. What is committed already stays as it is.
    pub(crate) fn reserve(&self, range: Range<u64>) -> Result<(), Error> {
        self.with_file(|file| reserve_in(file, &self.0.geometry, range))
    }

    /// Gives a descriptor of the segment's file, opened anew if the program has closed it.
    pub(crate) fn with_file<R>(&self, f: impl FnOnce(&OwnedFd) -> Result<R, Error>) -> Result<R, Error> {
        let kept = [Some(&self.0.file), self.0.file_again.get()];
        match kept.into_iter().flatten().find_map(KeptFd::get) {
            Some(file) => f(file),
            None => f(&self.reopened()?),
        }
    }

    /// The segment's file once more, when the program has closed its descriptors.
    #[cold]
    fn reopened(&self) -> Result<OwnedFd, Error> {
        let (now, blind_since) = (sys::milliseconds() | 1, self.0.blind_since.load(Relaxed));
        if blind_since != 0 && now.wrapping_sub(blind_since) < BLIND {
            return Err(Error::DescriptorLost);
        }
        let peers = self.peers().iter().filter(|entry| entry.state.load(Acquire) == JOINED);
        let others = peers.map(|entry| entry.pid.load(Acquire)).filter(|&pid| pid != self.0.process.pid);
        let file = sys::open_by_id(self.0.file.file(), others);
        self.0.blind_since.store(if file.is_some() { 0 } else { now }, Relaxed);
        file.ok_or(Error::DescriptorLost)
    }

    /// The locks of this attachment, if need be on a new descriptor.
    fn locks(&self) -> Result<&Locks, Error> {
        let locks = &self.0.locks;
        if locks.are_lost() {
            let is_ours = |peer| self.peers().entry(peer).process() == self.0.process;
            locks.renew(&self.reopened()?, is_ours)?;
        }
        Ok(locks)
    }

    /// Whether this process still can learn of others' deaths.
    ///
    /// # Errors
    /// [`Error::Forked`], [`Error::DescriptorLost`].
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.is_own() { self.locks().map(drop) } else { Err(Error::Forked) }
    }

    fn build_with<H>(
        name: Option<&str>,
        blueprint: &Blueprint,
        geometry: Geometry,
        reserve: impl FnOnce(&OwnedFd) -> Result<(), Error>,
        init: impl FnOnce(NonNull<u8>) -> Result<(), Error>,
        handle: impl FnOnce(Segment) -> Result<H, Error>,
    ) -> Result<H, Error> {
        let Some(name) = name else {
            let file = sys::anonymous_file(c"skep")?;
            reserve(&file)?;
            sys::seal(&file)?;
            return handle(Segment::fill(file, blueprint, geometry, init)?);
        };
        sys::check_unused(name)?;
        let file = sys::unnamed_file()?;
        reserve(&file)?;
        let segment = Segment::fill(file, blueprint, geometry, init)?;
        let handle = handle(segment.clone())?;
        fault::point("create: filled");
        segment.with_file(|file| sys::publish(file, name))?;
        fault::point("create: published");
        Ok(handle)
    }

    /// Creates a named segment; its body is zeroed.
    ///
    /// # Errors
    /// [`Error::Exists`] if the name is taken, and as [`anonymous`](Self::anonymous).
    pub fn create(name: &str, blueprint: &Blueprint, capacity: u64, peers: usize) -> Result<Segment, Error> {
        Segment::build(Some(name), blueprint, (capacity, peers), |_| Ok(()), Ok)
    }

    /// Attaches to the segment of that name.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Mismatch`] if it is not what `blueprint` says; [`Error::Os`].
    pub fn open(name: &str, blueprint: &Blueprint) -> Result<Segment, Error> {
        Segment::from_fd(sys::open_named(name)?, blueprint)
    }

    /// Attaches to the segment of that name, or creates it if there is none; its body is zeroed then.
    ///
    /// # Errors
    /// [`Mismatch::Option`] if there is one with another capacity or number of participants. Other
    /// errors are those of [`create`](Self::create) and [`open`](Self::open).
    pub fn open_or_create(
        name: &str,
        blueprint: &Blueprint,
        capacity: u64,
        peers: usize,
    ) -> Result<Segment, Error> {
        let create = || Segment::create(name, blueprint, capacity, peers);
        let open = || {
            let segment = Segment::open(name, blueprint)?;
            agree("capacity", segment.capacity(), capacity)?;
            segment.agree_on_peers(peers)?;
            Ok(segment)
        };
        open_or_create(open, create)
    }

    /// Removes the name. Whoever is attached goes on; the memory is freed with the last of them.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Os`].
    pub fn unlink(name: &str) -> Result<(), Error> {
        sys::unlink(name)
    }

    /// Attaches to the segment behind a descriptor that another process passed on.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if it is not what `blueprint` says; [`Error::Os`].
    pub fn from_fd(file: OwnedFd, blueprint: &Blueprint) -> Result<Segment, Error> {
        let facts = sys::file_facts(&file)?;
        check_file(&facts)?;
        Segment::attach(Mapping::of_file(&file, facts.bytes)?, file, blueprint)
    }

    fn fill(
        file: OwnedFd,
        blueprint: &Blueprint,
        geometry: Geometry,
        init: impl FnOnce(NonNull<u8>) -> Result<(), Error>,
    ) -> Result<Segment, Error> {
        let map = Mapping::of_file(&file, geometry.total)?;
        map.write_new(blueprint, &geometry, init)?;
        Segment::assemble(map, file, geometry)
    }

    /// Attaches to the segment in a mapping of `file`.
    pub(crate) fn attach(map: Mapping, file: OwnedFd, blueprint: &Blueprint) -> Result<Segment, Error> {
        let geometry = blueprint.check(&map.header(), map.bytes())?;
        Segment::assemble(map, file, geometry)
    }

    /// Makes a segment in a mapping of `file` of at least `geometry.total` bytes, which others may have mapped too: one of those who try
    /// to at the same time does, and none if there is one already (`taken`).
    #[cfg(feature = "shared_memory")]
    pub(crate) fn build_in(
        map: Mapping,
        file: OwnedFd,
        blueprint: &Blueprint,
        geometry: Geometry,
        init: impl FnOnce(NonNull<u8>) -> Result<(), Error>,
        taken: impl Fn() -> Error,
    ) -> Result<Segment, Error> {
        let segment = Segment::assemble(map, file, geometry)?;
        let build = || {
            let map = &segment.0.map;
            if has_magic(&map.header()) {
                return Err(taken());
            }
            // SAFETY: the mapping has `total` bytes; the caller owns them, and this is the only builder.
            unsafe { map.base().write_bytes(0, geometry.total as usize) };
            map.write_new(blueprint, &geometry, init)
        };
        segment.exclusively(build).unwrap_or_else(|| Err(taken()))?;
        Ok(segment)
    }

    fn assemble(map: Mapping, file: OwnedFd, geometry: Geometry) -> Result<Segment, Error> {
        let locks = Locks::open(&file, geometry.peers)?;
        let file = KeptFd::new(file).map_err(|e| Error::os("fstat", e))?;
        let (file_again, blind_since, process) =
            (OnceLock::new(), AtomicU32::new(0), Process::this(locks.epoch()));
        let segment =
            Segment(Arc::new(Inner { map, geometry, file, file_again, blind_since, locks, process }));
        segment.cross_out_former_selves();
        Ok(segment)
    }

    // --- what it is ----------------------------------------------------------------------------------------------

    /// The capacity that it was created with, as its blueprint counts.
    pub fn capacity(&self) -> u64 {
        self.0.geometry.capacity
    }

    /// How many participants it was created for.
    pub fn max_peers(&self) -> usize {
        self.0.geometry.peers
    }

    /// Checks that it was created for so many participants.
    pub(crate) fn agree_on_peers(&self, peers: usize) -> Result<(), Mismatch> {
        agree("number of participants", self.max_peers() as u64, peers as u64)
    }

    /// The first byte of the body, page aligned; valid as long as this segment or a clone of it.
    ///
    /// Other processes may write to it at any time: make no references to it beyond atomics.
    pub fn body(&self) -> NonNull<u8> {
        // SAFETY: the body lies within the mapping, as creation and attach have checked.
        unsafe { self.0.map.base().byte_add(self.0.geometry.body as usize) }
    }

    /// Where in its file the body starts.
    pub(crate) fn body_offset(&self) -> u64 {
        self.0.geometry.body
    }

    /// The bytes of the body.
    pub fn body_len(&self) -> usize {
        self.0.geometry.body_len as usize
    }

    /// Whether this process is the one that created or attached it, and not a forked child of that.
    #[inline]
    pub fn is_own(&self) -> bool {
        self.0.locks.epoch().is_current()
    }

    #[inline]
    pub(crate) fn epoch(&self) -> Epoch {
        self.0.locks.epoch()
    }

    // --- participants --------------------------------------------------------------------------------------------

    /// The peer table.
    #[inline]
    pub(crate) fn peers(&self) -> Peers<'_> {
        // SAFETY: the table is borrowed for no longer than this segment.
        unsafe { self.kept_peers() }
    }

    /// The peer table, for a handle that keeps the segment beside it.
    ///
    /// # Safety
    /// This segment, or a clone of it, lives as long as `'a`.
    #[inline]
    pub(crate) unsafe fn kept_peers<'a>(&self) -> Peers<'a> {
        // SAFETY: the table lies behind the header page within the mapping, which the segment keeps; zeroes are valid
        // entries.
        unsafe {
            let entries = self.0.map.base().byte_add(HEADER_BYTES).cast::<Entry>();
            Peers::new(entries, self.0.geometry.peers)
        }
    }

    /// The participants that the entries of `table` are of: this segment's, or those with the same numbers of an object in it.
    pub(crate) fn participants(&self, table: Peers<'_>, me: usize) -> Result<Vec<Participant>, Error> {
        self.check()?;
        let joined = (0..table.count()).filter(|&peer| table.entry(peer).state.load(Acquire) == JOINED);
        let see = |peer| {
            let entry = table.entry(peer);
            Participant {
                pid: entry.pid.load(Acquire),
                is_alive: peer == me || !self.is_dead(peer),
                is_this: peer == me,
                puts: entry.plays(PUTS),
                gets: entry.plays(GETS),
            }
        };
        Ok(joined.map(see).collect())
    }

    /// What keeps a segment without becoming a participant of it.
    pub(crate) fn guest(&self) -> Member {
        Member { segment: self.clone(), peer: GUEST, found: VACANT, joined: false }
    }

    /// Becomes a participant: takes an entry that is nobody's, or that of a dead one after `repair` has dealt with its words.
    pub(crate) fn join(&self, mut repair: impl FnMut(usize) -> Repair) -> Result<Member, Error> {
        // First the vacant ones: they cost no repair. Then all, since one that was joined may be vacant by now.
        for only_vacant in [true, false] {
            for peer in 0..self.max_peers() {
                if only_vacant && self.peers().entry(peer).state.load(Acquire) == JOINED {
                    continue;
                }
                if let Some(member) = self.join_as(peer, &mut repair)? {
                    return Ok(member);
                }
            }
        }
        Err(Error::TooManyPeers { limit: self.max_peers() })
    }

    /// Takes one particular entry, unless it is a living participant's, or a dead one's that cannot be repaired yet.
    pub(crate) fn join_as(
        &self,
        peer: usize,
        mut repair: impl FnMut(usize) -> Repair,
    ) -> Result<Option<Member>, Error> {
        if !self.is_own() {
            return Err(Error::Forked);
        }
        if !self.locks()?.try_hold(peer)? {
            return Ok(None);
        }
        fault::point("join: locked");
        // From here on dropping `member` lets go of the lock; the entry still is as it was found.
        let entry = self.peers().entry(peer);
        let lives = self.lives(peer); // before the look at the state: see `peer.rs`
        let found = entry.state.load(Acquire);
        let mut member = Member { segment: self.clone(), peer, found, joined: false };
        if found == JOINED && lives {
            return Ok(None);
        }
        if found == JOINED {
            let mut repaired = || {
                self.exclusively(|| {
                    let result = repair(peer);
                    if result == Repair::Done {
                        // Not vacated: should this process die now, the entry still is a dead one's, which for a role is not the same as nobody's.
                        entry.clear_claims();
                    }
                    result
                })
            };
            // Another repairer is done soon, unless it is stopped.
            let result = (0..PATIENCE).find_map(|_| {
                let result = repaired();
                if result.is_none() {
                    std::thread::yield_now();
                }
                result
            });
            if result != Some(Repair::Done) {
                return Ok(None);
            }
        }
        fault::point("join: repaired");
        entry.clear_claims();
        entry.sign(&self.0.process);
        entry.state.store(JOINED, Release);
        fault::point("join: joined");
        member.joined = true;
        Ok(Some(member))
    }

    /// Whether the participant of an entry whose lock is free lives without it.
    fn lives(&self, peer: usize) -> bool {
        let entry = self.peers().entry(peer);
        entry.state.load(Acquire) == JOINED && entry.process().has(self.0.file.file(), &self.0.process)
    }

    /// What this process was before it executed its program lives no more, and nobody else can tell.
    fn cross_out_former_selves(&self) {
        for entry in self.peers().iter() {
            if entry.state.load(Acquire) == JOINED && self.0.process.was(&entry.process()) {
                entry.lock_alone_tells();
            }
        }
    }
}

impl AsFd for Segment {
    /// The descriptor to pass to another process; it attaches with `from_fd`.
    ///
    /// If the program has closed it behind our back, it is opened anew; if that is not possible, this is the number that it had.
    fn as_fd(&self) -> BorrowedFd<'_> {
        let (file, again) = (&self.0.file, &self.0.file_again);
        if file.get().is_none()
            && again.get().is_none()
            && let Ok(Ok(reopened)) = self.reopened().map(KeptFd::new)
        {
            let _ = again.set(reopened);
        }
        match again.get() {
            Some(again) if file.get().is_none() => again.number(),
            _ => file.number(),
        }
    }
}

impl std::fmt::Debug for Segment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Segment")
            .field("bytes", &self.0.geometry.total)
            .field("capacity", &self.capacity())
            .field("max_peers", &self.max_peers())
            .finish_non_exhaustive()
    }
}

impl Membership for Segment {
    fn is_dead(&self, peer: usize) -> bool {
        self.locks().is_ok_and(|locks| locks.is_free(peer)) && !self.lives(peer)
    }

    fn seize<R>(&self, peer: usize, settle: impl FnOnce() -> R) -> Option<R> {
        if !self.locks().ok()?.try_hold(peer).ok()? {
            return None;
        }
        let _seized = Seized { locks: &self.0.locks, peer };
        (!self.lives(peer)).then(settle)
    }

    fn still_has(&self, _peer: usize) -> bool {
        !self.0.locks.are_lost()
    }

    fn exclusively<R>(&self, repair: impl FnOnce() -> R) -> Option<R> {
        let _repairer = self.locks().ok()?.try_repair()?;
        Some(repair())
    }
}

/// The lock on a dead participant's entry, until dropped: a `settle` that panics lets go of it too.
struct Seized<'a> {
    locks: &'a Locks,
    peer: usize,
}

impl Drop for Seized<'_> {
    fn drop(&mut self) {
        self.locks.let_go(self.peer);
    }
}

/// A participant of a segment: holds an entry and its lock until dropped.
pub(crate) struct Member {
    segment: Segment,
    peer: usize,
    /// The entry's state before.
    found: u32,
    joined: bool,
}

impl Member {
    pub(crate) fn peer(&self) -> usize {
        self.peer
    }

    /// Whether the entry was nobody's before, and not that of one who left or died.
    pub(crate) fn found_vacant(&self) -> bool {
        self.found == VACANT
    }

    pub(crate) fn segment(&self) -> &Segment {
        &self.segment
    }

    /// Leaves as if it had died: whoever repairs finds its words, and makes its entry vacant.
    pub(crate) fn leave_to_repair(&mut self) {
        self.joined = false;
        self.segment.peers().entry(self.peer).lock_alone_tells();
    }

    pub(crate) fn is_guest(&self) -> bool {
        self.peer == GUEST
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        if self.is_guest() || !self.segment.is_own() {
            return; // no entry; or a forked child's copy: the entry and its lock are the parent's
        }
        let entry = self.segment.peers().entry(self.peer);
        if self.joined && entry.state.load(Acquire) == JOINED {
            peer::vacate(entry);
        }
        fault::point("leave: vacant");
        self.segment.0.locks.let_go(self.peer);
    }
}

/// Whether a file may be a segment's at all.
pub(crate) fn check_file(facts: &FileFacts) -> Result<(), Mismatch> {
    let (me, least) = (sys::user(), HEADER_BYTES as u64);
    if !facts.is_regular {
        return Err(Mismatch::FileType);
    }
    if facts.owner != me {
        return Err(Mismatch::Owner { found: facts.owner, expected: me });
    }
    match facts.access {
        // Nobody reaches it but by a descriptor that was passed on, whatever its mode is.
        Access::Descriptor { can_shrink: true } => return Err(Mismatch::Unsealed),
        Access::Descriptor { can_shrink: false } => {}
        Access::Name { mode } if mode & 0o022 != 0 => return Err(Mismatch::Mode { mode }),
        Access::Name { .. } => {}
    }
    if facts.bytes < least {
        return Err(Mismatch::Size { found: facts.bytes, expected: least });
    }
    Ok(())
}

/// The geometry, or the error that says what is impossible.
pub(crate) fn possible(blueprint: &Blueprint, capacity: u64, peers: usize) -> Result<Geometry, Error> {
    if peers == 0 || peers > MAX_PEERS {
        return Err(Error::Peers { peers, max: MAX_PEERS });
    }
    blueprint.geometry(capacity, peers).ok_or_else(|| {
        let max =
            (0..u64::BITS - 1).rev().map(|bit| 1 << bit).find(|&c| blueprint.geometry(c, peers).is_some());
        let as_usize = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        Error::Capacity { capacity: as_usize(capacity), max: as_usize(max.unwrap_or(0)) }
    })
}

fn reserve_in(file: &OwnedFd, geometry: &Geometry, range: Range<u64>) -> Result<(), Error> {
    let end = range.end.min(geometry.body_len.next_multiple_of(PAGE_BYTES));
    memory::commit(file, geometry.body + range.start..geometry.body + end)
}

/// Checks that what exists was made with the option that the caller asks for.
pub(crate) fn agree(option: &'static str, found: u64, expected: u64) -> Result<(), Mismatch> {
    if found == expected { Ok(()) } else { Err(Mismatch::Option { option, found, expected }) }
}

/// Opens something named, or creates it; whoever finds that somebody was faster with the one does the other.
pub(crate) fn open_or_create<R>(
    open: impl Fn() -> Result<R, Error>,
    create: impl Fn() -> Result<R, Error>,
) -> Result<R, Error> {
    loop {
        match open() {
            Err(Error::NotFound { .. }) => {}
            opened => return opened,
        }
        match create() {
            Err(Error::Exists { .. }) => {}
            created => return created,
        }
    }
}
