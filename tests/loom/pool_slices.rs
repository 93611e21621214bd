//! A call on a slice: runners claim chunks by themselves, die, and are replaced.

use crate::support::{Outcomes, report, spawn};
use skep::model::{explore, kill_at_every_step, process};
use skep_pool::model::{Runner, SliceCall, Slices};

/// A runner in a worker that is killed at step `k`: what it ran if it was not.
fn mortal(slices: &Slices, runner: u32, k: Option<u64>) -> loom::thread::JoinHandle<Option<Vec<usize>>> {
    let slices = slices.clone();
    spawn(move || process(k, || slices.run(runner, result(runner))))
}

/// What a runner writes.
fn result(runner: u32) -> u64 {
    u64::from(runner) + 1
}

/// Hears what a killed or ended runner came to, and runs its successor, if it has one, to the end.
fn hear(call: &mut SliceCall<'_>, slices: &Slices, runner: u32, ran: Option<Vec<usize>>) -> bool {
    let came = if ran.is_some() { Runner::Ended } else { Runner::Died };
    let replaced = call.hear(runner, came);
    if replaced {
        let next = call.start();
        slices.run(next, result(next));
        assert!(!call.hear(next, Runner::Ended), "who ends in order is not replaced");
    }
    replaced
}

/// Two runners beside each other: each chunk is one's alone, and the call sees what both have written.
#[test]
fn two_runners_share_the_chunks() {
    report("pool: two runners, two chunks", || {
        let outcomes = Outcomes::new();
        let seen = outcomes.clone();
        let explored = explore(2, move || {
            let slices = Slices::new(2);
            let mut call = slices.call(0);
            let [a, b] = [call.start(), call.start()];
            let other = mortal(&slices, a, None);
            let ran_b = slices.run(b, result(b));
            let ran_a = other.join().unwrap().expect("nobody dies");
            assert_eq!(ran_a.len() + ran_b.len(), 2, "each chunk once");
            assert!(!call.hear(b, Runner::Ended) && !call.hear(a, Runner::Ended) && !call.is_running());
            seen.saw(call.verdict().expect("nobody dies"));
        });
        outcomes.are_exactly(&[
            vec![1, 1], // a claims both before b looks
            vec![1, 2], // a claims the first one
            vec![2, 1], // b claims the first one
            vec![2, 2], // b claims both before a looks
        ]);
        explored
    });
}

/// A runner is killed before each of its steps beside another one: every chunk is run, by nobody beside a living one, and what the dead one has left over goes to one of
/// the others, who may be at it already.
#[test]
fn what_a_killed_runner_had_is_run_by_another_one() {
    report("pool: killed runner beside another one, two chunks", || {
        let outcomes = Outcomes::new();
        let seen = outcomes.clone();
        let explored = kill_at_every_step(2, move |k| {
            let slices = Slices::new(2);
            let mut call = slices.call(0);
            let [a, b] = [call.start(), call.start()];
            let dies = mortal(&slices, a, k);
            let lives = mortal(&slices, b, None);
            let ran_a = dies.join().unwrap();
            let was_killed = ran_a.is_none();
            let is_replaced = hear(&mut call, &slices, a, ran_a);
            let ran_b = lives.join().unwrap();
            assert!(!hear(&mut call, &slices, b, ran_b) && !call.is_running());
            let output = call.verdict().expect("one death does not end a call");
            if was_killed {
                seen.saw((is_replaced, output));
            }
            was_killed
        });
        outcomes.are_exactly(&[
            (false, vec![1, 1]), // a dies after it has run all
            (false, vec![1, 2]), // a dies with one chunk done, and b has done the other one meanwhile
            (false, vec![2, 1]), // the same, the other way round
            (false, vec![2, 2]), // b has done all when a's death is heard
            (true, vec![1, 2]),  // a dies with one chunk done; b runs the other one, before its look is over
            (true, vec![1, 3]),  // the same, and its successor c runs the other one
            (true, vec![2, 1]),  // a dies with the second chunk done, which b has not seen free
            (true, vec![2, 2]),  // b takes what a had claimed, though c was started for it
            (true, vec![2, 3]),  // c takes the second one
            (true, vec![3, 1]),  // a has done the second one, and c runs the first one
            (true, vec![3, 2]),  // b has the second one
            (true, vec![3, 3]),  // b has ended before a's claims were free, or has not begun
        ]);
        explored
    });
}

/// The only chunk kills whoever runs it: the third death ends the call, and nobody claims anything any more. Deaths outside of a chunk do not count.
#[test]
fn a_chunk_that_kills_three_ends_its_call() {
    report("pool: three killed runners, one chunk", || {
        let outcomes = Outcomes::new();
        let seen = outcomes.clone();
        let explored = kill_at_every_step(0, move |k| {
            let slices = Slices::new(1);
            let mut call = slices.call(0);
            let mut is_replaced = true;
            for _ in 0..3 {
                assert!(is_replaced, "two deaths do not end a call");
                let runner = call.start();
                if process(k, || slices.run(runner, result(runner))).is_some() {
                    return false;
                }
                is_replaced = call.hear(runner, Runner::Died);
                if slices.is_done() {
                    break; // it dies after its chunk
                }
            }
            let last = call.start();
            let ran = slices.run(last, result(last));
            assert_eq!(ran.len(), usize::from(is_replaced), "a call that is over begins no chunk");
            assert!(!call.hear(last, Runner::Ended));
            seen.saw(call.verdict());
            true
        });
        outcomes.are_exactly(&[
            Err(Runner::Died), // with the chunk in hand
            Ok(vec![1]),       // behind it
            Ok(vec![4]),       // before it
        ]);
        explored
    });
}
