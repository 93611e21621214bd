//! The arena's blocks: allocated, freed, merged, sent and taken, and the arena growing, beside each other.

use crate::support::{Outcomes, report, spawn};
use skep::model::{
    Arena, ArenaBlock, ArenaHints, ArenaPeer, Explored, explore, kill_at_every_step, kill_two_at_every_step,
    process,
};

/// Runs participant `number` as a process that is killed at step `k`, on a thread of its own; the kernel hears of its death.
pub fn mortal<R: 'static>(
    arena: &Arena,
    number: usize,
    k: Option<u64>,
    life: impl FnOnce() -> R + 'static,
) -> loom::thread::JoinHandle<Option<R>> {
    let kernel = arena.clone();
    spawn(move || {
        let lived = process(k, life);
        if lived.is_none() {
            kernel.died(number);
        }
        lived
    })
}

/// Everybody is repaired for: all but `held` granules are free, exactly.
pub fn free_but(arena: &Arena, last: &ArenaPeer, held: u32) {
    last.recover();
    assert_eq!(arena.free_granules(), arena.committed() - held, "free granules");
}

/// Nobody holds anything: all there is can be had as one block.
pub fn all_free(arena: &Arena, last: &ArenaPeer) {
    free_but(arena, last, 0);
    let whole = last.allocate(arena.committed().ilog2()).expect("free granules merge");
    last.write(whole, 99);
    last.free(whole);
}

/// Cuts an arena into blocks of one granule, all of them free.
fn shatter(arena: &Arena, by: &ArenaPeer) {
    let all: Vec<ArenaBlock> = std::iter::from_fn(|| by.allocate(0)).collect();
    assert_eq!(all.len(), arena.committed() as usize);
    all.into_iter().for_each(|block| by.free(block));
}

/// Writes into a block, which nobody else does before it is read again.
fn use_up(peer: &ArenaPeer, block: ArenaBlock, value: u64) {
    peer.write(block, value);
    assert_eq!(peer.read(block), value);
}

// --- beside each other -------------------------------------------------------------------------------------------

/// Two want a granule of a block of two, by looking everywhere. Whoever claims the block splits it; the other one finds the second half, or looks too early.
#[test]
fn two_who_allocate_hold_different_blocks() {
    report("arena: allocate beside allocate", || {
        let outcomes = Outcomes::new();
        let seen = outcomes.clone();
        let explored = explore(3, move || {
            let arena = Arena::new(2, 2, 0, 2);
            let (a, b) = (arena.take_part(0), arena.take_part(1));
            let other = spawn(move || {
                let got = a.allocate(0);
                got.inspect(|&block| use_up(&a, block, 1));
                (a, got)
            });
            let got_b = b.allocate(0);
            got_b.inspect(|&block| use_up(&b, block, 2));
            let (a, got_a) = other.join().unwrap();
            seen.saw((got_a.map(|block| a.index(block)), got_b.map(|block| b.index(block))));
            let held = u32::from(got_a.is_some()) + u32::from(got_b.is_some());
            free_but(&arena, &b, held);
            got_a.inspect(|&block| assert_eq!(a.read(block), 1));
            got_b.inspect(|&block| assert_eq!(b.read(block), 2));
            got_a.into_iter().for_each(|block| a.free(block));
            got_b.into_iter().for_each(|block| b.free(block));
            all_free(&arena, &b);
        });
        // One, the other, or both; who comes second and sees the block claimed by the first one finds nothing, or the second half.
        outcomes.are_exactly(&[(None, Some(0)), (Some(0), None), (Some(0), Some(1)), (Some(1), Some(0))]);
        explored
    });
}

/// Each is told that there is nothing only if the other one has both. While one cuts the block of two, the other one finds no half; but it does not believe that.
#[test]
fn nobody_finds_the_arena_full_while_another_one_cuts() {
    report("arena: allocate surely beside allocate surely", || {
        explore(2, || {
            let arena = Arena::new(2, 2, 0, 2);
            let (a, b) = (arena.take_part(0), arena.take_part(1));
            let other = spawn(move || {
                let got = a.allocate_surely(0).expect("a half is left");
                (a, got)
            });
            let got_b = b.allocate_surely(0).expect("a half is left");
            let (a, got_a) = other.join().unwrap();
            assert_ne!(a.index(got_a), b.index(got_b));
            a.free(got_a);
            b.free(got_b);
            all_free(&arena, &b);
        })
    });
}

