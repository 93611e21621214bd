//! Attaching to arbitrary bytes: an error, or an object that may misbehave but neither crashes, nor hangs, nor leaves its memory.
//!
//! The first byte of an input chooses what the file starts from: nothing (the rest is the file), or a valid object, to which the rest is applied
//! as a list of writes `{ offset: 3 bytes, value: 8 bytes }`; so the fuzzer gets behind the header's checks.

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use skep_ipc::{
    Arena, ArenaOptions, Array, AtomicArray, AtomicValue, Barrier, Condvar, Event, Mutex, Once, Part,
    PartOptions, Pipe, Pod, Queue, QueueOptions, RawArray, RwLock, Semaphore, SemaphoreSetup, ShmArc,
    ShmSlice, SimpleQueue, shared_struct,
};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::LazyLock;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// Participants of an image of a part.
const PEERS: usize = 3;

/// Runs one input.
pub fn run(data: &[u8]) {
    let Some((&start, rest)) = data.split_first() else { return };
    let image = match usize::from(start) % (IMAGES.len() + 1) {
        0 => rest.to_vec(),
        image => spoilt(&IMAGES[image - 1], rest),
    };
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file = File::from(memfd_create("skep-fuzz", flags).expect("memory for a few pages"));
    file.write_all_at(&image, 0).expect("memory for a few pages");
    fcntl_add_seals(&file, SealFlags::SHRINK).expect("a new file"); // without, nothing is attached to
    let file = file.as_fd();
    exercise_queue::<u64>(file);
    exercise_queue::<[u8; 3]>(file);
    exercise_pipe(file);
    let file = || duplicate(file);
    attempt::<RwLock<u64>>(file(), exercise_rwlock);
    attempt::<RwLock<[u8; 3]>>(file(), exercise_rwlock);
    attempt::<Semaphore>(file(), exercise_semaphore);
    attempt::<Condvar>(file(), exercise_condvar);
    attempt::<Event>(file(), exercise_event);
    attempt::<Once>(file(), exercise_once);
    attempt::<Barrier>(file(), exercise_barrier);
    attempt::<Several>(file(), exercise_several);
    let _ = AtomicArray::<u32>::from_fd(file()).map(|array| exercise_atomics(&array));
    let _ = AtomicValue::<u32>::from_fd(file()).map(|value| value.fetch_add(1, Relaxed));
    let _ = Arena::from_fd(file()).map(|arena| exercise_arena(&arena));
    let _ = RawArray::<[u8; 3]>::from_fd(file()).map(|array| exercise_raw(&array));
    // A mutex is the C library's: to attach is all that can be tried on words that it did not write.
    let _ = Mutex::<u64>::from_fd(file());
    let _ = Array::<u64>::from_fd(file()).map(|array| (array.len(), array.get(usize::MAX)));
}

fn duplicate(file: BorrowedFd<'_>) -> OwnedFd {
    file.try_clone_to_owned().expect("a free descriptor")
}

/// Takes both roles as if the file held a pipe, and if that succeeds, uses them: every call must return.
fn exercise_pipe(file: BorrowedFd<'_>) {
    let Ok(pipe) = Pipe::from_fd(duplicate(file)) else { return };
    let (Ok(mut sender), Ok(mut receiver)) = (pipe.sender(), pipe.receiver()) else { return };
    for length in [0, 5, 4000] {
        let _ = sender.try_send(&vec![7; length]);
        let _ = receiver.try_recv().map(|grant| grant.iter().map(|&b| u64::from(b)).sum::<u64>());
        let _ = receiver.try_recv().map(|grant| grant.len());
    }
}

/// Joins as if the file held a queue of `T`, and if that succeeds, uses it: every call must return.
fn exercise_queue<T: Pod>(file: BorrowedFd<'_>) {
    let Ok(mut queue) = SimpleQueue::<T>::from_fd(duplicate(file)) else { return };
    let mut several = [T::zeroed(); 5];
    for _ in 0..3 {
        let _ = queue.try_put(T::zeroed());
        let _ = queue.try_get();
        let _ = queue.try_put_batch(&several);
        let _ = queue.try_get_batch(&mut several);
        let _ = queue.try_get_with(|_| ());
        let leased = [queue.try_lease(), queue.try_lease()];
        let _ = leased.map(|lease| lease.map(|lease| (*lease, lease.deliveries())));
        let _ = queue.recover();
        let _ = (queue.len(), queue.capacity(), queue.is_closed());
    }
    let _ = queue.try_clone();
    queue.close();
    let _ = queue.try_get();
}

