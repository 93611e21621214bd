//! Participants of a queue, some of which are killed.

use super::{End, HAS_FAULTS, Input, STEPS, arm, die, in_mortal};
use skep_ipc::{GetError, PutError, QueueOptions, SimpleQueue};
use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};

/// Living participants; one more is forked at times.
const LIVING: usize = 3;
/// The most values of a batch.
const BATCH: usize = 5;

/// Leases that one participant may have.
const LEASES: usize = 8;
/// The holder of what a mortal participant leases.
const MORTAL: usize = usize::MAX;

/// An item that a consumer has claimed.
#[derive(Clone, Copy, Debug)]
struct Item {
    position: u64,
    value: u64,
    /// How often it has come back.
    returns: u32,
}

impl Item {
    /// The same, come back once more.
    fn back(self) -> Item {
        Item { returns: self.returns + 1, ..self }
    }
}

/// What a queue is, for one who does one thing after the other.
struct Model {
    capacity: u64,
    /// The first position that no consumer has claimed; `waiting` lie there and behind it.
    head: u64,
    /// `None`: its producer died.
    waiting: VecDeque<Option<u64>>,
    /// Items that came back: the next to be got, in the order of their positions.
    orphans: Vec<Item>,
    /// Items whose leases last, with their holders.
    leased: Vec<(usize, Item)>,
    is_closed: bool,
}

impl Model {
    fn tail(&self) -> u64 {
        self.head + self.waiting.len() as u64
    }

    /// How many of `wanted` values can be put at once.
    fn room(&self, wanted: usize) -> usize {
        let is_free = |&p: &u64| {
            let mut held = self.orphans.iter().chain(self.leased.iter().map(|(_, item)| item));
            p < self.head + self.capacity && !held.any(|item| item.position + self.capacity == p)
        };
        (self.tail()..).take(wanted.min(self.capacity as usize)).take_while(is_free).count()
    }

    /// What putting the values comes to.
    fn put(&mut self, values: &[u64]) -> Result<usize, PutError<()>> {
        if self.is_closed {
            return Err(PutError::Closed(()));
        }
        match self.room(values.len()) {
            0 => Err(PutError::Full(())),
            room => {
                self.waiting.extend(values[..room].iter().map(|&value| Some(value)));
                Ok(room)
            }
        }
    }

    /// The places of dead producers that a consumer would pass over.
    fn skipped(&self) -> usize {
        if self.orphans.is_empty() {
            self.waiting.iter().take_while(|place| place.is_none()).count()
        } else {
            0
        }
    }

    /// A consumer passes over so many of them.
    fn pass(&mut self, skipped: usize) {
        assert!(self.waiting.drain(..skipped).all(|place| place.is_none()));
        self.head += skipped as u64;
    }

    /// What a consumer claims that wants so many: the first that came back, by itself, or else new ones.
    fn claim(&mut self, wanted: usize) -> Vec<Item> {
        if let Some(first) = (0..self.orphans.len()).min_by_key(|&n| self.orphans[n].position) {
            return vec![self.orphans.swap_remove(first)];
        }
        self.pass(self.skipped());
        let there = self.waiting.iter().take(wanted).map_while(|&place| place).collect::<Vec<_>>();
        self.waiting.drain(..there.len());
        let first = self.head;
        self.head += there.len() as u64;
        (first..).zip(there).map(|(position, value)| Item { position, value, returns: 0 }).collect()
    }

    /// Whether getting comes to this; what was got.
    fn agrees_to_get(&mut self, wanted: usize, outcome: Result<&[u64], GetError>) -> Vec<Item> {
        let expected = self.claim(wanted);
        match outcome {
            Ok(got) => assert_eq!(got, expected.iter().map(|item| item.value).collect::<Vec<_>>()),
            Err(error) => {
                assert!(expected.is_empty(), "{error} instead of {expected:?}");
                let is_over = self.is_closed && self.waiting.is_empty() && self.leased.is_empty();
                assert_eq!(error, if is_over { GetError::Closed } else { GetError::Empty });
            }
        }
        expected
    }

