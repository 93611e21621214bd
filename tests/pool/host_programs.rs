//! The programs and tasks of `host.rs`.

use crate::programs::children;
use crate::support::{is_dead, kill, pool, until, zygote_of};
use crate::tasks::*;
use skep::{Pool, Start, TaskError};
use std::cell::Cell;
use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::io::Write;
use std::os::fd::{AsRawFd, IntoRawFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::Command;
use std::sync::atomic::{AtomicI32, Ordering};
use std::thread;
use std::time::Duration;

// --- tasks -------------------------------------------------------------------------------------------------------

type Number = skep::Task<(), u8, fn() -> u8>;

pub fn one() -> Number {
    #[skep::task]
    fn number() -> u8 {
        1
    }
    number
}

pub fn two() -> Number {
    #[skep::task]
    fn number() -> u8 {
        2
    }
    number
}

/// Two tasks at one place, which only a macro can write.
macro_rules! twins {
    ($($function:ident)*) => { $(
        pub fn $function() -> Number {
            #[skep::task]
            fn twin() -> u8 {
                0
            }
            twin
        }
    )* };
}
twins!(first_twin second_twin);

thread_local! {
    static COUNT: Cell<u32> = const { Cell::new(0) };
}

/// What hash keys are the next, and how often this thread has counted.
#[skep::task]
pub fn keys_and_count() -> (u64, u32) {
    (RandomState::new().hash_one(0), COUNT.get())
}

/// How many threads the worker has, and whether the one that runs this is its first.
#[skep::task]
pub fn threads() -> (usize, bool) {
    // SAFETY: reads a number.
    let this = unsafe { libc::gettid() };
    (fs::read_dir("/proc/self/task").unwrap().count(), this as u32 == std::process::id())
}

#[skep::task]
pub fn stack_limit_in_kib() -> u64 {
    // SAFETY: the place is valid.
    unsafe {
        let mut limit: libc::rlimit = std::mem::zeroed();
        libc::getrlimit(libc::RLIMIT_STACK, &mut limit);
        limit.rlim_cur / 1024
    }
}

/// Calls itself so often, with at least 800 bytes of its own each time, mostly two or three times
/// as many.
#[skep::task]
pub fn recurse(times: u32) -> u32 {
    #[inline(never)]
    fn step(times: u32) -> u32 {
        let room = std::hint::black_box([1_u8; 800]);
        if times == 0 { 0 } else { step(times - 1) + u32::from(room[times as usize % 800]) }
    }
    step(times)
}

#[skep::task]
pub fn arguments() -> Vec<String> {
    std::env::args().collect()
}

/// By which signal a program ends that sends SIGTERM to itself.
#[skep::task]
pub fn signal_of_a_program() -> Option<i32> {
    Command::new("sh").args(["-c", "kill -TERM $$; sleep 60"]).status().unwrap().signal()
}

/// By which signal a forked process ends that is sent SIGTERM.
#[skep::task]
pub fn signal_of_a_fork() -> Option<i32> {
    // SAFETY: the child only sleeps, until it is killed.
    let child = unsafe { libc::fork() };
    if child == 0 {
        thread::sleep(Duration::from_secs(60));
        std::process::abort();
    }
    kill(child as u32, libc::SIGTERM);
    let mut status = 0;
    // SAFETY: waits for our own child, into a valid place.
    unsafe { libc::waitpid(child, &mut status, 0) };
    std::process::ExitStatus::from_raw(status).signal()
}

/// What comes of opening the terminal, of a program that reads from it, and of setting the one at
/// standard error.
#[skep::task]
pub fn ask_the_terminal() -> String {
    let opened = fs::File::open("/dev/tty").is_ok();
    let shell = Command::new("sh").args(["-c", "read answer </dev/tty"]).status().unwrap();
    // SAFETY: zeroes are a valid termios, which the first call fills in.
    let set = unsafe {
        let mut settings: libc::termios = std::mem::zeroed();
        libc::tcgetattr(2, &mut settings) == 0 && libc::tcsetattr(2, libc::TCSANOW, &settings) == 0
    };
    let word = |is: bool| if is { "done" } else { "refused" };
    format!("{}, read: {}, set: {}", word(opened), word(shell.success()), word(set))
}

/// Where the descriptor with this number leads to.
#[skep::task]
pub fn descriptor(number: i32) -> Option<String> {
    let target = fs::read_link(format!("/proc/self/fd/{number}")).ok()?;
    Some(target.to_string_lossy().into_owned())
}

/// The same for the one that a constructor has opened in the worker.
#[skep::task]
pub fn constructors_descriptor() -> Option<String> {
    let target = fs::read_link(format!("/proc/self/fd/{}", OPENED.load(Ordering::Relaxed))).ok()?;
    Some(target.to_string_lossy().into_owned())
}

/// Directory, environment, mask of new files, and limit of descriptors.
#[skep::task]
pub fn surroundings() -> (String, Vec<(String, String)>, u32, [u64; 2]) {
    let directory = std::env::current_dir().unwrap().display().to_string();
    // SAFETY: sets it and sets it back, in a process of one thread; the place is valid.
    unsafe {
        let mask = libc::umask(0);
        libc::umask(mask);
        let mut limit: libc::rlimit = std::mem::zeroed();
        libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit);
        (directory, std::env::vars().collect(), mask, [limit.rlim_cur, limit.rlim_max])
    }
}

