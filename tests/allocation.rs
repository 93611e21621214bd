//! Operations of a queue and a pipe that need not wait do not allocate.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator, with a count of the calls that each thread makes.
struct Counting;

// SAFETY: every call is passed on as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations(work: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.get();
    work();
    ALLOCATIONS.get() - before
}

#[test]
fn a_queue_neither_full_nor_empty_does_not_allocate() {
    assert!(allocations(|| drop(Box::new(1))) > 0, "the count works");
    let mut queue = skep::SimpleQueue::<u64>::new(64).unwrap();
    let mut some = [0; 8];
    let count = allocations(|| {
        for n in 0..1000 {
            queue.put(n).unwrap();
            queue.put_batch(&[n; 8]).unwrap();
            queue.get().unwrap();
            queue.get_with(|n| n).unwrap();
            assert_eq!(queue.get_batch(&mut some), Ok(7));
        }
    });
    assert_eq!(count, 0);
}

#[test]
fn a_pipe_neither_full_nor_empty_does_not_allocate() {
    let (mut sender, mut receiver) = skep::pipe(4096).unwrap();
    let count = allocations(|| {
        for _ in 0..1000 {
            sender.send(b"a message").unwrap();
            assert_eq!(&*receiver.recv().unwrap(), b"a message");
        }
    });
    assert_eq!(count, 0);
}
