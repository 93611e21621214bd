//! The programs that this executable plays.

use crate::support::{is_dead, kill, pool, until, zygote_of};
use crate::tasks::*;
use skep::{Future, Pool, PoolError, TaskError};
use std::fs;
use std::io::{Seek, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

fn role() -> Option<String> {
    std::env::args().nth(1)?.strip_prefix("as:").map(str::to_owned)
}

fn path() -> PathBuf {
    std::env::args_os().nth(2).unwrap().into()
}

/// Programs that are wrong about `init`, or do something before it.
pub fn before_init() {
    match role().as_deref() {
        Some("no-init") => {
            let error = Pool::new().unwrap_err();
            println!("{error}, {} children", children());
        }
        Some("late-init") => {
            crate::host_programs::start_thread("too-early");
            skep::init();
            println!("{:?}", Pool::new().unwrap_err());
        }
        Some("init-once") => {
            if std::env::var_os("POOL_TEST_ONCE").is_some() {
                std::process::exit(3);
            }
            skep::init();
            // SAFETY: this is the only thread.
            unsafe { std::env::set_var("POOL_TEST_ONCE", "1") };
            println!("{:?}", Pool::new().unwrap_err());
        }
        Some("stdin-first") => stdin_first(&path()),
        // In the zygote, whose standard input is its socket; elsewhere it does nothing.
        Some("mass-death") => return shrink_buffer(0),
        Some("stillborn") => return abort_forks(None, u64::MAX),
        Some("stuck") => return hang_forks(),
        Some("barren") => return abort_forks(Some(path()), u64::MAX),
        Some("short-of-one") => return abort_forks(Some(path()), 12),
        Some("short-of-all") => return abort_forks(Some(path()), 3 * 8),
        Some(role) => return crate::host_programs::before_init(role),
        None => return,
    }
    std::process::exit(0);
}

/// Replaces standard input, and only then calls `init`. It ends itself where a fork bomb would go on.
fn stdin_first(file: &Path) {
    let log = |line: &str| {
        let mut file = fs::OpenOptions::new().create(true).append(true).open(file).unwrap();
        writeln!(file, "{line}").unwrap();
        fs::read_to_string(path()).unwrap().lines().count()
    };
    let null = fs::File::open("/dev/null").unwrap();
    // SAFETY: both descriptors are open.
    unsafe { libc::dup2(null.as_raw_fd(), 0) };
    let starts = log("start");
    skep::init();
    if starts > 5 {
        std::process::exit(5);
    }
    match Pool::builder().workers(1).build() {
        Err(PoolError::StdinReplaced) => {
            log("StdinReplaced");
            std::process::exit(4)
        }
        other => println!("{:?}", other.unwrap_err()),
    }
}

/// From now on forked children abort at once: all, or so many of them once that file is there, in which they are counted.
fn abort_forks(file: Option<PathBuf>, count: u64) {
    static ABORTING: OnceLock<(Option<PathBuf>, u64)> = OnceLock::new();
    extern "C" fn in_child() {
        let (file, count) = ABORTING.get().unwrap();
        let Some(file) = file else { std::process::abort() };
        let Ok(mut file) = fs::File::options().append(true).open(file) else { return };
        file.write_all(b"x").unwrap();
        if file.stream_position().unwrap() <= *count {
            std::process::abort();
        }
    }
    ABORTING.get_or_init(|| (file, count));
    // SAFETY: the handler is a plain function.
    unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
}

/// From now on every second forked child hangs.
fn hang_forks() {
    static FORKS: AtomicU32 = AtomicU32::new(0);
    extern "C" fn in_parent() {
        FORKS.fetch_add(1, Ordering::Relaxed);
    }
    extern "C" fn in_child() {
        while FORKS.load(Ordering::Relaxed) % 2 == 1 {
            thread::park();
        }
    }
    // SAFETY: the handlers are plain functions.
    unsafe { libc::pthread_atfork(None, Some(in_parent), Some(in_child)) };
}

pub fn after_init() {
    let Some(role) = role() else { return };
    match role.as_str() {
        "square" => println!("{}", pool(2).apply(square, 7).unwrap()),
        "square-into" => fs::write(path(), pool(2).apply(square, 7).unwrap().to_string()).unwrap(),
        "rename-and-square" => {
            fs::rename(path(), path().with_extension("renamed")).unwrap();
            println!("{}", pool(2).apply(square, 7).unwrap());
        }
        "delete-and-square" => {
            fs::remove_file(path()).unwrap();
            let pool = pool(2);
            kill(zygote_of(&pool), libc::SIGKILL); // so that another one must be started
            println!("{}", pool.apply(square_quickly, 7).unwrap());
        }
        "say" => pool(1).apply(say, "said by a task\n".into()).unwrap(),
        "say-no-newline" => pool(1).apply(say, "no newline".into()).unwrap(),
        "panic-where-none-may" => println!("{:?}", pool(1).apply(panic_where_none_may, ())),
        "hang" => {
            let pool = pool(1);
            let _ = pool.apply(announce_grandchild_and_hang, path());
        }
        "error" => println!("{}", Pool::new().unwrap_err()),
        "stillborn" => println!("{}", impatient(2).build().unwrap_err()),
        "stuck" => {
            let error = impatient(2).build().unwrap_err();
            println!("{error}; {} children", children());
        }
        "barren" => barren(),
        "short-of-one" => short_of_one(),
        "short-of-all" => short_of_all(),
        "mass-death" => mass_death(),
        "no-descriptors" => no_descriptors(),
        "few-descriptors" => few_descriptors(),
        "close-all-and-end" => close_all_and_end(),
        "fork" => fork(),
        "fork-and-use" => fork_and_use(),
        "half-written" => half_written(),
        "idle" => idle(),
        "leave-nothing" => leave_nothing(),
        role => crate::host_programs::play(role),
    }
    std::process::exit(0);
}

/// A pool that gives up soon.
fn impatient(workers: usize) -> skep::Builder {
    Pool::builder().workers(workers).patience(Duration::from_secs(1))
}

fn barren() {
    let pool = impatient(1).build().unwrap();
    let first = pool.apply_async(sleep_forever, ());
    let second = pool.apply_async(sleep_forever, ());
    fs::write(path(), "").unwrap();
    kill(pool.stats().worker_pids[0], libc::SIGKILL);
    println!("{:?}, {:?}, {:?}", first.get(), second.get(), pool.apply(square, 1));
}

/// One of two workers cannot be replaced for a while, in which the other one works.
fn short_of_one() {
    let pool = pool(2);
    fs::write(path(), "").unwrap();
    let killed = pool.stats().worker_pids[0];
    kill(killed, libc::SIGKILL);
    let are_two = || pool.stats().worker_pids.len() == 2 && !pool.stats().worker_pids.contains(&killed);
    let mut result = Ok(0);
    until("there are two again, or it is over", || {
        result = pool.apply(square_quickly, 7);
        result.is_err() || are_two()
    });
    println!("{result:?}");
}

/// All workers die, and so do those that replace them, three times over.
fn short_of_all() {
    let pool = pool(8);
    fs::write(path(), "").unwrap();
    pool.stats().worker_pids.iter().for_each(|pid| kill(*pid, libc::SIGKILL));
    until("all are buried", || pool.stats().workers_lost == 8);
    println!("{:?}", pool.apply(square, 7));
}

/// Lets a socket hold few messages only.
fn shrink_buffer(socket: i32) {
    let least = 1;
    // SAFETY: reads an integer of that size, and fails for what is no socket.
    unsafe { libc::setsockopt(socket, libc::SOL_SOCKET, libc::SO_SNDBUF, (&raw const least).cast(), 4) };
}

/// Many workers die between two looks of the zygote, which has then more to say than its socket holds, and is asked for more new
/// workers than the other end holds.
fn mass_death() {
    let pool = pool(40);
    for entry in fs::read_dir("/proc/self/fd").unwrap() {
        shrink_buffer(entry.unwrap().file_name().to_str().unwrap().parse().unwrap());
    }
    let (workers, zygote) = (pool.stats().worker_pids, zygote_of(&pool));
    kill(zygote, libc::SIGSTOP);
    workers.iter().for_each(|pid| kill(*pid, libc::SIGKILL));
    until("they are dead", || workers.iter().copied().all(is_dead));
    kill(zygote, libc::SIGCONT);
    match pool.apply_async(square, 7).get_timeout(PATIENCE) {
        Ok(result) => println!("{}", result.unwrap()),
        Err(_) => give_up(),
    }
    until("there are as many again", || pool.stats().worker_pids.len() == 40);
}

/// Lets this process have no descriptor from this number on.
fn limit_descriptors(limit: u64) {
    let limit = libc::rlimit { rlim_cur: limit, rlim_max: limit };
    // SAFETY: changes this process's settings alone; the pointer is valid.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }, 0);
}

/// A worker is replaced at a moment when this process may not have another descriptor.
fn no_descriptors() {
    let pool = pool(1);
    limit_descriptors(3);
    kill(pool.stats().worker_pids[0], libc::SIGKILL);
    until("it is buried", || pool.stats().workers_lost == 1);
    match pool.apply_async(abort, ()).get_timeout(PATIENCE) {
        Ok(result) => println!("{:?}", result.unwrap_err()),
        Err(_) => give_up(),
    }
    println!("{}", pool.apply(square, 7).unwrap());
}

/// This process may not have enough descriptors to watch all its workers, and then the zygote dies.
fn few_descriptors() {
    let used = entries("/proc/self/fd") as u64;
    limit_descriptors(64);
    let hogs: Vec<_> = (used..40).map(|_| fs::File::open("/dev/null").unwrap()).collect();
    thread::spawn(|| {
        thread::sleep(PATIENCE);
        give_up();
    });
    let pool = pool(30);
    drop(hogs);
    assert_eq!(pool.map(square, 0..1000).unwrap()[999], 999 * 999);
    let file = path();
    let running = pool.apply_async(announce_and_hang, file.clone());
    crate::support::numbers_in(&file, 1);
    let (workers, zygote) = (pool.stats().worker_pids, zygote_of(&pool));
    kill(zygote, libc::SIGKILL);
    println!("{:?}", running.get().unwrap_err());
    println!("{}", pool.apply(square, 7).unwrap());
    until("they are gone", || workers.iter().copied().all(is_dead));
}

/// Longer than anything takes that does not hang.
const PATIENCE: Duration = Duration::from_secs(20);

/// Without ending the pool, which would hang as well.
fn give_up() -> ! {
    println!("no outcome");
    std::process::exit(0)
}

/// Closes what its pool has open here, opens files of its own under those numbers, and ends the pool.
fn close_all_and_end() {
    thread::spawn(|| {
        thread::sleep(PATIENCE);
        give_up();
    });
    fn ends(how: &str, end: impl FnOnce(Pool, &Future<()>)) {
        let pool = pool(1);
        assert_eq!(pool.apply(square, 7), Ok(49));
        let running = pool.apply_async(sleep_forever, ());
        close_all_descriptors();
        let mut files: Vec<_> = (0..40).map(|_| tempfile::tempfile().unwrap()).collect();
        files.iter_mut().for_each(|file| file.write_all(b"mine").unwrap());
        end(pool, &running);
        assert!(running.is_ready());
        for mut file in files {
            file.rewind().unwrap();
            assert_eq!(std::io::read_to_string(file).unwrap(), "mine");
        }
        println!("{how}");
    }
    ends("joined", |pool, running| {
        kill(pool.stats().worker_pids[0], libc::SIGKILL);
        until("it is broken", || running.is_ready());
        pool.close();
        pool.join().unwrap();
    });
    ends("terminated", |pool, _| {
        pool.terminate();
        pool.join().unwrap();
    });
    ends("dropped", |pool, _| drop(pool));
    ends("broken", |pool, running| {
        until("it is broken", || running.is_ready());
        assert!(matches!(pool.apply(square, 7), Err(TaskError::PoolBroken { .. })));
    });
}

fn fork() {
    let pool = pool(1);
    // SAFETY: the child only drops its copy of the pool and leaves.
    match unsafe { libc::fork() } {
        0 => {
            drop(pool);
            // SAFETY: ends the process.
            unsafe { libc::_exit(0) }
        }
        child => {
            // SAFETY: waits for our own child; the status is not wanted.
            unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
            println!("{}", pool.apply(square, 7).unwrap());
        }
    }
}

/// A child that uses all of its copy, at the moment when a record that is free there has an outcome here.
fn fork_and_use() {
    let pool = pool(1);
    let (before, hanging) = (pool.apply_async(square, 8), pool.apply_async(nap, 0));
    let mut results = pool.imap_unordered(square, std::iter::repeat(2));
    results.next();
    drop(results);
    before.is_ready();
    let directory = tempfile::tempdir().unwrap();
    let go = directory.path().join("go");
    // SAFETY: the child makes no threads, and leaves by _exit.
    let child = unsafe { libc::fork() };
    if child == 0 {
        until("the parent says go", || go.exists());
        let is_right = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            assert_eq!(pool.apply(square, 9), Err(TaskError::Forked));
            assert_eq!(pool.apply_async(square, 9).get(), Err(TaskError::Forked));
            assert_eq!(pool.map(square, 0..9).unwrap_err().error, TaskError::Forked);
            let all: Vec<_> = pool.imap_unordered(square, 0..9).collect();
            assert_eq!(all, [Err(TaskError::Forked.into())]);
            assert!(hanging.is_ready());
            assert_eq!(hanging.get(), Err(TaskError::Forked));
            assert_eq!(before.get(), Err(TaskError::Forked));
            pool.close();
            assert!(matches!(pool.join(), Err(PoolError::Forked)));
            pool.terminate();
            assert!(pool.stats().worker_pids.is_empty());
            drop(pool);
        }));
        // SAFETY: ends the process.
        unsafe { libc::_exit(is_right.is_err().into()) }
    }
    // The worker has run the first, nobody has collected it, and the second waits in its record.
    let file = directory.path().join("ran");
    let first = pool.apply_async(note, file.clone());
    let second = pool.apply_async(square, 5);
    crate::support::numbers_in(&file, 1);
    fs::write(go, "").unwrap();
    let mut status = 0;
    // SAFETY: waits for our own child, into a valid place.
    unsafe { libc::waitpid(child, &mut status, 0) };
    println!("child: {status}, parent: {:?} {:?} {:?}", first.get(), second.get(), before.get());
}

