//! Repeats one hot operation where its instructions are counted: `ci/instructions.sh` runs it.
//!
//! - `instructions`: lists the operations
//! - `instructions NAME`: runs one, for callgrind to count
//! - `instructions --stepped NAME`: counts one by itself, instruction by instruction as a debugger does, and prints how many: for what valgrind cannot run

use skep_bench::operations::{ALL, Named, Operation, TIMES};
use std::error::Error;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

/// Tells a process that it is stepped.
const STEPPED: &str = "SKEP_BENCH_STEPPED";

fn main() -> ExitCode {
    skep::init();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (is_stepped, wanted) = match &arguments[..] {
        [] => {
            ALL.iter().for_each(|operation| println!("{}", operation.name));
            return ExitCode::SUCCESS;
        }
        [option, wanted, ..] if option == "--stepped" => (true, wanted),
        [wanted, ..] => (false, wanted),
    };
    let Some(named) = ALL.iter().find(|operation| operation.name == wanted) else {
        eprintln!("instructions: no operation \"{wanted}\"; without arguments I list them");
        return ExitCode::from(2);
    };
    let outcome = if is_stepped { step(wanted).map(|count| println!("{count}")) } else { run(named) };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("instructions: {wanted}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(named: &Named) -> Result<(), Box<dyn Error>> {
    let mut operation = (named.make)()?;
    // The first time it takes memory, and resolves what the linker left open.
    operation.run(TIMES);
    operation.undo(TIMES);
    if std::env::var_os(STEPPED).is_some() {
        // What is between the first two is what a mark itself takes.
        mark();
        mark();
        operation.run(TIMES);
        mark();
    } else {
        skep_bench_counted(&mut *operation);
    }
    operation.undo(TIMES);
    Ok(())
}

/// Where callgrind counts; it knows it by this name.
#[unsafe(no_mangle)]
#[inline(never)]
extern "Rust" fn skep_bench_counted(operation: &mut dyn Operation) {
    operation.run(TIMES);
}

/// Tells the process that steps this one.
fn mark() {
    // SAFETY: stops this thread, until the tracer lets it go on.
    unsafe { libc::raise(libc::SIGSTOP) };
}

/// Runs an operation in a process that this one steps; says how many instructions its first thread took from the second mark to the third, but for the mark's own.
fn step(name: &str) -> Result<u64, Box<dyn Error>> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(name).env(STEPPED, "1");
    // SAFETY: one system call, which makes the parent the tracer.
    unsafe {
        command.pre_exec(|| match libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        });
    }
    let traced = command.spawn()?.id() as libc::pid_t;
    let mut counts: Vec<u64> = vec![];
    let mut is_counting = false;
    loop {
        let mut status = 0;
        // SAFETY: waits for the process that was just spawned.
        if unsafe { libc::waitpid(traced, &raw mut status, 0) } != traced {
            return Err(std::io::Error::last_os_error().into());
        }
        if !libc::WIFSTOPPED(status) {
            let is_well = libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0;
            return match counts[..] {
                [mark, marked] if is_well => Ok(marked - mark),
                _ => Err("the process that was stepped failed".into()),
            };
        }
        let signal = match libc::WSTOPSIG(status) {
            libc::SIGSTOP => {
                // From the first mark on each begins a count, but for the last one.
                is_counting = counts.len() < 2;
                if is_counting {
                    counts.push(0);
                }
                0
            }
            libc::SIGTRAP => {
                if let (true, Some(count)) = (is_counting, counts.last_mut()) {
                    *count += 1;
                }
                0
            }
            other => other,
        };
        let request = if is_counting { libc::PTRACE_SINGLESTEP } else { libc::PTRACE_CONT };
        // SAFETY: the process is stopped, and traced by this thread.
        if unsafe { libc::ptrace(request, traced, 0, signal) } != 0 {
            return Err(std::io::Error::last_os_error().into());
        }
    }
}
