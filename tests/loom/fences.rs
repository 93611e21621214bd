//! The pair of fences itself: it orders what membarrier orders, and nothing else.

use crate::support::{Outcomes, report, spawn};
use loom::sync::Arc;
use skep::model::{AtomicU32, Membarrier, explore, heavy_fence, light_fence, set_membarrier};
use std::sync::atomic::Ordering::Relaxed;

type Fence = fn();

const LIGHT: Fence = light_fence;
const HEAVY: Fence = || assert!(heavy_fence());
const REFUSED: Fence = || {
    set_membarrier(Membarrier::Refused);
    assert!(!heavy_fence());
};

/// Two store to a word each, fence, and read the other's: what both read.
fn store_and_load(name: &str, fences: [Fence; 2]) -> Outcomes<[u32; 2]> {
    let outcomes = Outcomes::new();
    let seen = outcomes.clone();
    report(&format!("fences, {name}"), move || {
        explore(3, move || {
            let words = Arc::new([AtomicU32::new(0), AtomicU32::new(0)]);
            let party = |me: usize| {
                let words = words.clone();
                move || {
                    words[me].store(1, Relaxed);
                    fences[me]();
                    words[1 - me].load(Relaxed)
                }
            };
            let other = spawn(party(1));
            let mine = party(0)();
            seen.saw([mine, other.join().unwrap()]);
        })
    });
    outcomes
}

#[test]
fn a_light_and_a_heavy_fence_are_ordered() {
    store_and_load("light and heavy", [LIGHT, HEAVY]).are_exactly(&[[0, 1], [1, 0], [1, 1]]);
}

#[test]
fn two_heavy_fences_are_ordered() {
    store_and_load("heavy and heavy", [HEAVY, HEAVY]).are_exactly(&[[0, 1], [1, 0], [1, 1]]);
}

#[test]
fn two_light_fences_are_not() {
    store_and_load("light and light", [LIGHT, LIGHT]).are_exactly(&[[0, 0], [0, 1], [1, 0], [1, 1]]);
}

#[test]
fn a_refused_heavy_fence_and_a_light_one_are_not() {
    store_and_load("light and refused", [LIGHT, REFUSED]).are_exactly(&[[0, 0], [0, 1], [1, 0], [1, 1]]);
}

#[test]
fn a_light_fence_where_membarrier_was_never_granted_is_a_full_one() {
    let full = || {
        set_membarrier(Membarrier::Refused);
        light_fence();
    };
    store_and_load("full and full", [full, full]).are_exactly(&[[0, 1], [1, 0], [1, 1]]);
}

/// A heavy fence of a third one does not hand what it has learnt from one light fence to another
/// one.
#[test]
fn a_heavy_fence_does_not_order_two_light_ones() {
    let outcomes = Outcomes::new();
    let seen = outcomes.clone();
    report("fences, a heavy one beside two light ones", move || {
        explore(3, move || {
            let words = Arc::new([AtomicU32::new(0), AtomicU32::new(0)]);
            let party = |me: usize| {
                let words = words.clone();
                move || {
                    words[me].store(1, Relaxed);
                    light_fence();
                    words[1 - me].load(Relaxed)
                }
            };
            let others = [spawn(party(0)), spawn(party(1))];
            heavy_fence();
            let known = [0, 1].map(|n: usize| words[n].load(Relaxed));
            seen.saw((known, others.map(|other| other.join().unwrap())));
        })
    });
    let both = [0, 1];
    let mut permitted = vec![];
    for (a, b) in both.iter().flat_map(|&a| both.map(|b| (a, b))) {
        for (c, d) in both.iter().flat_map(|&c| both.map(|d| (c, d))) {
            permitted.push(([a, b], [c, d]));
        }
    }
    outcomes.are_exactly(&permitted);
}