/// What the spill file holds after an argument, and after a result, for which there was no room.
fn half_written() {
    // The first record's arguments lie at the start of the spill file, its results behind 4 GiB.
    let (room, results_at) = (8 << 20, 4 << 30);
    let pool = Pool::builder().workers(1).queue_depth(1).build().unwrap();
    let result = pool.apply_async(zeroes_with_room, (2 * room, results_at + room as u64));
    let result = result.get().map(|zeroes| zeroes.len());
    let after_result = spill_mebibytes();
    limit_files(room as u64);
    let argument = pool.apply(reverse, vec![0; 2 * room]).map(|zeroes| zeroes.len());
    println!("argument: {argument:?}, {} MiB; result: {result:?}, {after_result} MiB", spill_mebibytes());
}

/// The memory that this process's only spill file holds.
fn spill_mebibytes() -> u64 {
    let mut files = fs::read_dir("/proc/self/fd").unwrap().map(|entry| entry.unwrap().path());
    let is_spill = |path: &PathBuf| {
        fs::read_link(path).is_ok_and(|target| target.to_string_lossy().contains("skep-spill"))
    };
    let spill = files.find(is_spill).unwrap();
    fs::metadata(spill).unwrap().blocks() / 2048 // of 512 bytes each
}

/// The processor time that a process has used, in seconds.
fn used(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    let ticks: f64 = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
    // SAFETY: reads a number of the system.
    ticks / unsafe { libc::sysconf(libc::_SC_CLK_TCK) } as f64
}

