//! Leased items: how a queue gives them out, and the handle of one.

use super::handle::SimpleQueue;
use super::leasing::Delivery;
use super::port::Port;
use crate::error::GetError;
use crate::wait::Until;
use bytemuck::Pod;
use std::ops::Deref;
use std::time::Duration;

impl<T: Pod> SimpleQueue<T> {
    /// Takes the next item, as soon as there is one, and calls `work` with it while its place in the queue is still held.
    ///
    /// The item is gone when `work` returns. If this process dies inside `work`, or `work` panics, another participant gets it: at least once, where
    /// [`get`](Self::get) is at most once.
    ///
    /// A held item keeps its slot: the queue is full one lap behind it, so `work` should be short. As long as it is held a closed queue has not come to
    /// its end, so `work` must not wait for that through another handle.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn get_with<R>(&mut self, work: impl FnOnce(T) -> R) -> Result<R, GetError> {
        let lease = self.lease()?;
        Ok(work_on(lease, work))
    }

    /// The same, if there is an item now.
    ///
    /// # Errors
    /// As [`try_get`](Self::try_get).
    pub fn try_get_with<R>(&mut self, work: impl FnOnce(T) -> R) -> Result<R, GetError> {
        let lease = self.try_lease()?;
        Ok(work_on(lease, work))
    }

    /// Leases the next item, as soon as there is one: it comes back to the queue unless the [`Lease`] is acknowledged. At least once, where
    /// [`get`](Self::get) is at most once. A handle holds up to eight leases at a time; whoever holds one must not wait here for the end of a closed queue,
    /// which does not come before its lease has ended.
    ///
    /// # Errors
    /// [`GetError::TooManyLeases`], and as [`get`](Self::get).
    #[inline]
    pub fn lease(&self) -> Result<Lease<'_, T>, GetError> {
        Ok(Lease::new(&self.port, self.port.lease_until(|| Until::Forever)?))
    }

    /// Leases the next item if there is one now.
    ///
    /// # Errors
    /// [`GetError::TooManyLeases`], and as [`try_get`](Self::try_get).
    #[inline]
    pub fn try_lease(&self) -> Result<Lease<'_, T>, GetError> {
        Ok(Lease::new(&self.port, self.port.try_lease()?))
    }

    /// Leases the next item, if there is one before `timeout` is over.
    ///
    /// # Errors
    /// [`GetError::TooManyLeases`], and as [`get_timeout`](Self::get_timeout).
    pub fn lease_timeout(&self, timeout: Duration) -> Result<Lease<'_, T>, GetError> {
        Ok(Lease::new(&self.port, self.port.lease_until(|| Until::after(timeout))?))
    }
}

/// The item is gone when `work` returns, and comes back when it panics.
fn work_on<T: Pod, R>(lease: Lease<'_, T>, work: impl FnOnce(T) -> R) -> R {
    let result = work(*lease);
    lease.ack();
    result
}

/// An item that was taken and not yet acknowledged, read in place.
///
/// [`ack`](Self::ack) takes it for good. [`nack`](Self::nack), dropping the lease (a panic does), and the death of its holder at any instruction give it back: the
/// next consumer gets it, before the others. So an item is worked on at least once, and [`deliveries`](Self::deliveries) tells a second time from a first.
/// Neither call blocks.
///
/// A leased item keeps its slot: the queue is full one lap behind it. As long as it is leased a closed queue has not come to its end.
/// A forked child's copy of a lease does nothing.
///
/// ```
/// let mut queue = skep_ipc::SimpleQueue::<u64>::new(16)?;
/// queue.put(7).unwrap();
/// let lease = queue.lease().unwrap();
/// assert_eq!((*lease, lease.deliveries()), (7, 0));
/// lease.nack();
/// let lease = queue.lease().unwrap();
/// assert_eq!((*lease, lease.deliveries()), (7, 1));
/// lease.ack();
/// assert!(queue.is_empty());
/// # Ok::<(), skep_ipc::Error>(())
/// ```
#[must_use = "a lease that is not acknowledged gives its item back"]
pub struct Lease<'a, T: Pod> {
    port: &'a Port<T>,
    delivery: Delivery,
}

impl<'a, T: Pod> Lease<'a, T> {
    #[inline]
    pub(super) fn new(port: &'a Port<T>, delivery: Delivery) -> Self {
        Lease { port, delivery }
    }

    /// The item is done with, and gone.
    #[inline]
    pub fn ack(self) {
        self.port.ack(self.delivery);
        std::mem::forget(self);
    }

    /// Gives the item back, for another consumer; dropping the lease does the same.
    pub fn nack(self) {
        drop(self);
    }

    /// How often the item was delivered before and came back: 0 the first time. Does not count beyond 255.
    pub fn deliveries(&self) -> u32 {
        self.delivery.returns as u32
    }
}

impl<T: Pod> Deref for Lease<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the position is this participant's from its claim (G3) until `ack` or `nack`, which take the lease; by the ring's invariant 2 nobody writes
        // to its slot meanwhile. The slot lies within the segment (invariant 4), which the port that is borrowed keeps mapped; any bytes are a `T: Pod`.
        unsafe { &*self.port.item(self.delivery) }
    }
}

impl<T: Pod> Drop for Lease<'_, T> {
    fn drop(&mut self) {
        self.port.nack(self.delivery);
    }
}

impl<T: Pod + std::fmt::Debug> std::fmt::Debug for Lease<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lease").field("item", &**self).field("deliveries", &self.deliveries()).finish()
    }
}
