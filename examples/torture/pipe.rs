//! `Pipe` under torture: both roles taken over again and again, dropped and handed on; what the receivers took must be one stream without a gap.
//!
//! The time that one process holds the sender's role is a tenure; tenures are numbered in order, and each sends the messages 0, 1, 2, …
//!
//! - A `send` that **returned**: the message is received. One that was **cut short**: it is, or it is not. So behind the last message of a tenure comes the
//!   first one of a later tenure only if as many were received as `send`s returned, or as were begun.
//! - A receiver writes down which message it holds, until it has dropped the grant. If it dies, that message, and no other, may come once more.
//! - Messages of any length up to the longest carry their length and a pattern: anything else is *torn*.

use crate::journal::{Journal, Shared, Words, Wrong};
use crate::random::{Random, mix};
use crate::subject::{Dead, Findings, Part, Stage, Subject, Trouble};
use skep::{Pipe, Receiver, RecvError, SendError, Sender};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering::AcqRel, Ordering::Acquire, Ordering::Release};
use std::time::Duration;

/// How many times a sender takes its role, all in all.
const TENURES: u64 = 1 << 16;
/// Bytes of an item of the capacity.
const ITEM_BYTES: usize = 64;
/// A message's number and checksum.
const HEAD: usize = 16;
/// So short that it often is over before there is a message, or room.
const MOMENT: Duration = Duration::from_micros(200);

pub struct Subjected {
    pipe: Pipe,
    name: Option<String>,
    producers: usize,
    stream: Shared<Stream>,
    tenures: Shared<Tenure>,
    findings: Findings,
}

/// Where the stream is: written by whoever has the receiver's role.
#[derive(Default)]
struct Stream {
    /// How many tenures have begun.
    tenures: AtomicU64,
    /// `{ the last message taken } + 1`.
    last: AtomicU64,
    /// `{ the message in a receiver's hands } + 1`.
    held: AtomicU64,
}

/// What one tenure has begun to send, and what it has sent: written by whoever has the sender's role.
struct Tenure {
    begun: AtomicU64,
    done: AtomicU64,
}

// SAFETY: atomics.
unsafe impl Words for Stream {}
// SAFETY: atomics.
unsafe impl Words for Tenure {}

/// `{ tenure: 32, number: 32 }`.
fn id(tenure: u64, number: u64) -> u64 {
    tenure << 32 | number
}

pub fn make(stage: Stage) -> Result<Box<dyn Subject>, Trouble> {
    let capacity = stage.capacity * ITEM_BYTES;
    let pipe = match &stage.name {
        Some(name) => Pipe::create(name, capacity),
        None => Pipe::new(capacity),
    };
    let memory = |e| format!("the stream's journal: {e}");
    Ok(Box::new(Subjected {
        pipe: pipe.map_err(|e| format!("making a pipe: {e}"))?,
        name: stage.name,
        producers: stage.producers,
        stream: Shared::new(1).map_err(memory)?,
        tenures: Shared::new(TENURES as usize).map_err(memory)?,
        findings: Findings::default(),
    }))
}

