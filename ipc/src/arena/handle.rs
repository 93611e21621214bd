//! `Arena`: the handle, and how one is made.

use super::blocks::cut;
use super::boxed::{ShmBox, ShmSlice};
use super::carriers::{Carriers, Custody};
use super::core::Core;
use super::error::{AllocError, Refused};
use super::ground::{self, Ground};
use super::layout::{Control, Plan};
use super::owned::Owned;
use super::string::ShmString;
use super::vec::ShmVec;
use super::word::{MAX_PEERS, Phase, Word};
use crate::error::Error;
use crate::segment::{Segment, agree, open_or_create};
use crate::sync::biased::{Root, Shared};
use crate::sync::{AtomicU64, Relaxed};
use crate::sys::{self, Advice};
use bytemuck::Pod;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::time::Duration;

/// How many participants an arena is made for, if nothing is said.
const PEERS: usize = 128;

/// Memory that processes share and allocate from.
///
/// A handle is one participant; its clones, and the handles of what it allocated, are the same one, in whatever thread. Another process joins by
/// [`open`](Self::open) or [`from_fd`](Self::from_fd). A thread that allocates much does better with a participant, and so a cache, of its own:
/// [`another`](Self::another).
///
/// # Sizes
/// A request is rounded up to a power of two, from 64 bytes (or [`ArenaOptions::smallest_block`]) to the largest power of two in the arena; blocks are aligned to their size,
/// up to a page. So a block of 9 MiB takes 16 MiB, and four of them fit into 64 MiB, not seven; [`block_bytes`](Self::block_bytes) says what a request takes.
/// A block is not cut to the granules that it needs, since its word could not say where it ends then, and no sweep could pass over it.
///
/// What was committed stays committed until the arena is gone: each page of a free block is reserved, so that who gets the block can touch it without the kernel's killing
/// somebody for want of memory. An arena that is large for a while only is best made for that while.
///
/// Allocating and freeing take one or two atomic operations while the handle's cache serves, whatever the size. The arena's own words take an eighth of its
/// size, and a 512th with the largest `smallest_block`, of a page.
///
/// # When it is full
/// a call says so, and hands back what it was given. A handle made by [`within`](Self::within) waits.
///
/// # When a participant dies
/// at any instruction, everything that it owned is freed, and each shared value loses its references, as soon as somebody who needs memory finds out, or calls
/// [`recover`](Self::recover). What it had put into a [`Queue`](crate::Queue) stays there.
///
/// ```
/// use skep_ipc::Arena;
/// let arena = Arena::new(1 << 20)?;
/// let mut squares = arena.slice_with(100, |n| (n * n) as u64)?;
/// squares[0] = 7;
/// assert_eq!(squares[..3], [7, 1, 4]);
/// drop(squares);
/// assert_eq!(arena.free_bytes(), 1 << 20);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Arena {
    core: Root<Core>,
    patience: Option<Duration>,
}

/// How an arena is made, where [`Arena::new`] and [`Arena::create`] do not say enough.
///
/// ```
/// use skep_ipc::ArenaOptions;
/// let arena = ArenaOptions::new(1 << 20).limit(1 << 24).smallest_block(4096).anonymous()?;
/// assert_eq!((arena.size(), arena.limit()), (1 << 20, 1 << 24));
/// # Ok::<(), skep_ipc::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
#[must_use]
pub struct ArenaOptions {
    bytes: u64,
    limit: Option<u64>,
    stretch: Option<u64>,
    peers: usize,
    smallest: usize,
    advice: [Option<Advice>; 2],
}

impl ArenaOptions {
    /// An arena of at least so many bytes, which does not grow.
    pub fn new(bytes: u64) -> Self {
        ArenaOptions { bytes, limit: None, stretch: None, peers: PEERS, smallest: 64, advice: [None; 2] }
    }