/// Counts in all items: each must be there.
fn exercise_atomics(array: &AtomicArray<u32>) {
    let _ = array.iter().map(|item| item.fetch_add(1, Relaxed)).max();
    let _ = array.get(array.len());
}

/// Copies all items out, and the first ones in: each must be there.
fn exercise_raw(array: &RawArray<[u8; 3]>) {
    let mut all = vec![[0; 3]; array.len()];
    let _ = array.copy_to(0, &mut all);
    let _ = (array.set(array.len() - 1, [7; 3]), array.set(array.len(), [7; 3]), array.copy_from(1, &all));
}

/// What the queue of an arena carries.
type Value = (u32, ShmSlice<u64>, ShmArc<[u64]>);

/// Allocates, repairs, and takes out what the queue holds: every call must return.
fn exercise_arena(arena: &Arena) {
    let _ =
        arena.slice_with(9, |n| n as u64).map(|slice| slice.share().map(|shared| shared.try_clone().is_ok()));
    let _ = (arena.slice_unfilled::<u8>(5000).is_ok(), arena.free_bytes(), arena.size(), arena.recover());
    let Ok(mut queue) = Queue::<Value>::open_in(arena, "values") else { return };
    let _ = queue.try_lease().map(|lease| lease.deliveries());
    let _ = queue.try_get().map(|(_, owned, counted)| (owned.len(), counted.len(), counted.count()));
    let _ = (queue.len(), queue.join_all(Some(Duration::ZERO)), queue.recover());
    let _ = Queue::<u64>::create_in(arena, "numbers", 2).map(|mut numbers| numbers.try_put(7).is_ok());
}

/// Uses one after the other, and lets another participant mend: every call must return.
fn exercise_several(several: &Several) {
    exercise_rwlock(&several.lock);
    exercise_semaphore(&several.permits);
    exercise_condvar(&several.condvar);
    exercise_event(&several.event);
    exercise_once(&several.once);
    exercise_barrier(&several.barrier);
    mend(several);
}

fn attempt<P: Part>(file: OwnedFd, exercise: fn(&P)) {
    if let Ok(part) = P::from_fd(file) {
        exercise(&part);
    }
}

fn mend(part: &impl Part) {
    let _ = part.try_clone().map(|another| another.recover());
    let _ = part.recover();
}

const AT_ONCE: Duration = Duration::from_micros(1);

fn exercise_rwlock<T: Pod>(lock: &RwLock<T>) {
    for _ in 0..2 {
        let _ = lock.try_read().map(|first| (*first, lock.try_read().map(|second| *second).is_ok()));
        let _ = lock.try_write().map(|mut guard| *guard = T::zeroed());
        let _ = lock.read_timeout(AT_ONCE).map(|guard| *guard);
        let _ = lock.write_timeout(AT_ONCE).map(|mut guard| guard.mark_consistent());
        mend(lock);
    }
}

fn exercise_semaphore(semaphore: &Semaphore) {
    for count in [1, 2, u32::MAX] {
        let held = semaphore.try_acquire();
        let _ = semaphore.acquire_many_timeout(count, AT_ONCE).map(|permit| permit.forget());
        let _ = (held.map(|permit| permit.count()), semaphore.release(count), semaphore.available());
        mend(semaphore);
    }
}

fn exercise_condvar(condvar: &Condvar) {
    let _ = (condvar.notify(2), condvar.notify_all());
    let mutex = Mutex::new(0_u64).expect("memory for a few pages");
    let _ = condvar.wait_timeout(mutex.lock().expect("free"), AT_ONCE).map(|(guard, _)| *guard);
    mend(condvar);
    let _ = condvar.notify_one();
}

fn exercise_event(event: &Event) {
    let _ = (
        event.wait_timeout(AT_ONCE),
        event.clear(),
        event.wait_timeout(AT_ONCE),
        event.set(),
        event.is_set(),
    );
    mend(event);
}

fn exercise_once(once: &Once) {
    let _ = (once.wait_timeout(AT_ONCE), once.is_completed());
    mend(once);
    let _ = once.try_call_once(|_| _ = once.call_once_timeout(|_| (), AT_ONCE));
    let _ = once.try_call_once(|_| ());
}

fn exercise_barrier(barrier: &Barrier) {
    for _ in 0..2 {
        let _ = (barrier.wait_timeout(AT_ONCE), barrier.parties(), barrier.waiting(), barrier.is_broken());
        mend(barrier);
        let _ =
            (barrier.wait_timeout(AT_ONCE), barrier.abort(), barrier.wait_timeout(AT_ONCE), barrier.reset());
    }
}