/// Who has seen that nothing is free hears of the stretch that another one has added meanwhile, be it the last one.
#[test]
fn who_finds_nothing_finds_what_another_one_adds() {
    report("arena: the last stretch, for two who want it", || {
        explore(3, || {
            let arena = Arena::new(2, 1, 0, 2);
            let (a, b) = (arena.take_part(0), arena.take_part(1));
            let other = spawn(move || a.grow_beyond(1, 1));
            let grown = b.grow_beyond(1, 1);
            assert_eq!([grown, other.join().unwrap()], [Some((1, 2)); 2]);
            assert_eq!(b.grow_beyond(2, 1), None);
        })
    });
}

/// Peer 0 splits a block of four; peer 1 remembers that one began at the third granule, and claims it as soon as it is a block again.
#[test]
fn a_half_is_claimed_once_it_is_free() {
    report("arena: split beside a claim of the freed half", || {
        let outcomes = Outcomes::new();
        let seen = outcomes.clone();
        let explored = explore(3, move || {
            let arena = Arena::new(4, 4, 0, 2);
            let (a, b) = (arena.take_part(0), arena.take_part(1));
            let other = spawn(move || {
                let block = a.allocate(0).expect("nobody else takes the first one");
                use_up(&a, block, 1);
                a.free(block);
            });
            let got = b.allocate_at(2, 0);
            got.inspect(|&block| use_up(&b, block, 2));
            other.join().unwrap();
            seen.saw(got.is_some());
            free_but(&arena, &b, u32::from(got.is_some()));
            got.into_iter().for_each(|block| b.free(block));
            all_free(&arena, &b);
        });
        outcomes.are_exactly(&[false, true]);
        explored
    });
}

/// Peer 0 frees a half and takes the whole; peer 1 takes a quarter, and gives it back.
#[test]
fn a_merge_takes_what_is_free_and_nothing_else() {
    report("arena: free and merge beside allocate", || {
        let outcomes = Outcomes::new();
        let seen = outcomes.clone();
        let explored = explore(3, move || {
            let arena = Arena::new(4, 4, 0, 2);
            let (a, b) = (arena.take_part(0), arena.take_part(1));
            let half = a.allocate(1).unwrap();
            let other = spawn(move || {
                a.free(half);
                let whole = a.allocate(2);
                whole.inspect(|&block| use_up(&a, block, 1));
                whole.into_iter().for_each(|block| a.free(block));
                whole.is_some()
            });
            let quarter = b.allocate(0);
            quarter.inspect(|&block| use_up(&b, block, 2));
            quarter.into_iter().for_each(|block| b.free(block));
            seen.saw((other.join().unwrap(), quarter.is_some()));
            all_free(&arena, &b);
        });
        // Both, one after the other; or only the one that was first, the other one finding it in its hands. Both look in vain where each holds what the other one
        // wants to merge: never here, since peer 1 merges nothing.
        outcomes.are_exactly(&[(false, true), (true, false), (true, true)]);
        explored
    });
}

/// Two merge four granules into one block: neither takes what the other one holds.
#[test]
fn two_who_merge_hold_different_blocks() {
    report("arena: merge beside merge", || {
        explore(2, || {
            let arena = Arena::new(4, 4, 0, 2);
            let (a, b) = (arena.take_part(0), arena.take_part(1));
            shatter(&arena, &b);
            let other = spawn(move || {
                let block = a.allocate(2);
                block.inspect(|&block| use_up(&a, block, 1));
                block.into_iter().for_each(|block| a.free(block));
            });
            let block = b.allocate(1);
            block.inspect(|&block| use_up(&b, block, 2));
            other.join().unwrap();
            free_but(&arena, &b, if block.is_some() { 2 } else { 0 });
            block.into_iter().for_each(|block| b.free(block));
            all_free(&arena, &b);
        })
    });
}