    /// Whether a participant has as many leases as it may.
    fn has_all_leases(&self, holder: usize) -> bool {
        self.leased.iter().filter(|&&(other, _)| other == holder).count() == LEASES
    }

    /// How a lease ended, or that it did not.
    fn end_lease(&mut self, holder: usize, item: Item, end: Ended) {
        match end {
            Ended::Ack => {}
            Ended::Nack => self.orphans.push(item.back()),
            Ended::Forgotten => self.leased.push((holder, item)),
        }
    }

    /// A participant leaves, or is dead and repaired for: what it leased comes back.
    fn give_back(&mut self, holder: usize) {
        let of_holder = |entry: &mut (usize, Item)| entry.0 == holder;
        self.orphans.extend(self.leased.extract_if(.., of_holder).map(|(_, item)| item.back()));
    }
}

/// What a participant does with a lease.
#[derive(Clone, Copy, Debug)]
enum Ended {
    Ack,
    Nack,
    /// It lasts as long as the participant.
    Forgotten,
}

/// An operation that living and mortal participants do alike.
#[derive(Clone, Copy)]
enum Operation {
    Put { values: usize },
    Get { wanted: usize },
    GetWith,
    Lease(Ended),
}

impl Operation {
    fn chosen(input: &mut Input<'_>) -> Operation {
        match input.below(13) {
            0 | 1 => Operation::Put { values: 1 },
            2 => Operation::Put { values: 1 + input.below(BATCH) },
            3 | 4 => Operation::Get { wanted: 1 },
            5 => Operation::Get { wanted: 1 + input.below(BATCH) },
            6 | 7 => Operation::GetWith,
            8 | 9 => Operation::Lease(Ended::Ack),
            10 | 11 => Operation::Lease(Ended::Nack),
            _ => Operation::Lease(Ended::Forgotten),
        }
    }

    /// Does it, and holds what comes of it against the model.
    fn run(self, one: &mut Participant, model: &mut Model, fresh: u64, within: impl FnOnce()) {
        let Participant { holder, queue } = one;
        match self {
            Operation::GetWith | Operation::Lease(_) if model.has_all_leases(*holder) => {
                assert_eq!(queue.try_get_with(|value| value), Err(GetError::TooManyLeases));
                assert_eq!(queue.try_lease().err(), Some(GetError::TooManyLeases));
            }
            Operation::Put { values: 1 } => {
                let done = queue.try_put(fresh).map(|()| 1);
                assert_eq!(done, model.put(&[fresh]).map_err(|error| with_value(error, fresh)));
            }
            Operation::Put { values } => {
                let several: [u64; BATCH] = std::array::from_fn(|n| fresh + n as u64);
                assert_eq!(queue.try_put_batch(&several[..values]), model.put(&several[..values]));
            }
            Operation::Get { wanted: 1 } => {
                let got = queue.try_get();
                model.agrees_to_get(1, got.as_ref().map(std::slice::from_ref).map_err(|&error| error));
            }
            Operation::Get { wanted } => {
                let mut several = [0; BATCH];
                let got = queue.try_get_batch(&mut several[..wanted]);
                model.agrees_to_get(wanted, got.map(|got| &several[..got]));
            }
            Operation::GetWith => {
                let got = queue.try_get_with(|value| {
                    within();
                    value
                });
                model.agrees_to_get(1, got.as_ref().map(std::slice::from_ref).map_err(|&error| error));
            }
            Operation::Lease(end) => {
                let got = queue.try_lease();
                let value = got.as_ref().map(|lease| **lease);
                let value = value.as_ref().map(std::slice::from_ref).map_err(|&&error| error);
                let claimed = model.agrees_to_get(1, value);
                let Ok(lease) = got else { return };
                assert_eq!(lease.deliveries(), claimed[0].returns);
                match end {
                    Ended::Ack => lease.ack(),
                    Ended::Nack => lease.nack(),
                    Ended::Forgotten => std::mem::forget(lease),
                }
                model.end_lease(*holder, claimed[0], end);
            }
        }
    }
}

