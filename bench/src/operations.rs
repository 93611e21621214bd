//! The hot operations, in a process of its own: each is repeated by itself, and undone where nobody measures.

use skep::{
    Arena, Event, Mutex, Part, Pool, QueueOptions, Receiver, Sender, ShmSlice, SimpleQueue, shared_struct,
};
use std::error::Error;

/// How often an operation is repeated before it is undone, at most.
pub const TIMES: usize = 200;

/// An operation by its name.
pub struct Named {
    pub name: &'static str,
    pub make: fn() -> Made,
}

/// An operation that is ready to be measured.
pub type Made = Result<Box<dyn Operation>, Box<dyn Error>>;

/// Something that is measured.
pub trait Operation {
    /// Does it so many times, at most [`TIMES`].
    fn run(&mut self, times: usize);

    /// Undoes it as often, so that it can be done again.
    fn undo(&mut self, times: usize);
}

/// All of them.
pub const ALL: &[Named] = &[
    Named { name: "SimpleQueue::try_put", make: || Ok(on(queue(0)?, put, get)) },
    Named { name: "SimpleQueue::try_get", make: || Ok(on(queue(TIMES)?, get, put)) },
    Named { name: "SimpleQueue::put", make: || Ok(on(queue(0)?, put_waiting, get)) },
    Named { name: "SimpleQueue::get", make: || Ok(on(queue(TIMES)?, get_waiting, put)) },
    Named { name: "Sender::try_send, 8 B", make: || Ok(on(pipe(0)?, send, receive)) },
    Named { name: "Receiver::try_recv, 8 B", make: || Ok(on(pipe(TIMES)?, receive, send)) },
    Named { name: "Mutex::lock, and its guard's drop", make: || Ok(on(Mutex::new(0)?, lock, |_, _| ())) },
    Named {
        name: "Arena::slice_unfilled, 64 B",
        make: || Ok(on(Blocks::new(64, 0)?, Blocks::take, Blocks::free)),
    },
    Named {
        name: "Arena::slice_unfilled, 4 KiB",
        make: || Ok(on(Blocks::new(4096, 0)?, Blocks::take, Blocks::free)),
    },
    Named {
        name: "ShmSlice's drop, 64 B",
        make: || Ok(on(Blocks::new(64, TIMES)?, Blocks::free, Blocks::take)),
    },
    Named { name: "Pool::apply_async", make: || Ok(on(Submit::new()?, Submit::submit, Submit::collect)) },
];

/// Two functions on the same thing; each has its loop in itself.
struct On<S> {
    state: S,
    run: fn(&mut S, usize),
    undo: fn(&mut S, usize),
}

fn on<S: 'static>(state: S, run: fn(&mut S, usize), undo: fn(&mut S, usize)) -> Box<dyn Operation> {
    Box::new(On { state, run, undo })
}

impl<S> Operation for On<S> {
    fn run(&mut self, times: usize) {
        (self.run)(&mut self.state, times);
    }

    fn undo(&mut self, times: usize) {
        (self.undo)(&mut self.state, times);
    }
}

// --- the queue ---------------------------------------------------------------------------------------------------

fn queue(items: usize) -> Result<SimpleQueue<u64>, skep::Error> {
    let mut queue = QueueOptions::new(2 * TIMES).anonymous()?;
    put(&mut queue, items);
    Ok(queue)
}

fn put(queue: &mut SimpleQueue<u64>, times: usize) {
    (0..times).for_each(|_| queue.try_put(7).expect("there is room"));
}

fn get(queue: &mut SimpleQueue<u64>, times: usize) {
    (0..times).for_each(|_| assert_eq!(queue.try_get().ok(), Some(7)));
}

fn put_waiting(queue: &mut SimpleQueue<u64>, times: usize) {
    (0..times).for_each(|_| queue.put(7).expect("there is room"));
}

fn get_waiting(queue: &mut SimpleQueue<u64>, times: usize) {
    (0..times).for_each(|_| assert_eq!(queue.get().ok(), Some(7)));
}