    /// Lets it grow up to so many bytes, by as much at a time as it begins with, unless [`stretch`](Self::stretch) says otherwise. Memory is committed as it grows, addresses
    /// are reserved at once.
    pub fn limit(self, bytes: u64) -> Self {
        ArenaOptions { limit: Some(bytes), ..self }
    }

    /// By so many bytes at a time it grows.
    pub fn stretch(self, bytes: u64) -> Self {
        ArenaOptions { stretch: Some(bytes), ..self }
    }

    /// How many participants there may be at a time, over all processes: up to 4095, 128 by default. Each handle of a [`Queue`](crate::Queue) is one, too.
    pub fn peers(self, peers: usize) -> Self {
        ArenaOptions { peers, ..self }
    }

    /// The smallest block: a power of two from 64 bytes, the default, to 4096. Larger ones make the arena's own words fewer.
    pub fn smallest_block(self, bytes: usize) -> Self {
        ArenaOptions { smallest: bytes, ..self }
    }

    /// Asks the kernel for huge pages (`MADV_HUGEPAGE`); whether there are any is said in `/sys/kernel/mm/transparent_hugepage/shmem_enabled`.
    pub fn huge_pages(self) -> Self {
        ArenaOptions { advice: [Some(Advice::HugePages), self.advice[1]], ..self }
    }

    /// Maps all pages that the arena begins with now, and not one by one as they are touched; in this process only.
    pub fn prefault(self) -> Self {
        ArenaOptions { advice: [self.advice[0], Some(Advice::Populate)], ..self }
    }

    /// Makes an anonymous arena.
    ///
    /// # Errors
    /// [`Error::Setup`], [`Error::Peers`], [`Error::Capacity`], [`Error::NoMemory`], [`Error::Os`].
    pub fn anonymous(self) -> Result<Arena, Error> {
        self.build(None, Custody::Everybody, Ok)
    }

    /// Makes a named arena.
    ///
    /// # Errors
    /// [`Error::Exists`], [`Error::Name`], and as [`anonymous`](Self::anonymous).
    pub fn create(self, name: &str) -> Result<Arena, Error> {
        self.build(Some(name), Custody::Everybody, Ok)
    }

    /// For the pool, whose parent alone repairs.
    #[doc(hidden)]
    pub fn anonymous_for(self, carriers: Carriers) -> Result<Arena, Error> {
        self.build(None, Custody::Mine(carriers), Ok)
    }

    /// Creates an arena, anonymous or named, and in it what `furnish` makes, before anybody can find it.
    pub(crate) fn create_furnished<H>(
        self,
        name: Option<&str>,
        furnish: impl FnOnce(Arena) -> Result<H, Error>,
    ) -> Result<H, Error> {
        self.build(name, Custody::Everybody, furnish)
    }

    /// The plan, and how many granules it begins with, and grows by.
    fn plan(&self) -> Result<(Plan, u32, u32), Error> {
        let limit = self.limit.unwrap_or(self.bytes).max(self.bytes);
        if !self.smallest.is_power_of_two() || !(64..=4096).contains(&self.smallest) {
            return Err(Error::Setup("an arena's smallest block is a power of two from 64 to 4096 bytes"));
        }
        if self.peers == 0 || self.peers > MAX_PEERS {
            return Err(Error::Peers { peers: self.peers, max: MAX_PEERS });
        }
        let impossible = || Error::Capacity {
            capacity: usize::try_from(limit).unwrap_or(usize::MAX),
            max: self.smallest.saturating_mul(1 << super::word::MAX_ORDER),
        };
        let plan = Plan::new(self.smallest, limit).ok_or_else(impossible)?;
        let first = Plan::new(self.smallest, self.bytes).ok_or_else(impossible)?.granules;
        let step = match self.stretch {
            Some(bytes) => Plan::new(self.smallest, bytes).ok_or_else(impossible)?.granules,
            None => first,
        };
        Ok((plan, first, step))
    }

