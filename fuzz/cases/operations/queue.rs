//! Participants of a queue, some of which are killed.

use super::{End, HAS_FAULTS, Input, STEPS, arm, die, in_mortal};
use skep_ipc::{GetError, PutError, QueueOptions, SimpleQueue};
use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};

/// Living participants; one more is forked at times.
const LIVING: usize = 3;
/// The most values of a batch.
const BATCH: usize = 5;

/// What a queue is, for one who does one thing after the other.
struct Model {
    capacity: u64,
    /// The first position that no consumer has claimed; `waiting` lie there and behind it.
    head: u64,
    /// `None`: its producer died.
    waiting: VecDeque<Option<u64>>,
    /// Items that came back, with their positions: the next to be got, in an order that nobody promises.
    orphans: Vec<(u64, u64)>,
    is_closed: bool,
}

impl Model {
    fn tail(&self) -> u64 {
        self.head + self.waiting.len() as u64
    }

    /// How many of `wanted` values can be put at once.
    fn room(&self, wanted: usize) -> usize {
        let is_free = |&p: &u64| {
            let in_use = |q: u64| q + self.capacity == p;
            p < self.head + self.capacity && !self.orphans.iter().any(|&(q, _)| in_use(q))
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

    /// The places of dead producers that a consumer passes over.
    fn pass_skipped(&mut self) -> usize {
        let skipped = self.waiting.iter().take_while(|place| place.is_none()).count();
        self.waiting.drain(..skipped);
        self.head += skipped as u64;
        skipped
    }

    /// What a consumer claims that wants so many, with the positions, where no item has come back.
    fn claim(&mut self, wanted: usize) -> Vec<(u64, u64)> {
        self.pass_skipped();
        let there = self.waiting.iter().take(wanted).map_while(|&place| place).collect::<Vec<_>>();
        self.waiting.drain(..there.len());
        let first = self.head;
        self.head += there.len() as u64;
        (first..).zip(there).collect()
    }

    /// Whether getting comes to this.
    fn agrees_to_get(&mut self, wanted: usize, outcome: Result<&[u64], GetError>) {
        if !self.orphans.is_empty() {
            let Ok(&[value]) = outcome else { panic!("items have come back, and {outcome:?}") };
            let at = self.orphans.iter().position(|&(_, orphan)| orphan == value);
            self.orphans.swap_remove(at.expect("what has come back goes first"));
            return;
        }
        let expected: Vec<u64> = self.claim(wanted).into_iter().map(|(_, value)| value).collect();
        match outcome {
            Ok(got) => assert_eq!(got, expected),
            Err(error) => {
                assert!(expected.is_empty(), "{error} instead of {expected:?}");
                let is_over = self.is_closed && self.waiting.is_empty();
                assert_eq!(error, if is_over { GetError::Closed } else { GetError::Empty });
            }
        }
    }
}

/// An operation that living and mortal participants do alike.
#[derive(Clone, Copy)]
enum Operation {
    Put { values: usize },
    Get { wanted: usize },
    GetWith,
}

impl Operation {
    fn chosen(input: &mut Input<'_>) -> Operation {
        match input.below(8) {
            0 | 1 => Operation::Put { values: 1 },
            2 => Operation::Put { values: 1 + input.below(BATCH) },
            3 | 4 => Operation::Get { wanted: 1 },
            5 => Operation::Get { wanted: 1 + input.below(BATCH) },
            _ => Operation::GetWith,
        }
    }

    /// Does it, and holds what comes of it against the model.
    fn run(self, queue: &mut SimpleQueue<u64>, model: &mut Model, fresh: u64, within: impl FnOnce()) {
        match self {
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
        }
    }
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
        const LABELS: [&str; 7] = [
            "put: announced",
            "put: claimed",
            "put: written",
            "put: published",
            "get: announced",
            "get: claimed",
            "get: skip claimed",
        ];
        match input.below(10) {
            7 | 8 => Place::InsideGetWith,
            9 => Place::Behind,
            label => Place::Label(LABELS[label], 1 + input.below(3) as u32),
        }
    }
}

/// Runs one input.
pub fn run(input: &mut Input<'_>) {
    let capacity = 1 << input.below(3);
    let queue = QueueOptions::new(capacity).peers(LIVING + 1).anonymous().expect("memory for a few pages");
    let mut model = Model {
        capacity: queue.capacity() as u64,
        head: 0,
        waiting: VecDeque::new(),
        orphans: vec![],
        is_closed: false,
    };
    let mut handles = vec![queue];
    for step in 0..STEPS {
        let Some(code) = input.step() else { break };
        let fresh = 100 * (step as u64 + 1);
        let which = input.below(handles.len());
        match code % 16 {
            0 if handles.len() < LIVING => handles.push(handles[which].try_clone().expect("room for it")),
            1 if handles.len() > 1 => drop(handles.swap_remove(which)),
            2 if input.below(4) == 0 => {
                handles[which].close();
                model.is_closed = true;
            }
            3..=6 => {
                let (operation, place) = (Operation::chosen(input), Place::chosen(input));
                kill_in(operation, place, fresh, &mut handles[which], &mut model);
            }
            _ => Operation::chosen(input).run(&mut handles[which], &mut model, fresh, || ()),
        }
        assert_eq!(handles[0].len(), model.waiting.len());
        assert_eq!(handles[0].is_closed(), model.is_closed);
    }
    // In the end all that is left comes out, once.
    let last = &mut handles[0];
    while !model.orphans.is_empty() || model.waiting.iter().any(Option::is_some) {
        Operation::Get { wanted: 1 }.run(last, &mut model, 0, || ());
    }
    Operation::Get { wanted: 1 }.run(last, &mut model, 0, || ());
}

/// Has a forked participant do an operation and die at a place, has `survivor` recover, and tells the model what the dead one had done.
fn kill_in(
    operation: Operation,
    place: Place,
    fresh: u64,
    survivor: &mut SimpleQueue<u64>,
    model: &mut Model,
) {
    let file: OwnedFd = survivor.as_fd().try_clone_to_owned().expect("a free descriptor");
    let before = (model.waiting.len(), model.orphans.len());
    let end = in_mortal(|| {
        let mut own = SimpleQueue::<u64>::from_fd(file).expect("room for one more");
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
    assert_eq!(survivor.recover().expect("our own"), 1, "one is dead");
    match end {
        Done => settle_done(operation, fresh, survivor, model),
        Killed => settle_killed(operation, place, fresh, model),
    }
}

use End::{Done, Killed};

/// The operation was completed, and the child has compared what it came to.
fn settle_done(operation: Operation, fresh: u64, survivor: &SimpleQueue<u64>, model: &mut Model) {
    match operation {
        Operation::Put { values } => _ = model.put(&(fresh..).take(values).collect::<Vec<_>>()),
        Operation::Get { .. } | Operation::GetWith if !model.orphans.is_empty() => {
            // Which of them it got is its secret; with one there is no choice. The ring scans by slot, so the model may follow it.
            let capacity = survivor.capacity() as u64;
            let first = (0..model.orphans.len()).min_by_key(|&n| model.orphans[n].0 % capacity);
            model.orphans.swap_remove(first.expect("there is one"));
        }
        Operation::Get { wanted } => drop(model.claim(wanted)),
        Operation::GetWith => drop(model.claim(1)),
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
        (Operation::Get { .. } | Operation::GetWith, Place::Label("get: announced", _)) => {
            model.pass_skipped();
        }
        (Operation::Get { .. } | Operation::GetWith, Place::Label("get: skip claimed", countdown)) => {
            model.waiting.drain(..countdown as usize);
            model.head += u64::from(countdown);
        }
        (Operation::Get { wanted }, Place::Label(_, _)) => {
            let claimed = model.claim(wanted);
            model.orphans.extend(claimed);
        }
        (Operation::GetWith, Place::Label(..)) => {
            let claimed = model.claim(1);
            model.orphans.extend(claimed);
        }
        // What had come back comes back again.
        (Operation::GetWith, Place::InsideGetWith) if !model.orphans.is_empty() => {}
        (Operation::GetWith, Place::InsideGetWith) => {
            let claimed = model.claim(1);
            model.orphans.extend(claimed);
        }
        (_, place) => panic!("nothing kills at {place:?} in this operation"),
    }
}
