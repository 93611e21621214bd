//! Parts: the primitives that can share a segment, alone or as the fields of a struct.
//!
//! ```text
//! segment:  | header | peer table | part | part | …        each part: | control words | a table of claims, one a participant |
//! ```
//!
//! A participant of the segment takes one entry of the peer table, whose lock is its being alive, and with it the entry of the same number in
//! each part's table. What it holds of a part stands there, or in a control word that names it; so whoever finds it dead knows what to
//! undo, and *mends* each part for it. Leaving is mending for oneself.

mod place;
mod seat;
mod shared_struct;

pub use {place::Place, seat::Seat};
pub(crate) use {place::lines, seat::as_fd};

use crate::error::Error;
use crate::header::{Blueprint, Item, Kind, MAX_PEERS};
use crate::participant::Participant;
use crate::segment::{Segment, open_or_create};
use seat::take_part;
use std::os::fd::OwnedFd;
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

    /// Checks that one that was made with `setup` is like this one, in what stays as it was made.
    #[doc(hidden)]
    fn agree(&self, _setup: &Self::Setup) -> Result<(), Error> {
        Ok(())
    }

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
    /// What `setup` says of how one begins, such as a value or free permits, concerns a new one alone.
    ///
    /// # Errors
    /// [`Mismatch::Option`] if there is one with another bound of a semaphore or other parties of a
    /// barrier: [`open`](Self::open) takes it as it is. Other errors are those of
    /// [`create`](Self::create) and [`open`](Self::open).
    ///
    /// [`Mismatch::Option`]: crate::Mismatch::Option
    fn open_or_create(name: &str, setup: Self::Setup) -> Result<Self, Error>
    where
        Self::Setup: Clone,
    {
        let open = || {
            let part = Self::open(name)?;
            part.agree(&setup)?;
            Ok(part)
        };
        open_or_create(open, || Self::create(name, setup.clone()))
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

    /// Lists who takes part, this handle too. Asks the kernel about each.
    ///
    /// # Errors
    /// [`Error::Forked`], [`Error::DescriptorLost`].
    fn participants(&self) -> Result<Vec<Participant>, Error> {
        let segment = self.seat().segment();
        segment.participants(segment.peers(), self.seat().me())
    }

    /// Looks for dead participants now, gives back what they held, and frees their places. Returns for how many.
    ///
    /// Calls that block do this by themselves; whoever learns of a death by other means can make it happen at once.
    ///
    /// # Errors
    /// [`Error::Forked`], [`Error::DescriptorLost`].
    fn recover(&self) -> Result<usize, Error> {
        self.seat().segment().check()?;
        Ok(self.seat().mend_the_dead())
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
        self.build(None, setup)
    }

    /// Makes a named one: [`Part::create`].
    ///
    /// # Errors
    /// As there, and [`Error::Peers`].
    pub fn create<P: Part>(self, name: &str, setup: P::Setup) -> Result<P, Error> {
        self.build(Some(name), setup)
    }
}

impl PartOptions {
    fn build<P: Part>(self, name: Option<&str>, setup: P::Setup) -> Result<P, Error> {
        let bytes = self.bytes::<P>()?;
        let init = |body| P::init(&mut Place::new(body, bytes, self.peers), setup);
        Segment::build(name, &blueprint::<P>(), (bytes as u64, self.peers), init, take_part)
    }

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
