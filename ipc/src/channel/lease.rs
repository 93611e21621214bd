//! A leased value.

use super::queue::End;
use crate::arena::RecvValueError;
use crate::arena::parcel::Unpacked;
use crate::queue::leasing::Delivery;
use serde::de::DeserializeOwned;
use std::any::type_name;
use std::mem::ManuallyDrop;
use std::ops::Deref;

/// A value that was taken and not yet acknowledged; dropping it, a panic, or this process's death gives it back to the queue.
///
/// It is read in place as far as it is handles of shared memory; the rest of it was decoded. If a handle was moved out of it (a value may have a `RefCell` inside), that
/// handle's owner has the block, and the value cannot go back whole: then it counts as acknowledged.
///
/// ```
/// use skep_ipc::Queue;
/// let mut queue = Queue::<String>::new(4)?;
/// queue.put("work".into()).unwrap();
/// drop(queue.lease().unwrap());
/// let lease = queue.lease().unwrap();
/// assert_eq!((lease.as_str(), lease.deliveries()), ("work", 1));
/// assert_eq!(lease.ack().unwrap(), "work");
/// # Ok::<(), skep_ipc::Error>(())
/// ```
#[must_use = "a lease that is not acknowledged gives its value back"]
pub struct ValueLease<'a, T> {
    // Before the delivery, which ends when it is dropped.
    value: ManuallyDrop<T>,
    opened: Opened<'a>,
}

/// A delivery and what was decoded of it. Dropping it gives the value back, if all of it is there; otherwise it is done with.
struct Opened<'a> {
    end: &'a End,
    delivery: Delivery,
    unpacked: Unpacked,
}

impl Opened<'_> {
    fn acknowledge(&mut self) {
        let core = self.end.arena.core();
        // First the blocks, then the place: who dies in between has left a value that is the queue's, with all that it holds.
        let accepted = self.unpacked.accept(core);
        self.end.ack(self.delivery);
        accepted.free(core);
    }
}

impl Drop for Opened<'_> {
    fn drop(&mut self) {
        if !self.end.arena.core().is_own() {
            return; // in a forked child all of it is the parent's
        }
        if self.unpacked.is_whole() { self.end.port.nack(self.delivery) } else { self.acknowledge() }
    }
}

/// Ends the leases that were forgotten, and so never dropped, as if they were dropped now. The block of a handle that was moved out of one is its owner's: the next consumer, to whom
/// a block that another one holds is a dead one's, must not find it in the queue.
pub(super) fn end_forgotten(end: &End) {
    let core = end.arena.core();
    if core.is_own() {
        for delivery in end.port.deliveries() {
            // SAFETY: the slot is this participant's until the delivery ends; any bytes are a parcel.
            let parcel = unsafe { end.port.item(delivery).read_volatile() };
            drop(Opened { end, delivery, unpacked: parcel.left(core) });
        }
    }
}

impl<'a, T: DeserializeOwned> ValueLease<'a, T> {
    /// Decodes the parcel of a delivery; one that cannot be decoded goes back.
    pub(super) fn open(end: &'a End, delivery: Delivery) -> Result<Self, RecvValueError> {
        let mut opened = Opened { end, delivery, unpacked: Unpacked::new() };
        // SAFETY: the slot is this participant's until the delivery ends; any bytes are a parcel.
        let parcel = unsafe { end.port.item(delivery).read_volatile() };
        // User code: if it panics, the value goes back.
        match parcel.unpack::<T>(end.arena.core(), &mut opened.unpacked) {
            Ok(value) => Ok(ValueLease { value: ManuallyDrop::new(value), opened }),
            Err(reason) => {
                Err(RecvValueError::NotDecoded { reason: format!("{}: {reason}", type_name::<T>()) })
            }
        }
    }

    /// Acknowledges the parcel of a delivery, and frees its blocks, if it cannot be decoded; otherwise it goes back.
    pub(super) fn remove_undecodable(end: &'a End, delivery: Delivery) -> Option<Vec<u8>> {
        let core = end.arena.core();
        let mut opened = Opened { end, delivery, unpacked: Unpacked::new() };
        // SAFETY: the slot is this participant's until the delivery ends; any bytes are a parcel.
        let parcel = unsafe { end.port.item(delivery).read_volatile() };
        match parcel.unpack::<T>(core, &mut opened.unpacked) {
            Ok(value) => {
                drop(ValueLease { value: ManuallyDrop::new(value), opened });
                None
            }
            Err(_) => {
                let bytes = parcel.bytes(core);
                opened.finish();
                Some(bytes)
            }
        }
    }
}

impl Opened<'_> {
    /// The delivery is done with.
    fn finish(self) {
        let mut this = ManuallyDrop::new(self);
        this.acknowledge();
        // SAFETY: `this` is not dropped, and the field not used again.
        unsafe { std::ptr::drop_in_place(&mut this.unpacked) };
    }
}

impl<T> ValueLease<'_, T> {
    /// The work on it is done: it leaves the queue, and is this process's alone.
    ///
    /// # Errors
    /// [`RecvValueError::Forked`].
    pub fn ack(self) -> Result<T, RecvValueError> {
        if !self.opened.end.arena.core().is_own() {
            return Err(RecvValueError::Forked);
        }
        let this = ManuallyDrop::new(self);
        // SAFETY: each field is taken once, since `this` is not dropped.
        let (value, opened) = unsafe { (std::ptr::read(&this.value), std::ptr::read(&this.opened)) };
        opened.finish();
        Ok(ManuallyDrop::into_inner(value))
    }

    /// Gives the value back, for another consumer; dropping the lease does the same.
    pub fn nack(self) {
        drop(self);
    }

    /// How often the value was delivered before and came back: 0 the first time. Does not count beyond 255.
    pub fn deliveries(&self) -> u32 {
        self.opened.delivery.returns as u32
    }
}

impl<T> Deref for ValueLease<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> Drop for ValueLease<'_, T> {
    fn drop(&mut self) {
        let (value, core) = (&mut self.value, self.opened.end.arena.core());
        // SAFETY: dropped once, here. The blocks of its handles go back to the queue.
        self.opened.unpacked.take_back(core, || unsafe { ManuallyDrop::drop(value) });
    }
}

impl<T: std::fmt::Debug> std::fmt::Debug for ValueLease<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ValueLease").field("value", &**self).field("deliveries", &self.deliveries()).finish()
    }
}
