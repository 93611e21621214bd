//! Shared blocks: each death costs the references that the dead one held, and the block is freed with the last one, once.

use crate::arena::{all_free, free_but, mortal};
use crate::support::{report, spawn};
use loom::sync::Arc;
use skep::model::{
    Arena, ArenaBlock, ArenaPeer, ArenaRef, Explored, explore, kill_at_every_step, kill_two_at_every_step,
    process,
};

/// Shares a block of a granule that says 7, by a reference in the granule before it: so repair passes the reference first.
fn share(peer: &ArenaPeer) -> ArenaRef {
    let reference = peer.allocate(0).expect("there is room");
    let block = peer.allocate(0).expect("there is room");
    peer.write(block, 7);
    peer.share(block, reference)
}

/// Makes one more reference, and sends it to `to`.
fn give(peer: &ArenaPeer, of: ArenaRef, to: &ArenaPeer) -> ArenaRef {
    let reference = peer.allocate(0).expect("there is room");
    peer.send_reference(0, peer.add(of, reference)).expect("an empty place");
    to.take(0).and_then(|item| item.reference()).expect("it was sent")
}

/// Reads what is shared, and drops a reference to it.
fn read_and_drop(peer: &ArenaPeer, reference: ArenaRef) {
    assert_eq!(peer.read_shared(reference), 7);
    peer.drop_reference(reference);
}

/// Takes the granule where the shared block was, if it is free, and writes into it: a fault while anybody still reads it.
fn reuse(peer: &ArenaPeer, granule: u32) {
    if let Some(block) = peer.allocate_at(granule, 0) {
        peer.write(block, 8);
        peer.free(block);
    }
}

#[test]
fn the_last_reference_frees_the_block_once() {
    report("arena: drop beside drop, beside allocate", || {
        explore(2, || {
            let arena = Arena::new(4, 4, 1, 3);
            let [a, b, c] = [0, 1, 2].map(|n| arena.take_part(n));
            let first = share(&a);
            let second = give(&a, first, &b);
            let one = mortal(&arena, 0, None, move || read_and_drop(&a, first));
            let other = mortal(&arena, 1, None, move || read_and_drop(&b, second));
            reuse(&c, 1);
            one.join().unwrap();
            other.join().unwrap();
            all_free(&arena, &c);
        })
    });
}

#[test]
fn references_are_added_and_dropped_at_once() {
    report("arena: add beside drop", || {
        explore(2, || {
            let arena = Arena::new(4, 4, 1, 2);
            let (a, b) = (arena.take_part(0), arena.take_part(1));
            let first = share(&a);
            let second = give(&a, first, &b);
            let other = mortal(&arena, 0, None, move || {
                let reference = a.allocate(0).expect("there is room");
                let third = a.add(first, reference);
                a.drop_reference(first);
                (a, third)
            });
            read_and_drop(&b, second);
            let (a, third) = other.join().unwrap().unwrap();
            free_but(&arena, &b, 2);
            read_and_drop(&a, third);
            all_free(&arena, &b);
        })
    });
}

/// One thread of a process adds a reference, and another one cuts blocks: what each says of it in their entry leaves the other's alone.
#[test]
fn a_count_is_changed_beside_a_thread_that_cuts() {
    report("arena: add beside a thread that allocates", || {
        explore(2, || {
            let arena = Arena::new(4, 4, 1, 1);
            let a = Arc::new(arena.take_part(0));
            let first = share(&a);
            let reference = a.allocate_at(2, 0).expect("there is room");
            let cutter = a.clone();
            let cuts = spawn(move || {
                let block = cutter.allocate(0).expect("there is room");
                cutter.free(block);
            });
            let second = a.add(first, reference);
            cuts.join().unwrap();
            assert!(!a.is_anybody_at_it());
            a.drop_reference(first);
            read_and_drop(&a, second);
            all_free(&arena, &a);
        })
    });
}

/// Three references, of which one is added to and two are dropped, by three at once.
#[test]
fn three_change_a_count_at_once() {
    report("arena: add beside drop and drop", || {
        explore(1, || {
            let arena = Arena::new(8, 8, 1, 3);
            let [a, b, c] = [0, 1, 2].map(|n| arena.take_part(n));
            let first = share(&a);
            let (second, third) = (give(&a, first, &b), give(&a, first, &c));
            let reference = a.allocate(0).expect("there is room");
            let adds = mortal(&arena, 0, None, move || {
                a.add(first, reference);
                a
            });
            let drops = mortal(&arena, 1, None, move || b.drop_reference(second));
            read_and_drop(&c, third);
            let a = adds.join().unwrap().unwrap();
            drops.join().unwrap();
            free_but(&arena, &c, 3);
            a.leave();
            all_free(&arena, &c);
        })
    });
}