/// Prints what percentage of one core a pool uses that has nothing to do, while somebody waits for it.
fn idle() {
    let pool = pool(4);
    pool.map(square, 0..1000).unwrap();
    let processes = [pool.stats().worker_pids, vec![zygote_of(&pool), std::process::id()]].concat();
    let total = || processes.iter().map(|pid| used(*pid)).sum::<f64>();
    let (start, before) = (Instant::now(), total());
    let never = pool.apply_async(sleep_forever, ());
    assert!(never.get_timeout(Duration::from_secs(2)).is_err());
    println!("{}", 100.0 * (total() - before) / start.elapsed().as_secs_f64());
}

fn entries(directory: &str) -> usize {
    fs::read_dir(directory).unwrap().count()
}

/// Children of this process, dead ones included.
pub fn children() -> usize {
    let this = std::process::id();
    let pids = fs::read_dir("/proc").unwrap().filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(|pid| crate::support::process(*pid).is_some_and(|(_, parent)| parent == this)).count()
}

fn leave_nothing() {
    // The first pool sets up what stays for the life of the process.
    pool(1).apply(square, 1).unwrap();
    let count = || (entries("/proc/self/fd"), entries("/proc/self/task"), children());
    let before = count();
    for round in 0..20 {
        let pool = pool(2);
        let futures: Vec<_> = (0..50).map(|n| pool.apply_async(square, n)).collect();
        let hanging = pool.apply_async(sleep_forever, ());
        if round % 3 == 0 {
            kill(zygote_of(&pool), libc::SIGKILL);
        }
        if let (0, Some(worker)) = (round % 2, pool.stats().worker_pids.first()) {
            kill(*worker, libc::SIGKILL);
        }
        drop(pool);
        drop((futures, hanging));
    }
    // A thread that was joined may stay listed for a moment.
    until("the threads are gone", || count().1 == before.1);
    println!(
        "{}",
        if count() == before { "nothing left".into() } else { format!("{before:?}, then {:?}", count()) }
    );
}
