//! Blocks that change hands: what is sent is in the carrier, with whoever took it, or free; never lost, and never two's.

use crate::arena::{all_free, free_but, mortal};
use crate::support::{Outcomes, report, spawn};
use skep::model::{Arena, ArenaPeer, explore, kill_at_every_step, kill_two_at_every_step, process};

/// Takes a block out of place 0, if one is there, and reads in it what its sender wrote.
fn take(peer: &ArenaPeer) -> bool {
    let Some(item) = peer.take(0) else { return false };
    let block = item.block().expect("no reference was sent");
    assert_eq!(peer.read(block), 1, "what the sender wrote");
    peer.write(block, 2);
    true
}

/// Peer 0 allocates, writes and sends; it is the sender's whole life.
fn send(peer: &ArenaPeer) -> bool {
    let block = peer.allocate_at(0, 0).expect("nobody else takes it");
    peer.write(block, 1);
    peer.send(0, block).is_ok()
}

/// Writes into a block, and gives it up for a descriptor.
fn give_up(peer: &ArenaPeer) -> u64 {
    let block = peer.allocate_at(0, 0).expect("nobody else takes it");
    peer.write(block, 1);
    peer.give_up(block)
}

/// The place is filled: the sender has its block as before, and can free it.
#[test]
fn what_a_carrier_refuses_is_the_senders() {
    report("arena: sent into a filled place", || {
        kill_at_every_step(1, |k| {
            let arena = Arena::new(2, 2, 1, 3);
            let [a, b, c] = [0, 1, 2].map(|n| arena.take_part(n));
            let first = b.allocate(0).unwrap();
            b.write(first, 1);
            b.send(0, first).expect("an empty place");
            let mortal = mortal(&arena, 0, k, move || {
                let block = a.allocate_at(1, 0).expect("nobody else takes it");
                if let Err(block) = a.send(0, block) {
                    a.write(block, 3);
                    a.free(block);
                }
            });
            c.recover();
            let was_killed = mortal.join().unwrap().is_none();
            free_but(&arena, &c, 1);
            assert!(take(&c));
            c.leave();
            all_free(&arena, &b);
            was_killed
        })
    });
}

/// Whoever leaves in good health gives what it sent to the place where it lies, also if it is killed on its way out,
/// and beside whoever takes it.
#[test]
fn a_killed_leaver_leaves_what_it_sent_in_its_place() {
    report("arena: killed: send and leave, beside take", || {
        kill_at_every_step(2, |k| {
            let arena = Arena::new(2, 2, 1, 3);
            let [a, b, c] = [0, 1, 2].map(|n| arena.take_part(n));
            assert!(send(&a));
            let mortal = mortal(&arena, 0, k, move || a.leave());
            let got = take(&b);
            let was_killed = mortal.join().unwrap().is_none();
            free_but(&arena, &c, 1);
            assert!(got && arena.is_vacant(0), "it was sent, and its sender is gone");
            b.leave();
            all_free(&arena, &c);
            was_killed
        })
    });
}

/// A value is refused while another thread drops a handle of it: its block is free, once, whoever comes first.
#[test]
fn a_handle_dropped_beside_who_takes_its_block_back_frees_it_once() {
    report("arena: a handle dropped beside its refusal", || {
        explore(3, || {
            let arena = Arena::new(2, 2, 1, 2);
            let (a, b) = (arena.take_part(0), arena.take_part(1));
            let (block, twin) = (a.allocate_at(0, 0).expect("nobody else takes it"), a.twin());
            let mut dropper = None;
            a.send_in_vain(block, || dropper = Some(spawn(move || twin.drop_handle(block))));
            dropper.expect("it was started").join().unwrap();
            all_free(&arena, &b);
        })
    });
}

/// A taker beside the sender, and nobody dies: the place is empty yet, or the block is the taker's.
#[test]
fn what_is_sent_is_taken_once() {
    report("arena: send beside take", || {
        let outcomes = Outcomes::new();
        let seen = outcomes.clone();
        let explored = explore(3, move || {
            let arena = Arena::new(2, 2, 1, 2);
            let (a, b) = (arena.take_part(0), arena.take_part(1));
            let sender = mortal(&arena, 0, None, move || {
                assert!(send(&a));
                a.leave();
            });
            let got = take(&b);
            sender.join().unwrap();
            assert_eq!(arena.is_filled(0), !got);
            free_but(&arena, &b, 1);
            assert!(got || take(&b), "what its sender has left in a place stays there");
            seen.saw(got);
            b.leave();
            all_free(&arena, &arena.take_part(1));
        });
        outcomes.are_exactly(&[false, true]);
        explored
    });
}

