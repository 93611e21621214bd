//! Parts: the primitives that can share a segment, alone or as the fields of a struct.
//!
//! ```text
//! segment:  | header | peer table | part | part | …        each part: | control words | a table of claims, one a participant |
//! ```
//!
//! A participant of the segment takes one entry of the peer table, whose lock is its being alive, and with it the entry of the same number in
//! each part's table. What it holds of a part stands there, or in a control word that names it; so whoever finds it dead knows what to
//! undo, and *mends* each part for it. Leaving is mending for oneself.

use crate::error::{Error, Mismatch};
use crate::header::{Blueprint, Item, Kind, MAX_PEERS};
use crate::peer::{self, Membership, Repair};
use crate::segment::{Member, Segment, open_or_create};
use crate::sync::LINE;
use crate::table::Table;
use std::os::fd::OwnedFd;
use std::ptr::NonNull;
use std::sync::Arc;

/// How many participants a segment of parts is made for, if nothing is said.
const PEERS: usize = 128;

/// A primitive that waits or is held across processes, or a [struct](crate::shared_struct) of such: what can be placed in a segment.
///
/// A handle is one participant. It can be sent to another thread, not shared between threads; each thread and process has its own, by
/// [`try_clone`](Self::try_clone), [`open`](Self::open) or [`from_fd`](Self::from_fd), up to the number that the segment was made for (128, or
/// [`PartOptions`]). When a participant's process dies, whatever it held is given back or marked by whoever waits for it, and its place is free again.
///
/// Anonymous parts travel by file descriptor ([`AsFd`](std::os::fd::AsFd)), named ones are found under `/dev/shm`.
///
/// ```
/// use skep_ipc::{Event, Part};
/// # let name = &format!("skep-doc-part-{}", std::process::id());
/// let event = Event::create(name, ())?;
/// let elsewhere = Event::open(name)?; // in another process
/// elsewhere.set()?;
/// assert!(event.is_set());
/// Event::unlink(name)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// A participant that is *stopped* is alive. It holds up those who wait for what it holds; stopped in the middle of repairing for a dead one, it holds up the repair for
/// all who died in that segment, until it goes on.
///
/// # Safety
/// It is implemented by the primitives and by `shared_struct!`, and not to be implemented by hand: `init`, `attach` and `mend` of all programs must take the same
/// values from a place, in the same order, and `item` must tell those apart that do not.
pub unsafe trait Part: Sized {
    /// What a new one starts with.
    type Setup;

    /// What it is called in a segment's header.
    #[doc(hidden)]
    const KIND: Kind;

    /// What distinguishes its type from others of the same kind.
    #[doc(hidden)]
    fn item() -> Item;

    /// How many bytes it takes for so many participants: a multiple of 128.
    #[doc(hidden)]
    fn bytes(peers: usize) -> usize;

    /// Makes a new one at a zeroed place that nobody else sees yet.
    #[doc(hidden)]
    fn init(place: &mut Place, setup: Self::Setup) -> Result<(), Error>;

    /// A handle of the one at a place, for the participant in `seat`.
    #[doc(hidden)]
    fn attach(place: &mut Place, seat: &Arc<Seat>) -> Result<Self, Error>;

    /// Gives back or marks whatever a participant holds that is dead, or leaves. May be cut short by a death, and done again.
    #[doc(hidden)]
    fn mend(place: &mut Place, peer: usize);

    /// The participant that this is a handle of.
    #[doc(hidden)]
    fn seat(&self) -> &Arc<Seat>;

    /// Makes an anonymous one, which lives as long as somebody has it.
    ///
    /// # Errors
    /// [`Error::Setup`] if it cannot start with that; [`Error::NoMemory`], [`Error::Os`].
    fn anonymous(setup: Self::Setup) -> Result<Self, Error> {
        PartOptions::new().anonymous(setup)
    }

    /// Makes a named one, which stays until it is [unlinked](Self::unlink).
    ///
    /// # Errors
    /// [`Error::Exists`], [`Error::Name`], and as [`anonymous`](Self::anonymous).
    fn create(name: &str, setup: Self::Setup) -> Result<Self, Error> {
        PartOptions::new().create(name, setup)
    }