    /// Checks that an arena was made with these options, in what stays as it was made.
    fn agree(&self, arena: &Arena) -> Result<(), Error> {
        let (plan, _, step) = self.plan()?;
        let ground = arena.core.ground();
        let bytes = |granules: u32, plan: Plan| u64::from(granules) << plan.shift;
        agree("smallest block", 1 << ground.plan().shift, 1 << plan.shift)?;
        agree("limit in bytes", arena.limit(), bytes(plan.granules, plan))?;
        if step < plan.granules {
            agree("stretch in bytes", bytes(ground.step(), ground.plan()), bytes(step, plan))?;
        }
        Ok(ground.segment().agree_on_peers(self.peers)?)
    }

    fn build<H>(
        self,
        name: Option<&str>,
        custody: Custody,
        furnish: impl FnOnce(Arena) -> Result<H, Error>,
    ) -> Result<H, Error> {
        let (plan, first, step) = self.plan()?;
        let [words, memory] = plan.stretch(0, first);
        let ranges = [0..plan.words(), words, memory];
        let is_private = matches!(custody, Custody::Mine(_));
        let init = |body: NonNull<u8>| {
            // SAFETY: the body begins with the control page, committed and zeroed, which nobody else sees yet.
            let control: &Control = unsafe { body.cast().as_ref() };
            control.fixed.0.id.store(RandomState::new().build_hasher().finish(), Relaxed);
            control.fixed.0.is_private.store(u64::from(is_private), Relaxed);
            control.fixed.0.step.store(u64::from(step), Relaxed);
            control.extent.0.0.store(u64::from(first), Relaxed);
            found(body, plan, first);
            Ok(())
        };
        let at = (plan.capacity(), self.peers);
        let handle = |segment| {
            let arena = Arena::join(segment, custody)?;
            let bytes = ((first as usize) << plan.shift).next_multiple_of(sys::page_size());
            for advice in self.advice.into_iter().flatten() {
                sys::advise(arena.core.address(0), bytes, advice)?;
            }
            furnish(arena)
        };
        Segment::build_sparse(name, &ground::blueprint(), at, &ranges, init, handle)
    }
}

/// Makes the first stretch of granules free blocks, in memory that nobody else sees yet; their hints come with the first search.
fn found(body: NonNull<u8>, plan: Plan, end: u32) {
    for (index, order) in cut(0, end) {
        // SAFETY: the word of a granule of the first stretch, which is committed.
        let word =
            unsafe { body.byte_add(plan.words() as usize).cast::<AtomicU64>().add(index as usize).as_ref() };
        word.store(Word::new(0, order, Phase::Free, None).0, Relaxed);
    }
}

impl Arena {
    /// Makes an anonymous arena of at least `bytes` bytes, which does not grow; it lives as long as somebody has it.
    ///
    /// # Errors
    /// See [`ArenaOptions::anonymous`].
    pub fn new(bytes: u64) -> Result<Self, Error> {
        ArenaOptions::new(bytes).anonymous()
    }

    /// Makes a named arena of at least `bytes` bytes, which does not grow; it stays until it is [unlinked](Self::unlink).
    ///
    /// # Errors
    /// See [`ArenaOptions::create`].
    pub fn create(name: &str, bytes: u64) -> Result<Self, Error> {
        ArenaOptions::new(bytes).create(name)
    }

    /// Opens the arena of that name.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Name`], [`Error::Mismatch`] (it holds something else), [`Error::TooManyPeers`], [`Error::Os`].
    pub fn open(name: &str) -> Result<Self, Error> {
        Arena::join(Segment::open(name, &ground::blueprint())?, Custody::Everybody)
    }

    /// Opens the arena of that name, or makes it as the options say.
    ///
    /// # Errors
    /// [`Mismatch::Option`] if there is one with another smallest block, limit, stretch or number of
    /// participants: [`open`](Self::open) takes it as it is. Other errors are those of
    /// [`open`](Self::open) and [`ArenaOptions::create`].
    ///
    /// [`Mismatch::Option`]: crate::Mismatch::Option
    pub fn open_or_create(name: &str, options: ArenaOptions) -> Result<Self, Error> {
        let open = || {
            let arena = Arena::open(name)?;
            options.agree(&arena)?;
            Ok(arena)
        };
        open_or_create(open, || options.create(name))
    }

