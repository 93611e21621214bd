//! What dies, what vanishes and what is closed while it runs.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;

use crate::support::{Mark, Process, assert_same, checksum, find_sort_sha256sum, has_open, sparse, wait_for};

/// The time after which no process may be left.
const GONE: Duration = Duration::from_secs(2);

/// A run that can be watched and hurt.
struct Running {
    child: Child,
    mark: Mark,
    stdout: BufReader<std::process::ChildStdout>,
}

impl Running {
    fn start(within: &Path, arguments: &[&str]) -> Self {
        let mark = Mark::new();
        let mut command: Command = checksum();
        // A shell that runs the tests in its background has them ignore SIGINT, and so would the program.
        // SAFETY: a system call that may be made between fork and exec.
        unsafe {
            command.pre_exec(|| {
                libc::signal(libc::SIGINT, libc::SIG_DFL);
                Ok(())
            })
        };
        mark.put_on(command.args(arguments).current_dir(within));
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it runs");
        let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        Self { child, mark, stdout }
    }

    fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    fn first_line(&mut self) -> Vec<u8> {
        let mut line = Vec::new();
        self.stdout.read_until(b'\n', &mut line).expect("a line");
        line
    }

    /// The rest of what it prints, its standard error, its exit code.
    fn end(mut self) -> (Vec<u8>, String, Option<i32>) {
        let mut rest = Vec::new();
        self.stdout.read_to_end(&mut rest).expect("its output");
        let output = self.child.wait_with_output().expect("it ends");
        (rest, String::from_utf8_lossy(&output.stderr).into_owned(), output.status.code())
    }
}

/// A small file that is printed at once, and two that keep two workers busy.
fn two_big_files() -> TempDir {
    let tree = tempfile::tempdir().expect("a temporary directory");
    fs::write(tree.path().join("a"), "a").expect("a file");
    for name in ["b", "c"] {
        sparse(&tree.path().join(name), 1 << 29);
    }
    tree
}

#[test]
fn killed_workers_cost_nothing_but_time() {
    let tree = two_big_files();
    let theirs = find_sort_sha256sum(tree.path(), &["."]);
    let mut run = Running::start(tree.path(), &["--workers", "2", "."]);
    let first = run.first_line();
    let mut killed = Vec::new();
    while killed.len() < 5 && run.child.try_wait().expect("our child").is_none() {
        let Some(pid) = busy_worker(&run, tree.path(), &killed) else { continue };
        kill(pid, Signal::SIGKILL).expect("a stopped worker");
        killed.push(pid);
    }
    let (rest, stderr, code) = run.end();
    assert!(!killed.is_empty(), "it was over before a worker could be caught at work");
    assert_same(&[first, rest].concat(), &theirs);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stderr.contains(" lost and replaced"), "{stderr}");
    assert!(stderr.ends_with(&format!("2 workers, {} lost\n", killed.len())), "{stderr}");
}

/// A worker, stopped inside a big file: the run cannot end without noticing its death. Those in `killed` may be dying.
fn busy_worker(run: &Running, tree: &Path, killed: &[Pid]) -> Option<Pid> {
    run.mark.workers(run.pid()).into_iter().find_map(|worker| {
        let pid = Pid::from_raw(worker);
        if killed.contains(&pid) {
            return None;
        }
        kill(pid, Signal::SIGSTOP).ok()?;
        if ["b", "c"].iter().any(|name| has_open(worker, &tree.join(name))) {
            return Some(pid);
        }
        kill(pid, Signal::SIGCONT).ok()?;
        None
    })
}

/// Every process of a run that has begun to work, as descriptors that tell of its end.
fn pidfds(run: &Running, workers: usize) -> Vec<OwnedFd> {
    wait_for("all workers", || (run.mark.workers(run.pid()).len() == workers).then_some(()));
    let processes = run.mark.bearers();
    assert!(processes.len() > workers + 1, "main, zygote and workers: {processes:?}");
    let open = |pid: i32| {
        // SAFETY: it takes two numbers; what it returns is checked, and ours alone.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        assert!(fd >= 0, "{}", std::io::Error::last_os_error());
        // SAFETY: a fresh descriptor.
        unsafe { OwnedFd::from_raw_fd(fd as i32) }
    };
    processes.into_iter().map(|process| open(process.pid)).collect()
}

