//! Each system call of a pool's processes fails once, at the start, under load and at the end: every task has its outcome, `join` returns, and nothing is left.
//!
//! The kernel asks the trial about the system calls of a program with a pool and of all its processes (`notify.rs`), and the trial lets one of them fail. A first run,
//! in which none fails, counts who makes which calls.
//!
//! `failures [--usual | --full] [--execute] [--role ROLE] [--call NAME]`: with neither of the first two, each process's first call of each kind fails, with its first error. FAILURES_TELL in the environment
//! prints what came of each case.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

mod calls;
mod notify;
mod page;
mod subject;
mod trial;

use calls::CALLS;
use page::PHASES;
use std::sync::Mutex;
use std::time::{Duration, Instant};
use trial::{Case, Census, Role};

/// Which calls of how many fail, in how many ways, and whether they go on failing for a while.
struct Depth {
    nth: &'static [u32],
    errors: usize,
    lasts: bool,
}

const QUICK: Depth = Depth { nth: &[1], errors: 1, lasts: false };
const USUAL: Depth = Depth { nth: &[1, 2, 3, 4, 6, 10], errors: 1, lasts: true };
const FULL: Depth = Depth { nth: &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10], errors: 9, lasts: true };

/// A shortage that passes: longer than a call is made again, shorter than a pool's patience.
const SHORTAGE: Duration = Duration::from_millis(1500);
/// What a shortage makes fail.
const SHORT: [&str; 9] =
    ["clone", "clone3", "fork", "vfork", "openat", "pidfd_open", "socketpair", "memfd_create", "eventfd2"];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [role, only] = &arguments[..]
        && role == "as:subject"
    {
        subject::before_init(only.parse().ok());
        skep::init();
        return subject::run();
    }
    skep::init();
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    let after = |flag: &str| {
        arguments.iter().position(|argument| argument == flag).and_then(|at| arguments.get(at + 1)).cloned()
    };
    if has("--list") {
        return; // a test runner asks for names
    }
    if has("--execute") {
        // SAFETY: this process has no other thread yet.
        unsafe { std::env::set_var(subject::EXECUTE, "1") };
    }
    let depth = if has("--full") {
        FULL
    } else if has("--usual") {
        USUAL
    } else {
        QUICK
    };
    // SAFETY: makes this process the one to which orphans come.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
    let census = match trial::run(None) {
        Ok(Some(report)) => report.census,
        Ok(None) => {
            println!(
                "failures: skipped, this kernel does not let a process answer for another's system calls"
            );
            return;
        }
        Err(error) => {
            eprintln!("failures: the run in which nothing fails: {error}");
            std::process::exit(1);
        }
    };
    let mut cases = cases(&depth, &census);
    cases.retain(|case| after("--call").is_none_or(|name| name == case.call.name));
    cases.retain(|case| {
        after("--role").is_none_or(|role| role.eq_ignore_ascii_case(&format!("{:?}", case.role)))
    });
    if !run(cases) {
        std::process::exit(1);
    }
}

/// In the order of calls, so that neighbours in time are different ones.
fn cases(depth: &Depth, census: &Census) -> Vec<Case> {
    let mut cases = Vec::new();
    for &nth in depth.nth {
        for role in [Role::Caller, Role::Supervisor, Role::Zygote, Role::Worker] {
            for phase in PHASES {
                for call in CALLS {
                    let made = census.get(&(role, phase, call.number)).copied().unwrap_or(0);
                    if made >= nth {
                        let errors = call.errors.iter().take(depth.errors);
                        let lasting = Duration::ZERO;
                        cases.extend(errors.map(|&error| Case { role, phase, call, nth, error, lasting }));
                        if depth.lasts && nth == 1 && role != Role::Caller {
                            let (error, lasting) = (call.errors[0], SHORTAGE);
                            cases.push(Case { role, phase, call, nth, error, lasting });
                        }
                    }
                }
            }
        }
    }
    cases
}

/// Tells whether all went well.
fn run(cases: Vec<Case>) -> bool {
    let (start, total) = (Instant::now(), cases.len());
    let next = Mutex::new(cases.into_iter());
    let tally = Mutex::new(Tally::default());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, |n| n.get()).min(8) {
            scope.spawn(|| {
                while let Some(case) = { next.lock().unwrap().next() } {
                    let result = trial::run(Some(case));
                    tally.lock().unwrap().count(case, result);
                }
            });
        }
    });
    let tally = tally.into_inner().unwrap();
    println!(
        "failures: {total} cases of (process, call, n, error), {} not reached, {} refused starts, {} broken pools, \
         {} FAILED, longest {:.1} s, {} s in all",
        tally.not_reached,
        tally.refused,
        tally.broken,
        tally.failed,
        tally.longest.as_secs_f32(),
        start.elapsed().as_secs()
    );
    tally.failed == 0
}

#[derive(Default)]
struct Tally {
    not_reached: u32,
    refused: u32,
    broken: u32,
    failed: u32,
    longest: Duration,
}

impl Tally {
    fn count(&mut self, case: Case, result: Result<Option<trial::Report>, String>) {
        match result {
            Ok(None) => self.not_reached += 1,
            Ok(Some(report)) if report.said.starts_with("broken") && SHORT.contains(&case.call.name) => {
                self.failed += 1;
                println!("FAILED {case}: {}", report.said);
            }
            Ok(Some(report)) => {
                self.not_reached += u32::from(!report.is_reached);
                self.refused += u32::from(report.said.starts_with("refused"));
                self.broken += u32::from(report.said.starts_with("broken"));
                self.longest = self.longest.max(report.took);
                if std::env::var_os("FAILURES_TELL").is_some() {
                    println!("{case}: {} ({:.2} s)", report.said, report.took.as_secs_f32());
                }
            }
            Err(error) => {
                self.failed += 1;
                println!("FAILED {case}: {error}");
            }
        }
    }
}
