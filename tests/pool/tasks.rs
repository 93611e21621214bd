//! The tasks that the tests run.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

#[skep::task]
pub fn square(n: u64) -> u64 {
    n * n
}

/// Two parameters travel as a tuple.
#[skep::task]
pub fn subtract(a: i64, b: i64) -> i64 {
    a - b
}

#[skep::task]
pub fn worker_pid() -> u32 {
    std::process::id()
}

#[skep::task]
pub fn reverse(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.reverse();
    bytes
}

/// So many zeroes, from a worker that may not write any file beyond its first 4 KiB.
#[skep::task]
pub fn zeroes_without_room(length: usize) -> Vec<u8> {
    limit_files(4096);
    vec![0; length]
}

/// So many zeroes, from a worker that may not write any file beyond that.
#[skep::task]
pub fn zeroes_with_room(length: usize, file_bytes: u64) -> Vec<u8> {
    limit_files(file_bytes);
    vec![0; length]
}

/// From now on this process may not write any file beyond so many bytes.
pub fn limit_files(bytes: u64) {
    // SAFETY: changes this process's settings alone; the pointers are valid.
    unsafe {
        let mut limit: libc::rlimit = std::mem::zeroed();
        libc::getrlimit(libc::RLIMIT_FSIZE, &mut limit);
        limit.rlim_cur = bytes;
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
        libc::setrlimit(libc::RLIMIT_FSIZE, &limit);
    }
}

#[skep::task]
pub fn parse(text: String) -> Result<i32, String> {
    text.parse().map_err(|_| format!("{text:?} is no number"))
}

#[skep::task]
pub fn panic_with(message: String) -> u8 {
    panic!("{message}");
}

/// Catches a panic that says "caught", and raises one that says this.
#[skep::task]
pub fn panic_and_raise(message: String) {
    let _ = std::panic::catch_unwind(|| panic!("caught"));
    std::panic::resume_unwind(Box::new(message));
}

/// Panics in a function through which no panic may unwind.
#[skep::task]
pub fn panic_where_none_may() {
    extern "C" fn no_unwinding() {
        panic!("the real reason");
    }
    no_unwinding();
}

#[skep::task]
pub fn exit_with(status: i32) {
    std::process::exit(status);
}

#[skep::task]
pub fn kill_self_with(signal: i32) {
    // SAFETY: kill with our own pid touches no memory.
    unsafe { libc::kill(libc::getpid(), signal) };
    loop {
        std::thread::park();
    }
}

#[skep::task]
pub fn segfault() {
    // SAFETY: none; the law is that this hurts nobody else.
    unsafe { std::ptr::without_provenance::<u8>(16).read_volatile() };
}

#[skep::task]
pub fn abort() {
    std::process::abort();
}

/// The square of `n`; 13 costs its worker's life.
#[skep::task]
pub fn square_unless_13(n: u64) -> u64 {
    if n == 13 {
        std::process::abort();
    }
    n * n
}

#[skep::task]
pub fn sleep_forever() {
    loop {
        std::thread::park();
    }
}

/// Says in a file that it runs, and never ends.
#[skep::task]
pub fn announce_and_hang(file: PathBuf) {
    append(&file, &std::process::id().to_string());
    loop {
        std::thread::park();
    }
}

/// Says in a file that it has run.
#[skep::task]
pub fn note(file: PathBuf) {
    append(&file, "1");
}

/// Forks, and gives the child's pid; the child returns as well, when the file is there.
#[skep::task]
pub fn fork_and_return_twice(file: PathBuf) -> u32 {
    // SAFETY: the child only sleeps and returns.
    let child = unsafe { libc::fork() };
    while child == 0 && !file.exists() {
        std::thread::sleep(Duration::from_millis(1));
    }
    child as u32
}