/// Waits until all have ended; the kernel says when.
#[track_caller]
fn assert_all_end(processes: &[OwnedFd]) {
    let deadline = Instant::now() + GONE;
    for process in processes {
        let mut poll = libc::pollfd { fd: process.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        let left = deadline.saturating_duration_since(Instant::now());
        // SAFETY: one valid entry.
        let ended = unsafe { libc::poll(&mut poll, 1, left.as_millis() as i32) };
        assert_eq!(ended, 1, "a process is left after {GONE:?}: {}", described(process));
    }
}

/// What the kernel tells of a process: its number and what it is at.
fn described(process: &OwnedFd) -> String {
    let read = |path: String| fs::read_to_string(path).unwrap_or_default();
    let info = read(format!("/proc/self/fdinfo/{}", process.as_raw_fd()));
    let pid = info.lines().find_map(|line| line.strip_prefix("Pid:")).unwrap_or("?").trim().to_owned();
    let status = read(format!("/proc/{pid}/status"));
    let told =
        |line: &&str| ["Name", "State", "PPid", "SigPnd", "ShdPnd"].iter().any(|key| line.starts_with(key));
    format!("{pid}: {}", status.lines().filter(told).collect::<Vec<_>>().join(", "))
}

fn no_process_is_left_after(signal: Signal) {
    let tree = tempfile::tempdir().expect("a temporary directory");
    fs::write(tree.path().join("a"), "a").expect("a file");
    sparse(&tree.path().join("b"), 10 << 30);
    let mut run = Running::start(tree.path(), &["--workers", "2", "."]);
    run.first_line();
    let processes = pidfds(&run, 2);
    kill(Pid::from_raw(run.pid()), signal).expect("it lives");
    assert_all_end(&processes);
    assert_eq!(run.end().2, None, "it ended by the signal, not before");
}

#[test]
fn no_process_is_left_when_main_is_killed_inside_a_file_of_10_gb() {
    no_process_is_left_after(Signal::SIGKILL);
}

#[test]
fn no_process_is_left_when_main_is_interrupted() {
    no_process_is_left_after(Signal::SIGINT);
    no_process_is_left_after(Signal::SIGTERM);
}

#[test]
fn closed_output_ends_it_quietly() {
    let tree = two_big_files();
    // Nobody lives to see the end of this one: it has to be left unfinished.
    sparse(&tree.path().join("d"), 1 << 40);
    let mut run = Running::start(tree.path(), &["--workers", "2", "."]);
    run.first_line();
    let processes = pidfds(&run, 2);
    drop(run.stdout);
    let output = run.child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(128 + libc::SIGPIPE), "as a shell shows an end by SIGPIPE");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_all_end(&processes);
}

#[test]
fn a_file_that_vanishes_midway_is_named_and_the_rest_goes_on() {
    let tree = two_big_files();
    fs::write(tree.path().join("d"), "d").expect("a file");
    let theirs = find_sort_sha256sum(tree.path(), &["a", "b", "c"]);
    let mut run = Running::start(tree.path(), &["--workers", "1", "a", "b", "c", "d"]);
    // Both jobs that one worker is given at a time are big files now.
    let first = run.first_line();
    fs::remove_file(tree.path().join("d")).expect("it was there");
    let (rest, stderr, code) = run.end();
    assert_same(&[first, rest].concat(), &theirs);
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("checksum: d: No such file or directory"), "{stderr}");
}

#[test]
fn a_big_file_that_is_replaced_midway_is_not_hashed_into_the_other() {
    let tree = two_big_files();
    sparse(&tree.path().join("b"), 10 << 30);
    sparse(&tree.path().join("other"), 10 << 30);
    let theirs = find_sort_sha256sum(tree.path(), &["a", "c"]);
    let mut run = Running::start(tree.path(), &["--workers", "2", "a", "b", "c"]);
    let first = run.first_line();
    let inside = |process: &Process| has_open(process.pid, &tree.path().join("b"));
    wait_for("a worker inside b", || run.mark.bearers().iter().any(inside).then_some(()));
    fs::rename(tree.path().join("other"), tree.path().join("b")).expect("a replacement");
    let (rest, stderr, code) = run.end();
    assert_same(&[first, rest].concat(), &theirs);
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("checksum: b: replaced by another file while it was read"), "{stderr}");
}
