//! A caller: it runs tasks of every kind, and judges each outcome.

use super::MARKS;
use super::tasks::{self, Mark, Order, RETRIES, expected};
use super::tormentor::{Blows, rage};
use crate::journal::Wrong;
use crate::random::Random;
use crate::subject::{Part, Trouble};
use skep::{AtomicArray, MapError, Pool, TaskError};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Release};
use std::time::Duration;

/// The longest load, as a power of two: some fit into a record, some do not.
const LOAD_BITS: u64 = 14;
/// The most tasks of one call, as a power of two.
const MANY_BITS: u64 = 7;
/// How long a pool may take to end.
const ENDING: Duration = Duration::from_secs(5);

pub struct Caller<'a> {
    pool: Pool,
    name: &'a str,
    marks: AtomicArray<u64>,
    part: Part<'a>,
    watched: &'a [AtomicU64],
    kills: &'a AtomicU64,
    blows: Blows,
    /// How many tasks it has ordered.
    ordered: u64,
}

/// How often a task may begin.
#[derive(Clone, Copy)]
enum Runs {
    Once,
    Retried,
}

impl<'a> Caller<'a> {
    pub fn start(
        name: &'a str,
        mut part: Part<'a>,
        watched: &'a [AtomicU64],
        kills: &'a AtomicU64,
    ) -> Result<Self, Trouble> {
        let workers = 1 + part.random.below(3) as usize;
        let depth = 1 << part.random.below(11);
        let pool = Pool::builder().workers(workers).queue_depth(depth).build();
        Ok(Caller {
            pool: pool.map_err(|e| format!("the pool: {e}"))?,
            name,
            marks: AtomicArray::open(name).map_err(|e| format!("the marks: {e}"))?,
            part,
            watched,
            kills,
            blows: Blows::default(),
            ordered: 0,
        })
    }

    pub fn work(mut self) -> Result<(), Trouble> {
        let (stop, random) = (AtomicBool::new(false), self.part.random.fork());
        let (this, pool, blows) = (&mut self.part, &self.pool, &self.blows);
        let mut run =
            Run { name: self.name, marks: &self.marks, part: this, pool, blows, ordered: self.ordered };
        let worked = std::thread::scope(|scope| {
            scope.spawn(|| rage(pool, blows, &stop, random, self.watched, self.kills));
            let _stop = Stop(&stop);
            run.all()
        });
        worked?;
        self.leave()
    }

    /// In good order: nothing is left of its tasks, nor of its processes.
    fn leave(self) -> Result<(), Trouble> {
        let arena = self.pool.arena().clone();
        self.pool.close();
        self.pool.join_timeout(ENDING).map_err(|e| format!("join: {e}"))?;
        drop(self.pool);
        if arena.free_bytes() != arena.size() {
            self.part.journal.saw(Wrong::Lost);
        }
        Ok(())
    }
}

/// Says stop when it is dropped, whatever came of the work.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Release);
    }
}

/// The caller at work, beside its tormentor.
struct Run<'r, 'a> {
    name: &'a str,
    marks: &'r AtomicArray<u64>,
    part: &'r mut Part<'a>,
    pool: &'r Pool,
    blows: &'r Blows,
    ordered: u64,
}

impl Run<'_, '_> {
    fn all(&mut self) -> Result<(), Trouble> {
        let pace = self.part.pace();
        while self.part.stays() {
            self.part.journal.begin(1);
            match self.part.random.below(10) {
                0 => self.apply()?,
                1 => self.futures()?,
                2 => self.map()?,
                3 => self.retried()?,
                4 => self.unordered()?,
                5 => self.slices()?,
                6 => self.handles()?,
                7 => self.panics()?,
                8 => self.dies()?,
                _ => self.echo()?,
            }
            self.part.journal.finish(1);
            pace.think(&mut self.part.random);
        }
        Ok(())
    }

    fn random(&mut self) -> &mut Random {
        &mut self.part.random
    }

