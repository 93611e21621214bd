//! `Queue<T>`: a queue of any values, whose ring and whose messages lie in an arena.

use super::checked::Checked;
use super::lease::{ValueLease, end_forgotten};
use super::options::blueprint_of;
use crate::arena::core::Core;
use crate::arena::directory::{self, ItemName, Joined};
use crate::arena::parcel::{Packed, Parcel};
use crate::arena::{Arena, EncodeError, RecvValueError, SendValueError};
use crate::codec;
use crate::error::{Error, GetError, PutError};
use crate::message::Message;
use crate::participant::Participant;
use crate::peer::{Entry, vacate};
use crate::queue::leasing::Delivery;
use crate::queue::port::Port;
use crate::segment::{agree, open_or_create};
use crate::sync::biased::Leaf;
use crate::wait::{SLICE, Until, WaitWord};
use serde::de::DeserializeOwned;
use std::any::type_name;
use std::cell::Cell;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// The name of the queue in an arena that was made for it alone.
const MAIN: &str = "main";

/// A bounded first-in-first-out queue of any values that serde can write, between any number of processes (and threads).
///
/// It lies in an [`Arena`], alone ([`new`](Self::new), [`create`](Self::create)) or beside others ([`create_in`](Self::create_in)). A value of up to 40 encoded bytes travels in its
/// slot; a larger one is encoded in place, in a block of the arena, and decoded in place. Handles of shared memory ([`ShmBox`](crate::ShmBox), [`ShmArc`](crate::ShmArc),
/// [`ShmVec`](crate::ShmVec), [`ShmString`](crate::ShmString)) anywhere inside of a value *move*: whatever their size, nothing of it is copied. They must be
/// of the queue's own arena.
///
/// A handle is one participant of the arena. It can be sent to another thread, not shared between threads; each thread and process has its own. Programs agree on the
/// type of the values by its name: put it into a crate that all of them use, or give it a name ([`QueueOptions::type_name`](crate::QueueOptions::type_name)). Whoever opens a queue of
/// another type is told both names.
///
/// # Which values travel
/// | value | |
/// | --- | --- |
/// | whatever serde can write, with any of its attributes (`flatten`, `untagged`, `tag`, `skip_serializing_if` with `default`, `alias`, …) | arrives equal |
/// | rows of numbers (`Vec<u8>`, `Vec<f64>`, boxed slices) | the same, copied whole |
/// | handles of shared memory of the queue's arena | move |
/// | a field with `skip` or `skip_serializing`, and a default | arrives as the default, as its type declares |
/// | what its own `Deserialize` would refuse (a field left out that has no default, a `u128` in a type without a tag) | refused by [`put`](Self::put), with the field's name ([`EncodeError::NotDecodable`]) |
/// | what is nested more than 256 levels deep; handles of another arena | refused by `put` ([`EncodeError`]) |
/// | what another program has put, whose type has other fields or variants | found by name; otherwise [`RecvValueError::NotDecoded`], and the item stays |
///
/// To find the third from last, `put` decodes the first value of each shape (which fields, variants and kinds of
/// values occur) once; one with a flattened field each time. One with handles is not tried, since they would move; if it cannot be
/// decoded, it stays in the queue as the last does. The price of a put and a get is in the project's `ARCHITECTURE.md`.
///
/// # Order, blocking, and when a participant dies
/// As [`SimpleQueue`](crate::SimpleQueue) has it; also leases. What a value's blocks are concerned: as long as it is in the queue they are the queue's. A producer that is killed
/// inside `put` has put its value with all that it holds, or everything is freed; a consumer that is killed inside `get` has got it, and everything is freed, or another one gets it whole.
///
/// # Your code, and what is held while it runs
/// - `Serialize` runs while nothing of the queue is held, and again if the arena has to be waited for.
/// - The value's `Drop` runs inside `put`. A value with handles is dropped before a place is claimed, once there is
///   room; one without, after it was put. Nothing is held meanwhile, so it may wait for this queue's consumers, or
///   put something into it. If it takes the room, `put` waits for more, and a put that does not wait gives back a
///   value that is decoded from what was encoded.
/// - `Deserialize`, and the closure of [`get_with`](Self::get_with), run while the value is leased: if they panic or
///   kill the process, another consumer gets it. Meanwhile other consumers get what is behind it; its slot is not
///   free, so producers have one slot less; and [`join_all`](Self::join_all) waits. Code in there that waits for
///   a producer while all other slots are full, or for `join_all`, waits for itself.
/// - The `Drop` of a value that goes back, with a lease that is not acknowledged, runs while it is leased too; that of a
///   value that was got or acknowledged while nothing is held.
///
/// ```
/// use skep_ipc::{Queue, ShmVec};
/// let mut queue = Queue::<(String, ShmVec<f64>)>::new(16)?;
/// let mut worker = queue.try_clone()?;
/// let mut samples = queue.arena().vec(3)?;
/// samples.extend_from_slice(&[1.0, 2.0, 3.0])?;
/// queue.put(("run 1".into(), samples)).unwrap();
/// let (name, samples) = worker.get().unwrap(); // in another process
/// assert_eq!((name.as_str(), samples.iter().sum::<f64>()), ("run 1", 6.0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Queue<T> {
    // Before the entry: what is leased goes back first.
    end: End,
    entry: Place,
    /// How many bytes the last value took: the next one probably takes as many.
    hint: Cell<usize>,
    /// What was put is known to be decoded.
    checked: Checked,
    _values: PhantomData<fn(T) -> T>,
}

