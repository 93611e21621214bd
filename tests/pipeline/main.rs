//! The pipeline example against itself as one process, `pipeline sequential`, and that against a log whose counts are written by hand.
#![cfg(not(loom))]

mod killed;
mod support;

use std::fs;

use support::{Scene, Stage, pipeline, run};

#[test]
fn a_line_is_counted_by_its_status_its_hour_and_its_path_without_the_query() {
    let log = br#"203.0.113.9 - ada [10/Oct/2000:13:55:36 -0700] "GET /honey?page=2 HTTP/1.0" 200 2326
203.0.113.9 - - [10/Oct/2000:13:59:59 -0700] "GET /honey HTTP/1.0" 304 -
::1 - - [11/Oct/2000:00:00:00 +0000] "POST /\"wax\" HTTP/1.1" 500 10 "http://example.com/" "other fields"
10.0.0.1 - - [truncated

10.0.0.1 - - [11/Oct/2000:24:00:00 +0000] "GET / HTTP/1.1" 200 1
"#;
    let scene = Scene::of(log);
    let expected = r#"{
  "requests": 3,
  "bytes": 2336,
  "lines": 6,
  "malformed": 3,
  "log_bytes": 354,
  "distinct_paths": 2,
  "status": {
    "200": {"requests": 1, "bytes": 2326},
    "304": {"requests": 1, "bytes": 0},
    "500": {"requests": 1, "bytes": 10}
  },
  "hours": {
    "00": {"requests": 1, "bytes": 10},
    "13": {"requests": 2, "bytes": 2326}
  },
  "paths": [
    {"path": "/honey", "requests": 2, "bytes": 2326},
    {"path": "/\\\"wax\\\"", "requests": 1, "bytes": 10}
  ]
}
"#;
    scene.assert_expected(expected);
    let ran = run(&mut scene.run());
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    scene.assert_expected(&ran.stdout);
}

#[test]
fn stages_find_each_other_in_whatever_order_they_are_started() {
    let scene = Scene::new(1500);
    for aggregator in 0..4 {
        for reader in (0..4).filter(|&at| at != aggregator) {
            let mut stages = Vec::new();
            for at in 0..4 {
                let what = match at {
                    at if at == aggregator => "aggregate",
                    at if at == reader => "read",
                    _ => "parse",
                };
                // The order is that of their joining. The last parser may come when all is over, which is no reason to begin again.
                let mut command = scene.stage(what);
                let mut stage = Stage::start(what, command.args((at == 3).then_some("--join")));
                scene.wait_until_it_joined(&mut stage);
                stages.push(stage);
            }
            scene.assert_right(stages);
        }
    }
}

#[test]
fn what_fits_into_the_queues_goes_through_stages_that_run_one_after_the_other() {
    let scene = Scene::new(200);
    for what in ["read", "parse"] {
        let ran = scene.start(what).end();
        assert_eq!(ran.code, Some(0), "{what}: {}", ran.stderr);
    }
    scene.assert_right(vec![scene.start("aggregate")]);
}

#[test]
fn logs_of_any_form_are_cut_into_whole_lines() {
    let line = |length: usize| format!("{:length$}\n", "10.0.0.1 - - [");
    // Blocks of 4K are cut at each 3840 bytes; a line may have 256.
    let around = |end: usize| [line(240).repeat(end / 240), line(end % 240), line(100)].concat();
    let texts = [
        String::new(),
        "\n".to_owned(),
        "\n".repeat(9000),
        "a line without an end".to_owned(),
        "an end that is not a line's\r".to_owned(),
        line(100).replace('\n', "\r\n").repeat(100),
        around(3838),
        around(3839),
        around(3840),
        around(3841),
    ];
    for text in texts {
        let scene = Scene::of(text.as_bytes());
        let ran = run(&mut scene.run());
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        scene.assert_expected(&ran.stdout);
    }
}

#[test]
fn a_line_that_no_block_has_room_for_is_an_error_that_names_it_and_nothing_is_left() {
    let scene = Scene::of(&[b"\n".repeat(3000), b"x".repeat(2000), b"\n".to_vec()].concat());
    let ran = run(&mut scene.run());
    assert_eq!(ran.code, Some(1));
    assert!(ran.stderr.contains("a line of more than 256 bytes around byte 3840"), "{}", ran.stderr);
    assert!(ran.stderr.contains("try a larger --block"), "{}", ran.stderr);
    assert_eq!((&*ran.stdout, scene.leftovers()), ("", vec![]));
}

#[test]
fn a_pipeline_takes_no_second_log_and_its_leftovers_can_be_removed() {
    let (scene, other) = (Scene::new(1500), Scene::of(b"\n"));
    let first = scene.start("read");
    scene.wait_until_status_says("reader      at work");
    let refused = run(scene.stage("status").arg("--clean"));
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("is at work; end it first"), "{}", refused.stderr);
    assert!(first.kill().was_killed);
    // What a dead reader was at is known, and is nothing to a reader of something else.
    scene.wait_until_status_says("reader      killed: block ");
    let ran = run(pipeline().args(["read", "--name", &scene.name, "--block", "4K"]).arg(&other.log));
    assert_eq!(ran.code, Some(1));
    assert!(ran.stderr.contains("this pipeline is at another log"), "{}", ran.stderr);
    assert_eq!(scene.leftovers().len(), 2);
    let ran = run(scene.stage("status").arg("--clean"));
    assert_eq!((ran.code, scene.leftovers()), (Some(0), vec![]), "{}", ran.stderr);
    let ran = run(&mut scene.stage("status"));
    assert!(ran.stdout.contains("nothing there"), "{}", ran.stdout);
}

#[test]
fn a_stage_that_is_to_join_comes_too_late_without_harm() {
    let scene = Scene::new(1);
    for what in ["read", "parse", "aggregate"] {
        let ran = run(scene.stage(what).arg("--join"));
        assert_eq!((ran.code, &*ran.stdout), (Some(0), ""), "{}", ran.stderr);
        assert!(ran.stderr.contains("this pipeline is over"), "{}", ran.stderr);
    }
    assert_eq!(scene.leftovers(), [""; 0]);
}

#[test]
fn a_seed_gives_the_same_log_each_time_and_another_one_another() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let generate = |seed: &str| {
        let log = directory.path().join("log");
        let ran = run(pipeline().args(["generate", "--lines", "100", "--seed", seed]).arg(&log));
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        fs::read(log).expect("the log")
    };
    let log = generate("7");
    assert!(log == generate("7") && log != generate("8"));
    assert_eq!(log.iter().filter(|&&byte| byte == b'\n').count(), 100);
}

#[test]
fn what_is_wrong_is_said_on_standard_error_and_by_the_exit_code() {
    let missing = run(pipeline().args(["sequential", "/nonexistent.log"]));
    assert_eq!(missing.code, Some(1));
    assert!(missing.stderr.contains("/nonexistent.log: No such file"), "{}", missing.stderr);
    let wrong = run(pipeline().args(["read", "--block", "5000", "log"]));
    assert_eq!(wrong.code, Some(2));
    assert!(wrong.stderr.contains("a power of two from 4K to 64M"), "{}", wrong.stderr);
}