shared_struct! {
    /// One of each.
    struct Several {
        lock: RwLock<[u8; 3]>,
        permits: Semaphore,
        condvar: Condvar,
        event: Event,
        once: Once,
        barrier: Barrier,
    }
}

/// The bytes of an object of each kind, in use.
static IMAGES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let permits = || SemaphoreSetup { permits: 3, bound: Some(5) };
    vec![
        pipe_image(),
        queue_image(),
        image_of::<RwLock<u64>>(7, |lock| {
            let read = lock.try_read();
            let image = bytes_of(lock.as_fd());
            drop(read);
            image
        }),
        image_of::<RwLock<[u8; 3]>>([7; 3], |lock| {
            let write = lock.try_write();
            let image = bytes_of(lock.as_fd());
            drop(write);
            image
        }),
        image_of::<Semaphore>(permits(), |semaphore| {
            let permit = semaphore.try_acquire();
            let image = bytes_of(semaphore.as_fd());
            drop(permit);
            image
        }),
        image_of::<Condvar>((), |condvar| bytes_of(condvar.as_fd())),
        image_of::<Event>((), |event| bytes_of(event.as_fd())),
        image_of::<Once>((), |once| bytes_of(once.as_fd())),
        image_of::<Barrier>(2, |barrier| {
            let _ = barrier.wait_timeout(AT_ONCE); // takes a place
            bytes_of(barrier.as_fd())
        }),
        image_of::<Several>(([7; 3], permits(), (), (), (), 2), |several| bytes_of(several.as_fd())),
        bytes_of(Array::<u64>::new(600).expect("memory for a few pages").as_fd()),
        bytes_of(AtomicArray::<u32>::new(5).expect("memory for a few pages").as_fd()),
        bytes_of(AtomicValue::<u32>::new(5).expect("memory for a few pages").as_fd()),
        bytes_of(RawArray::<[u8; 3]>::new(2000).expect("memory for a few pages").as_fd()),
        arena_image(),
    ]
});

/// The bytes of a part whose only participant has died, as `bytes` takes them.
fn image_of<P: Part>(setup: P::Setup, bytes: impl FnOnce(&P) -> Vec<u8>) -> Vec<u8> {
    bytes(&PartOptions::new().peers(PEERS).anonymous::<P>(setup).expect("memory for a few pages"))
}

/// The bytes of a small queue with some items in it, of which one is leased.
fn queue_image() -> Vec<u8> {
    let mut queue = QueueOptions::new(4).peers(PEERS).anonymous::<u64>().expect("memory for a few pages");
    queue.put_batch(&[1, 2, 3]).expect("room for three");
    let _ = queue.get();
    let lease = queue.try_lease();
    let image = bytes_of(queue.as_fd());
    drop(lease);
    image
}

/// The bytes of a small arena in which a queue holds two values, of which one is leased.
fn arena_image() -> Vec<u8> {
    let arena = ArenaOptions::new(1 << 13).peers(PEERS).anonymous().expect("memory for a few pages");
    let mut queue = Queue::<Value>::create_in(&arena, "values", 2).expect("room for two slots");
    for n in 0..2 {
        let owned = arena.slice_with(9, |n| n as u64).expect("room for nine words");
        let shared = arena.slice_with(9, |n| n as u64).and_then(|slice| slice.share());
        queue.try_put((n, owned, shared.expect("room for nine words"))).expect("room for two values");
    }
    let lease = queue.try_lease();
    let image = bytes_of(arena.as_fd());
    drop(lease);
    image
}

/// The bytes of a small pipe with some messages in it, whose roles nobody has.
fn pipe_image() -> Vec<u8> {
    let pipe = Pipe::new(1000).expect("memory for a few pages");
    let mut sender = pipe.sender().expect("a free role");
    for message in [&b""[..], b"seven b", b"eight by"] {
        sender.try_send(message).expect("room for three");
    }
    bytes_of(pipe.as_fd())
}

fn bytes_of(segment: BorrowedFd<'_>) -> Vec<u8> {
    let file = File::from(duplicate(segment));
    let mut image = vec![0; file.metadata().expect("an open file").len() as usize];
    file.read_exact_at(&mut image, 0).expect("a whole segment");
    image
}

/// A valid image with the given writes applied.
fn spoilt(image: &[u8], writes: &[u8]) -> Vec<u8> {
    let mut image = image.to_vec();
    for write in writes.chunks_exact(11) {
        let offset = u32::from_le_bytes([write[0], write[1], write[2], 0]) as usize % image.len();
        let end = image.len().min(offset + 8);
        image[offset..end].copy_from_slice(&write[3..3 + end - offset]);
    }
    image
}
