//! Attaching to arbitrary bytes: an error, or an object that may misbehave but neither crashes, nor hangs, nor leaves its memory.
//!
//! The first byte of an input chooses what the file starts from: nothing (the rest is the file), or a valid queue, to which the rest is applied
//! as a list of writes `{ offset: 3 bytes, value: 8 bytes }`; so the fuzzer gets behind the header's checks.

use rustix::fs::{MemfdFlags, memfd_create};
use skep_ipc::{Pod, QueueOptions, SimpleQueue};
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

/// Runs one input.
pub fn run(data: &[u8]) {
    let Some((&start, rest)) = data.split_first() else { return };
    let image = if start % 4 == 0 { rest.to_vec() } else { spoilt_queue(rest) };
    let file = File::from(memfd_create("skep-fuzz", MemfdFlags::CLOEXEC).expect("memory for a few pages"));
    file.write_all_at(&image, 0).expect("memory for a few pages");
    let file = file.as_fd();
    exercise::<u64>(file);
    exercise::<[u8; 3]>(file);
}

/// Joins as if the file held a queue of `T`, and if that succeeds, uses it: every call must return.
fn exercise<T: Pod>(file: std::os::fd::BorrowedFd<'_>) {
    let duplicate = || file.try_clone_to_owned().expect("a free descriptor");
    let Ok(mut queue) = SimpleQueue::<T>::from_fd(duplicate()) else { return };
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

/// The bytes of a small queue with some items in it, with the given writes applied.
fn spoilt_queue(writes: &[u8]) -> Vec<u8> {
    thread_local! {
        static IMAGE: Vec<u8> = {
            let mut queue = QueueOptions::new(4).peers(3).anonymous::<u64>().expect("memory for a few pages");
            queue.put_batch(&[1, 2, 3]).expect("room for three");
            let _ = queue.get();
            let file = File::from(queue.as_fd().try_clone_to_owned().expect("a free descriptor"));
            let mut image = vec![0; file.metadata().expect("an open file").len() as usize];
            file.read_exact_at(&mut image, 0).expect("a whole segment");
            image
        };
    }
    let mut image = IMAGE.with(Clone::clone);
    for write in writes.chunks_exact(11) {
        let offset = u32::from_le_bytes([write[0], write[1], write[2], 0]) as usize % image.len();
        let end = image.len().min(offset + 8);
        image[offset..end].copy_from_slice(&write[3..3 + end - offset]);
    }
    image
}
