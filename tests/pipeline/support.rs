//! Starting stages, and knowing what becomes of them.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    os::unix::{fs::MetadataExt, process::ExitStatusExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        atomic::{AtomicU32, Ordering::Relaxed},
        mpsc::{self, Receiver},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tempfile::TempDir;

/// What takes longer than this hangs.
const HANG: Duration = Duration::from_secs(60);
/// Blocks so small that a small log has many.
const BLOCK: &str = "4K";

/// The built example.
pub fn pipeline() -> Command {
    let here = std::env::current_exe().expect("a test knows its own path");
    let profile = here.parent().and_then(Path::parent).expect("tests lie in target/<profile>/deps");
    let binary = profile.join("examples/pipeline");
    assert!(
        binary.exists(),
        "{} is not built: run `cargo build --example pipeline` (plain `cargo test` does it by itself)",
        binary.display()
    );
    Command::new(binary)
}

/// What a command printed and how it ended.
pub struct Ran {
    pub stdout: String,
    pub stderr: String,
    pub code: Option<i32>,
    pub was_killed: bool,
}

pub fn run(command: &mut Command) -> Ran {
    Stage::start("a command", command).end()
}

/// A log, what one process counts in it, and a name for a pipeline.
pub struct Scene {
    pub log: PathBuf,
    pub name: String,
    expected: String,
    _directory: TempDir,
}

impl Scene {
    /// A log of so many lines; about fifty are a block.
    pub fn new(lines: u32) -> Self {
        Scene::at(|log| {
            let ran =
                run(pipeline().args(["generate", "--paths", "100", "--lines", &lines.to_string()]).arg(log));
            assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        })
    }

    /// A log of that text.
    pub fn of(text: &[u8]) -> Self {
        Scene::at(|log| fs::write(log, text).expect("a log"))
    }

