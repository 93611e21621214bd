//! How a program gets workers, and what it is told when it cannot.

use crate::support::{printed, program, this_program};
use skep::{Cause, PoolError};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use tempfile::TempDir;

crate::laws!(
    without_init_there_is_an_error_and_no_process,
    init_after_threads_is_an_error,
    a_worker_entry_that_is_not_reached_is_an_error,
    a_program_works_through_a_symbolic_link,
    a_program_works_after_it_was_renamed,
    a_program_works_after_it_was_deleted,
    a_program_works_with_its_standard_streams_closed,
    under_a_file_size_limit_there_is_an_error,
    a_marker_without_its_socket_is_an_error,
    standard_input_replaced_before_init_is_an_error_and_no_fork_bomb,
    a_task_may_have_a_pool_of_its_own,
);

fn copy() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("program");
    fs::copy(this_program(), &path).unwrap();
    (directory, path)
}

fn without_init_there_is_an_error_and_no_process() {
    let said = printed(program(&this_program(), "no-init", &[]));
    assert_eq!(said, format!("{}, 0 children", PoolError::NotInitialised));
}

fn init_after_threads_is_an_error() {
    assert_eq!(
        printed(program(&this_program(), "late-init", &[])),
        PoolError::InitAfterThreads { others: vec!["too-early".into()] }.to_string()
    );
}

fn a_worker_entry_that_is_not_reached_is_an_error() {
    let said = printed(program(&this_program(), "init-once", &[]));
    assert_eq!(said, PoolError::EntryNotReached { cause: Cause::Exited(3) }.to_string());
}

fn a_program_works_through_a_symbolic_link() {
    let directory = tempfile::tempdir().unwrap();
    let link = directory.path().join("link");
    symlink(this_program(), &link).unwrap();
    assert_eq!(printed(program(&link, "square", &[])), "49");
}

fn a_program_works_after_it_was_renamed() {
    let (_directory, path) = copy();
    assert_eq!(printed(program(&path, "rename-and-square", &[&path])), "49");
}

fn a_program_works_after_it_was_deleted() {
    let (_directory, path) = copy();
    assert_eq!(printed(program(&path, "delete-and-square", &[&path])), "49");
    assert!(!path.exists());
}

fn a_program_works_with_its_standard_streams_closed() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("out");
    let shell = "exec \"$0\" as:square-into \"$1\" <&- >&- 2>&-";
    let status = std::process::Command::new("sh").args(["-c", shell]).arg(this_program()).arg(&file).status();
    assert!(status.unwrap().success());
    assert_eq!(fs::read_to_string(file).unwrap(), "49");
}

fn under_a_file_size_limit_there_is_an_error() {
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", "ulimit -f 100000; exec \"$0\" as:error"]).arg(this_program());
    let said = printed(shell);
    assert!(said.contains("ulimit -f"), "{said}");
}

fn a_marker_without_its_socket_is_an_error() {
    let mut program = program(&this_program(), "error", &[]);
    program.env("SKEP_ZYGOTE", "1");
    let said = printed(program);
    assert!(said.contains("before standard input is replaced"), "{said}");
}

fn standard_input_replaced_before_init_is_an_error_and_no_fork_bomb() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("starts");
    let said = printed(program(&this_program(), "stdin-first", &[&file]));
    assert_eq!(said, PoolError::EntryNotReached { cause: Cause::Exited(4) }.to_string());
    assert_eq!(fs::read_to_string(file).unwrap(), "start\nstart\nStdinReplaced\n");
}

fn a_task_may_have_a_pool_of_its_own() {
    assert_eq!(crate::support::pool(1).apply(crate::tasks::square_in_a_pool, 7), Ok(49));
}