    fn order(&mut self, load_bits: u64) -> Order {
        let mark = self.part.seat * MARKS + self.ordered as usize % MARKS;
        self.ordered += 1;
        let (life, seed) = (self.part.life as u32, self.random().next());
        let load = vec![seed as u8; self.random().skewed(load_bits) as usize - 1];
        Mark(&self.marks[mark]).reset(life);
        Order { marks: self.name.into(), mark, life, seed, load }
    }

    fn orders(&mut self) -> Vec<Order> {
        let count = self.random().skewed(MANY_BITS);
        (0..count).map(|_| self.order(6)).collect()
    }

    // --- the outcomes --------------------------------------------------------------------------------------------

    /// Whether the outcome of a task can be true. Hands the result on, if there is one.
    fn judge<R>(
        &self,
        order: &Order,
        runs: Runs,
        outcome: Result<R, TaskError>,
    ) -> Result<Option<R>, Trouble> {
        let mark = Mark(&self.marks[order.mark]);
        let most = match runs {
            Runs::Once => 1,
            Runs::Retried => 1 + RETRIES,
        };
        if mark.began() > most {
            self.part.journal.saw(Wrong::Duplicated);
        }
        match outcome {
            Ok(result) => {
                if mark.ended() == 0 {
                    self.part.journal.saw(Wrong::Lost);
                }
                Ok(Some(result))
            }
            Err(TaskError::WorkerDied { pid, cause, .. }) => {
                if !self.blows.explain(pid, cause) {
                    eprintln!("torture: worker {pid} {cause}, and nobody has killed it");
                    self.part.journal.saw(Wrong::Lost);
                }
                Ok(None)
            }
            Err(other) => Err(format!("a task: {other}")),
        }
    }

    fn judge_sum(&self, order: &Order, runs: Runs, outcome: Result<u64, TaskError>) -> Result<(), Trouble> {
        if self.judge(order, runs, outcome)?.is_some_and(|sum| sum != expected(order)) {
            self.part.journal.saw(Wrong::Torn);
        }
        Ok(())
    }

    // --- the calls -----------------------------------------------------------------------------------------------

    fn apply(&mut self) -> Result<(), Trouble> {
        let order = self.order(LOAD_BITS);
        self.judge_sum(&order, Runs::Once, self.pool.apply(tasks::compute, order.clone()))
    }

    fn futures(&mut self) -> Result<(), Trouble> {
        let orders = self.orders();
        let submit = |order: &Order| self.pool.apply_async(tasks::compute, order.clone());
        let futures: Vec<_> = orders.iter().map(submit).collect();
        let kept = self.random().below(futures.len() as u64 + 1) as usize;
        for (order, future) in orders.iter().zip(futures).take(kept) {
            self.judge_sum(order, Runs::Once, future.get())?;
        }
        Ok(()) // the others are dropped, and their tasks run for nobody
    }

    fn map(&mut self) -> Result<(), Trouble> {
        let orders = self.orders();
        match self.pool.map(tasks::compute, orders.iter().cloned()) {
            Ok(sums) => orders
                .iter()
                .zip(sums)
                .try_for_each(|(order, sum)| self.judge_sum(order, Runs::Once, Ok(sum))),
            Err(MapError { input: Some(input), error }) => {
                self.judge_sum(&orders[input], Runs::Once, Err(error))
            }
            Err(other) => Err(format!("map: {other}")),
        }
    }

    fn retried(&mut self) -> Result<(), Trouble> {
        let orders = self.orders();
        let submit = |order: &Order| self.pool.apply_async(tasks::compute_again, order.clone());
        let futures: Vec<_> = orders.iter().map(submit).collect();
        for (order, future) in orders.iter().zip(futures) {
            self.judge_sum(order, Runs::Retried, future.get())?;
        }
        Ok(())
    }

