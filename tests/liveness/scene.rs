//! A queue, a pipe and a mutex, and another process that takes part in each of them.

use crate::common::{Other, Unlink, end_after, fresh_name};
use skep::{LockError, Mutex, Pipe, QueueOptions, Receiver, RecvError, SimpleQueue};
use std::time::Duration;

/// So long that only a hang reaches it.
pub const HANG: Duration = Duration::from_secs(20);

/// This process's part: the queue's observer, the pipe's receiver, and a handle of the mutex.
pub struct Scene {
    pub queue: SimpleQueue<u64>,
    pub receiver: Receiver,
    pub mutex: Mutex<u64>,
    pub name: String,
    _unlink: [Unlink; 3],
}

/// The other process's part, held.
pub struct Part {
    pub queue: SimpleQueue<u64>,
    _sender: skep::Sender,
}

fn names(name: &str) -> [String; 3] {
    ["queue", "pipe", "mutex"].map(|what| format!("{name}-{what}"))
}

impl Scene {
    pub fn new(test: &str) -> Scene {
        end_after(3 * HANG);
        let name = fresh_name(test);
        let [queue, pipe, mutex] = names(&name);
        Scene {
            queue: QueueOptions::new(16).peers(4).create(&queue).unwrap(),
            receiver: Pipe::create(&pipe, 100).unwrap().receiver().unwrap(),
            mutex: Mutex::create(&mutex, 0).unwrap(),
            _unlink: [queue, pipe, mutex].map(Unlink),
            name,
        }
    }

    /// Starts a process in a role, and returns when it says that it holds its parts.
    pub fn start(&mut self, role: &str) -> Other {
        let other = Other::start(role, &self.name);
        self.report();
        other
    }

    /// Starts a process in a role.
    pub fn start_unheard(&self, role: &str) -> Other {
        Other::start(role, &self.name)
    }

    /// The next number that the other process says.
    pub fn report(&mut self) -> u64 {
        self.queue.get_timeout(HANG).expect("the other process is gone or hangs")
    }

    /// The other process counts as alive everywhere.
    pub fn assert_alive(&mut self) {
        self.assert_alive_in_queue_and_pipe();
        assert!(
            matches!(self.mutex.try_lock(), Err(LockError::WouldBlock)),
            "the mutex takes a living holder for dead"
        );
    }

    pub fn assert_alive_in_queue_and_pipe(&mut self) {
        assert_eq!(self.queue.recover().unwrap(), 0, "the queue takes a living participant for dead");
        assert!(self.receiver.is_connected(), "the pipe takes a living sender for dead");
        assert_eq!(self.receiver.try_recv().err(), Some(RecvError::Empty));
    }

    /// The other process counts as dead everywhere, at once; and what it took part in works on.
    pub fn assert_dead(&mut self) {
        self.assert_dead_in_queue_and_pipe();
        self.assert_dead_in_mutex();
    }

    pub fn assert_dead_in_queue_and_pipe(&mut self) {
        assert!(!self.receiver.is_connected(), "the pipe takes a dead sender for living");
        assert_eq!(self.receiver.recv_timeout(HANG).err(), Some(RecvError::Eof));
        assert_eq!(self.queue.recover().unwrap(), 1, "the queue takes a dead participant for living");
        self.queue.put(1).unwrap();
        assert_eq!(self.queue.get(), Ok(1));
        drop(Pipe::open(&names(&self.name)[1]).unwrap().sender().expect("the dead one's role is free"));
    }

    pub fn assert_dead_in_mutex(&mut self) {
        // By one who only tries: nobody waits.
        let end = std::time::Instant::now() + HANG;
        let locked = loop {
            match self.mutex.try_lock() {
                Err(LockError::WouldBlock) if std::time::Instant::now() < end => std::thread::yield_now(),
                locked => break locked,
            }
        };
        match locked {
            Err(LockError::OwnerDied(mut guard)) => guard.mark_consistent(),
            other => panic!("the mutex does not tell of the death: {:?}", other.err()),
        }
        assert!(self.mutex.try_lock().is_ok());
    }
}

/// Joins the queue and becomes the pipe's sender.
pub fn take_part(name: &str) -> Part {
    let [queue, pipe, _] = names(name);
    Part { queue: SimpleQueue::open(&queue).unwrap(), _sender: Pipe::open(&pipe).unwrap().sender().unwrap() }
}

/// The same, and locks the mutex for the rest of this thread's life.
pub fn hold(name: &str) -> Part {
    let mutex = Mutex::<u64>::open(&names(name)[2]).unwrap();
    std::mem::forget(mutex.lock().unwrap());
    take_part(name)
}

pub fn open_mutex(name: &str) -> Result<Mutex<u64>, skep::Error> {
    Mutex::open(&names(name)[2])
}

/// Holds, says so, and waits to be killed.
pub fn hold_and_wait(name: &str) -> ! {
    let mut part = hold(name);
    part.queue.put(std::process::id().into()).unwrap();
    wait()
}

/// The same without the mutex.
pub fn hold_queue_and_pipe(name: &str) -> ! {
    let mut part = take_part(name);
    part.queue.put(std::process::id().into()).unwrap();
    wait()
}

/// Waits to be killed.
pub fn wait() -> ! {
    loop {
        // SAFETY: a plain system call.
        unsafe { libc::pause() };
    }
}