    /// Opens the arena behind a descriptor that another process passed on ([`AsFd`]).
    ///
    /// # Errors
    /// [`Error::Mismatch`], [`Error::TooManyPeers`], [`Error::Os`].
    pub fn from_fd(file: OwnedFd) -> Result<Self, Error> {
        Arena::join(Segment::from_fd(file, &ground::blueprint())?, Custody::Everybody)
    }

    /// For the pool's workers, for which their parent repairs.
    #[doc(hidden)]
    pub fn from_fd_of_another(file: OwnedFd) -> Result<Self, Error> {
        Arena::join(Segment::from_fd(file, &ground::blueprint())?, Custody::Another)
    }

    /// Removes an arena's name. Whoever has it open goes on; the memory is freed with the last of them.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Name`], [`Error::Os`].
    pub fn unlink(name: &str) -> Result<(), Error> {
        Segment::unlink(name)
    }

    /// Another participant, with a cache of its own.
    ///
    /// # Errors
    /// [`Error::TooManyPeers`], [`Error::Forked`], [`Error::Os`].
    pub fn another(&self) -> Result<Self, Error> {
        Arena::join(self.core.segment().clone(), self.core.ground().custody().clone())
    }

    fn join(segment: Segment, custody: Custody) -> Result<Self, Error> {
        let core = Core::join(Ground::of(segment, custody)?)?;
        Ok(Arena { core: Root::new(core, Core::is_own), patience: None })
    }

    /// The same handle, whose calls wait for memory up to `timeout` where this one's say that the arena is full.
    pub fn within(&self, timeout: Duration) -> Self {
        Arena { core: self.core.clone(), patience: Some(timeout) }
    }

    #[inline]
    pub(crate) fn core(&self) -> &Shared<Core> {
        &self.core
    }

    // --- allocation ------------------------------------------------------------------------------------------------

    #[inline]
    fn block(&self, bytes: Option<usize>, align: usize) -> Result<Owned, AllocError> {
        Owned::allocate(&self.core, bytes, align, self.patience)
    }

    /// Moves a value into the arena.
    ///
    /// # Errors
    /// [`AllocError`] says why it stays where it is; the value comes back.
    #[inline]
    pub fn boxed<T: Pod>(&self, value: T) -> Result<ShmBox<T>, Refused<T>> {
        let owned = self.block(Some(size_of::<T>()), align_of::<T>());
        let owned = owned.map_err(|reason| Refused { value, reason })?;
        let boxed = ShmBox::<T>::new(owned, 1);
        // SAFETY: the block is ours alone, large enough and aligned.
        unsafe { boxed.items().write(value) };
        Ok(boxed)
    }

    /// Copies values into the arena.
    ///
    /// # Errors
    /// [`AllocError`].
    pub fn slice<T: Pod>(&self, values: &[T]) -> Result<ShmSlice<T>, AllocError> {
        let mut slice = self.slice_unfilled(values.len())?;
        slice.copy_from_slice(values);
        Ok(slice)
    }

    /// So many values, each as `fill` gives it for its number. The block is this call's meanwhile, and nothing else is
    /// held: `fill` may allocate and wait; if it panics, the block is free.
    ///
    /// # Errors
    /// [`AllocError`]; nothing is filled then.
    pub fn slice_with<T: Pod>(
        &self,
        len: usize,
        mut fill: impl FnMut(usize) -> T,
    ) -> Result<ShmSlice<T>, AllocError> {
        let mut slice = self.slice_unfilled(len)?;
        slice.iter_mut().enumerate().for_each(|(number, place)| *place = fill(number));
        Ok(slice)
    }

    /// So many zeroes.
    ///
    /// # Errors
    /// [`AllocError`].
    pub fn slice_zeroed<T: Pod>(&self, len: usize) -> Result<ShmSlice<T>, AllocError> {
        let mut slice = self.slice_unfilled(len)?;
        bytemuck::fill_zeroes(&mut slice[..]);
        Ok(slice)
    }