/// What a queue and its leases work with.
pub(super) struct End {
    pub(super) port: Port<Parcel>,
    /// Where those sleep who wait until all is done.
    joiners: &'static WaitWord,
    pub(super) arena: Arena,
}

impl End {
    /// A delivery is done with.
    pub(super) fn ack(&self, delivery: Delivery) {
        self.port.ack(delivery);
        self.port.wake_joiners(self.joiners);
    }
}

impl Drop for End {
    fn drop(&mut self) {
        end_forgotten(self);
    }
}

/// This participant's entry in the ring.
struct Place {
    at: directory::Place,
    entry: &'static Entry,
    core: Leaf<Core>,
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.core.is_own() {
            vacate(self.entry);
        }
    }
}

impl<T> Queue<T> {
    /// Makes an anonymous queue of at least `capacity` slots, in an arena of 64 MiB at most that grows as it is needed.
    ///
    /// # Errors
    /// [`Error::Capacity`], [`Error::NoMemory`], [`Error::Os`].
    pub fn new(capacity: usize) -> Result<Self, Error>
    where
        T: Message,
    {
        Queue::build(None, capacity)
    }

    /// The same under a name, which stays until it is [unlinked](Self::unlink).
    ///
    /// # Errors
    /// [`Error::Exists`], [`Error::Name`], and as [`new`](Self::new).
    pub fn create(name: &str, capacity: usize) -> Result<Self, Error>
    where
        T: Message,
    {
        Queue::build(Some(name), capacity)
    }

    /// Creates an arena with the queue in it; the name comes last.
    fn build(name: Option<&str>, capacity: usize) -> Result<Self, Error>
    where
        T: Message,
    {
        let slots = slots(capacity)?;
        blueprint_of(capacity)?.create_furnished(name, |arena| {
            let place = directory::create(arena.core(), MAIN, named::<T>(None), slots)?;
            Ok(Queue::join(arena, place))
        })
    }

    /// Joins the queue of that name.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Mismatch`] (it holds something else, or other values), [`Error::TooManyPeers`], [`Error::Os`].
    pub fn open(name: &str) -> Result<Self, Error>
    where
        T: Message,
    {
        Queue::open_in(&Arena::open(name)?, MAIN)
    }

    /// Joins the queue of that name, or makes it: so programs that share it may start in any order.
    ///
    /// # Errors
    /// [`Mismatch::Option`] if there is one with another number of slots: [`open`](Self::open) takes it as
    /// it is. Other errors are those of [`open`](Self::open) and [`create`](Self::create).
    ///
    /// [`Mismatch::Option`]: crate::Mismatch::Option
    pub fn open_or_create(name: &str, capacity: usize) -> Result<Self, Error>
    where
        T: Message,
    {
        // An arena of that name may have no such queue yet: that of a program's own, for one.
        let open = || Queue::open_or_create_in(&Arena::open(name)?, MAIN, capacity);
        open_or_create(open, || Queue::create(name, capacity))
    }

