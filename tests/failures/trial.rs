//! One run of the subject, in which one system call of one of its processes fails.

use crate::calls::{self, Call};
use crate::notify::{Heard, Listener, Question};
use crate::page::{Page, Phase};
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::fs;
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// What takes longer hangs.
const CAP: Duration = Duration::from_secs(40);
/// So long after the program's end its processes may still be there.
const LEAVING: Duration = Duration::from_secs(5);

/// The processes that trials wait for themselves.
static SUBJECTS: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

/// A call that fails takes so long, in which the others go on: what it comes too late for has happened.
const DELAY: Duration = Duration::from_millis(15);

/// Whose call it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    Caller,
    Supervisor,
    Zygote,
    Worker,
}

/// The `nth` such call of this role in this phase fails, and so do those that follow within `lasting`.
#[derive(Clone, Copy)]
pub struct Case {
    pub role: Role,
    pub phase: Phase,
    pub call: &'static Call,
    pub nth: u32,
    pub error: i32,
    pub lasting: Duration,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Case { role, phase, call, nth, error, lasting } = self;
        let (name, error) = (call.name, calls::name(*error));
        write!(f, "{role:?} in {phase:?}: {name} #{nth} gives {error}")?;
        if lasting.is_zero() { Ok(()) } else { write!(f, " for {lasting:?}") }
    }
}

/// How often each role makes each call in each phase.
pub type Census = HashMap<(Role, Phase, i64), u32>;

/// What came of a trial.
pub struct Report {
    /// The call was made, and failed.
    pub is_reached: bool,
    /// What the program said.
    pub said: String,
    pub census: Census,
    pub took: Duration,
}

/// `Ok(None)`: the kernel does not let us.
pub fn run(case: Option<Case>) -> Result<Option<Report>, String> {
    let file = Page::file();
    let page = Page::map(&file);
    let only = case.map_or("all".into(), |case| case.call.number.to_string());
    let mut command = Command::new("/proc/self/exe");
    command
        .args(["as:subject", &only])
        .stdin(Stdio::from(file))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut subject = {
        let mut subjects = SUBJECTS.lock().unwrap();
        let subject = command.spawn().map_err(|e| format!("no subject: {e}"))?;
        subjects.insert(subject.id());
        subject
    };
    let start = Instant::now();
    let listener = loop {
        match page.listener.load(Ordering::SeqCst) {
            0 if start.elapsed() > CAP => {
                return Err(format!("the subject does not come: {:?}", finish(subject)));
            }
            0 => std::thread::yield_now(),
            refused if refused < 0 => {
                let _ = subject.wait();
                return Ok(None);
            }
            fd => match Listener::of(subject.id(), fd) {
                Ok(listener) => break listener,
                Err(_) => {
                    let _ = (subject.kill(), subject.wait());
                    return Ok(None);
                }
            },
        }
    };
    page.is_heard.store(1, Ordering::SeqCst);
    let mut watch = Watch {
        case,
        subject: subject.id(),
        page,
        roles: HashMap::new(),
        census: Census::new(),
        failed: None,
    };
    // The program's life, and then that of what it has left.
    let mut ended: Option<Instant> = None;
    let mut failing: Vec<(Question, i32, Instant)> = Vec::new();
    let verdict = loop {
        failing.retain(|(question, error, due)| {
            let is_due = Instant::now() >= *due;
            if is_due {
                listener.answer(question, Some(*error));
            }
            !is_due
        });
        let pause = if failing.is_empty() { 20 } else { 2 };
        match listener.hear(Duration::from_millis(pause)) {
            Heard::Question(question) => {
                match watch.judge(&question) {
                    Some(error) => failing.push((question, error, Instant::now() + DELAY)),
                    None => listener.answer(&question, None),
                }
                continue; // what it asks next comes first
            }
            Heard::End => break Ok(()),
            Heard::Nothing => {}
        }
        if ended.is_none() && subject.try_wait().is_ok_and(|status| status.is_some()) {
            ended = Some(Instant::now());
        }
        if ended.is_some() {
            reap_orphans();
        }
        match ended {
            Some(ended) if ended.elapsed() > LEAVING => break Err(format!("leaves {:?}", children())),
            None if start.elapsed() > CAP => break Err(format!("hangs in {:?}", page.phase())),
            _ => {}
        }
    };
    let took = start.elapsed();
    if verdict.is_err() {
        // Those that are left would wait for answers for ever.
        let _ = subject.kill();
        let until = Instant::now() + LEAVING;
        while Instant::now() < until {
            match listener.hear(Duration::from_millis(20)) {
                Heard::Question(question) => listener.answer(&question, None),
                Heard::End => break,
                Heard::Nothing => reap_orphans(),
            }
        }
    }
    drop(listener);
    let (status, said, complaint) = finish(subject);
    verdict.map_err(|error| format!("{error}; it said {said:?} {complaint:?}"))?;
    if !status.success() {
        // What the standard library does when there is no memory.
        let is_abort = ["memory allocation of", "failed to allocate", "failed to set up"];
        if !is_abort.iter().any(|text| complaint.contains(text)) {
            return Err(format!("{status}: {said} {complaint}"));
        }
    }
    Ok(Some(Report { is_reached: watch.failed.is_some(), said, census: watch.census, took }))
}