    /// Opens the one of that name.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Name`], [`Error::Mismatch`] (it holds something else), [`Error::TooManyPeers`], [`Error::Os`].
    fn open(name: &str) -> Result<Self, Error> {
        take_part(Segment::open(name, &blueprint::<Self>())?)
    }

    /// Opens the one of that name, or makes it if there is none.
    ///
    /// # Errors
    /// As [`create`](Self::create) and [`open`](Self::open).
    fn open_or_create(name: &str, setup: Self::Setup) -> Result<Self, Error>
    where
        Self::Setup: Clone,
    {
        open_or_create(|| Self::open(name), || Self::create(name, setup.clone()))
    }

    /// Opens the one behind a descriptor that another process passed on.
    ///
    /// # Errors
    /// [`Error::Mismatch`], [`Error::TooManyPeers`], [`Error::Os`].
    fn from_fd(file: OwnedFd) -> Result<Self, Error> {
        take_part(Segment::from_fd(file, &blueprint::<Self>())?)
    }

    /// Removes the name. Whoever has it open goes on; the memory is freed with the last of them.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Name`], [`Error::Os`].
    fn unlink(name: &str) -> Result<(), Error> {
        Segment::unlink(name)
    }

    /// Makes another participant. Of a struct's field that is not possible: clone the struct.
    ///
    /// # Errors
    /// [`Error::TooManyPeers`], [`Error::Mismatch`] (this is a struct's field), [`Error::Forked`], [`Error::Os`].
    fn try_clone(&self) -> Result<Self, Error> {
        self.seat().another()
    }

    /// Looks for dead participants now, gives back what they held, and frees their places. Returns for how many.
    ///
    /// Calls that block do this by themselves; whoever learns of a death by other means can make it happen at once.
    ///
    /// # Errors
    /// [`Error::Forked`].
    fn recover(&self) -> Result<usize, Error> {
        if self.seat().is_own() { Ok(self.seat().mend_the_dead()) } else { Err(Error::Forked) }
    }
}

/// How a segment of parts is made, where [`Part::create`] does not say enough.
///
/// ```
/// use skep_ipc::{Event, PartOptions};
/// let event = PartOptions::new().peers(2).anonymous::<Event>(())?;
/// # Ok::<(), skep_ipc::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct PartOptions {
    peers: usize,
}

impl PartOptions {
    /// For up to 128 participants.
    pub fn new() -> Self {
        PartOptions { peers: PEERS }
    }

    /// How many participants there may be at a time, over all processes.
    pub fn peers(self, peers: usize) -> Self {
        PartOptions { peers }
    }

    /// Makes an anonymous one: [`Part::anonymous`].
    ///
    /// # Errors
    /// As there, and [`Error::Peers`].
    pub fn anonymous<P: Part>(self, setup: P::Setup) -> Result<P, Error> {
        let (blueprint, bytes) = (blueprint::<P>(), self.bytes::<P>()?);
        let segment = Segment::build_anonymous(&blueprint, bytes as u64, self.peers, |body| {
            P::init(&mut Place::new(body, bytes, self.peers), setup)
        })?;
        take_part(segment)
    }

    /// Makes a named one: [`Part::create`].
    ///
    /// # Errors
    /// As there, and [`Error::Peers`].
    pub fn create<P: Part>(self, name: &str, setup: P::Setup) -> Result<P, Error> {
        let (blueprint, bytes) = (blueprint::<P>(), self.bytes::<P>()?);
        let segment = Segment::build_named(name, &blueprint, bytes as u64, self.peers, |body| {
            P::init(&mut Place::new(body, bytes, self.peers), setup)
        })?;
        take_part(segment)
    }
}

impl PartOptions {
    /// The bytes of the body.
    fn bytes<P: Part>(self) -> Result<usize, Error> {
        let (peers, max) = (self.peers, MAX_PEERS);
        if peers == 0 || peers > max { Err(Error::Peers { peers, max }) } else { Ok(P::bytes(peers)) }
    }
}

impl Default for PartOptions {
    fn default() -> Self {
        PartOptions::new()
    }
}

/// What a program expects of a segment that holds a `P`; its capacity is the bytes of the body.
fn blueprint<P: Part>() -> Blueprint {
    Blueprint { kind: P::KIND, item: P::item(), body_len: Some }
}