    /// Joins the queue behind a descriptor that another process passed on ([`AsFd`]).
    ///
    /// # Errors
    /// [`Error::Mismatch`], [`Error::TooManyPeers`], [`Error::Os`].
    pub fn from_fd(file: OwnedFd) -> Result<Self, Error>
    where
        T: Message,
    {
        Queue::open_in(&Arena::from_fd(file)?, MAIN)
    }

    /// Removes a queue's name. Its participants go on; the memory is freed with the last of them.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Name`], [`Error::Os`].
    pub fn unlink(name: &str) -> Result<(), Error> {
        Arena::unlink(name)
    }

    /// Makes a queue of at least `capacity` slots in an arena, which has room for 64 queues. It stays as long as the arena.
    ///
    /// # Errors
    /// [`Error::Exists`]; [`Error::NoMemory`] if the arena has no room for the ring, which takes 64 bytes a slot; [`Error::Capacity`], [`Error::TooManyPeers`].
    pub fn create_in(arena: &Arena, name: &str, capacity: usize) -> Result<Self, Error>
    where
        T: Message,
    {
        Queue::create_as(arena, name, capacity, named::<T>(None))
    }

    pub(super) fn create_as(
        arena: &Arena,
        name: &str,
        capacity: usize,
        item: ItemName,
    ) -> Result<Self, Error> {
        let slots = slots(capacity)?;
        let arena = arena.another()?;
        let place = directory::create(arena.core(), name, item, slots)?;
        Ok(Queue::join(arena, place))
    }

    /// Joins the queue of that name in an arena.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Mismatch`] if it has values of another type, which names both; [`Error::TooManyPeers`], [`Error::Corrupt`].
    pub fn open_in(arena: &Arena, name: &str) -> Result<Self, Error>
    where
        T: Message,
    {
        Queue::open_as(arena, name, named::<T>(None))
    }

    pub(super) fn open_as(arena: &Arena, name: &str, item: ItemName) -> Result<Self, Error> {
        let arena = arena.another()?;
        let place = directory::open(arena.core(), name, item)?;
        Ok(Queue::join(arena, place))
    }

    /// Joins the queue of that name in an arena, or makes it.
    ///
    /// # Errors
    /// [`Mismatch::Option`] if there is one with another number of slots: [`open_in`](Self::open_in) takes
    /// it as it is. Other errors are those of [`open_in`](Self::open_in) and
    /// [`create_in`](Self::create_in).
    ///
    /// [`Mismatch::Option`]: crate::Mismatch::Option
    pub fn open_or_create_in(arena: &Arena, name: &str, capacity: usize) -> Result<Self, Error>
    where
        T: Message,
    {
        Queue::open_or_create_as(arena, name, capacity, named::<T>(None))
    }

    pub(super) fn open_or_create_as(
        arena: &Arena,
        name: &str,
        capacity: usize,
        item: ItemName,
    ) -> Result<Self, Error> {
        let slots = slots(capacity)?;
        let open = || {
            let queue = Queue::open_as(arena, name, item)?;
            agree("number of slots", queue.capacity() as u64, slots)?;
            Ok(queue)
        };
        open_or_create(open, || Queue::create_as(arena, name, capacity, item))
    }

    /// Makes another participant.
    ///
    /// # Errors
    /// [`Error::TooManyPeers`], [`Error::Forked`], [`Error::Os`].
    pub fn try_clone(&self) -> Result<Self, Error> {
        Ok(Queue::join(self.end.arena.another()?, self.entry.at))
    }

    fn join(arena: Arena, place: directory::Place) -> Self {
        let Joined { ring, entry, joiners } = directory::join(arena.core(), place);
        let port = Port::new(ring, arena.core().segment().clone());
        let entry = Place { at: place, entry, core: arena.core().leaf() };
        let end = End { port, joiners, arena };
        Queue { end, entry, hint: Cell::new(0), checked: Checked::default(), _values: PhantomData }
    }

    /// The arena that it lies in, as this handle's participant: where to allocate what is to be put.
    pub fn arena(&self) -> &Arena {
        &self.end.arena
    }

    // --- state -------------------------------------------------------------------------------------------------

    /// Closes the queue for all participants: nothing can be put any more, what was put can still be got. Wakes everybody.
    pub fn close(&self) {
        self.end.port.close();
        self.end.arena.core().wake_all(); // who waits for memory to put
    }