fn finish(mut subject: Child) -> (std::process::ExitStatus, String, String) {
    let status = subject.wait().unwrap();
    SUBJECTS.lock().unwrap().remove(&subject.id());
    let (mut said, mut complaint) = (String::new(), String::new());
    let _ = subject.stdout.take().unwrap().read_to_string(&mut said);
    let _ = subject.stderr.take().unwrap().read_to_string(&mut complaint);
    (status, said.trim_end().to_owned(), complaint)
}

/// Who asks, and how often.
struct Watch {
    case: Option<Case>,
    subject: u32,
    page: &'static Page,
    roles: HashMap<u32, Option<Role>>,
    census: Census,
    failed: Option<Instant>,
}

impl Watch {
    /// With what the call shall fail, if it shall.
    fn judge(&mut self, question: &Question) -> Option<i32> {
        if !question.can_fail {
            return None;
        }
        let phase = self.page.phase();
        let subject = self.subject;
        let role = (*self.roles.entry(question.thread).or_insert_with(|| role(question.thread, subject)))?;
        let count = self.census.entry((role, phase, question.number)).or_insert(0);
        *count += 1;
        let case = self.case?;
        let is_it = (role, question.number) == (case.role, case.call.number);
        let is_now = match self.failed {
            None => is_it && phase == case.phase && *count == case.nth,
            Some(since) => is_it && Instant::now() < since + case.lasting,
        };
        if is_now {
            self.failed.get_or_insert_with(|| Instant::now() + DELAY);
            return Some(case.error);
        }
        None
    }
}

/// `None`: what a task has started, or one that is gone.
fn role(thread: u32, subject: u32) -> Option<Role> {
    let field = |of: u32, name: &str| -> Option<u32> {
        let status = fs::read_to_string(format!("/proc/{of}/status")).ok()?;
        status.lines().find_map(|line| line.strip_prefix(name))?.trim().parse().ok()
    };
    let process = field(thread, "Tgid:")?;
    if process == subject {
        return Some(if thread == subject { Role::Caller } else { Role::Supervisor });
    }
    let parent = field(process, "PPid:")?;
    if parent == subject {
        return Some(Role::Zygote);
    }
    (field(parent, "PPid:")? == subject).then_some(Role::Worker)
}

/// Those whose parents have ended come to this process, which stands in for a machine's init.
fn reap_orphans() {
    let subjects = SUBJECTS.lock().unwrap();
    for pid in children() {
        if !subjects.contains(&pid) {
            // SAFETY: waits for a process of our own; the status is not wanted.
            unsafe { libc::waitpid(pid as i32, std::ptr::null_mut(), libc::WNOHANG) };
        }
    }
}

/// The children of this process.
fn children() -> Vec<u32> {
    let threads = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let children = threads.map(|t| fs::read_to_string(t.path().join("children")).unwrap_or_default());
    children
        .flat_map(|line| line.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
        .collect()
}