// --- the pipe ----------------------------------------------------------------------------------------------------

type Ends = (Sender, Receiver);

fn pipe(messages: usize) -> Result<Ends, skep::Error> {
    let mut ends = skep::pipe(2 * TIMES * 16)?;
    send(&mut ends, messages);
    Ok(ends)
}

fn send(ends: &mut Ends, times: usize) {
    (0..times).for_each(|_| ends.0.try_send(&7_u64.to_ne_bytes()).expect("there is room"));
}

fn receive(ends: &mut Ends, times: usize) {
    for _ in 0..times {
        let message = ends.1.try_recv().expect("there is one");
        assert_eq!(*message, 7_u64.to_ne_bytes());
    }
}

// --- the mutex ---------------------------------------------------------------------------------------------------

fn lock(mutex: &mut Mutex<u64>, times: usize) {
    (0..times).for_each(|_| *mutex.lock().expect("nobody dies") += 1);
}

// --- the arena ---------------------------------------------------------------------------------------------------

/// Blocks, as many as were allocated.
struct Blocks {
    arena: Arena,
    taken: Vec<ShmSlice<u8>>,
    bytes: usize,
}

impl Blocks {
    fn new(bytes: usize, times: usize) -> Result<Blocks, skep::Error> {
        let mut blocks = Blocks { arena: Arena::new(64 << 20)?, taken: Vec::with_capacity(TIMES), bytes };
        blocks.take(times);
        Ok(blocks)
    }

    fn take(&mut self, times: usize) {
        (0..times)
            .for_each(|_| self.taken.push(self.arena.slice_unfilled(self.bytes).expect("there is room")));
    }

    fn free(&mut self, times: usize) {
        self.taken.truncate(self.taken.len() - times);
    }
}

// --- the pool ----------------------------------------------------------------------------------------------------

#[skep::task]
fn hold(name: String) -> bool {
    let Ok(gate) = Gate::open(&name) else { return false };
    gate.begun.set().is_ok() && gate.over.wait().is_ok()
}

#[skep::task]
fn nothing(n: u64) -> u64 {
    n
}

shared_struct! {
    /// What keeps a pool's only worker busy, so that submitting neither wakes it nor meets it.
    struct Gate {
        begun: Event,
        over: Event,
    }
}

struct Submit {
    pool: Pool,
    gate: Gate,
    name: String,
    held: Option<skep::Future<bool>>,
    calls: Vec<skep::Future<u64>>,
}

impl Submit {
    fn new() -> Result<Self, Box<dyn Error>> {
        let name = format!("skep-bench-{}", std::process::id());
        let gate = Gate::create(&name, ((), ()))?;
        let pool = Pool::builder().workers(1).queue_depth(4 * TIMES).build()?;
        let mut submit = Submit { pool, gate, name, held: None, calls: Vec::with_capacity(TIMES) };
        submit.hold()?;
        Ok(submit)
    }

    fn hold(&mut self) -> Result<(), Box<dyn Error>> {
        self.held = Some(self.pool.apply_async(hold, self.name.clone()));
        self.gate.begun.wait()?;
        Ok(self.gate.begun.clear()?)
    }

    fn release(&mut self) -> Result<(), Box<dyn Error>> {
        self.gate.over.set()?;
        let held = self.held.take().ok_or("the worker is not held")?;
        if !held.get()? {
            return Err("the worker did not wait".into());
        }
        Ok(self.gate.over.clear()?)
    }

    fn submit(&mut self, times: usize) {
        (0..times).for_each(|_| self.calls.push(self.pool.apply_async(nothing, 7)));
    }

    fn collect(&mut self, _: usize) {
        self.release().expect("the worker lives");
        self.calls.drain(..).for_each(|call| assert_eq!(call.get().ok(), Some(7)));
        self.hold().expect("the worker lives");
    }
}

impl Drop for Submit {
    fn drop(&mut self) {
        let _ = self.gate.over.set();
        let _ = Gate::unlink(&self.name);
    }
}