    /// Whether the queue was closed.
    pub fn is_closed(&self) -> bool {
        self.end.port.is_closed()
    }

    /// How many values are in the queue: out of date as soon as it is known while others put and get.
    pub fn len(&self) -> usize {
        self.end.port.len()
    }

    /// Whether the queue is empty; as [`len`](Self::len).
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many slots it has.
    pub fn capacity(&self) -> usize {
        self.end.port.capacity()
    }

    /// Waits until everything that was put has been got, and nothing is leased: until the queue is empty, and stays so for a moment. False: `timeout` is over.
    ///
    /// With values that are taken by [`lease`](Self::lease) this waits until the work on them is done. A worker that dies gives its value back, so it is waited for
    /// until another one has done it.
    ///
    /// # Errors
    /// [`RecvValueError::Forked`].
    pub fn join_all(&self, timeout: Option<Duration>) -> Result<bool, RecvValueError> {
        let until = timeout.map_or(Until::Forever, Until::after);
        self.end.port.wait_until_done(self.end.joiners, until).map_err(explain)
    }

    /// Looks for dead participants of the arena now, finishes or undoes what they were doing, and frees what they held. Returns for how many.
    ///
    /// Calls that block do what they need of this by themselves.
    ///
    /// # Errors
    /// [`Error::Forked`].
    pub fn recover(&mut self) -> Result<usize, Error> {
        self.end.arena.recover()
    }
}

impl<T: Message> Queue<T> {
    // --- put ---------------------------------------------------------------------------------------------------

    /// Puts a value, as soon as there is room in the queue, and in the arena.
    ///
    /// # Errors
    /// [`SendValueError`], but for `Full`; the value comes back if its variant has it, and nothing of the arena is used.
    pub fn put(&mut self, value: T) -> Result<(), SendValueError<T>> {
        self.put_until(value, Some(Until::Forever))
    }

    /// Puts a value if there is room now.
    ///
    /// # Errors
    /// [`SendValueError::Full`], and as [`put`](Self::put).
    pub fn try_put(&mut self, value: T) -> Result<(), SendValueError<T>> {
        self.put_until(value, None)
    }

    /// Puts a value, if there is room before `timeout` is over.
    ///
    /// # Errors
    /// [`SendValueError::Full`], and as [`put`](Self::put).
    pub fn put_timeout(&mut self, value: T, timeout: Duration) -> Result<(), SendValueError<T>> {
        self.put_until(value, Some(Until::after(timeout)))
    }

    fn put_until(&mut self, value: T, until: Option<Until>) -> Result<(), SendValueError<T>> {
        let core = self.end.arena.core();
        if !core.is_own() {
            return Err(SendValueError::Forked(value));
        }
        if self.is_closed() {
            return Err(SendValueError::Closed(value));
        }
        let packed = match Packed::new(core, &value, self.hint.get(), until, || self.is_closed()) {
            Ok(packed) => packed,
            Err(EncodeError::Full { .. }) if self.is_closed() => return Err(SendValueError::Closed(value)),
            Err(EncodeError::Full { .. }) => {
                return Err(match core.shortage() {
                    Some(short) => {
                        let reason = EncodeError::NoMemory(Box::new(short));
                        SendValueError::NotEncoded { value, reason }
                    }
                    None => SendValueError::Full(value),
                });
            }
            Err(reason) => return Err(SendValueError::NotEncoded { value, reason }),
        };
        if let Err(reason) = self.check(&packed, &value) {
            drop(packed);
            return Err(SendValueError::NotEncoded { value, reason });
        }
        self.hint.set(packed.len());
        if packed.has_handles() {
            return self.put_handles(packed, value, until);
        }
        match self.put_parcel(packed.parcel(), until) {
            Ok(()) => {
                packed.let_go();
                Ok(())
            }
            Err(refused) => Err(explain_put(refused, value)),
        }
    }

    /// Decodes the first value of each shape: what cannot be got must not be put. A value with handles is not tried: its
    /// `Deserialize` is free to move them elsewhere, and they would be gone.
    #[inline]
    fn check(&self, packed: &Packed, value: &T) -> Result<(), EncodeError> {
        let shape = packed.shape();
        if shape.is_some_and(|shape| self.checked.has(shape)) || packed.has_handles() || codec::is_sure(value)
        {
            return Ok(());
        }
        let tried = packed.check::<T>();
        tried.map_err(|reason| EncodeError::NotDecodable {
            reason: format!("{}: {reason}", type_name::<T>()),
        })?;
        if let Some(shape) = shape {
            self.checked.add(shape);
        }
        Ok(())
    }