/// Two have the same descriptor, and whoever takes the block by it gives it up again: the other one gets nothing by the older descriptor.
#[test]
fn a_descriptor_leads_to_its_block_once() {
    report("arena: two takers with one descriptor, the block given up again", || {
        let outcomes = Outcomes::new();
        let seen = outcomes.clone();
        let explored = explore(3, move || {
            let arena = Arena::new(1, 1, 1, 2);
            let (a, b) = (arena.take_part(0), arena.take_part(1));
            let descriptor = give_up(&a);
            let take = |peer: &ArenaPeer, descriptor| {
                let block = peer.take_by(descriptor)?.block().expect("no reference was sent");
                assert_eq!(peer.read(block), 1);
                Some(block)
            };
            let take_and_give_up = move |peer: &ArenaPeer| Some(peer.give_up(take(peer, descriptor)?));
            let other = mortal(&arena, 0, None, move || take_and_give_up(&a));
            let got = [take_and_give_up(&b), other.join().unwrap().unwrap()];
            seen.saw(got.map(|newer| newer.is_some()));
            let newer = got.into_iter().flatten().next().expect("one of them has taken it");
            let block = take(&b, newer).expect("it was given up again");
            b.send(0, block).expect("an empty place");
            let lies_there = b.look(0).expect("it is filled");
            assert!(
                b.take_by(lies_there).is_none(),
                "what lies in a carrier is not to be had by a descriptor"
            );
            b.free(b.take(0).and_then(|item| item.block()).expect("it is there"));
            all_free(&arena, &b);
        });
        outcomes.are_exactly(&[[true, false], [false, true]]);
        explored
    });
}

/// Peer 0 was told something else of a block than it is: it takes it, gives it up again, and is killed on the way. Peer 1 was told the truth.
#[test]
fn a_block_that_is_not_what_was_said_of_it_is_given_up_again() {
    report("arena: killed: taken by a descriptor and put back, beside another taker and a mender", || {
        let outcomes = Outcomes::new();
        let seen = outcomes.clone();
        let explored = kill_at_every_step(2, move |k| {
            let arena = Arena::new(1, 1, 1, 4);
            let [a, b, c, d] = [0, 1, 2, 3].map(|n| arena.take_part(n));
            let descriptor = give_up(&d);
            d.leave(); // it is nobody's now
            let take = move |peer: &ArenaPeer| {
                let block = peer.take_by(descriptor)?.block().expect("no reference was sent");
                assert_eq!(peer.read(block), 1);
                Some(block)
            };
            let misled =
                mortal(&arena, 0, k, move || take(&a).into_iter().for_each(|block| a.put_back(block)));
            let other = mortal(&arena, 1, None, move || {
                let got = take(&b);
                (b, got)
            });
            c.recover();
            let was_killed = misled.join().unwrap().is_none();
            let (b, got) = other.join().unwrap().unwrap();
            c.recover();
            let later = take(&c);
            seen.saw((was_killed, got.is_some(), later.is_some()));
            free_but(&arena, &c, u32::from(got.is_some() || later.is_some()));
            got.into_iter().for_each(|block| b.free(block));
            later.into_iter().for_each(|block| c.free(block));
            all_free(&arena, &c);
            was_killed
        });
        // Peer 1 has it; or it came while peer 0 had it, and then it is at large again, or was in the hands of the dead and is free.
        outcomes.are_exactly(&[
            (false, false, true),
            (false, true, false),
            (true, false, false),
            (true, true, false),
        ]);
        explored
    });
}

/// Peer 0 is killed while it sends; peer 1 takes beside it, and peer 2 repairs.
#[test]
fn a_killed_sender_has_sent_its_block_or_not() {
    report("arena: killed: send, beside take and a mender", || {
        let outcomes = Outcomes::new();
        let seen = outcomes.clone();
        let explored = kill_at_every_step(2, move |k| {
            let arena = Arena::new(2, 2, 1, 3);
            let [a, b, c] = [0, 1, 2].map(|n| arena.take_part(n));
            let sender = mortal(&arena, 0, k, move || send(&a));
            let taker = mortal(&arena, 1, None, move || {
                let got = take(&b);
                (b, got)
            });
            c.recover();
            let was_killed = sender.join().unwrap().is_none();
            let (b, got) = taker.join().unwrap().unwrap();
            let is_there = arena.is_filled(0);
            assert!(!(got && is_there) && (was_killed || got || is_there), "lost, or doubled");
            free_but(&arena, &c, u32::from(got || is_there));
            assert_eq!(take(&c), is_there);
            seen.saw((was_killed, got, is_there));
            b.leave();
            c.leave();
            all_free(&arena, &arena.take_part(2));
            was_killed
        });
        // Killed before the place is filled, or not; with the last step it is sent. Then it is there until it is taken.
        outcomes.are_exactly(&[(false, false, true), (false, true, false), (true, false, false)]);
        explored
    });
}

