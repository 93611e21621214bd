//! Attaching to arbitrary bytes: an error, or an object that may misbehave but neither crashes, nor hangs, nor leaves its memory.
//!
//! The first byte of an input chooses what the file starts from: nothing (the rest is the file), a valid queue, or a valid pipe, to which the rest is applied
//! as a list of writes `{ offset: 3 bytes, value: 8 bytes }`; so the fuzzer gets behind the header's checks.

use rustix::fs::{MemfdFlags, memfd_create};
use skep_ipc::{Mutex, Pipe, Pod, QueueOptions, SimpleQueue};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::LazyLock;

/// Runs one input.
pub fn run(data: &[u8]) {
    let Some((&start, rest)) = data.split_first() else { return };
    let image = match start % 4 {
        0 => rest.to_vec(),
        1 => spoilt(&PIPE, rest),
        _ => spoilt(&QUEUE, rest),
    };
    let file = File::from(memfd_create("skep-fuzz", MemfdFlags::CLOEXEC).expect("memory for a few pages"));
    file.write_all_at(&image, 0).expect("memory for a few pages");
    let file = file.as_fd();
    exercise_queue::<u64>(file);
    exercise_queue::<[u8; 3]>(file);
    exercise_pipe(file);
    // A lock is the C library's: to attach is all that can be tried on words that it did not write.
    let _ = Mutex::<u64>::from_fd(duplicate(file));
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
        let _ = queue.recover();
        let _ = (queue.len(), queue.capacity(), queue.is_closed());
    }
    let _ = queue.try_clone();
    queue.close();
    let _ = queue.try_get();
}

/// The bytes of a small queue with some items in it.
static QUEUE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut queue = QueueOptions::new(4).peers(3).anonymous::<u64>().expect("memory for a few pages");
    queue.put_batch(&[1, 2, 3]).expect("room for three");
    let _ = queue.get();
    bytes_of(queue.as_fd())
});

/// The bytes of a small pipe with some messages in it, whose roles nobody has.
static PIPE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let pipe = Pipe::new(1000).expect("memory for a few pages");
    let mut sender = pipe.sender().expect("a free role");
    for message in [&b""[..], b"seven b", b"eight by"] {
        sender.try_send(message).expect("room for three");
    }
    bytes_of(pipe.as_fd())
});

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