/// Two add the same stretch: it exists once, and whole.
#[test]
fn two_who_grow_add_a_stretch_once() {
    report("arena: grow beside grow", || {
        explore(3, || {
            let arena = Arena::new(4, 1, 0, 2);
            let (a, b) = (arena.take_part(0), arena.take_part(1));
            let grow_and_take = |peer: &ArenaPeer, value: u64| {
                assert!(peer.grow(1));
                let block = peer.allocate_at(1, 0);
                block.inspect(|&block| use_up(peer, block, value));
                block
            };
            let other = spawn(move || {
                let got = grow_and_take(&a, 1);
                (a, got)
            });
            let got_b = grow_and_take(&b, 2);
            let (a, got_a) = other.join().unwrap();
            assert!((2..=3).contains(&arena.committed()), "one stretch, or two");
            assert!(got_a.is_some() != got_b.is_some(), "the new granule is somebody's");
            free_but(&arena, &b, 1);
            got_a.into_iter().for_each(|block| a.free(block));
            got_b.into_iter().for_each(|block| b.free(block));
            while b.grow(1) {}
            all_free(&arena, &b);
        })
    });
}

/// A block that was freed and allocated again is not the earlier one's, though the same participant has it.
#[test]
fn a_block_is_freed_once() {
    report("arena: freed twice", || {
        explore(0, || {
            let arena = Arena::new(1, 1, 0, 1);
            let a = arena.take_part(0);
            let earlier = a.allocate(0).unwrap();
            a.free(earlier);
            assert!(!a.try_free(earlier));
            let later = a.allocate(0).unwrap();
            assert!(!a.try_free(earlier), "it is another one's now");
            assert_eq!(arena.free_granules(), 0);
            a.free(later);
            all_free(&arena, &a);
        })
    });
}

// --- killed ------------------------------------------------------------------------------------------------------

/// Peer 0 prepares, then lives and is killed at step k; peer 1 does something beside it, repairs in the middle, and gives everything back; peer 2 repairs. Then
/// everything is free that the first one, if it was not killed, does not hold.
fn killed<P: Copy + 'static>(
    preemptions: usize,
    granules: u32,
    prepare: impl Fn(&Arena, &ArenaPeer) -> P + Send + Sync + Clone + 'static,
    life: impl Fn(&ArenaPeer, P) -> u32 + Send + Sync + Clone + 'static,
    beside: impl Fn(&ArenaPeer) + Send + Sync + Clone + 'static,
) -> Explored {
    kill_at_every_step(preemptions, move |k| {
        let arena = Arena::new(granules, granules, 0, 3);
        let [a, b, c] = [0, 1, 2].map(|n| arena.take_part(n));
        let (prepared, life) = (prepare(&arena, &a), life.clone());
        let mortal = mortal(&arena, 0, k, move || life(&a, prepared));
        beside(&b);
        let held = mortal.join().unwrap();
        free_but(&arena, &c, held.unwrap_or(0));
        assert_eq!(arena.is_vacant(0), held.is_none(), "the dead one's place is free, and only its");
        if held.is_none() {
            all_free(&arena, &c);
        }
        held.is_none()
    })
}

/// Takes a granule wherever there is one, and gives it back.
fn take_and_give(peer: &ArenaPeer) {
    peer.recover();
    if let Some(block) = peer.allocate(0) {
        use_up(peer, block, 2);
        peer.free(block);
    }
}

#[test]
fn a_killed_allocator_leaves_every_granule() {
    let life = |peer: &ArenaPeer, ()| {
        let block = peer.allocate_at(0, 0).inspect(|&block| use_up(peer, block, 1));
        u32::from(block.is_some())
    };
    report("arena: killed: allocate and split, beside allocate", || {
        killed(2, 4, |_, _| (), life, take_and_give)
    });
    let claim = |peer: &ArenaPeer| {
        peer.recover();
        if let Some(block) = peer.allocate_at(2, 1) {
            use_up(peer, block, 2);
            peer.free(block);
        }
    };
    report("arena: killed: allocate and split, beside a claim of the half", || {
        killed(2, 4, |_, _| (), life, claim)
    });
}

#[test]
fn a_killed_owner_leaves_every_granule() {
    let prepare = |_: &Arena, peer: &ArenaPeer| peer.allocate(0).unwrap();
    let life = |peer: &ArenaPeer, block| {
        peer.write(block, 1);
        peer.free(block);
        0
    };
    report("arena: killed: write and free, beside allocate", || killed(2, 2, prepare, life, take_and_give));
}