// --- killed ------------------------------------------------------------------------------------------------------

/// Peer 0 and peer 1 have a reference each, and peer 0 a granule more; it does something with them and is killed at step k. Peer 1 does `beside`, and repairs in the middle; peer 2 repairs.
/// Then nothing is left but what peer 1 says it holds.
fn killed(
    preemptions: usize,
    life: impl Fn(&ArenaPeer, ArenaRef, ArenaBlock) + Send + Sync + Clone + 'static,
    beside: impl Fn(&ArenaPeer, ArenaRef) -> u32 + Send + Sync + Clone + 'static,
) -> Explored {
    kill_at_every_step(preemptions, move |k| {
        let arena = Arena::new(8, 8, 2, 3);
        let [a, b, c] = [0, 1, 2].map(|n| arena.take_part(n));
        let spare = a.allocate(0).expect("there is room");
        let first = share(&a);
        let second = give(&a, first, &b);
        let life = life.clone();
        let mortal = mortal(&arena, 0, k, move || {
            life(&a, first, spare);
            a
        });
        b.recover();
        let held = beside(&b, second);
        let lived = mortal.join().unwrap();
        let was_killed = lived.is_none();
        lived.into_iter().for_each(|a| a.leave());
        let in_places = u32::from(arena.is_filled(1));
        let block = u32::from(in_places > 0 && held == 0);
        free_but(&arena, &c, held + in_places + block);
        if let Some(item) = c.take(1) {
            read_and_drop(&c, item.reference().expect("no block was sent"));
        }
        free_but(&arena, &c, held);
        b.leave();
        all_free(&arena, &c);
        was_killed
    })
}

/// Keeps its reference, and the block with it.
fn keep(peer: &ArenaPeer, reference: ArenaRef) -> u32 {
    assert_eq!(peer.read_shared(reference), 7);
    2
}

/// Drops its reference.
fn let_go(peer: &ArenaPeer, reference: ArenaRef) -> u32 {
    read_and_drop(peer, reference);
    reuse(peer, 2);
    0
}

#[test]
fn a_killed_adder_costs_no_reference_of_others() {
    let add = |peer: &ArenaPeer, first: ArenaRef, spare: ArenaBlock| {
        peer.add(first, spare);
    };
    report("arena: killed: add, beside a reader", || killed(2, add, keep));
    report("arena: killed: add, beside drop", || killed(2, add, let_go));
}

#[test]
fn a_killed_dropper_costs_no_reference_of_others() {
    let drop = |peer: &ArenaPeer, first: ArenaRef, _: ArenaBlock| read_and_drop(peer, first);
    report("arena: killed: drop, beside a reader", || killed(2, drop, keep));
    report("arena: killed: drop, beside the other last drop", || killed(2, drop, let_go));
}

#[test]
fn a_killed_sender_of_a_reference_has_sent_it_or_not() {
    let add_and_send = |peer: &ArenaPeer, first: ArenaRef, spare: ArenaBlock| {
        peer.send_reference(1, peer.add(first, spare)).expect("an empty place");
        peer.drop_reference(first);
    };
    report("arena: killed: add, send and drop, beside a reader", || killed(2, add_and_send, keep));
    report("arena: killed: add, send and drop, beside drop", || killed(1, add_and_send, let_go));
}

/// Peer 0 shares a block for the first time, and is killed; nobody else has heard of it.
#[test]
fn a_killed_sharer_leaves_every_granule() {
    report("arena: killed: share and drop, beside a mender", || {
        kill_at_every_step(2, |k| {
            let arena = Arena::new(4, 4, 1, 3);
            let [a, b, c] = [0, 1, 2].map(|n| arena.take_part(n));
            let (reference, block) = (a.allocate(0).unwrap(), a.allocate(0).unwrap());
            let mortal = mortal(&arena, 0, k, move || {
                a.write(block, 7);
                read_and_drop(&a, a.share(block, reference));
            });
            b.recover();
            reuse(&b, 1);
            let was_killed = mortal.join().unwrap().is_none();
            all_free(&arena, &c);
            was_killed
        })
    });
}