/// Peer 0 sends, and is killed while it goes on with something else; peer 1 takes beside it, and peer 2 repairs: what was sent was sent.
#[test]
fn what_a_dead_one_has_sent_is_taken_once() {
    report("arena: killed after send, beside take and a mender", || {
        kill_at_every_step(2, |k| {
            let arena = Arena::new(4, 4, 1, 3);
            let [a, b, c] = [0, 1, 2].map(|n| arena.take_part(n));
            assert!(send(&a));
            let sender = mortal(&arena, 0, k, move || a.allocate_at(2, 1).map(|block| a.free(block)));
            let taker = mortal(&arena, 1, None, move || {
                let got = take(&b);
                (b, got)
            });
            c.recover();
            let was_killed = sender.join().unwrap().is_none();
            let (b, got) = taker.join().unwrap().unwrap();
            assert!(got && !arena.is_filled(0), "it was there all the time");
            free_but(&arena, &c, 1);
            b.leave();
            all_free(&arena, &c);
            was_killed
        })
    });
}

/// Peer 0 is killed while it takes; as soon as it is dead the place is peer 1's, beside a mender.
#[test]
fn a_killed_takers_block_is_taken_by_the_next() {
    report("arena: killed: take, then another taker beside a mender", || {
        let outcomes = Outcomes::new();
        let seen = outcomes.clone();
        let explored = kill_at_every_step(2, move |k| {
            let arena = Arena::new(2, 2, 1, 3);
            let [a, b, c] = [0, 1, 2].map(|n| arena.take_part(n));
            assert!(send(&c));
            let first = process(k, || {
                let got = take(&a);
                a.allocate_at(1, 0);
                got
            });
            if first.is_none() {
                arena.died(0);
            }
            let second = mortal(&arena, 1, None, move || {
                let got = take(&b);
                (b, got)
            });
            c.recover();
            let (b, got) = second.join().unwrap().unwrap();
            assert!(!(got && first.is_some()), "twice");
            assert!(!arena.is_filled(0));
            free_but(&arena, &c, if first.is_some() { 2 } else { u32::from(got) });
            seen.saw((first.is_some(), got));
            b.leave();
            if first.is_none() {
                all_free(&arena, &c);
            }
            first.is_none()
        });
        // Killed before it has given the place up, after that, or not at all.
        outcomes.are_exactly(&[(true, false), (false, true), (false, false)]);
        explored
    });
}

/// Peer 0 takes, and sends what it took into another place: killed at any step, beside a mender.
#[test]
fn a_block_that_is_passed_on_is_in_one_place() {
    report("arena: killed: take and send on, beside a mender", || {
        kill_at_every_step(2, |k| {
            let arena = Arena::new(2, 2, 2, 3);
            let [a, b, c] = [0, 1, 2].map(|n| arena.take_part(n));
            assert!(send(&b));
            let mortal = mortal(&arena, 0, k, move || {
                let block = a.take(0).and_then(|item| item.block()).expect("it was sent");
                a.send(1, block).expect("an empty place");
            });
            c.recover();
            let was_killed = mortal.join().unwrap().is_none();
            let there = [0, 1].map(|place| u32::from(arena.is_filled(place)));
            assert!(there[0] + there[1] <= 1 && (was_killed || there == [0, 1]));
            free_but(&arena, &c, there[0] + there[1]);
            for place in [0, 1].into_iter().filter(|&place| arena.is_filled(place)) {
                let block = c.take(place).and_then(|item| item.block()).expect("it is there");
                assert_eq!(c.read(block), 1);
                c.free(block);
            }
            all_free(&arena, &c);
            was_killed
        })
    });
}

/// Peer 0 is killed while it takes, allocates and sends; peer 1 while it repairs, beside another taker; peer 2 repairs for both.
#[test]
fn a_killed_mender_of_what_was_sent_is_followed_by_another() {
    report("arena: killed taker and sender, killed mender, beside take", || {
        kill_two_at_every_step(1, |k, j| {
            let arena = Arena::new(2, 2, 2, 4);
            let [a, b, c, d] = [0, 1, 2, 3].map(|n| arena.take_part(n));
            assert!(send(&d));
            let life = || {
                let block = a.take(0).and_then(|item| item.block()).expect("it was sent");
                a.send(1, block).expect("an empty place");
                a.allocate_at(1, 0);
            };
            if process(k, life).is_some() {
                return [false, false];
            }
            arena.died(0);
            let mender = mortal(&arena, 1, j, move || b.recover());
            let place = usize::from(!arena.is_filled(0));
            let was_there = arena.is_filled(place);
            let got = d.take(place).and_then(|item| item.block());
            got.inspect(|&block| assert_eq!(d.read(block), 1));
            assert_eq!(got.is_some(), was_there, "it stays where it is");
            let second = mender.join().unwrap().is_none();
            free_but(&arena, &c, u32::from(got.is_some()));
            got.into_iter().for_each(|block| d.free(block));
            all_free(&arena, &c);
            [true, second]
        })
    });
}