impl Subject for Subjected {
    fn fault_points(&self, seat: usize) -> &'static [&'static str] {
        if seat < self.producers {
            &[
                "join: locked",
                "join: joined",
                "send: written",
                "send: sent",
                "hand on: vacant",
                "hand on: counted",
            ]
        } else {
            &[
                "join: locked",
                "join: joined",
                "receive: read",
                "receive: released",
                "hand on: vacant",
                "hand on: counted",
            ]
        }
    }

    fn play(&self, mut part: Part<'_>) -> Result<(), Trouble> {
        let pipe = match &self.name {
            Some(name) => Pipe::open(name),
            None => {
                let descriptor = self.pipe.as_fd().try_clone_to_owned();
                Pipe::from_fd(descriptor.map_err(|e| format!("duplicating a descriptor: {e}"))?)
            }
        };
        let mut pipe = pipe.map_err(|e| format!("opening: {e}"))?;
        while part.stays() {
            if part.seat < self.producers {
                let Some(sender) = claim(&part, || pipe.sender())? else { break };
                // Handed on or dropped: with end of file for the receiver, or without.
                let sender = self.send(sender, &mut part)?;
                if part.random.one_in(2) {
                    pipe = sender.detach().map_err(|e| format!("detach: {e}"))?;
                }
            } else {
                let Some(receiver) = claim(&part, || pipe.receiver())? else { break };
                let receiver = self.receive(receiver, &mut part)?;
                if part.random.one_in(2) {
                    pipe = receiver.detach().map_err(|e| format!("detach: {e}"))?;
                }
            }
        }
        Ok(())
    }

    fn bury(&mut self, dead: &Dead<'_>) {
        self.findings.witnessed(dead.journal);
    }

    fn judge(mut self: Box<Self>) -> Result<Findings, Trouble> {
        // All who had a role are dead: each can be claimed.
        let roles = (self.pipe.sender().map(Sender::detach), self.pipe.receiver());
        let (Ok(Ok(_)), Ok(mut receiver)) = roles else {
            self.findings.entries += 1;
            return Ok(self.findings);
        };
        let journal = Journal::default();
        loop {
            match receiver.try_recv() {
                Ok(message) => self.take(&message, &journal),
                Err(RecvError::Empty | RecvError::Eof) => break,
                Err(other) => return Err(format!("receiving what is left: {other}")),
            }
        }
        self.findings.witnessed(&journal);
        let (next, end) = (self.stream[0].last.load(Acquire), self.stream[0].tenures.load(Acquire));
        self.findings.lost += u64::from(!self.may_follow(next, end.min(TENURES - 1), 0));
        Ok(self.findings)
    }
}

/// Claims a role as soon as nobody has it; `None` if asked to leave before.
fn claim<R>(part: &Part<'_>, role: impl Fn() -> Result<R, skep::Error>) -> Result<Option<R>, Trouble> {
    while !part.journal.shall_leave() {
        match role() {
            Ok(role) => {
                part.journal.rest(false);
                return Ok(Some(role));
            }
            Err(skep::Error::RoleTaken { .. }) => part.journal.rest(true),
            Err(other) => return Err(format!("claiming a role: {other}")),
        }
        std::thread::sleep(MOMENT);
    }
    Ok(None)
}

impl Subjected {
    // --- send ----------------------------------------------------------------------------------------------------

    /// Sends for one tenure.
    fn send(&self, mut sender: Sender, part: &mut Part<'_>) -> Result<Sender, Trouble> {
        let (journal, pace) = (part.journal, part.pace());
        let number = self.stream[0].tenures.fetch_add(1, AcqRel);
        let tenure = self.tenures.get(number as usize).ok_or("there were too many tenures")?;
        let length = if number < TENURES / 2 { part.random.skewed(14) } else { u64::from(u32::MAX) };
        let mut message = Vec::with_capacity(sender.capacity());
        for n in 0..length {
            if !part.stays() {
                break;
            }
            journal.begin(1);
            write(&mut message, id(number, n), sender.capacity(), &mut part.random);
            tenure.begun.store(n + 1, Release);
            send_one(&mut sender, &message, &mut part.random).map_err(|e| format!("send: {e}"))?;
            tenure.done.store(n + 1, Release);
            journal.finish(1);
            pace.think(&mut part.random);
        }
        Ok(sender)
    }

    // --- receive -------------------------------------------------------------------------------------------------

    fn receive(&self, mut receiver: Receiver, part: &mut Part<'_>) -> Result<Receiver, Trouble> {
        let (journal, pace) = (part.journal, part.pace());
        for _ in 0..part.random.skewed(14) {
            if !part.stays() {
                break;
            }
            journal.begin(1);
            receive_one(&mut receiver, &mut part.random, |message| self.take(message, journal))
                .map_err(|e| format!("receive: {e}"))?;
            self.stream[0].held.store(0, Release);
            journal.finish(1);
            pace.think(&mut part.random);
        }
        Ok(receiver)
    }