#[skep::task]
pub fn user() -> u32 {
    // SAFETY: reads a number.
    unsafe { libc::geteuid() }
}

/// Kills the process that has forked this one.
#[skep::task]
pub fn kill_the_zygote() {
    // SAFETY: reads a number.
    kill(unsafe { libc::getppid() } as u32, libc::SIGKILL);
    sleep_forever();
}

// --- before `init` ------------------------------------------------------------------------------------------------

/// The descriptor that a constructor has opened.
static OPENED: AtomicI32 = AtomicI32::new(-1);

fn is_zygote() -> bool {
    std::env::var_os("SKEP_ZYGOTE").is_some()
}

/// What a constructor of the program might do, in the program and in its zygote.
pub fn before_init(role: &str) {
    match role {
        "fresh" => {
            let _ = RandomState::new();
            COUNT.set(1);
            // SAFETY: the text ends with a zero.
            unsafe { libc::printf(c"said by a constructor\n".as_ptr()) };
        }
        "descriptors" => {
            // SAFETY: duplicates an open descriptor, without the mark that closes it when a program
            // is executed.
            let fd = unsafe { libc::dup(fs::File::open("/dev/full").unwrap().as_raw_fd()) };
            OPENED.store(fd, Ordering::Relaxed);
        }
        "told-too-early" if is_zygote() => {
            // From another process than this one, which goes on when it was sent.
            let _ = Command::new("sh").args(["-c", "kill -TERM $PPID; kill -INT $PPID"]).status();
        }
        "slow-forks" if is_zygote() => {
            extern "C" fn in_parent() {
                thread::sleep(Duration::from_millis(50));
            }
            // SAFETY: the handler is a plain function.
            unsafe { libc::pthread_atfork(None, Some(in_parent), None) };
        }
        "executed-workers" => start_thread("c-library"),
        "threads-in-zygote" if is_zygote() => {
            start_thread("c-library");
        }
        _ => {}
    }
}

/// Starts a thread that never ends, and returns when it has its name.
pub fn start_thread(name: &str) {
    let (tell, heard) = std::sync::mpsc::channel();
    let life = move || {
        let _ = tell.send(());
        loop {
            thread::park();
        }
    };
    thread::Builder::new().name(name.into()).spawn(life).unwrap();
    heard.recv().unwrap();
}

// --- programs ----------------------------------------------------------------------------------------------------

