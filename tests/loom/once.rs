//! The once: one runs at a time, nobody goes on before it is done, and a run that was cut short is run again, whoever dies.

use crate::support::{Outcomes, report, spawn};
use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, Ordering::Relaxed};
use skep::model::{Once, OncePeer, explore, kill_at_every_step, process};

fn peers<const N: usize>(once: &Once) -> [OncePeer; N] {
    std::array::from_fn(|number| once.peer(number))
}

/// What a run leaves: visible to whoever has seen it done, without an order of its own.
fn run_on(made: &Arc<AtomicU32>) -> impl FnOnce(bool) + 'static {
    let made = made.clone();
    move |_| made.store(made.load(Relaxed) + 1, Relaxed)
}

#[test]
fn it_runs_once_and_everybody_sees_what_it_did() {
    report("once, three callers", || {
        explore(2, || {
            let (once, made) = (Once::new(3), Arc::new(AtomicU32::new(0)));
            let [a, b, c] = peers(&once);
            let calls = [a, b].map(|peer| {
                let (run, made) = (run_on(&made), made.clone());
                spawn(move || {
                    peer.call_once(run);
                    assert_eq!(made.load(Relaxed), 1, "not seen, or run twice");
                })
            });
            c.wait();
            assert_eq!(made.load(Relaxed), 1, "not seen, or run twice");
            calls.into_iter().for_each(|call| call.join().unwrap());
        })
    });
}

#[test]
fn a_caller_after_a_panic_is_told_and_runs() {
    report("once, a panic beside two callers", || {
        explore(3, || {
            let once = Once::new(2);
            let [a, b] = peers(&once);
            assert!(a.begin());
            let told = Arc::new(AtomicU32::new(0));
            let saw = told.clone();
            let caller =
                spawn(move || b.call_once(|interrupted| saw.store(1 + u32::from(interrupted), Relaxed)));
            a.interrupt();
            a.wait();
            assert_eq!(told.load(Relaxed), 2);
            caller.join().unwrap();
        })
    });
}

/// The runner is killed at each step. It ran (2), did not begin (1), or was interrupted and the other one was told (0).
#[test]
fn a_killed_runners_work_is_done_by_another_who_is_told() {
    report("once, killed runner, a caller and one who waits", || {
        let outcomes = Outcomes::new();
        let seen = outcomes.clone();
        let explored = kill_at_every_step(1, move |k| {
            let once = Once::new(3);
            let [a, b, c] = peers(&once);
            let kernel = once.clone();
            let runner = spawn(move || {
                let mut ran = false;
                let lived = process(k, || a.call_once(|_| ran = true));
                if lived.is_none() {
                    kernel.died(0);
                }
                (lived.is_some(), ran)
            });
            let caller = spawn(move || {
                let mut told = None;
                b.call_once(|interrupted| told = Some(interrupted));
                told
            });
            let (lived, ran) = runner.join().unwrap();
            c.recover();
            c.wait();
            let told = caller.join().unwrap();
            assert!(c.is_completed());
            assert!(lived || ran || told.is_some(), "done by nobody");
            assert!(!(lived && ran && told.is_some()), "done twice, and nobody died");
            seen.saw((lived, told));
            !lived
        });
        outcomes.are_exactly(&[
            (true, None),         // the runner ran it
            (true, Some(false)),  // the other one was faster
            (false, None),        // killed when it was done
            (false, Some(false)), // killed before it began
            (false, Some(true)),  // killed in between
        ]);
        explored
    });
}

#[test]
fn a_mender_killed_at_any_step_is_replaced() {
    report("once, a dead runner, killed mender", || {
        kill_at_every_step(2, |k| {
            let once = Once::new(4);
            let [a, b, c, d] = peers(&once);
            assert!(a.begin());
            let caller = spawn(move || {
                let mut told = None;
                c.call_once(|interrupted| told = Some(interrupted));
                told
            });
            once.died(0);
            let lived = process(k, || b.recover());
            if lived.is_none() {
                once.died(1);
            }
            d.recover();
            assert_eq!(caller.join().unwrap(), Some(true));
            assert!(d.is_completed());
            lived.is_none()
        })
    });
}
