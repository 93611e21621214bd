//! Programs that close descriptors which they do not own: all from 3 on, as daemons and sandboxes do, or one twice. Whoever lives is alive
//! nevertheless, and dead when it is dead.

use crate::common::{Other, Unlink, end_after, fresh_name};
use crate::pids::until_zombie;
use crate::scene::{HANG, Part as Held, Scene, hold, take_part, wait};
use skep::{
    Arena, ArenaOptions, Barrier, Condvar, Event, GetError, Mutex, Part, PartOptions, QueueOptions, RwLock,
    Semaphore, SemaphoreSetup, SimpleQueue, WaitError, shared_struct,
};
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

/// Closes every descriptor from 3 on.
fn close_all() {
    // SAFETY: closes descriptors that others own, which is what these laws are about.
    assert_eq!(unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0) }, 0);
}

/// A file of this process's own at each free number from 3 on, up to what was used before.
fn take_the_numbers() -> Vec<File> {
    let fresh = || tempfile::tempfile().unwrap();
    let mut files = vec![fresh()];
    while files.last().unwrap().as_raw_fd() < 32 {
        files.push(fresh());
    }
    for (n, file) in files.iter_mut().enumerate() {
        write!(file, "{n}").unwrap();
    }
    files
}

/// None of them was closed, moved, locked or written to.
fn assert_untouched(mut files: Vec<File>) {
    for (n, file) in files.iter_mut().enumerate() {
        let mut text = String::new();
        assert_eq!(file.stream_position().unwrap(), n.to_string().len() as u64);
        file.rewind().unwrap();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, n.to_string());
        assert_unlocked(file);
    }
}

fn assert_unlocked(file: &File) {
    let name = format!("/proc/self/fdinfo/{}", file.as_raw_fd());
    assert!(!std::fs::read_to_string(name).unwrap().contains("lock:"), "a lock on a stranger's file");
}

pub fn hold_and_close(name: &str) -> ! {
    let part = hold(name);
    close_all();
    report_and_wait(part)
}

fn report_and_wait(mut part: Held) -> ! {
    part.queue.put(std::process::id().into()).unwrap();
    wait()
}

#[test]
fn a_process_that_has_closed_all_descriptors_is_alive_until_it_is_killed() {
    let mut scene = Scene::new("closed");
    let other = scene.start("hold, and close all descriptors");
    for _ in 0..3 {
        scene.assert_alive();
    }
    assert!(
        skep::Pipe::open(&format!("{}-pipe", scene.name)).unwrap().sender().is_err(),
        "its role is taken"
    );
    let others: Vec<_> = (0..2).map(|_| scene.queue.try_clone().unwrap()).collect();
    assert!(scene.queue.try_clone().is_err(), "its place is taken");
    drop(others);
    other.signal(libc::SIGSTOP);
    scene.assert_alive();
    other.kill();
    scene.assert_dead();
}

/// Its numbers are other files' now, which stay as they are, whatever the handles do.
pub fn close_and_reuse(name: &str) {
    let part = hold(name);
    close_all();
    let files = take_the_numbers();
    let mut queue = part.queue.try_clone().unwrap();
    queue.recover().unwrap();
    files.iter().for_each(assert_unlocked);
    queue.put(std::process::id().into()).unwrap();
    while !queue.is_empty() {
        std::thread::yield_now();
    }
    queue.get_timeout(Duration::from_millis(300)).unwrap_err(); // long enough for a look
    drop((part, queue));
    assert_untouched(files);
}

#[test]
fn a_number_that_is_another_files_now_is_left_alone() {
    let mut scene = Scene::new("reused");
    let other = scene.start("close all descriptors, and open others");
    scene.assert_alive();
    other.finish();
    assert_eq!(scene.queue.recover().unwrap(), 0, "it has left");
    drop(skep::Pipe::open(&format!("{}-pipe", scene.name)).unwrap().sender().expect("it has left"));
}

/// The number leads to the same file, through a description that another process has as well.
pub fn close_one_and_pass_on(name: &str) {
    let mut part = hold(name);
    let before = part.queue.as_fd().as_raw_fd();
    let file = (0..64).find(|&fd| fd > before && is_same_file(fd, before)).expect("its lock's descriptor");
    // SAFETY: as above.
    unsafe { libc::close(file) };
    // Duplicates share a description, and locks on one do not exclude each other.
    let copy = part.queue.as_fd().try_clone_to_owned().unwrap();
    assert_eq!(copy.as_raw_fd(), file);
    // Whoever kills this process kills it too.
    #[allow(clippy::zombie_processes)]
    let child = Command::new("sleep").arg("1000").stdin(copy.try_clone().unwrap()).spawn().unwrap();
    std::mem::forget(part.queue.try_clone().unwrap());
    part.queue.put(child.id().into()).unwrap();
    std::mem::forget(copy);
    wait()
}