/// A handle, and who has it.
struct Participant {
    holder: usize,
    queue: SimpleQueue<u64>,
}

fn with_value(error: PutError<()>, value: u64) -> PutError<u64> {
    match error {
        PutError::Full(()) => PutError::Full(value),
        PutError::Closed(()) => PutError::Closed(value),
        PutError::Forked(()) => PutError::Forked(value),
        PutError::Corrupt(()) => PutError::Corrupt(value),
    }
}

/// Where a mortal participant is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Label(&'static str, u32),
    InsideGetWith,
    Behind,
}

impl Place {
    fn chosen(input: &mut Input<'_>) -> Place {
        const LABELS: [&str; 16] = [
            "put: announced",
            "put: claimed",
            "put: written",
            "put: published",
            "get: announced",
            "get: claimed",
            "get: skip claimed",
            "adopt: announced",
            "adopt: claimed",
            "lease: written",
            "lease: taken",
            "release: freed",
            "ack: woken",
            "lease: ended",
            "nack: returned",
            "nack: told",
        ];
        match input.below(19) {
            16 | 17 => Place::InsideGetWith,
            18 => Place::Behind,
            label => Place::Label(LABELS[label], 1 + input.below(3) as u32),
        }
    }
}

/// Runs one input.
pub fn run(input: &mut Input<'_>) {
    let capacity = [1, 2, 4, 16][input.below(4)];
    let queue = QueueOptions::new(capacity).peers(LIVING + 1).anonymous().expect("memory for a few pages");
    let mut model = Model {
        capacity: queue.capacity() as u64,
        head: 0,
        waiting: VecDeque::new(),
        orphans: vec![],
        leased: vec![],
        is_closed: false,
    };
    let mut living = vec![Participant { holder: 0, queue }];
    for step in 1..=STEPS {
        let Some(code) = input.step() else { break };
        let fresh = 100 * step as u64;
        let which = input.below(living.len());
        match code % 16 {
            0 if living.len() < LIVING => {
                let queue = living[which].queue.try_clone().expect("room for it");
                living.push(Participant { holder: step, queue });
            }
            1 if living.len() > 1 => leave(living.swap_remove(which), &mut model),
            2 if input.below(4) == 0 => {
                living[which].queue.close();
                model.is_closed = true;
            }
            3..=6 => {
                let (operation, place) = (Operation::chosen(input), Place::chosen(input));
                kill_in(operation, place, fresh, &mut living[which], &mut model);
            }
            _ => Operation::chosen(input).run(&mut living[which], &mut model, fresh, || ()),
        }
        assert_eq!(living[0].queue.len(), model.waiting.len());
        assert_eq!(living[0].queue.is_closed(), model.is_closed);
    }
    // In the end all that is left comes out, once; but for what the last one has leased itself.
    let mut last = living.swap_remove(0);
    living.into_iter().for_each(|one| leave(one, &mut model));
    while !model.orphans.is_empty() || model.waiting.iter().any(Option::is_some) {
        Operation::Get { wanted: 1 }.run(&mut last, &mut model, 0, || ());
    }
    Operation::Get { wanted: 1 }.run(&mut last, &mut model, 0, || ());
}

fn leave(one: Participant, model: &mut Model) {
    model.give_back(one.holder);
    drop(one.queue);
}