/// Says in a file that it runs, and ends when another file is there.
#[skep::task]
pub fn announce_and_wait(file: PathBuf, end: PathBuf) {
    append(&file, &std::process::id().to_string());
    while !end.exists() {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Panics at first; else as [`announce_and_wait`].
#[skep::task]
pub fn panic_or_wait(is_first: bool, file: PathBuf, end: PathBuf) {
    assert!(!is_first, "the first one");
    announce_and_wait(file, end);
}

/// Starts a grandchild that would live on, says both pids in a file, and never ends.
#[skep::task]
pub fn announce_grandchild_and_hang(file: PathBuf) {
    let child = std::process::Command::new("sleep").arg("1000").spawn().map(|c| c.id()).unwrap_or(0);
    append(&file, &format!("{}\n{child}", std::process::id()));
    loop {
        std::thread::park();
    }
}

/// Dies until it has been started `survives` times, as `file` tells.
#[skep::task(retry)]
pub fn die_at_first(file: PathBuf, survives: u32) -> u32 {
    append(&file, "x");
    let starts = std::fs::read_to_string(&file).map_or(0, |text| text.lines().count() as u32);
    if starts < survives {
        std::process::abort();
    }
    starts
}

/// Quick enough that a kill mostly hits the code around it.
#[skep::task(retry = 200)]
pub fn square_quickly(n: u64) -> u64 {
    n * n
}

/// Slow enough to be caught in the middle.
#[skep::task(retry = 200)]
pub fn square_slowly(n: u64) -> u64 {
    std::thread::sleep(Duration::from_millis(1));
    n * n
}

#[skep::task]
pub fn nap(millis: u64) {
    std::thread::sleep(Duration::from_millis(millis));
}

#[skep::task]
pub fn say(text: String) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

fn append(file: &PathBuf, line: &str) {
    let mut file = OpenOptions::new().create(true).append(true).open(file).expect("the test's own directory");
    // In one write, so that lines of two workers do not mix.
    file.write_all(format!("{line}\n").as_bytes()).expect("the test's own file");
}

/// Cannot be encoded, or cannot be decoded, as it says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Stubborn {
    In,
    Out,
    Neither,
}

impl Serialize for Stubborn {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Stubborn::In => Err(serde::ser::Error::custom("it does not want in")),
            Stubborn::Out => to.serialize_u8(1),
            Stubborn::Neither => to.serialize_u8(0),
        }
    }
}

impl<'de> Deserialize<'de> for Stubborn {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        match u8::deserialize(from)? {
            0 => Ok(Stubborn::Neither),
            _ => Err(serde::de::Error::custom("it does not want out")),
        }
    }
}

#[skep::task]
pub fn take(_: Stubborn) {}

/// 0: `In`, 1: `Out`, else `Neither`.
#[skep::task]
pub fn give(which: u8) -> Stubborn {
    match which {
        0 => Stubborn::In,
        1 => Stubborn::Out,
        _ => Stubborn::Neither,
    }
}

/// A worker may have workers of its own.
#[skep::task]
pub fn square_in_a_pool(n: u64) -> u64 {
    let pool = skep::Pool::builder().workers(1).build().expect("a pool in a worker");
    pool.apply(square, n).expect("a task in a task")
}

/// As daemons and sandboxes do.
#[skep::task]
pub fn close_all_descriptors() {
    // SAFETY: closes descriptors that others own, which is what its laws are about.
    unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0) };
}

/// The same at one number; gives a hundred bytes.
#[skep::task]
pub fn close_all_descriptors_at(n: u64, at: u64) -> Vec<u8> {
    if n == at {
        close_all_descriptors();
    }
    vec![n as u8; 100]
}

/// The same; and nobody shows this process a way to others' files any more.
#[skep::task]
pub fn close_all_descriptors_and_hide() {
    // SAFETY: changes what this process alone sees.
    unsafe {
        libc::unshare(libc::CLONE_NEWNS);
        libc::mount(
            c"none".as_ptr(),
            c"/".as_ptr(),
            std::ptr::null(),
            libc::MS_REC | libc::MS_PRIVATE,
            std::ptr::null(),
        );
        libc::mount(c"tmpfs".as_ptr(), c"/proc".as_ptr(), c"tmpfs".as_ptr(), 0, std::ptr::null());
    }
    close_all_descriptors();
}

/// Closes all, and opens files of its own under their numbers, which stay open. How many.
#[skep::task]
pub fn reuse_all_descriptors(directory: PathBuf) -> u32 {
    close_all_descriptors();
    for n in 0..40_u32 {
        let mut file = std::fs::File::create(directory.join(n.to_string())).unwrap();
        write!(file, "{n}").unwrap();
        std::mem::forget(file);
    }
    40
}

#[skep::task]
pub fn small_square(n: u8) -> u8 {
    n.wrapping_mul(n)
}
