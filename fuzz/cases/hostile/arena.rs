//! An arena under attack, and a queue in it; also descriptors that are stale, mutated or made up.
//!
//! What a handle refers to is read as soon as there is one: later, a word that somebody else has changed says that the handle was sent, and to read it is a panic.

use super::{Input, Layout, Peer, Victim, descriptor};
use skep_ipc::{Arena, ArenaOptions, Descriptor, Queue, RecvValueError, ShmArc, ShmBox, ShmSlice};
use std::hint::black_box;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// As many participants as there may be.
const PEERS: usize = 6;
/// More handles of one kind than this are not kept.
const MOST: usize = 24;

type Value = (u32, Option<ShmSlice<u64>>, Option<ShmArc<[u64]>>, Vec<u8>);

/// Some participants of one arena in this process, and what they have of it.
pub struct Memory {
    arenas: Vec<Arena>,
    queues: Vec<Queue<Value>>,
    owned: Vec<ShmSlice<u64>>,
    counted: Vec<ShmArc<[u64]>>,
    /// Also those that were taken already.
    descriptors: Vec<Descriptor>,
}

impl Memory {
    pub fn new() -> Self {
        let options = ArenaOptions::new(1 << 13).limit(1 << 14).peers(PEERS);
        let arena = options.anonymous().expect("memory for a few pages");
        let queue = Queue::create_in(&arena, "values", 4).expect("room for four slots");
        Memory {
            arenas: vec![arena],
            queues: vec![queue],
            owned: vec![],
            counted: vec![],
            descriptors: vec![],
        }
    }

    fn arena(&self, input: &mut Input<'_>) -> &Arena {
        &self.arenas[input.below(self.arenas.len())]
    }

    fn allocate(&mut self, input: &mut Input<'_>) {
        let patience = Duration::from_micros(input.below(64) as u64);
        let arena =
            if input.below(4) == 0 { self.arena(input).within(patience) } else { self.arena(input).clone() };
        match input.below(5) {
            0 => drop(arena.boxed([7_u8; 3]).map(|three| black_box(*three))),
            1 => drop(arena.slice_unfilled::<u8>(input.up_to(20_000)).map(|bytes| black_box(bytes.len()))),
            2 => drop(arena.vec::<u32>(1).map(|mut row| row.resize(input.below(256), 7))),
            _ => self.owned.extend(arena.slice_with(input.below(64), |n| n as u64)),
        }
    }

    /// A number for one of so many, if there are any.
    fn one_of(count: usize, input: &mut Input<'_>) -> Option<usize> {
        (count > 0).then(|| input.below(count))
    }

    fn pick(&mut self, input: &mut Input<'_>) -> Option<ShmSlice<u64>> {
        Some(self.owned.swap_remove(Self::one_of(self.owned.len(), input)?))
    }

    fn pick_counted(&mut self, input: &mut Input<'_>) -> Option<ShmArc<[u64]>> {
        Some(self.counted.swap_remove(Self::one_of(self.counted.len(), input)?))
    }

    /// Turns handles into descriptors, and any descriptor into what it is taken for.
    fn describe(&mut self, input: &mut Input<'_>) {
        match input.below(3) {
            0 => {
                let descriptor = self.pick(input).and_then(ShmBox::into_descriptor);
                self.descriptors.extend(descriptor);
            }
            1 => {
                let descriptor = self.pick_counted(input).and_then(ShmArc::into_descriptor);
                self.descriptors.extend(descriptor);
            }
            _ => {
                let Some(which) = Self::one_of(self.descriptors.len(), input) else { return };
                let forged = mutated(self.descriptors[which], input);
                let arena = self.arena(input).clone();
                match input.below(5) {
                    0 => drop(ShmBox::<u64>::from_descriptor(&arena, &forged).map(|one| black_box(*one))),
                    1 => drop(ShmSlice::<[u8; 3]>::from_descriptor(&arena, &forged)),
                    2 => {
                        self.counted.extend(ShmArc::from_descriptor(&arena, &forged).inspect(|all| look(all)))
                    }
                    _ => {
                        self.owned.extend(ShmSlice::from_descriptor(&arena, &forged).inspect(|all| look(all)))
                    }
                }
            }
        }
    }

    fn put(&mut self, input: &mut Input<'_>) {
        let owned = if input.below(2) == 0 { self.pick(input) } else { None };
        let counted = if input.below(2) == 0 { self.pick_counted(input) } else { None };
        let value = (7, owned, counted, vec![7; input.below(256)]);
        let Some(which) = Self::one_of(self.queues.len(), input) else { return };
        let queue = &mut self.queues[which];
        let put = match input.below(3) {
            0 => queue.put_timeout(value, Duration::from_micros(input.below(64) as u64)),
            _ => queue.try_put(value),
        };
        if let Some((_, owned, counted, _)) = put.err().and_then(|refused| refused.into_value()) {
            self.owned.extend(owned);
            self.counted.extend(counted);
        }
    }

