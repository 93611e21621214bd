//! A once in simulated shared memory, for models.

use super::protocol::{Control, Turn};
use crate::model::World;
use crate::peer::{self, Repair};
use crate::wait::Until;
use loom::sync::Arc;

/// A once with its world; clones are the same one.
#[derive(Clone)]
pub struct Once {
    control: Arc<Control>,
    world: World,
}

/// A participant: what [`Once`](../struct.Once.html) is on a machine.
pub struct OncePeer {
    once: Once,
    number: usize,
}

impl Once {
    /// One for `peers` participants.
    pub fn new(peers: usize) -> Self {
        Once { control: Arc::new(Control::new()), world: World::new(peers) }
    }

    /// Becomes participant `number`, whose place nobody has.
    pub fn peer(&self, number: usize) -> OncePeer {
        assert!(self.world.join(number, || self.mend(number)), "a place that nobody has");
        OncePeer { once: self.clone(), number }
    }

    /// Tells the kernel that participant `number` has died; sleepers look again, as they do after a slice of time.
    pub fn died(&self, number: usize) {
        self.world.died(number);
    }

    fn mend(&self, dead: usize) -> Repair {
        self.control.mend(dead);
        Repair::Done
    }
}

impl OncePeer {
    /// Runs `run` unless it is done, sleeping while another one runs; `run` is told whether an earlier run was interrupted.
    pub fn call_once(&self, run: impl FnOnce(bool)) {
        let (control, peers) = (&self.once.control, self.once.world.peers().count());
        match control.begin(self.number, peers, Until::Forever, || self.check()) {
            Ok(Turn::Run { interrupted }) => {
                run(interrupted);
                control.finish(true);
            }
            Ok(Turn::Done) => {}
            Err(refusal) => panic!("{refusal:?}"),
        }
    }

    /// Sleeps until it is done.
    pub fn wait(&self) {
        let done =
            self.once
                .control
                .wait(self.number, self.once.world.peers().count(), Until::Forever, || self.check());
        done.expect("it waits as long as it takes");
    }

    /// Begins a run and does not end it, as one does that panics after this; false if it is not this one's to run.
    pub fn begin(&self) -> bool {
        matches!(
            self.once.control.try_begin(self.number, self.once.world.peers().count()),
            Ok(Turn::Run { .. })
        )
    }

    /// Ends such a run in a panic.
    pub fn interrupt(&self) {
        self.once.control.finish(false);
    }

    /// Whether it is done.
    pub fn is_completed(&self) -> bool {
        self.once.control.is_done()
    }

    /// Mends for the dead; says for how many.
    pub fn recover(&self) -> usize {
        let world = &self.once.world;
        peer::recover(world.peers(), world, self.number, |_| true, |dead| self.once.mend(dead))
    }

    fn check(&self) -> bool {
        let runner = self.once.control.runner();
        if runner.is_some_and(|runner| self.once.world.is_dead(runner)) {
            self.recover();
        }
        runner.is_some()
    }
}
