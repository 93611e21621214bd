//! What dies while the others go on.

use std::{thread, time::Duration};

use crate::support::{Scene, Stage, run};

const STAGES: [&str; 3] = ["read", "parse", "aggregate"];

/// Each place between two steps at which a stage may die, and how often it may come by before: what happens once only has no sixth time.
const PLACES: [(&str, u32); 16] = [
    ("read: before put", 5),
    ("read: put", 5),
    ("read: moved on", 5),
    ("parse: leased", 5),
    ("parse: counted", 5),
    ("parse: put", 5),
    ("parse: done", 5),
    ("aggregate: leased", 1),
    ("aggregate: begun", 1),
    ("aggregate: put", 1),
    ("aggregate: counts", 1),
    ("aggregate: replaced", 1),
    ("aggregate: held", 1),
    ("aggregate: done", 5),
    ("aggregate: printed", 0),
    ("aggregate: over", 0),
];

fn stage_of(place: &str) -> &'static str {
    STAGES.into_iter().find(|what| place.starts_with(what)).expect("a stage's place")
}

#[test]
fn a_stage_that_dies_between_any_two_steps_and_is_started_again_changes_nothing() {
    let scene = Scene::new(1500);
    for (place, most) in PLACES {
        for after in [0, most] {
            let what = stage_of(place);
            let armed = scene.start_to_die(what, place, after);
            let others = STAGES.into_iter().filter(|&other| other != what);
            let mut stages: Vec<_> = others.map(|other| scene.start(other)).collect();
            let died = armed.end();
            assert!(died.was_killed, "{place}: {}", died.stderr);
            stages.push(Stage::start(what, scene.stage(what).arg("--join")));
            if place == "aggregate: over" {
                // It had printed, so the next one has only the names to remove.
                stages.drain(..).for_each(|stage| drop(stage.end()));
                scene.assert_expected(&died.stdout);
            } else {
                scene.assert_right(stages);
            }
        }
    }
}

#[test]
fn whoever_dies_at_the_same_step_each_time_holds_up_nothing_once_he_lives() {
    let scene = Scene::new(4000);
    for place in ["read: put", "parse: put", "aggregate: put", "aggregate: counts", "aggregate: replaced"] {
        let what = stage_of(place);
        let others = STAGES.into_iter().filter(|&other| other != what);
        let mut stages: Vec<_> = others.map(|other| scene.start(other)).collect();
        for _ in 0..8 {
            let died = scene.start_to_die(what, place, 0).end();
            assert!(died.was_killed, "{place}: {}", died.stderr);
        }
        stages.push(scene.start(what));
        scene.assert_right(stages);
    }
}

#[test]
fn aggregators_that_die_one_after_another_each_at_another_step_leave_one_sum() {
    let places = PLACES.map(|(place, _)| place).into_iter().filter(|place| stage_of(place) == "aggregate");
    // The last two have the whole result before them.
    let places: Vec<_> =
        places.take_while(|&place| place != "aggregate: printed").chain(["aggregate: removing"]).collect();
    let mut random = random();
    for _ in 0..4 {
        let scene = Scene::new(8000);
        let mut stages = vec![scene.start("read"), scene.start("parse")];
        let mut died = vec![];
        let last = loop {
            let place = places[random() as usize % places.len()];
            died.push(place);
            let ran = scene.start_to_die("aggregate", place, (random() % 2) as u32).end();
            if !ran.was_killed {
                break ran;
            }
        };
        stages.drain(..).for_each(|stage| drop(stage.end()));
        assert_eq!(last.code, Some(0), "{died:?}: {}", last.stderr);
        assert!(scene.is_expected(&last.stdout), "{died:?}: {}", last.stdout);
        assert_eq!(scene.leftovers(), [""; 0], "{died:?}");
    }
}

#[test]
fn stages_killed_at_any_moment_again_and_again_count_what_one_process_counts() {
    let scene = Scene::new(30_000);
    // Who comes first, makes the pipeline; who comes later, perhaps when all is over, makes none.
    let mut reader = scene.start("read");
    scene.wait_until_it_joined(&mut reader);
    let join = |what| Stage::start(what, scene.stage(what).arg("--join"));
    let mut stages = vec![reader, join("parse"), join("parse"), join("aggregate")];
    let mut random = random();
    let (mut killed, mut is_printed) = (0, false);
    while killed < 60 && stages.iter_mut().any(|stage| !stage.has_ended()) {
        let longest = 1 << (10 + random() % 6); // of microseconds
        thread::sleep(Duration::from_micros(random() % longest)); // the moment is any
        let victim = random() as usize % stages.len();
        // Who ended well is not needed any more.
        if stages[victim].has_ended() {
            continue;
        }
        let what = stages[victim].what;
        let died = stages.remove(victim).kill();
        stages.push(join(what));
        killed += u32::from(died.was_killed);
        is_printed |= what == "aggregate" && scene.is_expected(&died.stdout);
    }
    assert!(killed > 10, "it was over when {killed} were killed");
    for stage in stages {
        let (what, ran) = (stage.what, stage.end());
        assert_eq!(ran.code, Some(0), "{what}: {}", ran.stderr);
        is_printed |= what == "aggregate" && scene.is_expected(&ran.stdout);
    }
    assert!(is_printed, "nobody has printed the result");
    assert_eq!(scene.leftovers(), [""; 0]);
}

/// xorshift64, from another seed in each process.
fn random() -> impl FnMut() -> u64 {
    let mut state = u64::from(std::process::id()) << 32 | 0x9e37_79b9;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state >> 8
    }
}

#[test]
fn a_second_reader_and_a_second_aggregator_wait_and_take_over_from_the_dead() {
    for (what, role) in [("read", "reader"), ("aggregate", "aggregator")] {
        let scene = Scene::new(1500);
        // Without a parser neither comes to its end.
        let first = scene.start(what);
        scene.wait_until_status_says(&format!("{role:10}  at work"));
        let mut second = scene.start(what);
        second.wait_until_it_says(&format!("another {role} is at work"));
        assert!(first.kill().was_killed);
        let others = STAGES.into_iter().filter(|&other| other != what);
        let mut stages: Vec<_> = others.map(|other| scene.start(other)).collect();
        stages.push(second);
        scene.assert_right(stages);
    }
}

#[test]
fn run_starts_again_what_is_killed_and_says_so() {
    let scene = Scene::new(1500);
    // Each one that is started dies there, as long as it comes by often enough.
    for (place, after) in
        [("read: put", "5"), ("parse: put", "5"), ("aggregate: counts", "0"), ("aggregate: over", "0")]
    {
        let ran = run(scene.run().env("PIPELINE_DIES_AT", place).env("PIPELINE_DIES_AFTER", after));
        assert_eq!(ran.code, Some(0), "{place}: {}", ran.stderr);
        scene.assert_expected(&ran.stdout);
        // Who dies when the result is out is not started again.
        assert_eq!(ran.stderr.contains("killed and started again"), place != "aggregate: over", "{place}");
    }
}

#[test]
fn run_gives_up_when_stages_are_killed_too_often_and_leaves_nothing() {
    let scene = Scene::new(1500);
    let ran = run(scene.run().args(["--restarts", "3"]).env("PIPELINE_DIES_AT", "read: put"));
    assert_eq!(ran.code, Some(1));
    assert!(ran.stderr.contains("the reader was killed by SIGKILL, the 4th time"), "{}", ran.stderr);
    assert_eq!((&*ran.stdout, scene.leftovers()), ("", vec![]));
}
