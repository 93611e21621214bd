//! `AtomicArray`: integers in shared memory that everybody reads and writes at any time.

use super::items::Items;
use crate::error::Error;
use crate::header::Kind;
use crate::segment::{Segment, agree, open_or_create};
use bytemuck::Pod;
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{
    AtomicI8, AtomicI16, AtomicI32, AtomicI64, AtomicIsize, AtomicU8, AtomicU16, AtomicU32, AtomicU64,
    AtomicUsize, Ordering,
};

const KIND: Kind = Kind::new(*b"atomics\0");

/// An integer type that has an atomic one: `u8` to `u64`, `i8` to `i64`, `usize`, `isize`.
///
/// `bool` is none of them: what a peer writes into shared memory may be any byte, and only two of them are a `bool`.
pub trait AtomicItem: Pod + Send + Sync + sealed::Sealed {
    /// The type of [`std::sync::atomic`] with the same bytes.
    type Atomic: Send + Sync + std::fmt::Debug;

    #[doc(hidden)]
    fn load(from: &Self::Atomic) -> Self;

    #[doc(hidden)]
    fn store(self, to: &Self::Atomic);
}

mod sealed {
    /// # Safety
    /// The type's `Atomic` is a plain atomic integer of the same size.
    pub unsafe trait Sealed {}
}

macro_rules! atomic_items {
    ($($integer:ty: $atomic:ty),+ $(,)?) => { $(
        // SAFETY: as the standard library says of the type.
        unsafe impl sealed::Sealed for $integer {}

        impl AtomicItem for $integer {
            type Atomic = $atomic;

            #[inline]
            fn load(from: &$atomic) -> $integer {
                from.load(Ordering::Relaxed)
            }

            #[inline]
            fn store(self, to: &$atomic) {
                to.store(self, Ordering::Relaxed);
            }
        }
    )+ };
}

atomic_items! {
    u8: AtomicU8, u16: AtomicU16, u32: AtomicU32, u64: AtomicU64, usize: AtomicUsize,
    i8: AtomicI8, i16: AtomicI16, i32: AtomicI32, i64: AtomicI64, isize: AtomicIsize,
}

/// A fixed number of integers in shared memory, without a lock: a slice of the standard library's atomics.
///
/// Nobody holds anything, so a process that dies at any instruction has done its last operation or has not, holds up nobody, and leaves nothing to
/// repair. For the same reason there are no participants to count: any number of processes may open it, clones and threads share a mapping, and a
/// child of `fork()` may go on using its copy. What is changed in several steps, or in several items at once, wants the lock of an [`Array`](crate::Array).
///
/// ```
/// use skep_ipc::AtomicArray;
/// use std::sync::atomic::Ordering::Relaxed;
/// let hits = AtomicArray::<u64>::new(3)?; // zeroes
/// let elsewhere = hits.clone(); // or in another process, by name or descriptor
/// elsewhere[1].fetch_add(5, Relaxed);
/// assert_eq!(hits.iter().map(|n| n.load(Relaxed)).sum::<u64>(), 5);
/// # Ok::<(), skep_ipc::Error>(())
/// ```
///
/// Only integers are atomic:
/// ```compile_fail
/// skep_ipc::AtomicArray::<[u64; 2]>::new(3);
/// ```
///
/// # Panics
/// Indexing behind the end, as on any slice; [`get`](slice::get) does not.
#[derive(Clone)]
pub struct AtomicArray<A: AtomicItem>(Items<A>);

impl<A: AtomicItem> AtomicArray<A> {
    /// Makes an anonymous array of `len` zeroes, which lives as long as somebody has it.
    ///
    /// # Errors
    /// [`Error::Capacity`] (zero, or too large), [`Error::NoMemory`], [`Error::Os`].
    pub fn new(len: usize) -> Result<Self, Error> {
        Items::anonymous(KIND, len, |_| {}).map(AtomicArray)
    }

    /// Makes an anonymous array of these numbers.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn from_slice(items: &[A]) -> Result<Self, Error> {
        Items::anonymous(KIND, items.len(), |all| all.copy_from_slice(items)).map(AtomicArray)
    }

    /// Makes a named array of `len` zeroes, which stays until it is [unlinked](Self::unlink).
    ///
    /// # Errors
    /// [`Error::Exists`], [`Error::Name`], and as [`new`](Self::new).
    pub fn create(name: &str, len: usize) -> Result<Self, Error> {
        Items::named(name, KIND, len, |_| {}).map(AtomicArray)
    }

    /// Makes a named array of these numbers: whoever opens it finds them all.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub fn create_from_slice(name: &str, items: &[A]) -> Result<Self, Error> {
        Items::named(name, KIND, items.len(), |all| all.copy_from_slice(items)).map(AtomicArray)
    }

    /// Opens the array of that name, with as many items as it was made with.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Name`], [`Error::Mismatch`] (it holds something else), [`Error::Os`].
    pub fn open(name: &str) -> Result<Self, Error> {
        Items::open(name, KIND).map(AtomicArray)
    }

    /// Opens the array of that name, or makes it with `len` zeroes if there is none.
    ///
    /// # Errors
    /// [`Mismatch::Option`] if there is one of another length: [`open`](Self::open) takes it as it is.
    /// Other errors are those of [`create`](Self::create) and [`open`](Self::open).
    ///
    /// [`Mismatch::Option`]: crate::Mismatch::Option
    pub fn open_or_create(name: &str, len: usize) -> Result<Self, Error> {
        let open = || {
            let array = Self::open(name)?;
            agree("length", array.len() as u64, len as u64)?;
            Ok(array)
        };
        open_or_create(open, || Self::create(name, len))
    }

    /// Opens the array behind a descriptor that another process passed on ([`AsFd`]).
    ///
    /// # Errors
    /// [`Error::Mismatch`], [`Error::Os`].
    pub fn from_fd(file: OwnedFd) -> Result<Self, Error> {
        Items::from_fd(file, KIND).map(AtomicArray)
    }

    /// Removes an array's name. Whoever has it open goes on; the memory is freed with the last of them.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Name`], [`Error::Os`].
    pub fn unlink(name: &str) -> Result<(), Error> {
        Segment::unlink(name)
    }
}

impl<A: AtomicItem> Deref for AtomicArray<A> {
    type Target = [A::Atomic];

    #[inline]
    fn deref(&self) -> &[A::Atomic] {
        let all = self.0.all();
        let atomics = NonNull::slice_from_raw_parts(all.cast::<A::Atomic>(), all.len());
        // SAFETY: mapped as long as `self`; an integer's atomic has its size, as `Sealed` says, and is aligned to no more than that, as all of them
        // are from a page's start on. Others write to them by atomic operations alone, and any bytes are a valid integer.
        unsafe { atomics.as_ref() }
    }
}

impl<A: AtomicItem> AsFd for AtomicArray<A> {
    /// The descriptor to pass to another process, which opens the array with [`from_fd`](AtomicArray::from_fd).
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl<A: AtomicItem> std::fmt::Debug for AtomicArray<A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        (**self).fmt(f)
    }
}
