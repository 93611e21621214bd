//! One part under torture, such as a lock: how it is made for a round, how a participant joins it, and what is left of the dead at the end.

use crate::subject::{Findings, Stage, Trouble};
use skep::{Part, PartOptions};
use std::os::fd::AsFd;
use std::time::Duration;

/// So short that it often is over before another one gets on.
pub const MOMENT: Duration = Duration::from_micros(200);

pub struct Object<P> {
    pub part: P,
    name: Option<String>,
    peers: usize,
}

impl<P: Part + AsFd> Object<P> {
    pub fn make(stage: &mut Stage, setup: P::Setup) -> Result<Self, Trouble> {
        // Often so few places that a newcomer must take a dead one's.
        let peers = stage.seats() + 1 + stage.random.below(6) as usize;
        let options = PartOptions::new().peers(peers);
        let name = stage.name.clone();
        let part = match &name {
            Some(name) => options.create(name, setup),
            None => options.anonymous(setup),
        };
        Ok(Object { part: part.map_err(|e| format!("making it: {e}"))?, name, peers })
    }

    /// As any process joins: by name, or by descriptor.
    pub fn join(&self) -> Result<P, Trouble> {
        loop {
            let joined = match &self.name {
                Some(name) => P::open(name),
                None => {
                    let descriptor = self.part.as_fd().try_clone_to_owned();
                    P::from_fd(descriptor.map_err(|e| format!("duplicating a descriptor: {e}"))?)
                }
            };
            match joined {
                // A dead one's place cannot be had while another one repairs.
                Err(skep::Error::TooManyPeers { .. }) => std::thread::sleep(MOMENT),
                joined => return joined.map_err(|e| format!("joining: {e}")),
            }
        }
    }

    /// Everybody is dead: gives back what they held, and counts the places that they still have then.
    pub fn recover(&self, findings: &mut Findings) -> Result<(), Trouble> {
        let recover = || self.part.recover().map_err(|e| format!("recover: {e}"));
        recover()?;
        let not_at_once = recover()?;
        let mut others = Vec::new();
        while let Ok(other) = self.part.try_clone() {
            others.push(other);
        }
        findings.entries += (not_at_once + self.peers - 1 - others.len()) as u64;
        Ok(())
    }
}
