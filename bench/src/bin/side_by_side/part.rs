//! The processes of one run: this program again, with a part to play.

use crate::row::{Outcome, Play};
use crate::rows;
use crate::stage::Stage;
use std::io::{Read, Seek};
use std::os::fd::FromRawFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

/// The environment variable that gives a process its part.
const PART: &str = "SKEP_BENCH_PART";
/// Seconds after which a part that does not end is killed.
const PATIENCE: u32 = 60;

/// What a process of a run has.
pub struct Part {
    /// Which one it is.
    pub number: u32,
    /// How many there are.
    pub parties: u32,
    pub stage: Stage,
    /// How long to measure.
    pub time: Duration,
    pub cores: [usize; 2],
    run: String,
}

impl Part {
    /// A name for an object of this run that no other run uses.
    pub fn object(&self, what: &str) -> String {
        format!("skep-bench-{}-{what}", self.run)
    }

    /// Waits for the other parts.
    pub fn meet(&self, barrier: usize) {
        self.stage.meet(barrier, self.parties);
    }

    /// Keeps this process on one of the two cores.
    pub fn pin(&self, side: u32) {
        pin(&[self.cores[side as usize % 2]]);
    }

    /// Keeps this process, and those that it starts, on the two cores.
    pub fn confine(&self) {
        pin(&self.cores);
    }
}

/// Keeps this thread, and what it starts, on these cores.
pub fn pin(cores: &[usize]) {
    // SAFETY: a set of the right size, on the stack.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        cores.iter().for_each(|&core| libc::CPU_SET(core, &mut set));
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set);
    }
}

/// In a process that has a part: plays it.
pub fn enter() -> Option<ExitCode> {
    let words = std::env::var(PART).ok()?;
    // SAFETY: single-threaded still; and two plain system calls.
    unsafe {
        std::env::remove_var(PART);
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        libc::alarm(PATIENCE);
    }
    let Some((part, play)) = parse(&words) else {
        eprintln!("bench: no such part: {words}");
        return Some(ExitCode::FAILURE);
    };
    part.pin(part.number);
    let played = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| play(&part)));
    match played {
        Ok(Ok(())) => return Some(ExitCode::SUCCESS),
        Ok(Err(error)) => eprintln!("part {}: {error}", part.number),
        Err(_) => {}
    }
    part.stage.fail();
    Some(ExitCode::FAILURE)
}

/// What a part does.
type Played = fn(&Part) -> Outcome;

fn parse(words: &str) -> Option<(Part, Played)> {
    let words: Vec<_> = words.split(' ').collect();
    let &[row, contender, number, parties, fd, time, a, b, run] = words.as_slice() else { return None };
    let row = rows::all().into_iter().find(|r| r.name == row)?;
    let Play::Parts(_, play) = row.contenders.get(contender.parse::<usize>().ok()?)?.play else {
        return None;
    };
    let part = Part {
        number: number.parse().ok()?,
        parties: parties.parse().ok()?,
        stage: Stage::inherit(fd.parse().ok()?).ok()?,
        time: Duration::from_millis(time.parse().ok()?),
        cores: [a.parse().ok()?, b.parse().ok()?],
        run: run.into(),
    };
    Some((part, play))
}

/// Why a run has no figure.
pub enum Failure {
    /// The contender is not there.
    Absent(String),
    /// It crashed, did not end, or lost or changed something.
    Failed(String),
}

/// One run of one contender.
pub struct Run<'a> {
    pub row: &'static str,
    pub contender: usize,
    pub play: &'a Play,
    pub time: Duration,
    pub cores: [usize; 2],
    /// Tells this run's objects from those of others.
    pub number: u64,
    pub python: Option<&'a Path>,
}

impl Run<'_> {
    /// Runs it to its end, and gives the figure.
    ///
    /// # Errors
    /// [`Failure`], with what the part that failed said.
    pub fn perform(&self) -> Result<f64, Failure> {
        let figure = match (self.play, self.python) {
            (Play::Parts(parts, _), _) => self.perform_parts(*parts),
            (Play::Python(play), Some(python)) => self.perform_python(python, play),
            (Play::Python(_), None) => return Err(Failure::Absent("no Python with numpy and joblib".into())),
            (Play::Absent(why), _) => return Err(Failure::Absent((*why).into())),
        };
        match figure {
            Ok(figure) if figure.is_finite() && figure >= 0.0 => Ok(figure),
            Ok(figure) => Err(Failure::Failed(format!("its figure is {figure}"))),
            Err(words) => Err(Failure::Failed(words)),
        }
    }

    fn perform_parts(&self, parts: u32) -> Result<f64, String> {
        let in_words = |e: std::io::Error| e.to_string();
        let stage = Stage::new().map_err(in_words)?;
        let said = Said::new().map_err(in_words)?;
        let mut children = vec![];
        for number in 0..parts {
            let [a, b] = self.cores;
            let (row, contender, fd, time) = (self.row, self.contender, stage.fd(), self.time.as_millis());
            let run = format!("{}-{}", std::process::id(), self.number);
            let mut command = Command::new("/proc/self/exe");
            command.env("RUST_BACKTRACE", "0");
            command.env(PART, format!("{row} {contender} {number} {parts} {fd} {time} {a} {b} {run}"));
            children.push(said.start(command).map_err(in_words)?);
        }
        for mut child in children {
            let status = child.wait().map_err(in_words)?;
            if !status.success() {
                stage.fail();
                // The others find out by themselves.
                return Err(format!("{status}: {}", said.text()));
            }
        }
        Ok(stage.figure())
    }

    fn perform_python(&self, python: &Path, play: &str) -> Result<f64, String> {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/python/peers.py");
        let [a, b] = self.cores;
        let mut command = Command::new(python);
        command.arg(script).arg(play).arg(self.time.as_millis().to_string()).arg(format!("{a},{b}"));
        // SAFETY: a plain system call, whose effect outlasts exec.
        unsafe {
            command.pre_exec(|| {
                libc::alarm(PATIENCE);
                Ok(())
            })
        };
        let output = command.stdin(Stdio::null()).output().map_err(|e| e.to_string())?;
        let figure = String::from_utf8_lossy(&output.stdout).trim().parse();
        match (output.status.success(), figure) {
            (true, Ok(figure)) => Ok(figure),
            _ => Err(format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim())),
        }
    }
}

/// What the parts of a run write to standard error: a file, so that a part's own children cannot hold anybody up.
struct Said(std::fs::File);

impl Said {
    fn new() -> std::io::Result<Said> {
        // SAFETY: a constant name; the descriptor is checked, and ours.
        let fd = unsafe { libc::memfd_create(c"skep-bench-said".as_ptr(), libc::MFD_CLOEXEC) };
        if fd < 0 {
            return Err(std::io::Error::last_os_error());
        }
        // SAFETY: as above.
        Ok(Said(unsafe { std::fs::File::from_raw_fd(fd) }))
    }

    fn start(&self, mut command: Command) -> std::io::Result<Child> {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(self.0.try_clone()?).spawn()
    }

    fn text(&self) -> String {
        let mut text = String::new();
        let mut file = &self.0;
        let _ = file.rewind().and_then(|()| file.read_to_string(&mut text));
        text.trim().replace('\n', "; ")
    }
}