pub fn play(role: &str) {
    match role {
        "fresh" => fresh(),
        "sigwait" => sigwait(),
        "terminal" => match pool(1).apply_async(ask_the_terminal, ()).get_timeout(Duration::from_secs(20)) {
            Ok(result) => println!("{}", result.unwrap()),
            Err(_) => println!("stopped"),
        },
        "descriptors" => descriptors(),
        "moves" => moves(),
        "setuid" => setuid(),
        "chroot" => chroot(),
        "subreaper" => {
            // SAFETY: changes a setting of this process.
            unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
            takes_in_orphans();
        }
        "first-process" => takes_in_orphans(),
        "executes-itself" => {
            let pool = pool(1);
            assert_eq!(pool.apply(square, 7), Ok(49));
            let error = Command::new("/proc/self/exe").arg("as:executed").exec();
            panic!("{error}");
        }
        "daemon" => {
            // SAFETY: this is the only thread; the parent leaves at once, so that the child is
            // nobody's.
            unsafe {
                if libc::fork() > 0 {
                    libc::_exit(0);
                }
                libc::setsid();
            }
            println!("{}", pool(1).apply(square, 7).unwrap());
        }
        "executed" => println!("{} children", children()),
        // SAFETY: reads a number.
        "is-privileged" => println!("{}", unsafe { libc::getauxval(libc::AT_SECURE) } != 0),
        "threads-in-zygote" => println!("{}", Pool::builder().workers(1).build().unwrap_err()),
        "ignores-children" => {
            // SAFETY: ignoring a signal runs no code.
            unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
            lives_with_a_pool(Start::Fork);
        }
        "reaps-everything" => {
            thread::spawn(|| {
                loop {
                    // SAFETY: no place for a status is given.
                    unsafe { libc::waitpid(-1, std::ptr::null_mut(), 0) };
                    thread::yield_now();
                }
            });
            lives_with_a_pool(Start::Fork);
        }
        "slow-forks" => {
            let pool = pool(1);
            pool.apply(nap, 500).unwrap(); // for much longer than the forking thread lives on
            println!("{}", pool.apply(square, 7).unwrap());
        }
        "told-too-early" => println!("{}", pool(1).apply(square, 7).unwrap()),
        "executed-workers" => lives_with_a_pool(Start::Execute),
        "many-workers" => {
            let pool = pool(8);
            for _ in 0..20 {
                let _ = pool.apply(exit_with, 3);
            }
            println!("{}", pool.apply(square, 7).unwrap());
        }
        _ => panic!("no such role: {role}"),
    }
}

fn fresh() {
    let pool = pool(1);
    for _ in 0..4 {
        let (keys, count) = pool.apply(keys_and_count, ()).unwrap();
        println!("{keys} {count}");
        let _ = pool.apply(exit_with, 0); // the next one is forked by the same zygote
    }
    pool.close();
    pool.join().unwrap();
}

/// Waits for a signal in the way that a program does whose other threads may not take it.
fn sigwait() {
    let _pool = pool(1);
    until("the supervisor sleeps", || {
        let stats = fs::read_dir("/proc/self/task").unwrap().map(|entry| entry.unwrap().path().join("stat"));
        stats
            .filter_map(|stat| fs::read_to_string(stat).ok())
            .any(|stat| stat.contains("(skep-supervisor) S"))
    });
    // SAFETY: zeroes are room for a set, and the places are valid.
    let heard = unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        libc::sigaddset(&mut set, libc::SIGUSR1);
        libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut());
        kill(std::process::id(), libc::SIGUSR1);
        let mut signal = 0;
        libc::sigwait(&set, &mut signal);
        signal
    };
    println!("{heard}");
}

fn descriptors() {
    // SAFETY: duplicates an open descriptor, without the mark that closes it when a program is
    // executed.
    let later = unsafe { libc::dup(fs::File::open("/dev/random").unwrap().as_raw_fd()) };
    let pool = pool(1);
    let word = |target: Result<Option<String>, TaskError>, path: &str| {
        if target.unwrap().as_deref() == Some(path) { "kept" } else { "closed" }
    };
    println!(
        "start: {}, constructor's: {}, later: {}",
        word(pool.apply(descriptor, 7), "/dev/zero"),
        word(pool.apply(constructors_descriptor, ()), "/dev/full"),
        word(pool.apply(descriptor, later), "/dev/random"),
    );
}