    /// Notes a message in the receiver's hands, if it may be the next one.
    fn take(&self, message: &[u8], journal: &Journal) {
        let stream = &self.stream[0];
        let Some(id) = read(message).filter(|id| id >> 32 < stream.tenures.load(Acquire)) else {
            journal.saw(Wrong::Torn);
            return;
        };
        let last = stream.last.load(Acquire);
        if last == id + 1 && stream.held.load(Acquire) == id + 1 {
            return; // its last holder died with it
        }
        if id < last {
            journal.saw(Wrong::Duplicated);
            return;
        }
        if !self.may_follow(last, id >> 32, id & 0xffff_ffff) {
            journal.saw(Wrong::Lost);
        }
        stream.held.store(id + 1, Release);
        stream.last.store(id + 1, Release);
    }

    /// Whether a message may come behind the last one taken.
    fn may_follow(&self, last: u64, tenure: u64, number: u64) -> bool {
        // `last` is the id of the message that would come next, were there no more tenures.
        let (before, taken) = (last >> 32, last & 0xffff_ffff);
        if tenure == before {
            return number == taken;
        }
        // What is between must have ended with what was taken of it.
        let ended_with = |t: u64, taken: u64| {
            let Tenure { begun, done } = &self.tenures[t as usize];
            (done.load(Acquire)..=begun.load(Acquire)).contains(&taken)
        };
        number == 0 && ended_with(before, taken) && (before + 1..tenure).all(|t| ended_with(t, 0))
    }
}

/// Sends a message in one of the ways there are, as soon as there is room, and a receiver.
fn send_one(sender: &mut Sender, message: &[u8], random: &mut Random) -> Result<(), SendError> {
    loop {
        let sent = match random.below(4) {
            0 => sender.try_send(message),
            1 => sender.send_timeout(message, MOMENT),
            2 => sender.send(message),
            _ => in_place(sender, message, random.one_in(8)),
        };
        match sent {
            Err(SendError::Full) => std::thread::yield_now(),
            // The next receiver goes on where the last one stopped.
            Err(SendError::Disconnected) => std::thread::sleep(MOMENT),
            done => return done,
        }
    }
}

/// Writes a message where it is read, perhaps at the second attempt.
fn in_place(sender: &mut Sender, message: &[u8], abort_first: bool) -> Result<(), SendError> {
    if abort_first {
        sender.reserve(message.len())?.fill(0xee);
    }
    let room = sender.capacity().min(message.len() + 64);
    let mut grant = sender.reserve(room)?;
    grant[..message.len()].copy_from_slice(message);
    grant.commit_len(message.len())
}

/// Receives a message in one of the ways there are, as soon as there is one; `take` sees it before it is dropped.
fn receive_one(
    receiver: &mut Receiver,
    random: &mut Random,
    mut take: impl FnMut(&[u8]),
) -> Result<(), RecvError> {
    loop {
        let received = match random.below(3) {
            0 => receiver.try_recv(),
            1 => receiver.recv_timeout(MOMENT),
            _ => receiver.recv(),
        };
        match received {
            Ok(message) => {
                take(&message);
                return Ok(());
            }
            Err(RecvError::Empty) => {}
            // Until somebody becomes the sender.
            Err(RecvError::Eof) => {}
            Err(other) => return Err(other),
        }
        std::thread::yield_now();
    }
}

/// Makes a message of any length that fits: its id, a checksum of that and the length, and a pattern.
fn write(message: &mut Vec<u8>, id: u64, longest: usize, random: &mut Random) {
    let room = (longest - HEAD) as u64;
    let length = if random.one_in(16) { random.below(room + 1) } else { random.below(room.min(64) + 1) };
    message.clear();
    message.extend_from_slice(&id.to_le_bytes());
    message.extend_from_slice(&mix(id ^ length << 40).to_le_bytes());
    message.extend((0..length).map(|n| pattern(id, n)));
}

/// The id of a message that is whole.
fn read(message: &[u8]) -> Option<u64> {
    let (id, rest) = message.split_first_chunk()?;
    let (check, body) = rest.split_first_chunk()?;
    let id = u64::from_le_bytes(*id);
    let is_whole = u64::from_le_bytes(*check) == mix(id ^ (body.len() as u64) << 40)
        && (0..).zip(body).all(|(n, &byte)| byte == pattern(id, n));
    is_whole.then_some(id)
}

fn pattern(id: u64, n: u64) -> u8 {
    id.wrapping_mul(31).wrapping_add(n) as u8
}