#[test]
fn a_killed_merger_leaves_every_granule() {
    let prepare = |arena: &Arena, peer: &ArenaPeer| shatter(arena, peer);
    let life = |peer: &ArenaPeer, ()| {
        let block = peer.allocate(2).inspect(|&block| use_up(peer, block, 1));
        block.map_or(0, |_| 4)
    };
    report("arena: killed: merge, beside allocate", || killed(1, 4, prepare, life, take_and_give));
    let merge = |peer: &ArenaPeer| {
        peer.recover();
        if let Some(block) = peer.allocate(1) {
            use_up(peer, block, 2);
            peer.free(block);
        }
    };
    report("arena: killed: merge, beside merge", || killed(1, 4, prepare, life, merge));
}

/// Two want more room, and one is killed: the stretch is there once somebody has added it, whole.
#[test]
fn a_killed_grower_leaves_a_stretch_that_the_next_one_adds() {
    report("arena: killed: grow, beside grow", || {
        kill_at_every_step(2, |k| {
            let arena = Arena::new(4, 1, 0, 3);
            let [a, b, c] = [0, 1, 2].map(|n| arena.take_part(n));
            let mortal = mortal(&arena, 0, k, move || a.grow(3));
            b.grow(3);
            let got = b.allocate_at(2, 1).expect("what was added exists");
            use_up(&b, got, 1);
            let was_killed = mortal.join().unwrap().is_none();
            assert_eq!(arena.committed(), 4);
            free_but(&arena, &c, 2);
            b.free(got);
            all_free(&arena, &c);
            was_killed
        })
    });
}

/// Peer 0 adds a stretch and is killed; peer 1 merges beside it, but nothing that does not exist.
#[test]
fn a_merge_ends_where_the_arena_ends() {
    report("arena: killed: grow, beside merge", || {
        kill_at_every_step(2, |k| {
            let arena = Arena::new(4, 2, 0, 3);
            let [a, b, c] = [0, 1, 2].map(|n| arena.take_part(n));
            shatter(&arena, &b); // so that it has begun to merge when it comes to the end
            let mortal = mortal(&arena, 0, k, move || a.grow(2));
            let whole = b.allocate(2);
            let was_killed = mortal.join().unwrap().is_none();
            free_but(&arena, &c, if whole.is_some() { 4 } else { 0 });
            whole.into_iter().for_each(|block| b.free(block));
            c.grow(2);
            all_free(&arena, &c);
            was_killed
        })
    });
}

/// Nobody is beside the killed one: what it has added is whole, or not there.
#[test]
fn a_stretch_exists_whole_or_not_at_all() {
    report("arena: killed: grow and allocate", || {
        let outcomes = Outcomes::new();
        let seen = outcomes.clone();
        let explored = kill_at_every_step(1, move |k| {
            let arena = Arena::new(4, 1, 0, 2);
            let (a, b) = (arena.take_part(0), arena.take_part(1));
            let was_killed = process(k, || a.grow(3) && a.allocate_at(2, 1).is_some()).is_none();
            seen.saw((was_killed, arena.committed()));
            if was_killed {
                arena.died(0);
            }
            free_but(&arena, &b, if was_killed { 0 } else { 2 });
            if was_killed {
                b.grow(3);
                all_free(&arena, &b);
            }
            was_killed
        });
        outcomes.are_exactly(&[(false, 4), (true, 1), (true, 4)]);
        explored
    });
}

/// Peer 0 is killed while it merges, peer 1 while it repairs; peer 2 repairs for both.
#[test]
fn a_killed_mender_of_blocks_is_followed_by_another() {
    report("arena: killed merger, killed mender", || {
        kill_two_at_every_step(1, |k, j| {
            let arena = Arena::new(4, 4, 0, 3);
            let [a, b, c] = [0, 1, 2].map(|n| arena.take_part(n));
            shatter(&arena, &b);
            let first = process(k, || a.allocate(2)).is_none();
            if !first {
                return [false, false];
            }
            arena.died(0);
            let mender = mortal(&arena, 1, j, move || b.recover());
            take_and_give(&c);
            let second = mender.join().unwrap().is_none();
            all_free(&arena, &c);
            [first, second]
        })
    });
}

/// A search that took the hint before the block was free leaves the block's own.
#[test]
fn a_block_that_is_freed_beside_a_search_is_found_or_has_a_hint() {
    report("arena: free and hint beside a search", || {
        explore(3, || {
            let hints = ArenaHints::stale();
            let other = hints.clone();
            let freer = spawn(move || other.free());
            let is_found = hints.search();
            freer.join().unwrap();
            assert!(is_found || hints.search(), "free, and nobody knows");
        })
    });
}
