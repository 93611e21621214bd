//! Operations of a queue and a pipe that need not wait do not allocate.

#[path = "common/counting.rs"]
mod counting;

use counting::allocations;

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
