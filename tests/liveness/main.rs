//! Liveness under the traps that break pid checks, heartbeats and POSIX locks: what looks dead and lives, what looks alive and is dead, and
//! what is half born. Each is a law of the queue, the pipe's roles and the mutex.
//!
//! A law that needs a right that this machine does not grant says aloud that it is skipped.
#![cfg(not(loom))]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/stepped.rs"]
mod stepped;

mod attached;
mod closed;
mod exec;
mod forks;
mod half_born;
mod namespaces;
mod paused;
mod pids;
mod polled;
mod scene;
mod traffic;

use common::{given_fd, role};

#[test]
fn the_other_process() {
    let Some((role, argument)) = role() else { return };
    match role.as_str() {
        "hold" => scene::hold_and_wait(&argument),
        "hold queue and pipe" => scene::hold_queue_and_pipe(&argument),
        "hold, and execute another program" => exec::hold_and_execute(&argument),
        "hold in the first thread, and execute another program" => {
            exec::hold_in_first_thread_and_execute(&argument)
        }
        "join and put a number" => exec::join_and_put(given_fd()),
        "hold, and fork" => forks::hold_and_fork(&argument),
        "hold, and fork past libc" => forks::hold_and_clone(&argument),
        "begin to hold during a fork" => forks::begin_during_a_fork(&argument),
        "hold, and close all descriptors" => closed::hold_and_close(&argument),
        "close all descriptors, and open others" => closed::close_and_reuse(&argument),
        "close one descriptor, and pass another on" => closed::close_one_and_pass_on(&argument),
        "close all descriptors without the first thread" => closed::close_without_first_thread(&argument),
        "hold, and execute itself" => closed::hold_and_execute_itself(&argument),
        "open queue and pipe" => closed::open_queue_and_pipe(&argument),
        "close all descriptors, and wait for a dead one's item" => {
            closed::close_and_wait_for_the_dead(given_fd())
        }
        "put two, and wait" => attached::put_two_and_wait(given_fd()),
        "hold the permits" => polled::hold_the_permits(&argument),
        "hold an item" => closed::hold_an_item(given_fd()),
        "hold the board, and close all descriptors" => closed::hold_the_board_and_close(&argument),
        "hold blocks, and close all descriptors" => closed::hold_blocks_and_close(&argument),
        "live without /proc" => namespaces::live_without_proc(&argument),
        "open in another pid namespace" => namespaces::open_elsewhere(&argument),
        other => panic!("no such role: {other}"),
    }
    std::process::exit(0);
}