    /// So many values that are whatever lies there: zeroes, or what an earlier owner left. Costs the same for any length.
    ///
    /// # Errors
    /// [`AllocError`].
    pub fn slice_unfilled<T: Pod>(&self, len: usize) -> Result<ShmSlice<T>, AllocError> {
        let owned = self.block(len.checked_mul(size_of::<T>()), align_of::<T>())?;
        Ok(ShmBox::new(owned, len))
    }

    /// The same, aligned to `align` bytes, a power of two up to 4096, for what wants more than its type does.
    ///
    /// # Errors
    /// [`AllocError`]; [`AllocError::Alignment`] for another alignment.
    pub fn slice_aligned<T: Pod>(&self, len: usize, align: usize) -> Result<ShmSlice<T>, AllocError> {
        let align = if align.is_power_of_two() { align.max(align_of::<T>()) } else { align };
        let owned = self.block(len.checked_mul(size_of::<T>()), align)?;
        Ok(ShmBox::new(owned, len))
    }

    /// An empty vector with room for `capacity` values.
    ///
    /// # Errors
    /// [`AllocError`].
    pub fn vec<T: Pod>(&self, capacity: usize) -> Result<ShmVec<T>, AllocError> {
        Ok(ShmVec::new(self.slice_unfilled(capacity)?, self.patience))
    }

    /// Copies a text into the arena.
    ///
    /// # Errors
    /// [`AllocError`].
    pub fn string(&self, text: &str) -> Result<ShmString, AllocError> {
        let mut string = ShmString::new(self.vec(text.len())?);
        string.push_str(text)?;
        Ok(string)
    }

    // --- state -----------------------------------------------------------------------------------------------------

    /// The bytes that it has committed memory for now.
    pub fn size(&self) -> u64 {
        u64::from(self.core.ground().end()) << self.core.plan().shift
    }

    /// The bytes that it may grow to.
    pub fn limit(&self) -> u64 {
        u64::from(self.core.plan().granules) << self.core.plan().shift
    }

    /// Returns the bytes of the block that a request for so many takes: at least these, and less than twice as many,
    /// from the smallest block on. `None` if they are more than the arena's largest block can ever have.
    ///
    /// ```
    /// let arena = skep_ipc::Arena::new(64 << 20)?;
    /// assert_eq!(arena.block_bytes(9 << 20), Some(16 << 20));
    /// assert_eq!((arena.block_bytes(1), arena.block_bytes(65 << 20)), (Some(64), None));
    /// # Ok::<(), skep_ipc::Error>(())
    /// ```
    pub fn block_bytes(&self, bytes: usize) -> Option<usize> {
        let order = self.core.plan().order(bytes, 1)?;
        self.core.ground().has_place(order, 0).then(|| self.core.plan().block_bytes(order))
    }

    /// The bytes of [`size`](Self::size) that nobody has, as far as others stand still: it looks at every block.
    pub fn free_bytes(&self) -> u64 {
        self.core.free_bytes()
    }

    /// Looks for dead participants now, frees what they held, and makes their places free. Returns for how many.
    ///
    /// Calls that find no memory do this by themselves; whoever learns of a death by other means can make it happen at once.
    ///
    /// # Errors
    /// [`Error::Forked`], [`Error::DescriptorLost`].
    pub fn recover(&self) -> Result<usize, Error> {
        self.core.segment().check()?;
        Ok(self.core.recover())
    }
}

impl AsFd for Arena {
    /// The descriptor to pass to another process, which opens it with [`from_fd`](Arena::from_fd).
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.core.segment().as_fd()
    }
}

impl std::fmt::Debug for Arena {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Arena")
            .field("size", &self.size())
            .field("limit", &self.limit())
            .field("free_bytes", &self.free_bytes())
            .finish_non_exhaustive()
    }
}
