use skep_ipc::model::{AtomicU64, Explored, Peer, Queue, kill_at_every_step, process, spawn};
use std::sync::atomic::Ordering::{Acquire, Release};

/// The first stage.
fn square(numbers: &Peer<u64>, squares: &Peer<u64>, done: &AtomicU64) {
    while let Some(lease) = numbers.lease() {
        if done.load(Acquire) < lease.item {
            squares.put(lease.item * lease.item);
            done.store(lease.item, Release);
        }
        numbers.ack(lease);
    }
}

pub fn pipeline() -> Explored {
    kill_at_every_step(0, |k| {
        let (numbers, squares, done) = (Queue::new(2, 3), Queue::new(2, 3), AtomicU64::new(0));
        assert_eq!(numbers.peer(0).try_put_batch(&[1, 2]), 2);

        // The second stage.
        let collector = squares.peer(0);
        let collected = spawn(move || std::iter::from_fn(|| collector.get()).collect::<Vec<u64>>());

        // The first stage dies before its k-th step, and the kernel hears of it.
        let was_killed = process(k, || square(&numbers.peer(1), &squares.peer(1), &done)).is_none();
        numbers.died(1);
        squares.died(1);

        // Another process takes over.
        let (from, to) = (numbers.peer(2), squares.peer(2));
        from.recover();
        to.recover();
        square(&from, &to, &done);
        to.close();

        let mut collected = collected.join().unwrap();
        collected.dedup();
        assert_eq!(collected, [1, 4]);
        was_killed
    })
}
