//! A leased value.

use super::queue::End;
use crate::arena::RecvValueError;
use crate::arena::parcel::{Parcel, Unpacked};
use crate::queue::leasing::Delivery;
use crate::queue::port::Port;
use serde::de::DeserializeOwned;
use std::mem::ManuallyDrop;
use std::ops::Deref;

/// A value that was taken and not yet acknowledged; dropping it, a panic, or this process's death gives it back to the queue.
///
/// It is read in place as far as it is handles of shared memory; the rest of it was decoded. Until it is acknowledged all of it is the queue's.
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
    end: &'a End,
    delivery: Delivery,
    unpacked: Unpacked,
    value: ManuallyDrop<T>,
}

impl<'a, T: DeserializeOwned> ValueLease<'a, T> {
    /// Decodes the parcel of a delivery; one that cannot be decoded is acknowledged, and its blocks freed.
    pub(super) fn open(end: &'a End, delivery: Delivery) -> Result<Self, RecvValueError> {
        let giving_back = GivingBack { port: &end.port, delivery };
        let core = end.arena.core();
        // SAFETY: the slot is this participant's until the delivery ends; any bytes are a parcel.
        let parcel = unsafe { end.port.item(delivery).read_volatile() };
        let (value, unpacked) = parcel.unpack::<T>(core); // user code: if it panics, the value goes back
        std::mem::forget(giving_back);
        match value {
            Ok(value) => Ok(ValueLease { end, delivery, unpacked, value: ManuallyDrop::new(value) }),
            Err(reason) => {
                let accepted = unpacked.accept_all(core);
                end.ack(delivery);
                accepted.free(core);
                Err(RecvValueError::NotDecoded { reason })
            }
        }
    }
}

/// Gives a delivery back when it is dropped.
struct GivingBack<'a> {
    port: &'a Port<Parcel>,
    delivery: Delivery,
}

impl Drop for GivingBack<'_> {
    fn drop(&mut self) {
        self.port.nack(self.delivery);
    }
}

impl<T> ValueLease<'_, T> {
    /// The work on it is done: it leaves the queue, and is this process's alone.
    ///
    /// # Errors
    /// [`RecvValueError::Forked`].
    pub fn ack(self) -> Result<T, RecvValueError> {
        self.ack_now()
    }

    pub(super) fn ack_now(self) -> Result<T, RecvValueError> {
        let core = self.end.arena.core();
        if !core.is_own() {
            return Err(RecvValueError::Forked);
        }
        let mut this = ManuallyDrop::new(self);
        // First the blocks, then the place: who dies in between has left a value that is the queue's, with all that it holds.
        let accepted = this.unpacked.accept(core);
        this.end.ack(this.delivery);
        accepted.free(core);
        // SAFETY: taken once, since `this` is not dropped; the table of the unpacked is not used again.
        unsafe {
            std::ptr::drop_in_place(&mut this.unpacked);
            Ok(ManuallyDrop::take(&mut this.value))
        }
    }

    /// Gives the value back, for another consumer; dropping the lease does the same.
    pub fn nack(self) {
        drop(self);
    }

    /// How often the value was delivered before and came back: 0 the first time. Does not count beyond 255.
    pub fn deliveries(&self) -> u32 {
        self.delivery.returns as u32
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
        let _giving_back = GivingBack { port: &self.end.port, delivery: self.delivery };
        // SAFETY: dropped once, here. Its handles free nothing: their blocks are the queue's, as `Owned` finds.
        unsafe { ManuallyDrop::drop(&mut self.value) };
    }
}

impl<T: std::fmt::Debug> std::fmt::Debug for ValueLease<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ValueLease").field("value", &**self).field("deliveries", &self.deliveries()).finish()
    }
}
