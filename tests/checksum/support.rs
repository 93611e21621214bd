//! Running the example, and knowing all its processes.

use std::{
    ffi::{OsStr, OsString},
    fs,
    io::{self, Write},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

/// So long a test waits for what has to come; never a measure of what is fast.
const PATIENCE: Duration = Duration::from_secs(120);

/// The built example.
pub fn binary() -> PathBuf {
    let here = std::env::current_exe().expect("a test knows its own path");
    let profile = here.parent().and_then(Path::parent).expect("tests lie in target/<profile>/deps");
    let binary = profile.join("examples/checksum");
    assert!(
        binary.exists(),
        "{} is not built: run `cargo build --example checksum` (plain `cargo test` does it by itself)",
        binary.display()
    );
    binary
}

pub fn checksum() -> Command {
    Command::new(binary())
}

/// What a command printed and how it ended.
pub struct Ran {
    pub stdout: Vec<u8>,
    pub stderr: String,
    pub code: Option<i32>,
}

pub fn run(command: &mut Command) -> Ran {
    let Output { stdout, stderr, status } =
        command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    Ran { stdout, stderr: String::from_utf8_lossy(&stderr).into_owned(), code: status.code() }
}

/// The same paths as `find | sort | sha256sum` sees them.
pub fn find_sort_sha256sum<S: AsRef<OsStr>>(within: &Path, paths: &[S]) -> Vec<u8> {
    let script = "find \"$@\" -type f -print0 | LC_ALL=C sort -z | xargs -0 -r sha256sum --";
    run(Command::new("sh").args(["-c", script, "sh"]).args(paths).current_dir(within)).stdout
}

/// Says, past the harness that swallows what a passing test prints, that a law was not tried.
pub fn skip(why: &str) {
    let _ = writeln!(io::stderr(), "SKIPPED: {why}");
}

pub fn show(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string().replace("\\n", "\n")
}

#[track_caller]
pub fn assert_same(ours: &[u8], theirs: &[u8]) {
    assert!(ours == theirs, "ours:\n{}\ntheirs:\n{}", show(ours), show(theirs));
}

pub fn path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

/// A file of `size` bytes, all zero, that takes no space.
pub fn sparse(path: &Path, size: u64) {
    fs::File::create(path).and_then(|file| file.set_len(size)).expect("a sparse file");
}

/// Waits until `done` gives something.
#[track_caller]
pub fn wait_for<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = done() {
            return value;
        }
        assert!(start.elapsed() < PATIENCE, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// A mark in the environment that a program hands on to every process it makes.
pub struct Mark(OsString);

impl Mark {
    const NAME: &str = "SKEP_TEST_MARK";

    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        Self(format!("{}.{}", std::process::id(), NEXT.fetch_add(1, Relaxed)).into())
    }

    pub fn put_on(&self, command: &mut Command) {
        command.env(Self::NAME, &self.0);
    }

    /// The processes that bear it and live, with their parents.
    pub fn bearers(&self) -> Vec<Process> {
        let needle = [Self::NAME.as_bytes(), b"=", self.0.as_bytes()].concat();
        let processes = fs::read_dir("/proc").expect("/proc").flatten();
        let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        // A zombie has no environment any more, and one that ends while it is looked at has no files.
        pids.filter_map(|pid: i32| {
            let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
            environment.split(|byte| *byte == 0).any(|pair| pair == needle).then_some(())?;
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            let parent = stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()?;
            Some(Process { pid, parent })
        })
        .collect()
    }

    /// The workers: grandchildren of the main process, which makes them through its zygote.
    pub fn workers(&self, main: i32) -> Vec<i32> {
        let all = self.bearers();
        let zygotes: Vec<_> =
            all.iter().filter(|process| process.parent == main).map(|process| process.pid).collect();
        all.iter().filter(|process| zygotes.contains(&process.parent)).map(|process| process.pid).collect()
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Process {
    pub pid: i32,
    pub parent: i32,
}

/// Whether a process has this file open.
pub fn has_open(pid: i32, path: &Path) -> bool {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    descriptors.into_iter().any(|descriptor| fs::read_link(descriptor.path()).is_ok_and(|to| to == path))
}
