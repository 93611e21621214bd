//! Checkpoints: what of the sum outlives the process that adds it up.
//!
//! They lie in a queue, and one word of the aggregator's role says which of them counts. That word is the truth: any other checkpoint was begun by an aggregator that died
//! before it counted, or was replaced, and is removed whenever one is found. The one that counts is always in the queue, in the hands of the living aggregator or coming back from
//! those of a dead one, so whoever needs it waits for it.
//!
//! | step of a commit | killed before it |
//! | --- | --- |
//! | 1. the word `BEGUN` gets a number that no checkpoint ever had | nothing has happened |
//! | 2. a checkpoint of that number is put | a number is not used |
//! | 3. the word `COUNTS` gets its number | **it does not count**: the old one does, and the partial counts that were added come back |
//! | 4. the old one is acknowledged | **it counts**: partial counts that come back are known, and left out |
//! | 5. the new one is leased | the same; the one after waits for it |

use std::time::Duration;

use skep::{Queue, RecvValueError, SendValueError, ValueLease};

use crate::{Outcome, fault, site::Checkpoint, sum::Sum};

/// The words of the role.
const COUNTS: usize = 0;
const BEGUN: usize = 1;
/// For so long the aggregator waits for room, before it makes some.
const A_WHILE: Duration = Duration::from_millis(10);

pub struct Ledger<'a> {
    holding: &'a Queue<Checkpoint>,
    putting: Queue<Checkpoint>,
    held: Option<ValueLease<'a, Checkpoint>>,
}

impl<'a> Ledger<'a> {
    /// Finds the checkpoint that counts, and the sum in it. The caller has the role, whose words these are.
    pub fn open(checkpoints: &'a Queue<Checkpoint>, words: &[u64; 2]) -> Outcome<(Self, Sum)> {
        let held = match words[COUNTS] {
            0 => None,
            counts => Some(find(checkpoints, counts)?),
        };
        let sum = held.as_deref().map_or_else(|| Ok(Sum::new()), Sum::of)?;
        Ok((Ledger { holding: checkpoints, putting: checkpoints.try_clone()?, held }, sum))
    }

    /// Makes the sum the one that counts.
    pub fn commit(&mut self, words: &mut [u64; 2], sum: &Sum) -> Outcome {
        let id = words[BEGUN] + 1;
        words[BEGUN] = id; // 1
        fault::in_order();
        fault::point("aggregate: begun");
        let checkpoint = sum.checkpoint(&self.holding.arena().within(crate::site::PATIENCE), id)?;
        self.put(checkpoint)?; // 2
        fault::in_order();
        fault::point("aggregate: put");
        words[COUNTS] = id; // 3
        fault::in_order();
        fault::point("aggregate: counts");
        if let Some(old) = self.held.take() {
            old.ack()?; // 4
        }
        fault::point("aggregate: replaced");
        self.held = Some(find(self.holding, id)?); // 5
        fault::point("aggregate: held");
        Ok(())
    }

    /// Puts a checkpoint. What a dead aggregator had leased may come back at any time, into the very place that is needed: nobody but this one takes it from there.
    fn put(&mut self, mut checkpoint: Checkpoint) -> Outcome {
        loop {
            self.remove_the_others();
            match self.putting.put_timeout(checkpoint, A_WHILE) {
                Err(SendValueError::Full(refused)) => checkpoint = refused,
                outcome => return Ok(outcome?),
            }
            self.putting.recover()?;
        }
    }

    /// What lies in the queue while the one that counts is held does not count.
    fn remove_the_others(&self) {
        while let Ok(other) = self.holding.try_lease() {
            fault::point("aggregate: removing");
            let _ = other.ack();
        }
    }
}

/// Leases the checkpoint of that number, which is there or comes back; removes those that are found before it.
fn find(checkpoints: &Queue<Checkpoint>, id: u64) -> Result<ValueLease<'_, Checkpoint>, RecvValueError> {
    loop {
        let checkpoint = checkpoints.lease()?;
        if checkpoint.id == id {
            return Ok(checkpoint);
        }
        checkpoint.ack()?;
    }
}