fn is_same_file(one: i32, other: i32) -> bool {
    let id = |fd| {
        use std::os::unix::fs::MetadataExt;
        let facts = std::fs::metadata(format!("/proc/self/fd/{fd}")).ok()?;
        Some((facts.dev(), facts.ino()))
    };
    id(one).is_some() && id(one) == id(other)
}

#[test]
fn a_duplicate_under_the_number_of_a_closed_lock_keeps_nobody_alive() {
    let mut scene = Scene::new("duplicate");
    let other = scene.start_unheard("close one descriptor, and pass another on");
    let child = scene.report() as i32;
    scene.assert_alive_in_queue_and_pipe();
    other.kill();
    assert_eq!(scene.queue.recover().unwrap(), 2, "the child has no part in it");
    // SAFETY: the child of one that is dead.
    unsafe { libc::kill(child, libc::SIGKILL) };
}

pub fn close_without_first_thread(name: &str) -> ! {
    let name = name.to_owned();
    // SAFETY: a fork; the child runs what follows, and the parent waits for it.
    unsafe {
        let child = libc::fork();
        if child > 0 {
            libc::waitpid(child, std::ptr::null_mut(), 0);
            std::process::exit(0);
        }
    }
    std::thread::spawn(move || {
        // SAFETY: asks for this process's number.
        until_zombie(unsafe { libc::getpid() });
        hold_and_close(&name)
    });
    loop {
        // SAFETY: ends this thread alone, whose stack the others do not use.
        unsafe { libc::syscall(libc::SYS_exit, 0) };
    }
}

#[test]
fn a_process_without_its_first_thread_and_its_descriptors_is_alive() {
    let mut scene = Scene::new("closed-first-thread");
    let other = scene.start_unheard("close all descriptors without the first thread");
    let pid = scene.report() as i32;
    scene.assert_alive();
    // SAFETY: the child of a child of ours.
    unsafe { libc::kill(pid, libc::SIGKILL) };
    other.finish();
    scene.assert_dead();
}

/// What it was is dead, though pid and start are the same, and the new program has the same file mapped.
#[test]
fn a_process_that_executes_a_program_with_the_same_objects_is_dead_as_what_it_was() {
    let mut scene = Scene::new("exec-again");
    let other = scene.start_unheard("hold, and execute itself");
    assert_eq!(scene.report(), other.pid() as u64);
    assert_eq!(scene.queue.recover().unwrap(), 1, "what it was counts as alive");
    assert!(!scene.receiver.is_connected(), "its role was the old program's");
    assert_eq!(scene.queue.recover().unwrap(), 0, "what it is counts as dead");
    other.kill();
    assert_eq!(scene.queue.recover().unwrap(), 1);
}

pub fn hold_and_execute_itself(name: &str) -> ! {
    let _part = take_part(name);
    let mut again = Command::new(std::env::current_exe().unwrap());
    again.args(["--exact", "the_other_process", "--nocapture", "--test-threads=1"]);
    panic!("{}", again.env("SKEP_TEST_ROLE", "open queue and pipe").exec());
}

pub fn open_queue_and_pipe(name: &str) -> ! {
    let _pipe = skep::Pipe::open(&format!("{name}-pipe")).unwrap();
    let mut queue = SimpleQueue::<u64>::open(&format!("{name}-queue")).unwrap();
    queue.put(std::process::id().into()).unwrap();
    wait()
}

// --- those who lost their descriptors see others' deaths -----------------------------------------------------------

/// An anonymous object's file has no name: who has lost it finds it with another participant, or in the mapping itself.
#[test]
fn who_has_closed_its_descriptors_notices_a_death() {
    end_after(3 * HANG);
    let queue = QueueOptions::new(16).peers(4).anonymous::<u64>().unwrap();
    let blind =
        Other::start_with_fd("close all descriptors, and wait for a dead one's item", "", queue.as_fd());
    blind.finish();
    drop(queue);
}