    fn unordered(&mut self) -> Result<(), Trouble> {
        let orders = self.orders();
        let results: Vec<_> = self.pool.imap_unordered(tasks::compute, orders.iter().cloned()).collect();
        if results.len() != orders.len() {
            self.part.journal.saw(Wrong::Lost);
        }
        let mut left: Vec<u64> = orders.iter().map(expected).collect();
        for result in results {
            match result {
                Ok(sum) => match left.iter().position(|expected| *expected == sum) {
                    Some(at) => drop(left.swap_remove(at)),
                    None => self.part.journal.saw(Wrong::Duplicated),
                },
                Err(MapError { input: Some(input), error }) => {
                    self.judge_sum(&orders[input], Runs::Once, Err(error))?;
                }
                Err(other) => return Err(format!("imap: {other}")),
            }
        }
        Ok(())
    }

    fn slices(&mut self) -> Result<(), Trouble> {
        let (count, chunk) = (self.random().skewed(10) as usize, self.random().skewed(7) as usize);
        let seed = self.random().next();
        let input = self.pool.arena().slice_with(count, |n| mixed(seed, n));
        let input = input.map_err(|e| format!("a slice: {e}"))?;
        let output = self.pool.arena().slice_zeroed::<u64>(count);
        let mut output = output.map_err(|e| format!("a slice: {e}"))?;
        match self.pool.map_slice_into(tasks::squares, &input, &mut output, chunk) {
            Ok(()) => {
                if !input.iter().zip(output.iter()).all(|(n, square)| *square == n.wrapping_mul(*n)) {
                    self.part.journal.saw(Wrong::Torn);
                }
            }
            // One chunk that was hit three times.
            Err(MapError { error: TaskError::WorkerDied { pid, cause, .. }, .. }) => {
                if !self.blows.explain(pid, cause) {
                    self.part.journal.saw(Wrong::Lost);
                }
            }
            Err(other) => return Err(format!("map_slice_into: {other}")),
        }
        Ok(())
    }

    fn handles(&mut self) -> Result<(), Trouble> {
        let order = self.order(6);
        let count = self.random().skewed(10) as usize;
        let mut numbers = self.pool.arena().vec(count).map_err(|e| format!("a vector: {e}"))?;
        for n in 0..count {
            numbers.push(n as u64).map_err(|e| format!("a vector: {e}"))?;
        }
        let added = self.pool.apply(tasks::add, (order.clone(), numbers));
        if let Some(numbers) = self.judge(&order, Runs::Once, added)? {
            let expected = (0..count as u64).map(|n| n.wrapping_add(order.seed));
            if !numbers.iter().copied().eq(expected) {
                self.part.journal.saw(Wrong::Torn);
            }
        }
        Ok(())
    }

    fn panics(&mut self) -> Result<(), Trouble> {
        let order = self.order(6);
        match self.pool.apply(tasks::fail, order.clone()) {
            Err(TaskError::Panicked { message, .. }) if message == order.seed.to_string() => Ok(()),
            Err(TaskError::Panicked { .. }) | Ok(_) => {
                self.part.journal.saw(Wrong::Torn);
                Ok(())
            }
            other => self.judge(&order, Runs::Once, other).map(drop),
        }
    }

    fn dies(&mut self) -> Result<(), Trouble> {
        use skep::Cause::{Exited, Signal};
        let order = self.order(6);
        match self.pool.apply(tasks::die, order.clone()) {
            Err(TaskError::WorkerDied {
                cause: Exited(3) | Signal(libc::SIGABRT | libc::SIGKILL), ..
            }) => Ok(()),
            Ok(_) => {
                self.part.journal.saw(Wrong::Torn);
                Ok(())
            }
            other => self.judge(&order, Runs::Once, other).map(drop),
        }
    }

    fn echo(&mut self) -> Result<(), Trouble> {
        let order = self.order(LOAD_BITS);
        let echoed = self.pool.apply(tasks::echo, order.clone());
        if self.judge(&order, Runs::Once, echoed)?.is_some_and(|load| load != order.load) {
            self.part.journal.saw(Wrong::Torn);
        }
        Ok(())
    }
}

fn mixed(seed: u64, n: usize) -> u64 {
    crate::random::mix(seed ^ n as u64)
}