    /// A value with handles is dropped before its blocks go, so that none of them can be reached here any more. Its
    /// destructor is user code, so nothing is claimed meanwhile; once there is room, so that this is hardly ever in vain.
    fn put_handles(
        &self,
        mut packed: Packed,
        value: T,
        until: Option<Until>,
    ) -> Result<(), SendValueError<T>> {
        if let Err(refused) = self.end.port.await_room(until) {
            drop(packed);
            return Err(explain_put(refused, value));
        }
        if !packed.surrender(|| drop(value)) {
            return Err(SendValueError::HandleKept);
        }
        match self.put_parcel(packed.parcel(), until) {
            Ok(()) => {
                packed.let_go();
                Ok(())
            }
            Err(refused) => match packed.restore() {
                Ok(value) => Err(explain_put(refused, value)),
                Err(reason) => Err(SendValueError::NotRestored { reason }),
            },
        }
    }

    fn put_parcel(&self, parcel: Parcel, until: Option<Until>) -> Result<(), PutError<Parcel>> {
        match until {
            None => self.end.port.try_put(parcel),
            Some(until) => self.end.port.put_until(parcel, || until),
        }
    }

    // --- get ---------------------------------------------------------------------------------------------------

    /// Takes the next value, as soon as there is one.
    ///
    /// # Errors
    /// [`RecvValueError`], but for `Empty`. One that cannot be decoded stays: see [`RecvValueError::NotDecoded`].
    pub fn get(&mut self) -> Result<T, RecvValueError> {
        self.lease()?.ack()
    }

    /// Takes the next value, as soon as there is one, or ends when nobody is left who could put one: as
    /// [`SimpleQueue::get_while_attached`](crate::SimpleQueue::get_while_attached).
    ///
    /// # Errors
    /// [`RecvValueError::Alone`], and as [`get`](Self::get).
    pub fn get_while_attached(&mut self) -> Result<T, RecvValueError> {
        let mut got = self.try_get();
        while let Err(RecvValueError::Empty) = got {
            if self.end.port.nobody_may_put() {
                // One that has left since, or is dead, may have put something before.
                return match self.try_get() {
                    Err(RecvValueError::Empty) => Err(RecvValueError::Alone),
                    last => last,
                };
            }
            got = self.get_timeout(SLICE);
        }
        got
    }

    /// Lists who takes part, this handle too. Asks the kernel about each.
    ///
    /// # Errors
    /// [`Error::Forked`], [`Error::DescriptorLost`].
    pub fn participants(&self) -> Result<Vec<Participant>, Error> {
        self.end.port.participants()
    }

    /// Takes the next value if there is one now.
    ///
    /// # Errors
    /// [`RecvValueError::Empty`], and as [`get`](Self::get).
    pub fn try_get(&mut self) -> Result<T, RecvValueError> {
        self.try_lease()?.ack()
    }

    /// Takes the next value, if there is one before `timeout` is over.
    ///
    /// # Errors
    /// [`RecvValueError::Empty`], and as [`get`](Self::get).
    pub fn get_timeout(&mut self, timeout: Duration) -> Result<T, RecvValueError> {
        self.lease_timeout(timeout)?.ack()
    }

    /// Takes the next value, as soon as there is one, and calls `work` with it while its place in the queue is still held: as
    /// [`SimpleQueue::get_with`](crate::SimpleQueue::get_with).
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn get_with<R>(&mut self, work: impl FnOnce(&T) -> R) -> Result<R, RecvValueError> {
        work_on(self.lease()?, work)
    }

    /// The same, if there is a value now.
    ///
    /// # Errors
    /// As [`try_get`](Self::try_get).
    pub fn try_get_with<R>(&mut self, work: impl FnOnce(&T) -> R) -> Result<R, RecvValueError> {
        work_on(self.try_lease()?, work)
    }