pub fn close_and_wait_for_the_dead(fd: OwnedFd) {
    let mut queue = SimpleQueue::<u64>::from_fd(fd).unwrap();
    let dead = Other::start_with_fd("hold an item", "", queue.as_fd());
    queue.put(7).unwrap();
    while !queue.is_empty() {
        std::thread::yield_now();
    }
    close_all();
    assert_eq!(queue.get_timeout(Duration::from_millis(500)), Err(GetError::Empty), "it lives");
    dead.kill();
    assert_eq!(queue.get_timeout(HANG), Ok(7));
    assert_eq!(queue.recover().unwrap(), 0);
}

pub fn hold_an_item(fd: OwnedFd) -> ! {
    let queue = SimpleQueue::<u64>::from_fd(fd).unwrap();
    std::mem::forget(queue.lease());
    wait()
}

// --- everything else -----------------------------------------------------------------------------------------------

shared_struct! {
    /// One of each.
    struct Board {
        table: RwLock<u64>,
        slots: Semaphore,
        gate: Barrier,
        lock: Mutex<u64>,
        changed: Condvar,
        told: Event,
    }
}

fn board_setup() -> <Board as Part>::Setup {
    (0, SemaphoreSetup::counting(2), 2, 0, (), ())
}

pub fn hold_the_board_and_close(name: &str) -> ! {
    let board = Board::open(name).unwrap();
    let waiting = board.try_clone().unwrap();
    let (reader, permit) = (board.table.read(), board.slots.acquire().unwrap());
    close_all();
    std::thread::spawn(move || {
        let guard = waiting.lock.lock().unwrap();
        waiting.told.set().unwrap(); // it holds the mutex, and lets go of it when it waits
        let _guard = waiting.changed.wait(guard);
        wait()
    });
    let _ = board.gate.wait();
    drop((reader, permit));
    wait()
}

#[test]
fn who_has_closed_its_descriptors_keeps_what_it_holds_of_each_lock_until_it_dies() {
    end_after(3 * HANG);
    let name = fresh_name("board");
    let _unlink = Unlink(name.clone());
    let board = PartOptions::new().peers(3).create::<Board>(&name, board_setup()).unwrap();
    let other = Other::start("hold the board, and close all descriptors", &name);
    board.told.wait_timeout(HANG).unwrap();
    drop(board.lock.lock().unwrap()); // it waits for the condition now
    for _ in 0..3 {
        assert_eq!(board.recover().unwrap(), 0, "a living participant is taken for dead");
        assert!(board.table.write_timeout(Duration::from_millis(250)).is_err(), "it reads");
        assert_eq!(
            board.slots.acquire_many_timeout(2, Duration::from_millis(250)).err(),
            Some(WaitError::Timeout)
        );
    }
    assert!(board.try_clone().is_err(), "its places are taken");
    other.kill();
    assert!(board.table.write_timeout(HANG).is_ok());
    assert!(board.slots.acquire_many_timeout(2, HANG).is_ok());
    assert_eq!(board.changed.notify_all().unwrap(), 0, "the dead do not wait");
    assert!(board.try_clone().is_ok(), "its places are free");
}

pub fn hold_blocks_and_close(name: &str) -> ! {
    let arena = Arena::open(name).unwrap();
    let block = arena.boxed([7_u64; 100]).unwrap();
    close_all();
    let files = take_the_numbers();
    // A stretch that is not committed yet: through the file, not through what has its number now.
    let more: Vec<_> = (0..4).map(|_| arena.slice_with(1 << 15, |n| n as u64).unwrap()).collect();
    assert_untouched(files);
    let mut queue = SimpleQueue::<u64>::open(&format!("{name}-queue")).unwrap();
    queue.put(1).unwrap();
    std::mem::forget((block, more));
    wait()
}

#[test]
fn who_has_closed_its_descriptors_keeps_its_blocks_and_has_an_arena_grow() {
    end_after(3 * HANG);
    let name = fresh_name("blocks");
    let queue_name = format!("{name}-queue");
    let _unlink = [Unlink(name.clone()), Unlink(queue_name.clone())];
    let mut queue = SimpleQueue::<u64>::create(&queue_name, 4).unwrap();
    let arena = ArenaOptions::new(1 << 18).limit(1 << 22).create(&name).unwrap();
    let free = arena.free_bytes();
    let other = Other::start("hold blocks, and close all descriptors", &name);
    assert_eq!(queue.get_timeout(HANG), Ok(1));
    assert_eq!(arena.recover().unwrap(), 0, "a living owner is taken for dead");
    other.kill();
    assert_eq!(arena.recover().unwrap(), 1);
    assert!(arena.free_bytes() > free, "all of it, and what has grown");
}
