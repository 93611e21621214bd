//! The counted value of the arena's handles: it lives as long as anybody keeps it, and is dropped once, whichever threads count.

use crate::support::{report, spawn};
use skep::model::{Cell, Leaf, Root, explore};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Loom sees whoever reads it beside its end, or after it.
struct Value {
    cell: Cell<u64>,
    ends: Arc<AtomicU32>,
}

impl Drop for Value {
    fn drop(&mut self) {
        self.cell.write(1);
        self.ends.fetch_add(1, Ordering::Relaxed);
    }
}

/// A root, and how often its value was dropped.
fn value() -> (Root<Value>, Arc<AtomicU32>) {
    let ends = Arc::new(AtomicU32::new(0));
    (Root::new(Value { cell: Cell::new(0), ends: ends.clone() }), ends)
}

fn is_there(leaf: &Leaf<Value>) {
    assert_eq!(leaf.cell.read(), 0, "dropped while a leaf kept it");
}

fn is_over(ends: &AtomicU32) {
    assert_eq!(ends.load(Ordering::Relaxed), 1, "dropped once, with the last that kept it");
}

#[test]
fn the_last_of_a_leaf_and_a_root_drops_the_value() {
    report("a counted value, its root dropped beside its leaf", || {
        explore(3, || {
            let (root, ends) = value();
            let leaf = root.leaf();
            let other = spawn(move || drop(root));
            is_there(&leaf);
            drop(leaf);
            other.join().unwrap();
            is_over(&ends);
        })
    });
}

#[test]
fn leaves_of_several_threads_and_a_root_drop_the_value_once() {
    report("a counted value, leaves of two threads, the root dropped by a third", || {
        explore(3, || {
            let (root, ends) = value();
            let (mine, others) = (root.leaf(), root.leaf());
            let second = spawn(move || {
                is_there(&others);
                drop(others);
            });
            let third = spawn(move || drop(root));
            let another = mine.clone();
            drop(mine);
            is_there(&another);
            drop(another);
            [second, third].into_iter().for_each(|thread| thread.join().unwrap());
            is_over(&ends);
        })
    });
}

/// What the favoured thread drops was made by another one, and the other way round: one count is negative.
#[test]
fn a_leaf_may_be_dropped_by_another_thread_than_made_it() {
    report("a counted value, leaves that change threads", || {
        explore(3, || {
            let (root, ends) = value();
            let mine = root.leaf();
            let elsewhere = mine.clone();
            let second = spawn(move || {
                let back = elsewhere.clone();
                drop(elsewhere);
                drop(root);
                back
            });
            is_there(&mine);
            drop(mine);
            let back = second.join().unwrap();
            is_there(&back);
            drop(back);
            is_over(&ends);
        })
    });
}

#[test]
fn the_last_root_of_two_closes() {
    report("a counted value, two roots dropped at once", || {
        explore(3, || {
            let (root, ends) = value();
            let leaf = root.leaf();
            let again = root.clone();
            let second = spawn(move || drop(again));
            drop(root);
            is_there(&leaf);
            drop(leaf);
            second.join().unwrap();
            is_over(&ends);
        })
    });
}
