//! What the tests have in common.

use libtest_mimic::Failed;
use skep::Pool;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// Nothing here takes as long; what does is a hang.
pub const CAP: Duration = Duration::from_secs(120);

/// A test and the sentence that it proves.
#[derive(Clone, Copy)]
pub struct Law {
    pub name: &'static str,
    pub test: fn(),
}

/// Lists functions as laws under their own names.
#[macro_export]
macro_rules! laws {
    ($($test:ident),* $(,)?) => {
        pub fn laws() -> Vec<$crate::support::Law> {
            vec![$($crate::support::Law { name: stringify!($test), test: $test }),*]
        }
    };
}

/// Runs a law, and fails it if it hangs.
pub fn within(law: Law) -> Result<(), Failed> {
    let (say, heard) = mpsc::channel();
    let runner = thread::spawn(move || {
        (law.test)();
        let _ = say.send(());
    });
    match heard.recv_timeout(CAP) {
        Err(mpsc::RecvTimeoutError::Timeout) => Err(format!("hangs for more than {CAP:?}").into()),
        _ => runner.join().map_err(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            text.or_else(|| panic.downcast_ref::<&str>().map(|s| s.to_string())).unwrap_or_default().into()
        }),
    }
}

pub fn pool(workers: usize) -> Pool {
    Pool::builder().workers(workers).build().unwrap()
}

/// Waits for an event.
#[track_caller]
pub fn until(what: &str, mut happened: impl FnMut() -> bool) {
    let start = Instant::now();
    while !happened() {
        assert!(start.elapsed() < CAP / 2, "waited in vain until {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

pub fn kill(pid: u32, signal: i32) {
    // SAFETY: sends a signal, touches no memory.
    unsafe { libc::kill(pid as i32, signal) };
}

/// State letter and parent of a process; `None` when it is gone.
pub fn process(pid: u32) -> Option<(char, u32)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

/// Gone, or dead and waiting to be reaped.
pub fn is_dead(pid: u32) -> bool {
    process(pid).is_none_or(|(state, _)| state == 'Z')
}

/// The process that forks a pool's workers, once one of them is known: it may have run tasks before.
pub fn zygote_of(pool: &Pool) -> u32 {
    let name = |pid| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    // A worker whose zygote was killed is another process's child.
    let zygote = || {
        let (_, parent) = process(*pool.stats().worker_pids.first()?)?;
        (name(parent) == "skep-zygote\n").then_some(parent)
    };
    let mut found = None;
    until("a worker is known", || {
        found = zygote();
        found.is_some()
    });
    found.unwrap()
}

/// The numbers that a task has written into a file, once there are `count` of them.
pub fn numbers_in(file: &Path, count: usize) -> Vec<u32> {
    let read = || -> Vec<u32> {
        let text = fs::read_to_string(file).unwrap_or_default();
        let whole = text.rsplit_once('\n').map_or("", |(lines, _)| lines);
        whole.lines().filter_map(|line| line.parse().ok()).collect()
    };
    until("a task has written its numbers", || read().len() >= count);
    read()
}

pub fn this_program() -> PathBuf {
    std::env::current_exe().unwrap()
}

/// This executable in a role of `programs.rs`.
pub fn program(path: &Path, role: &str, arguments: &[&Path]) -> Command {
    let mut command = Command::new(path);
    command.arg(format!("as:{role}")).args(arguments).stdin(Stdio::null());
    command
}

/// What a program prints, without the newline; it must exit with 0.
#[track_caller]
pub fn printed(mut program: Command) -> String {
    let Output { status, stdout, stderr } = program.output().unwrap();
    assert!(status.success(), "{status}: {}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).unwrap().trim_end().to_owned()
}