    /// Leases the next value, as soon as there is one: it comes back to the queue unless the [`ValueLease`] is acknowledged; see
    /// [`SimpleQueue::lease`](crate::SimpleQueue::lease).
    ///
    /// # Errors
    /// [`RecvValueError::TooManyLeases`], and as [`get`](Self::get).
    pub fn lease(&self) -> Result<ValueLease<'_, T>, RecvValueError> {
        self.lease_by(|port| port.lease_until(|| Until::Forever))
    }

    /// Leases the next value if there is one now.
    ///
    /// # Errors
    /// [`RecvValueError::Empty`], and as [`lease`](Self::lease).
    pub fn try_lease(&self) -> Result<ValueLease<'_, T>, RecvValueError> {
        self.lease_by(Port::try_lease)
    }

    /// Leases the next value, if there is one before `timeout` is over.
    ///
    /// # Errors
    /// [`RecvValueError::Empty`], and as [`lease`](Self::lease).
    pub fn lease_timeout(&self, timeout: Duration) -> Result<ValueLease<'_, T>, RecvValueError> {
        let until = Until::after(timeout);
        self.lease_by(|port| port.lease_until(|| until))
    }

    /// Takes the next item off the queue if it is no `T`, frees the blocks that it holds, and returns its bytes. `None`: the item is one, and stays.
    ///
    /// An item that one program cannot decode stays in the queue, for another one that can. If there is none, this makes room.
    ///
    /// # Errors
    /// [`RecvValueError::Empty`], and as [`try_lease`](Self::try_lease), but for `NotDecoded`.
    ///
    /// ```
    /// let mut queue = skep_ipc::Queue::<String>::new(4)?;
    /// queue.put("fine".into()).unwrap();
    /// assert_eq!(queue.remove_undecodable().unwrap(), None);
    /// assert_eq!(queue.get().unwrap(), "fine");
    /// # Ok::<(), skep_ipc::Error>(())
    /// ```
    pub fn remove_undecodable(&mut self) -> Result<Option<Vec<u8>>, RecvValueError> {
        let delivery = self.end.port.try_lease().map_err(explain)?;
        Ok(ValueLease::<T>::remove_undecodable(&self.end, delivery))
    }

    fn lease_by(
        &self,
        lease: impl FnOnce(&Port<Parcel>) -> Result<Delivery, GetError>,
    ) -> Result<ValueLease<'_, T>, RecvValueError> {
        let delivery = lease(&self.end.port).map_err(explain)?;
        ValueLease::open(&self.end, delivery)
    }
}

fn work_on<T: DeserializeOwned, R>(
    lease: ValueLease<'_, T>,
    work: impl FnOnce(&T) -> R,
) -> Result<R, RecvValueError> {
    let result = work(&lease);
    lease.ack()?;
    Ok(result)
}

fn explain_put<T, U>(refused: PutError<U>, value: T) -> SendValueError<T> {
    match refused {
        PutError::Full(_) => SendValueError::Full(value),
        PutError::Closed(_) => SendValueError::Closed(value),
        PutError::Forked(_) => SendValueError::Forked(value),
        PutError::Corrupt(_) => SendValueError::Corrupt(value),
    }
}

fn explain(error: GetError) -> RecvValueError {
    match error {
        GetError::Empty => RecvValueError::Empty,
        GetError::Closed => RecvValueError::Closed,
        GetError::Alone => RecvValueError::Alone,
        GetError::TooManyLeases => RecvValueError::TooManyLeases,
        GetError::Forked => RecvValueError::Forked,
        GetError::Corrupt => RecvValueError::Corrupt,
    }
}

/// The number of slots of a queue of that capacity.
fn slots(capacity: usize) -> Result<u64, Error> {
    let slots = capacity.checked_next_power_of_two().filter(|_| capacity > 0);
    slots.map(|slots| slots as u64).ok_or(Error::Capacity { capacity, max: 1 << 30 })
}

/// What the values are called: by the user, or else by the compiler.
pub(super) fn named<T>(by_user: Option<&str>) -> ItemName {
    ItemName::new(by_user.unwrap_or_else(|| type_name::<T>()))
}

impl<T> AsFd for Queue<T> {
    /// The descriptor to pass to another process, which joins with [`from_fd`](Queue::from_fd), or opens the arena.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.end.arena.core().segment().as_fd()
    }
}

impl<T> std::fmt::Debug for Queue<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue")
            .field("len", &self.len())
            .field("capacity", &self.capacity())
            .field("closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}