/// Changes all that it can, and lets a zygote start afterwards.
fn moves() {
    let pool = pool(1);
    let before = pool.apply(surroundings, ());
    pool.apply(say, "said by a task\n".into()).unwrap();
    std::io::stdout().flush().unwrap();
    std::env::set_current_dir("/").unwrap();
    // SAFETY: nothing else in this program reads the environment now; the descriptors are open, and
    // the places valid.
    let output = unsafe {
        std::env::set_var("MOVED", "1");
        std::env::remove_var("PATH");
        libc::umask(0o077);
        let mut limit: libc::rlimit = std::mem::zeroed();
        libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit);
        limit.rlim_cur = 200;
        libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
        let output = libc::fcntl(1, libc::F_DUPFD_CLOEXEC, 3);
        libc::dup2(fs::File::open("/dev/null").unwrap().into_raw_fd(), 1);
        output
    };
    kill(zygote_of(&pool), libc::SIGKILL);
    until("there is another worker", || {
        pool.stats().workers_lost == 1 && !pool.stats().worker_pids.is_empty()
    });
    pool.apply(say, "said by a task\n".into()).unwrap();
    let after = pool.apply(surroundings, ());
    // SAFETY: both are open.
    unsafe { libc::dup2(output, 1) };
    if before == after { println!("the same") } else { println!("{before:?}, then {after:?}") }
}

/// Becomes another user, which has no right to kill what the pool has started.
fn setuid() {
    let pool = pool(2);
    let processes = [pool.stats().worker_pids, vec![zygote_of(&pool)]].concat();
    // SAFETY: plain numbers; no list of groups.
    unsafe {
        assert_eq!(libc::setgroups(0, std::ptr::null()), 0);
        assert_eq!(libc::setresgid(65534, 65534, 65534), 0);
        assert_eq!(libc::setresuid(65534, 65534, 65534), 0);
    }
    let first = pool.apply(user, ()).unwrap();
    let _ = pool.apply(exit_with, 0);
    let second = pool.apply(user, ()).unwrap();
    let hanging = pool.apply_async(sleep_forever, ());
    let _ = pool.apply(kill_the_zygote, ());
    let error = loop {
        if let Err(error @ TaskError::PoolBroken { .. }) = pool.apply(square, 7) {
            break error;
        }
    };
    assert!(hanging.get().is_err());
    drop(pool);
    let pids: Vec<String> = processes.iter().map(u32::to_string).collect();
    println!("{}\n{first} {second} {error}", pids.join(" "));
}

/// Goes where there is no `/proc`.
fn chroot() {
    let pool = Pool::builder().workers(1).patience(Duration::from_secs(1)).build().unwrap();
    std::os::unix::fs::chroot(std::env::args_os().nth(2).unwrap()).unwrap();
    std::env::set_current_dir("/").unwrap();
    let first = pool.apply(square, 7).unwrap();
    let _ = pool.apply(exit_with, 0);
    let second = pool.apply(square, 7).unwrap();
    let _ = pool.apply(kill_the_zygote, ());
    let error = loop {
        if let Err(error @ TaskError::PoolBroken { .. }) = pool.apply(square, 7) {
            break error;
        }
    };
    println!("{first} {second} {error}");
}

/// Lets zygotes die, in the middle of tasks that have started something, and tells how many
/// children are left.
fn takes_in_orphans() {
    let directory = tempfile::tempdir().unwrap();
    let pool = pool(2);
    for round in 0..3 {
        let file = directory.path().join(round.to_string());
        let running = pool.apply_async(announce_grandchild_and_hang, file.clone());
        let pids = crate::support::numbers_in(&file, 2);
        kill(zygote_of(&pool), libc::SIGKILL);
        assert!(running.get().is_err());
        assert_eq!(pool.apply(square_quickly, 7), Ok(49));
        until("they are dead", || pids.iter().copied().all(is_dead));
    }
    let zygote = zygote_of(&pool);
    until("its one zygote is left", || children() == 1);
    assert!(!is_dead(zygote));
    drop(pool);
    println!("{} children", children());
}

/// Loses a worker, a zygote and its pool.
fn lives_with_a_pool(start: Start) {
    let pool = Pool::builder().workers(2).start_by(start).build().unwrap();
    let Err(TaskError::WorkerDied { cause, .. }) = pool.apply(exit_with, 3) else { panic!("it lives") };
    kill(zygote_of(&pool), libc::SIGKILL);
    let result = pool.apply(square_quickly, 7).unwrap();
    drop(pool);
    println!("{cause:?}, {result}, {} children", children());
}