/// Becomes a participant of a segment that was checked against the blueprint.
fn take_part<P: Part>(segment: Segment) -> Result<P, Error> {
    let (capacity, peers) = (segment.capacity(), segment.max_peers());
    if capacity != P::bytes(peers) as u64 {
        return Err(Mismatch::Geometry { capacity, peers: u32::try_from(peers).unwrap_or(u32::MAX) }.into());
    }
    let mend = |segment: &Segment, peer: usize| P::mend(&mut Place::of(segment), peer);
    let member = segment.join(|dead| {
        mend(&segment, dead);
        Repair::Done
    })?;
    let seat = Seat { mend, whole: blueprint::<P>(), member };
    P::attach(&mut Place::of(&segment), &Arc::new(seat))
}

/// One participant of a segment of parts: holds its entry until the last of its handles is dropped.
pub struct Seat {
    mend: fn(&Segment, usize),
    /// What the segment holds.
    whole: Blueprint,
    member: Member,
}

impl Seat {
    /// For a handle of an object without participants, which fills a segment of its own.
    pub(crate) fn apart(segment: &Segment, whole: Blueprint) -> Arc<Self> {
        Arc::new(Seat { mend: |_, _| {}, whole, member: segment.guest() })
    }

    /// Whether it was made by [`apart`](Self::apart).
    pub(crate) fn is_apart(&self) -> bool {
        self.member.is_guest()
    }

    /// Another participant's handle of the `P` that fills this one's segment.
    pub(crate) fn another<P: Part>(&self) -> Result<P, Error> {
        let (whole, expected) = (&self.whole, blueprint::<P>());
        if (whole.kind, whole.item) != (expected.kind, expected.item) {
            let (found, expected) = (format!("{:?}", whole.kind), format!("{:?}", expected.kind));
            return Err(Mismatch::Kind { found, expected }.into());
        }
        take_part(self.segment().clone())
    }

    /// This participant's number.
    pub(crate) fn me(&self) -> usize {
        self.member.peer()
    }

    pub(crate) fn segment(&self) -> &Segment {
        self.member.segment()
    }

    /// Whether this still is the process that took the seat: one load.
    #[inline]
    pub(crate) fn is_own(&self) -> bool {
        self.segment().is_own()
    }

    /// Mends every part for every dead participant that is found. Returns for how many.
    pub(crate) fn mend_the_dead(&self) -> usize {
        let segment = self.segment();
        peer::recover(
            segment.peers(),
            segment,
            self.me(),
            |_| true,
            |dead| {
                (self.mend)(segment, dead);
                Repair::Done
            },
        )
    }

    /// Whether a participant is dead, or nobody, at this moment: a system call.
    pub(crate) fn is_dead(&self, peer: usize) -> bool {
        self.segment().is_dead(peer)
    }
}

impl Drop for Seat {
    /// Gives back what this participant still holds, such as through a guard that was forgotten; then `member` leaves.
    fn drop(&mut self) {
        // In a forked child all of it is the parent's.
        if self.is_own() {
            (self.mend)(self.segment(), self.me());
        }
    }
}

/// A stretch of a segment's body, from which parts take their memory one after the other.
#[doc(hidden)]
pub struct Place {
    next: NonNull<u8>,
    left: usize,
    peers: usize,
}

impl Place {
    fn new(base: NonNull<u8>, bytes: usize, peers: usize) -> Self {
        Place { next: base, left: bytes, peers }
    }

    fn of(segment: &Segment) -> Self {
        Place::new(segment.body(), segment.body_len(), segment.max_peers())
    }

    /// How many participants there may be.
    pub(crate) fn peers(&self) -> usize {
        self.peers
    }

    /// The next so many values of type `V`, at a multiple of `LINE`.
    pub(crate) fn take<V>(&mut self, count: usize) -> NonNull<V> {
        const { assert!(align_of::<V>() <= LINE, "a part's values are aligned to a line at most") };
        let (here, bytes) = (self.next, lines::<V>(count));
        assert!(bytes <= self.left, "a part takes no more than its `bytes` says");
        // SAFETY: within the body, as just checked.
        self.next = unsafe { here.byte_add(bytes) };
        self.left -= bytes;
        here.cast()
    }