/// Peer 0 takes a reference out of a place and is killed; the next one takes it, or it is counted no more.
#[test]
fn a_killed_taker_of_a_reference_leaves_it_counted_once() {
    report("arena: killed: take a reference and drop it, beside a mender and the next taker", || {
        kill_at_every_step(2, |k| {
            let arena = Arena::new(4, 4, 1, 4);
            let [a, b, c, d] = [0, 1, 2, 3].map(|n| arena.take_part(n));
            let first = share(&d);
            d.send_reference(0, first).expect("an empty place");
            let lived = process(k, || {
                let reference = a.take(0).and_then(|item| item.reference()).expect("it was sent");
                read_and_drop(&a, reference);
            });
            if lived.is_none() {
                arena.died(0);
            }
            let next = mortal(&arena, 1, None, move || {
                let reference = b.take(0).and_then(|item| item.reference());
                reference.into_iter().for_each(|reference| read_and_drop(&b, reference));
            });
            c.recover();
            reuse(&c, 1);
            next.join().unwrap();
            all_free(&arena, &c);
            lived.is_none()
        })
    });
}

/// Peer 0 is killed while it drops, peer 1 while it repairs for it; peer 2 drops the other reference beside them, and repairs for both.
#[test]
fn a_killed_mender_of_references_is_followed_by_another() {
    report("arena: killed dropper, killed mender, beside the other last drop", || {
        kill_two_at_every_step(1, |k, j| {
            let arena = Arena::new(4, 4, 1, 3);
            let [a, b, c] = [0, 1, 2].map(|n| arena.take_part(n));
            let first = share(&a);
            let second = give(&a, first, &c);
            if process(k, || a.drop_reference(first)).is_some() {
                return [false, false];
            }
            arena.died(0);
            let mender = mortal(&arena, 1, j, move || b.recover());
            read_and_drop(&c, second);
            let was_killed = mender.join().unwrap().is_none();
            all_free(&arena, &c);
            [true, was_killed]
        })
    });
}

/// Two are killed while they drop the last two references; peer 2 repairs for both.
#[test]
fn two_killed_droppers_leave_every_granule() {
    report("arena: two killed droppers", || {
        kill_two_at_every_step(1, |k, j| {
            let arena = Arena::new(4, 4, 1, 3);
            let [a, b, c] = [0, 1, 2].map(|n| arena.take_part(n));
            let first = share(&a);
            let second = give(&a, first, &b);
            let one = mortal(&arena, 0, k, move || a.drop_reference(first));
            let other = mortal(&arena, 1, j, move || b.drop_reference(second));
            let killed = [one, other].map(|thread| thread.join().unwrap().is_none());
            all_free(&arena, &c);
            killed
        })
    });
}

/// Peer 0 is killed while it drops, and who takes its place drops another reference, beside one who may still be helping with the first.
#[test]
fn a_successor_at_a_place_changes_counts_of_its_own() {
    report("arena: killed dropper, its successor drops, beside drop", || {
        kill_at_every_step(1, |k| {
            let arena = Arena::new(4, 4, 1, 3);
            let [a, b, c] = [0, 1, 2].map(|n| arena.take_part(n));
            let first = share(&a);
            let (second, third) = (give(&a, first, &b), give(&a, first, &c));
            c.send_reference(0, third).expect("an empty place");
            let places = arena.clone();
            let changes = spawn(move || {
                let was_killed = process(k, || a.drop_reference(first)).is_none();
                if was_killed {
                    places.died(0);
                    let next = places.take_part(0);
                    let third = next.take(0).and_then(|item| item.reference()).expect("it was sent");
                    read_and_drop(&next, third);
                }
                was_killed
            });
            b.drop_reference(second);
            let was_killed = changes.join().unwrap();
            free_but(&arena, &c, if was_killed { 0 } else { 2 });
            if was_killed {
                all_free(&arena, &c);
            }
            was_killed
        })
    });
}

/// Peer 0 is killed while it drops; who takes its place repairs first, and is killed too; then the next one.
#[test]
fn a_killed_successor_is_followed_by_another() {
    report("arena: killed dropper, killed successor", || {
        kill_two_at_every_step(1, |k, j| {
            let arena = Arena::new(4, 4, 1, 2);
            let (a, b) = (arena.take_part(0), arena.take_part(1));
            let first = share(&a);
            let second = give(&a, first, &b);
            if process(k, || a.drop_reference(first)).is_some() {
                return [false, false];
            }
            arena.died(0);
            let places = arena.clone();
            let was_killed = process(j, || places.take_part(0)).map(ArenaPeer::leave).is_none();
            if was_killed {
                arena.died(0);
            }
            free_but(&arena, &b, 2);
            read_and_drop(&b, second);
            all_free(&arena, &b);
            [true, was_killed]
        })
    });
}