/// Has a forked participant do an operation and die at a place, has `survivor` recover, and tells the model what the dead one had done.
fn kill_in(operation: Operation, place: Place, fresh: u64, survivor: &mut Participant, model: &mut Model) {
    let file: OwnedFd = survivor.queue.as_fd().try_clone_to_owned().expect("a free descriptor");
    let before = (model.waiting.len(), model.orphans.len());
    let end = in_mortal(|| {
        let queue = SimpleQueue::<u64>::from_fd(file).expect("room for one more");
        let mut own = Participant { holder: MORTAL, queue };
        if let Place::Label(label, countdown) = place {
            arm(label, countdown);
        }
        operation.run(&mut own, model, fresh, || {
            if place == Place::InsideGetWith {
                die();
            }
        });
        std::mem::forget(own);
    });
    // The child had a copy of the model: this one knows nothing of it yet.
    assert_eq!(before, (model.waiting.len(), model.orphans.len()));
    assert_eq!(survivor.queue.recover().expect("our own"), 1, "one is dead");
    match end {
        Done => settle_done(operation, fresh, model),
        Killed => settle_killed(operation, place, fresh, model),
    }
    model.give_back(MORTAL);
}

use End::{Done, Killed};

/// The operation was completed, and the child has compared what it came to.
fn settle_done(operation: Operation, fresh: u64, model: &mut Model) {
    match operation {
        Operation::Put { values } => _ = model.put(&(fresh..).take(values).collect::<Vec<_>>()),
        Operation::Get { wanted } => drop(model.claim(wanted)),
        Operation::GetWith => drop(model.claim(1)),
        Operation::Lease(end) => {
            for item in model.claim(1) {
                model.end_lease(MORTAL, item, end);
            }
        }
    }
}

/// The operation was cut short at a place: exactly so much of it has happened.
fn settle_killed(operation: Operation, place: Place, fresh: u64, model: &mut Model) {
    match (operation, place) {
        (Operation::Put { values }, Place::Label(label, countdown)) => {
            assert!(HAS_FAULTS && !model.is_closed);
            let claimed = model.room(values) as u64;
            assert!(claimed > 0, "killed in a put for which there is no room");
            let published = match label {
                "put: announced" => return,
                "put: claimed" => 0,
                "put: written" => u64::from(countdown) - 1,
                _ => u64::from(countdown),
            };
            model.waiting.extend((0..claimed).map(|n| (n < published).then_some(fresh + n)));
        }
        (_, Place::Label("adopt: announced", _)) => assert!(!model.orphans.is_empty()),
        (_, Place::Label("get: announced", _)) => {
            assert!(model.orphans.is_empty());
            model.pass(model.skipped());
        }
        (_, Place::Label("get: skip claimed", countdown)) => model.pass(countdown as usize),
        (_, Place::Label("release: freed", countdown)) if countdown as usize <= model.skipped() => {
            model.pass(countdown as usize);
        }
        // A batch is released from its end on.
        (_, Place::Label("release: freed", countdown)) => {
            let gone = countdown as usize - model.skipped();
            let wanted = if let Operation::Get { wanted } = operation { wanted } else { 1 };
            let mut claimed = model.claim(wanted);
            claimed.truncate(claimed.len().checked_sub(gone).expect("so many were claimed"));
            model.orphans.extend(claimed.into_iter().map(Item::back));
        }
        (
            Operation::GetWith | Operation::Lease(Ended::Ack),
            Place::Label("ack: woken" | "lease: ended", _),
        ) => drop(model.claim(1)),
        // Whatever else it had in its hands comes back.
        (Operation::Get { wanted }, Place::Label("get: claimed" | "adopt: claimed", _)) => {
            let claimed = model.claim(wanted);
            model.orphans.extend(claimed.into_iter().map(Item::back));
        }
        (Operation::GetWith, Place::InsideGetWith)
        | (
            Operation::GetWith | Operation::Lease(_),
            Place::Label("get: claimed" | "adopt: claimed" | "lease: written" | "lease: taken", _),
        )
        | (
            Operation::Lease(Ended::Nack),
            Place::Label("nack: returned" | "nack: told" | "lease: ended", _),
        ) => {
            let claimed = model.claim(1);
            model.orphans.extend(claimed.into_iter().map(Item::back));
        }
        (_, place) => panic!("nothing kills at {place:?} in this operation"),
    }
}