    /// The next control words, valid as long as the segment, which the caller keeps.
    ///
    /// # Safety
    /// `C` consists of atomics, of which zeroes are valid ones.
    pub(crate) unsafe fn control<'a, C>(&mut self) -> &'a C {
        // SAFETY: within the body and aligned, as `take` has checked; the kernel has filled it with zeroes or a part with its words.
        unsafe { self.take::<C>(1).as_ref() }
    }

    /// The next table of claims, one a participant, valid as long as the segment, which the caller keeps.
    ///
    /// # Safety
    /// As [`control`](Self::control).
    pub(crate) unsafe fn claims<'a, C>(&mut self) -> Table<'a, C> {
        let count = self.peers;
        // SAFETY: as above.
        unsafe { Table::new(self.take::<C>(count), count) }
    }
}

/// The bytes of so many values, in whole lines.
pub(crate) const fn lines<V>(count: usize) -> usize {
    (size_of::<V>() * count).next_multiple_of(LINE)
}

/// Declares a struct whose fields are [parts](crate::Part) that share one segment and one place among its participants.
///
/// The struct is a part itself. Its setup is a tuple of its fields' setups, in order.
///
/// ```
/// use skep_ipc::{Event, Part, shared_struct};
///
/// shared_struct! {
///     /// What the stages of a pipeline tell each other.
///     pub struct Stages {
///         pub parsed: Event,
///         pub stored: Event,
///     }
/// }
///
/// let here = Stages::anonymous(((), ()))?;
/// let there = here.try_clone()?; // in another process: `Stages::from_fd`, or `create` and `open`
/// there.parsed.set()?;
/// assert!(here.parsed.is_set() && !here.stored.is_set());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[macro_export]
macro_rules! shared_struct {
    ($(#[$meta:meta])* $vis:vis struct $name:ident { $($(#[$field_meta:meta])* $field_vis:vis $field:ident: $part:ty),+ $(,)? }) => {
        $(#[$meta])*
        $vis struct $name {
            $($(#[$field_meta])* $field_vis $field: $part,)+
            /// Before it, the fields: each keeps it too.
            __seat: ::std::sync::Arc<$crate::Seat>,
        }

        // SAFETY: each field takes its values in order, and the item names all fields.
        unsafe impl $crate::Part for $name {
            type Setup = ($(<$part as $crate::Part>::Setup,)+);
            const KIND: $crate::Kind = $crate::Kind::new(*b"struct\0\0");

            fn item() -> $crate::Item {
                $crate::Item::of_struct(&[$((<$part as $crate::Part>::KIND, <$part as $crate::Part>::item()),)+])
            }

            fn bytes(peers: usize) -> usize {
                0 $(+ <$part as $crate::Part>::bytes(peers))+
            }

            fn init(place: &mut $crate::Place, ($($field,)+): Self::Setup) -> ::std::result::Result<(), $crate::Error> {
                $(<$part as $crate::Part>::init(place, $field)?;)+
                Ok(())
            }

            fn attach(
                place: &mut $crate::Place,
                seat: &::std::sync::Arc<$crate::Seat>,
            ) -> ::std::result::Result<Self, $crate::Error> {
                Ok($name { $($field: <$part as $crate::Part>::attach(place, seat)?,)+ __seat: seat.clone() })
            }

            fn mend(place: &mut $crate::Place, peer: usize) {
                $(<$part as $crate::Part>::mend(place, peer);)+
            }

            fn seat(&self) -> &::std::sync::Arc<$crate::Seat> {
                &self.__seat
            }
        }

        impl ::std::os::fd::AsFd for $name {
            fn as_fd(&self) -> ::std::os::fd::BorrowedFd<'_> {
                self.__seat.as_fd()
            }
        }
    };
}

impl std::os::fd::AsFd for Seat {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.segment().as_fd()
    }
}

/// What every part's handle has: the descriptor to pass to another process.
macro_rules! as_fd {
    ($($handle:tt)+) => {
        impl $($handle)+ {
            /// The descriptor to pass to another process, which opens it with [`from_fd`](crate::Part::from_fd).
            fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
                std::os::fd::AsFd::as_fd(&**crate::part::Part::seat(self))
            }
        }
    };
}
pub(crate) use as_fd;