    fn got(&mut self, value: Result<Value, RecvValueError>) {
        let Ok((_, owned, counted, bytes)) = value else { return };
        black_box(bytes.len());
        self.owned.extend(owned.inspect(|all| look(all)));
        self.counted.extend(counted.inspect(|all| look(all)));
    }

    fn get(&mut self, input: &mut Input<'_>) {
        let Some(which) = Self::one_of(self.queues.len(), input) else { return };
        let value = match input.below(3) {
            0 => self.queues[which].get_timeout(Duration::from_micros(input.below(64) as u64)),
            _ => self.queues[which].try_get(),
        };
        self.got(value);
    }

    /// A lease, and what happens while it lasts.
    fn lease(&mut self, input: &mut Input<'_>, peer: &Peer) {
        let Some(which) = Self::one_of(self.queues.len(), input) else { return };
        let queue = self.queues.swap_remove(which);
        if let Ok(lease) = queue.try_lease() {
            (0..input.below(3)).for_each(|_| peer.write(input));
            match input.below(6) {
                0 => drop(lease),
                1 => lease.nack(),
                2 => std::mem::forget(lease), // its word stays in use as long as the handle
                3 => {
                    self.get(input);
                    drop(lease);
                }
                _ => {
                    let value = lease.ack();
                    if let Ok((_, owned, counted, _)) = value {
                        self.owned.extend(owned);
                        self.counted.extend(counted);
                    }
                }
            }
        }
        self.queues.push(queue);
    }

    /// Others come and go.
    fn join(&mut self, input: &mut Input<'_>) {
        let arena = &self.arena(input).clone();
        match input.below(8) {
            0 => self.arenas.extend(arena.another().ok()),
            1 => self.arenas.extend(Arena::from_fd(descriptor(arena)).ok()),
            2 => self.queues.extend(Queue::open_in(arena, "values").ok()),
            3 => self.queues.extend(Queue::create_in(arena, ["values", "others"][input.below(2)], 2).ok()),
            4 if self.arenas.len() > 1 => drop(self.arenas.swap_remove(input.below(self.arenas.len()))),
            5 => drop(Self::one_of(self.queues.len(), input).map(|which| self.queues.swap_remove(which))),
            6 if input.below(8) == 0 => self.queues.iter().for_each(Queue::close),
            _ => drop(arena.recover()),
        }
    }
}

/// Reads all there is.
fn look(all: &[u64]) {
    black_box(all.iter().fold(0, |sum, word| sum ^ word));
}

/// A descriptor as it is, or with some bits or a whole word changed.
fn mutated(descriptor: Descriptor, input: &mut Input<'_>) -> Descriptor {
    // SAFETY: four words, without padding.
    let mut words: [u64; 4] = unsafe { std::mem::transmute(descriptor) };
    match input.below(8) {
        0..=2 => {}
        3 => words[3] ^= 1 << input.below(64), // its index and generation
        4 => words[3] = (input.below(8) as u64) << 32 | input.below(256) as u64,
        5 => words[2] = [0, 1, 1 << 32, 1 << 60, u64::MAX, 1 << 61][input.below(6)].max(input.word()),
        6 => words[input.below(4)] ^= 1 << input.below(64),
        _ => words[input.below(4)] = input.word(),
    }
    // SAFETY: any bytes are a descriptor.
    unsafe { std::mem::transmute(words) }
}

impl Victim for Memory {
    fn file(&self) -> OwnedFd {
        descriptor(&self.arenas[0])
    }

    fn layout(&self) -> Layout {
        Layout::Arena
    }

    fn operate(&mut self, code: u8, input: &mut Input<'_>, peer: &Peer) {
        match code % 24 {
            0..=3 => self.allocate(input),
            4 => drop(self.pick(input)),
            5 => drop(self.pick_counted(input)),
            6 => {
                let shared = self.pick(input).and_then(|owned| owned.share().ok());
                self.counted.extend(shared);
            }
            7 | 8 => {
                let Some(which) = Self::one_of(self.counted.len(), input) else { return };
                let another = self.counted[which].try_clone();
                black_box(self.counted[which].count());
                self.counted.extend(another);
            }
            9..=11 => self.describe(input),
            12..=14 => self.put(input),
            15..=17 => self.get(input),
            18 | 19 => self.lease(input, peer),
            20 | 21 => self.join(input),
            22 => {
                let arena = self.arena(input);
                assert!(arena.size() <= arena.limit());
                black_box(arena.free_bytes());
            }
            _ => {
                for queue in &self.queues {
                    assert!(queue.len() <= queue.capacity());
                    let _ = queue.join_all(Some(Duration::ZERO));
                }
            }
        }
        self.owned.truncate(MOST);
        self.counted.truncate(MOST);
        self.descriptors.truncate(MOST);
    }
}
