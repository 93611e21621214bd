//! Where users of the [`raw_sync`](https://docs.rs/raw_sync/0.1) crate find a mutex's words.
//!
//! `raw_sync::locks::Mutex` is a bare `pthread_mutex_t` at an address that its user gives, and skep's lock is one too. So a program that
//! still uses `raw_sync` can lock a mutex that skep made. The way back is closed: a mutex that `raw_sync` made is not robust, and the death
//! of its holder would stop everybody.

use super::contents::value_offset;
use super::mutex::Mutex;
use super::robust::Control;
use crate::header::{HEADER_BYTES, PAGE_BYTES};
use bytemuck::Pod;
use std::mem::offset_of;
use std::ptr::NonNull;
use std::sync::atomic::AtomicU32;

/// The addresses of a mutex's words in this process, valid as long as the [`Mutex`] that gave them.
#[derive(Debug, Clone, Copy)]
pub struct RawParts<T> {
    /// The `pthread_mutex_t`: process-shared, robust, error-checking.
    pub mutex: NonNull<u8>,
    /// Not zero while the value may not be in order. For the holder of the lock alone.
    pub suspect: NonNull<AtomicU32>,
    /// The value. For the holder of the lock alone.
    pub value: NonNull<T>,
}

/// # For users of `raw_sync`
/// Attach with `from_existing`, over [`raw_parts`](Mutex::raw_parts) or over a mapping of your own, such as one by the `shared_memory` crate
/// (a skep mutex created as `"name"` is its `os_id("name")`):
/// ```
/// use raw_sync::locks::{LockInit, Mutex};
/// use shared_memory::ShmemConf;
/// type Counter = skep_ipc::Mutex<u64>;
/// # let name = &format!("skep-doc-{}", std::process::id());
/// let ours = Counter::create(name, 41)?;
///
/// let memory = ShmemConf::new().os_id(name).open()?; // in another process
/// let base = memory.as_ptr();
/// // SAFETY: the offsets are those of a `u64`'s mutex, which the file of that name holds.
/// let (theirs, _) = unsafe {
///     Mutex::from_existing(base.add(Counter::RAW_MUTEX_OFFSET), base.add(Counter::DATA_OFFSET))
/// }?;
/// let value = theirs.lock()?;
/// // SAFETY: the lock is held, and any eight bytes are a `u64`.
/// unsafe { *value.cast::<u64>() += 1 };
/// drop(value);
///
/// assert_eq!(*ours.lock().expect("nobody died"), 42);
/// # Counter::unlink(name)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
/// - **A dead holder**: `lock()` gives `Err("… 130")` (`EOWNERDEAD`), and *this thread then holds the lock*. Call
///   `libc::pthread_mutex_consistent(mutex.as_raw().cast())`, bring the value in order, then `mutex.release()`. To leave the value to
///   others, store 1 at [`SUSPECT_OFFSET`](Mutex::SUSPECT_OFFSET) before the release: the next skep user gets `OwnerDied`. `release()` without
///   `pthread_mutex_consistent` makes the lock useless: 131 (`ENOTRECOVERABLE`) for everybody, [`LockError::Unrecoverable`] in skep.
/// - **A suspect value**: `raw_sync` does not look at the word at `SUSPECT_OFFSET`; after `lock()` its user should. Not zero: a holder died, and
///   nobody has brought the value in order since. Store 0 once you have.
/// - **Timeouts**: `try_lock` with `Timeout::Val` fails at once in many cases (it passes times that `pthread_mutex_timedlock` does not take).
///   Use `lock()`.
/// - The mutex is error-checking: `lock()` by a thread that holds it gives `Err("… 35")`.
///
/// [`LockError::Unrecoverable`]: crate::LockError::Unrecoverable
impl<T: Pod> Mutex<T> {
    /// Where the `pthread_mutex_t` is, in bytes from the start of the segment's file.
    ///
    /// The offsets are part of the format: they change only with the version in the header.
    pub const RAW_MUTEX_OFFSET: usize = HEADER_BYTES + PAGE_BYTES as usize + offset_of!(Control, raw);
    /// Where the `u32` is that is not zero while the value may not be in order.
    pub const SUSPECT_OFFSET: usize = HEADER_BYTES + PAGE_BYTES as usize + offset_of!(Control, suspect);
    /// Where the value is.
    pub const DATA_OFFSET: usize = HEADER_BYTES + PAGE_BYTES as usize + value_offset::<T>();

    /// The addresses of the words in this process, valid as long as this `Mutex`.
    pub fn raw_parts(&self) -> RawParts<T> {
        let control = NonNull::from(self.0.control());
        RawParts {
            mutex: control.cast(),
            // SAFETY: a field of the control words.
            suspect: unsafe { control.byte_add(offset_of!(Control, suspect)) }.cast(),
            value: self.0.contents(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::mutex::Checking;
    use super::super::robust::Robust;
    use super::*;

    /// The offsets from the start of the file are where the segment's body has the words.
    #[test]
    fn the_documented_offsets_are_the_real_ones() {
        #[repr(C, align(128))]
        #[derive(Debug, Clone, Copy, PartialEq)]
        struct Wide([u64; 16]);
        // SAFETY: an array of integers without padding.
        unsafe impl bytemuck::Zeroable for Wide {}
        // SAFETY: as above.
        unsafe impl Pod for Wide {}

        fn check<T: Pod + PartialEq + std::fmt::Debug>(value: T) {
            let mutex = Mutex::new(value).expect("made");
            let body = mutex.raw_parts().mutex.addr().get() - Mutex::<T>::RAW_MUTEX_OFFSET;
            let geometry = Robust::<T, Checking>::blueprint().geometry(1, 1).expect("possible");
            assert_eq!(Mutex::<T>::RAW_MUTEX_OFFSET as u64, geometry.body);
            let parts = mutex.raw_parts();
            assert_eq!(parts.suspect.addr().get() - body, Mutex::<T>::SUSPECT_OFFSET);
            assert_eq!(parts.value.addr().get() - body, Mutex::<T>::DATA_OFFSET);
            assert_eq!(*mutex.lock().expect("free"), value);
        }
        check(7_u64);
        check([1_u8; 3]);
        check(Wide([0; 16]));
    }
}