    fn at(write: impl FnOnce(&Path)) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let directory = tempfile::tempdir().expect("a temporary directory");
        let log = directory.path().join("access.log");
        write(&log);
        let name = format!("skep-test-pipeline-{}-{}", std::process::id(), NEXT.fetch_add(1, Relaxed));
        let ran = run(pipeline().args(["sequential", "--json", "--top", "1000"]).arg(&log));
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        Scene { log, name, expected: ran.stdout, _directory: directory }
    }

    /// The command line of a stage.
    pub fn stage(&self, what: &str) -> Command {
        let mut command = pipeline();
        command.args([what, "--name", &self.name]);
        match what {
            "read" => command.args(["--block", BLOCK]).arg(&self.log),
            "aggregate" => command.args(["--json", "--top", "1000"]),
            _ => &mut command,
        };
        command
    }

    /// All stages at once.
    pub fn run(&self) -> Command {
        let mut command = pipeline();
        command.args(["run", "--name", &self.name, "--block", BLOCK, "--json", "--top", "1000"]);
        command.args(["--parsers", "2"]).arg(&self.log);
        command
    }

    pub fn start(&self, what: &'static str) -> Stage {
        Stage::start(what, &mut self.stage(what))
    }

    /// A stage that dies at a place, when it comes by after so many times.
    pub fn start_to_die(&self, what: &'static str, place: &str, after: u32) -> Stage {
        let after = after.to_string();
        let mut command = self.stage(what);
        Stage::start(what, command.env("PIPELINE_DIES_AT", place).env("PIPELINE_DIES_AFTER", after))
    }

    /// What lies in shared memory under the name.
    pub fn leftovers(&self) -> Vec<String> {
        let files = fs::read_dir("/dev/shm").expect("shared memory").flatten();
        let names = files.filter_map(|file| file.file_name().into_string().ok());
        let is_ours = |file: &String| {
            file.strip_prefix(&self.name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        names.filter(is_ours).collect()
    }

    /// Waits until a stage has the pipeline's memory, board and arena: until it has joined.
    #[track_caller]
    pub fn wait_until_it_joined(&self, stage: &mut Stage) {
        let maps = format!("/proc/{}/maps", stage.child.id());
        let mapped = |maps: &str, file: &String| {
            // A file that was removed meanwhile was joined.
            let Ok(file) = fs::metadata(Path::new("/dev/shm").join(file)) else { return true };
            let inode = file.ino().to_string();
            maps.lines().any(|line| line.split_ascii_whitespace().nth(4) == Some(&*inode))
        };
        let started = Instant::now();
        while !stage.has_ended() {
            let (files, maps) = (self.leftovers(), fs::read_to_string(&maps).unwrap_or_default());
            if files.len() == 2 && files.iter().all(|file| mapped(&maps, file)) {
                return;
            }
            assert!(started.elapsed() < HANG, "{} does not join", stage.what);
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Waits until `status` says a line that begins so.
    #[track_caller]
    pub fn wait_until_status_says(&self, what: &str) {
        let started = Instant::now();
        while !run(&mut self.stage("status")).stdout.lines().any(|line| line.starts_with(what)) {
            assert!(started.elapsed() < HANG, "status does not say {what:?}");
        }
    }

    /// Waits for all of them: they end well, and what the aggregators print is what one process counts; nothing is left.
    #[track_caller]
    pub fn assert_right(&self, stages: Vec<Stage>) {
        let mut result = None;
        for stage in stages {
            let (what, ran) = (stage.what, stage.end());
            assert_eq!(ran.code, Some(0), "{what}: {}", ran.stderr);
            result = if what == "aggregate" { Some(ran.stdout) } else { result };
        }
        self.assert_expected(&result.expect("an aggregator"));
    }

    /// Whether that was printed, and nothing is left.
    #[track_caller]
    pub fn assert_expected(&self, printed: &str) {
        assert_eq!(printed, self.expected);
        assert_eq!(self.leftovers(), [""; 0]);
    }

    /// What killed aggregators printed is the beginning of the result, if anything.
    #[track_caller]
    pub fn is_expected(&self, printed: &str) -> bool {
        assert!(self.expected.starts_with(printed), "{printed}");
        printed == self.expected
    }
}

impl Drop for Scene {
    /// A failed test leaves nothing either.
    fn drop(&mut self) {
        for file in self.leftovers() {
            let _ = fs::remove_file(Path::new("/dev/shm").join(file));
        }
    }
}

/// A stage as a child process, which ends with the test at the latest.
pub struct Stage {
    pub what: &'static str,
    child: Child,
    stdout: Option<JoinHandle<String>>,
    /// Each line that it says.
    stderr: Receiver<String>,
    said: String,
}

impl Stage {
    pub fn start(what: &'static str, command: &mut Command) -> Self {
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it runs");
        let mut out = child.stdout.take().expect("a pipe");
        let stdout = thread::spawn(move || {
            let mut text = String::new();
            out.read_to_string(&mut text).map(|_| text).expect("what it prints")
        });
        let err = BufReader::new(child.stderr.take().expect("a pipe"));
        let (tell, stderr) = mpsc::channel();
        thread::spawn(move || err.lines().map_while(Result::ok).all(|line| tell.send(line).is_ok()));
        Stage { what, child, stdout: Some(stdout), stderr, said: String::new() }
    }

    /// Waits until it says a line with that in it.
    #[track_caller]
    pub fn wait_until_it_says(&mut self, what: &str) {
        while !self.said.contains(what) {
            let line = self.stderr.recv_timeout(HANG);
            self.said += &line.unwrap_or_else(|error| panic!("{}: {error} before {what:?}", self.what));
        }
    }

    /// Kills it, as `kill -9` does, unless it has ended before.
    #[track_caller]
    pub fn kill(mut self) -> Ran {
        self.child.kill().expect("our child");
        self.end()
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("our child").is_some()
    }

    /// Waits for its end.
    #[track_caller]
    pub fn end(mut self) -> Ran {
        let started = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("our child") {
                break status;
            }
            assert!(started.elapsed() < HANG, "{} hangs", self.what);
            thread::sleep(Duration::from_millis(1));
        };
        let stdout = self.stdout.take().map(|stdout| stdout.join().expect("a thread")).unwrap_or_default();
        let stderr = std::mem::take(&mut self.said) + &self.stderr.iter().collect::<Vec<_>>().join("\n");
        let was_killed = status.signal() == Some(libc::SIGKILL);
        Ran { stdout, stderr, code: status.code(), was_killed }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
