//! All stages at once: starts them, starts those again that are killed, and prints the result.

use std::{
    env,
    fmt::{self, Display},
    io::{self, Read, Write},
    num::NonZeroUsize,
    os::unix::process::ExitStatusExt,
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{self, Receiver},
    thread::{self, JoinHandle},
    time::Duration,
};

use nix::sys::signal::{SigSet, Signal};

use crate::{
    Outcome,
    args::{self, Name, Run},
    site::Site,
    ui::say,
};

/// Between two looks at the stages.
const PAUSE: Duration = Duration::from_millis(5);

pub fn run(arguments: &Run) -> Outcome {
    let interrupted = signals()?;
    let name = arguments.name.clone().unwrap_or_else(|| format!("skep-pipeline-{}", std::process::id()));
    let memory = args::Memory { memory: arguments.memory.memory };
    let stage = args::Stage { name: Name { name: name.clone() }, memory, join: false, quiet: true };
    let site = Site::join(&stage)?.ok_or("a pipeline of this name was about to end: try again")?;
    let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let parsers = arguments.parsers.map_or(cores.saturating_sub(1).max(1), NonZeroUsize::get);

    let roles = [Role::Read, Role::Aggregate].into_iter().chain((1..=parsers).map(Role::Parse));
    let stages: Outcome<Vec<_>> = roles.map(|role| Stage::start(role, arguments, &name)).collect();
    let mut stages = Stages(stages?);
    let result = stages.attend(arguments, &name, &site, &interrupted);
    // They have nothing to do any more, or what they do is not wanted.
    drop(stages);
    site.remove()?;
    let text = result?;
    Ok(io::stdout().write_all(&text)?)
}

/// Tells when this process is to end, by a thread that waits for the signals.
fn signals() -> Outcome<Receiver<Signal>> {
    let mut set = SigSet::empty();
    [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().for_each(|signal| set.add(signal));
    set.thread_block()?;
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        while let Ok(signal) = set.wait() {
            let _ = tell.send(signal); // nobody listens any more: it ends anyway
        }
    });
    Ok(told)
}

#[derive(Clone, Copy, PartialEq)]
enum Role {
    Read,
    Parse(usize),
    Aggregate,
}

impl Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Role::Read => f.write_str("the reader"),
            Role::Parse(number) => write!(f, "parser {number}"),
            Role::Aggregate => f.write_str("the aggregator"),
        }
    }
}

/// A stage as a child process.
struct Stage {
    role: Role,
    child: Child,
    /// What the aggregator prints: it is the result if it ends well.
    output: Option<JoinHandle<io::Result<Vec<u8>>>>,
}

impl Stage {
    fn start(role: Role, arguments: &Run, name: &str) -> Outcome<Self> {
        let mut command = Command::new(env::current_exe()?);
        match role {
            Role::Read => {
                let block = arguments.block.block.to_string();
                command.args(["read", "--quiet", "--block", &block])
            }
            Role::Parse(_) => command.args(["parse", "--quiet"]),
            Role::Aggregate => {
                command.args(["aggregate", "--top", &arguments.report.top.to_string()]);
                command.args(arguments.report.json.then_some("--json")).stdout(Stdio::piped())
            }
        };
        command.args(["--join", "--name", name]);
        if role == Role::Read {
            command.arg("--").arg(&arguments.log);
        }
        let mut child = command.stdin(Stdio::null()).spawn()?;
        let output = child.stdout.take().map(|mut stdout| {
            thread::spawn(move || {
                let mut text = Vec::new();
                stdout.read_to_end(&mut text).map(|_| text)
            })
        });
        Ok(Stage { role, child, output })
    }

    /// What it has printed, all of it: it has ended.
    fn output(&mut self) -> Outcome<Vec<u8>> {
        let Some(output) = self.output.take() else { return Ok(Vec::new()) };
        Ok(output.join().map_err(|_| "its output was not read")??)
    }
}

struct Stages(Vec<Stage>);

impl Stages {
    /// Waits until all have ended, and starts those again that are killed.
    fn attend(
        &mut self,
        arguments: &Run,
        name: &str,
        site: &Site,
        interrupted: &Receiver<Signal>,
    ) -> Outcome<Vec<u8>> {
        let (mut result, mut killed) = (None, 0);
        while !self.0.is_empty() {
            if let Ok(signal) = interrupted.recv_timeout(PAUSE) {
                Err(format!("ended by {signal}"))?;
            }
            let mut index = 0;
            while index < self.0.len() {
                let Some(status) = self.0[index].child.try_wait()? else {
                    index += 1;
                    continue;
                };
                let mut stage = self.0.swap_remove(index);
                let output = stage.output()?;
                match ending(status) {
                    // An aggregator that dies when the result is out has printed it whole.
                    Ending::Killed(_) if stage.role == Role::Aggregate && site.is_over() => {
                        result = Some(output)
                    }
                    Ending::Done if stage.role == Role::Aggregate => result = Some(output),
                    Ending::Done => {}
                    Ending::Killed(signal) => {
                        killed += 1;
                        if killed > arguments.restarts {
                            Err(format!(
                                "{} was killed by {signal}, the {killed}th time that a stage was",
                                stage.role
                            ))?;
                        }
                        self.0.push(Stage::start(stage.role, arguments, name)?);
                    }
                    Ending::Failed => Err(format!("{} failed", stage.role))?,
                }
            }
        }
        if killed > 0 {
            say(format_args!("run: stages were killed and started again {killed} times"));
        }
        Ok(result.ok_or("no aggregator ended well")?)
    }
}

impl Drop for Stages {
    fn drop(&mut self) {
        for stage in &mut self.0 {
            // It may have ended by itself.
            let _ = stage.child.kill();
            let _ = stage.child.wait();
        }
    }
}

enum Ending {
    Done,
    Failed,
    Killed(String),
}

fn ending(status: ExitStatus) -> Ending {
    match status.signal() {
        Some(number) => {
            Ending::Killed(Signal::try_from(number).map_or(number.to_string(), |signal| signal.to_string()))
        }
        None if status.success() => Ending::Done,
        None => Ending::Failed,
    }
}
