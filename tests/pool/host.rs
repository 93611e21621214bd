//! What a pool does to its host program, and what the host may do to it.

use crate::host_programs::*;
use crate::support::{is_dead, kill, numbers_in, pool, printed, program, this_program, until, zygote_of};
use crate::tasks::{announce_and_wait, exit_with, square, square_quickly};
use skep::{Cause, Pool, Start, TaskError};
use std::fs;
use std::io::Read;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

crate::laws!(
    two_tasks_of_one_name_are_two_tasks,
    tasks_that_nobody_can_tell_apart_cost_only_themselves,
    workers_share_nothing_random_counted_or_cached,
    a_worker_is_one_thread_and_is_named,
    a_worker_outlives_the_thread_that_has_forked_it,
    a_task_has_the_stack_of_a_main_thread,
    a_workers_arguments_are_the_programs,
    no_thread_of_a_pool_takes_a_signal_of_the_program,
    what_is_sent_to_the_whole_program_is_for_the_parent,
    what_is_sent_before_a_process_has_begun_is_for_the_parent_too,
    what_a_task_starts_hears_signals_as_usual,
    a_task_that_asks_the_terminal_is_refused_and_not_stopped,
    workers_keep_the_descriptors_of_the_programs_start_and_no_later_ones,
    workers_are_what_the_program_was_when_it_made_the_pool,
    a_program_that_becomes_another_user_keeps_its_workers_and_gets_no_other_zygote,
    a_program_in_another_root_keeps_its_workers,
    a_program_that_takes_in_orphans_keeps_no_dead_ones,
    the_first_process_of_a_container_keeps_no_dead_ones,
    a_program_that_executes_itself_leaves_nothing,
    a_program_that_becomes_a_daemon_has_a_pool,
    a_program_with_rights_of_its_file_has_no_worker_entry,
    threads_that_are_there_before_init_are_named,
    workers_may_be_executed_where_threads_are_there_before_init,
    executed_workers_die_and_are_replaced_as_forked_ones,
    executed_workers_are_told_apart_and_see_no_other_things_than_forked_ones,
    a_program_that_ignores_its_childrens_ends_has_a_pool,
    a_program_that_reaps_everything_has_a_pool,
    an_allocator_that_knows_nothing_of_fork_is_no_harm,
);

/// Says that a law cannot be tried here.
fn skip(why: &str) {
    eprintln!("skipped: {why}");
}

fn is_root() -> bool {
    // SAFETY: reads a number.
    unsafe { libc::geteuid() == 0 }
}

fn role(role: &str) -> Command {
    program(&this_program(), role, &[])
}

fn two_tasks_of_one_name_are_two_tasks() {
    let pool = pool(1);
    assert_eq!(one().name(), two().name());
    assert_eq!((pool.apply(one(), ()), pool.apply(two(), ())), (Ok(1), Ok(2)));
}

fn tasks_that_nobody_can_tell_apart_cost_only_themselves() {
    let pool = pool(1);
    for twin in [first_twin(), second_twin()] {
        let error = pool.apply(twin, ()).unwrap_err().to_string();
        assert!(error.contains("two tasks") && error.contains("host_programs.rs"), "{error}");
    }
    assert_eq!(pool.apply(one(), ()), Ok(1));
}

fn workers_share_nothing_random_counted_or_cached() {
    let said = printed(role("fresh"));
    let mut lines: Vec<&str> = said.lines().collect();
    let last = lines.pop();
    assert_eq!(last, Some("said by a constructor"), "once, by the program: {said}");
    assert_eq!(lines.len(), 4);
    let [keys, counts] =
        [0, 1].map(|n| -> Vec<&str> { lines.iter().map(|line| line.split(' ').nth(n).unwrap()).collect() });
    assert_eq!(counts, ["0"; 4], "thread-local values begin anew");
    let all: std::collections::BTreeSet<&str> = keys.iter().copied().collect();
    assert_eq!(all.len(), 4, "{keys:?}");
}

fn a_worker_is_one_thread_and_is_named() {
    let pool = pool(1);
    assert_eq!(pool.apply(threads, ()), Ok((1, true)));
    let worker = pool.stats().worker_pids[0];
    let name = |pid| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap();
    assert_eq!((&*name(worker), &*name(zygote_of(&pool))), ("skep-worker-1\n", "skep-zygote\n"));
    let title = |pid| fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
    let (this, program) = (std::process::id(), this_program());
    let program = program.file_name().unwrap().to_str().unwrap();
    if !title(worker).contains(": worker") {
        return skip("this kernel cannot be told where a process's arguments lie");
    }
    assert_eq!(title(worker), format!("{program}: worker 1 of {this}\0"));
    assert_eq!(title(zygote_of(&pool)), format!("{program}: zygote of {this}\0"));
}

/// The kernel takes that thread's end for the parent's death, for those that it has forked and that
/// have asked to die with it.
fn a_worker_outlives_the_thread_that_has_forked_it() {
    assert_eq!(printed(role("slow-forks")), "49");
}

fn a_task_has_the_stack_of_a_main_thread() {
    let pool = pool(1);
    let kib = pool.apply(stack_limit_in_kib, ()).unwrap();
    if kib < 8192 {
        return skip("the limit of stacks is low here");
    }
    assert_eq!(pool.apply(recurse, 2500), Ok(2500));
    let Err(TaskError::WorkerDied { cause, .. }) = pool.apply(recurse, u32::MAX) else { panic!("it lives") };
    assert_eq!(cause, Cause::Signal(libc::SIGABRT), "the overflow is noticed");
}

fn a_workers_arguments_are_the_programs() {
    let ours: Vec<String> = std::env::args().collect();
    assert_eq!(pool(1).apply(arguments, ()), Ok(ours));
}

fn no_thread_of_a_pool_takes_a_signal_of_the_program() {
    assert_eq!(printed(role("sigwait")), format!("{}", libc::SIGUSR1));
}

fn what_is_sent_to_the_whole_program_is_for_the_parent() {
    let directory = tempfile::tempdir().unwrap();
    let [runs, end] = ["runs", "end"].map(|name| directory.path().join(name));
    let pool = pool(1);
    let task = pool.apply_async(announce_and_wait, (runs.clone(), end.clone()));
    numbers_in(&runs, 1);
    for pid in [pool.stats().worker_pids[0], zygote_of(&pool)] {
        for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGQUIT, libc::SIGHUP, libc::SIGUSR1, libc::SIGUSR2]
        {
            kill(pid, signal);
        }
    }
    // A signal that is sent is handled before the process runs on, so also before it sees the file.
    fs::write(end, "").unwrap();
    assert_eq!(task.get(), Ok(()));
    assert_eq!(pool.apply(one(), ()), Ok(1));
    assert_eq!(pool.stats().workers_lost, 0);
}

fn what_is_sent_before_a_process_has_begun_is_for_the_parent_too() {
    assert_eq!(printed(role("told-too-early")), "49");
}

fn what_a_task_starts_hears_signals_as_usual() {
    let pool = pool(1);
    assert_eq!(pool.apply(signal_of_a_program, ()), Ok(Some(libc::SIGTERM)));
    assert_eq!(pool.apply(signal_of_a_fork, ()), Ok(Some(libc::SIGTERM)));
}

/// The two ends of a new terminal.
fn terminal() -> Option<[OwnedFd; 2]> {
    let (mut master, mut slave) = (-1, -1);
    let null = std::ptr::null_mut();
    // SAFETY: the first two are valid places, and the others may be null.
    let made = unsafe { libc::openpty(&mut master, &mut slave, null, null.cast(), null.cast()) } == 0;
    // SAFETY: they are open, and nobody else's.
    made.then(|| [master, slave].map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }))
}

fn a_task_that_asks_the_terminal_is_refused_and_not_stopped() {
    let Some([master, slave]) = terminal() else { return skip("there are no terminals here") };
    let mut program = role("terminal");
    program.stdin(slave.try_clone().unwrap()).stderr(slave.try_clone().unwrap()).stdout(Stdio::piped());
    // SAFETY: both are plain system calls.
    unsafe {
        program.pre_exec(|| {
            libc::setsid();
            libc::ioctl(0, libc::TIOCSCTTY, 0);
            Ok(())
        })
    };
    let mut child = program.spawn().unwrap();
    drop((program, slave));
    let mut said = String::new();
    child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    child.wait().unwrap();
    drop(master);
    assert_eq!(said, "refused, read: refused, set: done\n");
}

fn workers_keep_the_descriptors_of_the_programs_start_and_no_later_ones() {
    let mut shell = Command::new("sh");
    shell.args(["-c", "exec 7</dev/zero; exec \"$0\" as:descriptors"]).arg(this_program());
    assert_eq!(printed(shell), "start: kept, constructor's: kept, later: closed");
}

fn workers_are_what_the_program_was_when_it_made_the_pool() {
    let directory = tempfile::tempdir().unwrap();
    let mut program = role("moves");
    program.current_dir(&directory);
    assert_eq!(printed(program), "said by a task\nsaid by a task\nthe same");
}

fn a_program_that_becomes_another_user_keeps_its_workers_and_gets_no_other_zygote() {
    if !is_root() {
        return skip("only root can become another user");
    }
    let said = printed(role("setuid"));
    let (workers, rest) = said.split_once('\n').unwrap();
    assert!(rest.contains("make the pool after the change") && rest.contains("user 65534"), "{rest}");
    assert!(rest.starts_with("0 0 "), "tasks go on as the user that has made the pool: {rest}");
    assert!(workers.split(' ').all(|pid| is_dead(pid.parse().unwrap())), "{workers}");
}

fn a_program_in_another_root_keeps_its_workers() {
    if !is_root() {
        return skip("only root can change its root");
    }
    let directory = tempfile::tempdir().unwrap();
    let said = printed(program(&this_program(), "chroot", &[directory.path()]));
    assert!(said.starts_with("49 49 ") && said.contains("/proc/self/exe"), "{said}");
}

fn a_program_that_takes_in_orphans_keeps_no_dead_ones() {
    assert_eq!(printed(role("subreaper")), "0 children");
}

fn the_first_process_of_a_container_keeps_no_dead_ones() {
    let container = ["--pid", "--fork", "--mount-proc", "--"];
    let can = Command::new("unshare").args(container).arg("true").stderr(Stdio::null()).status();
    if !can.is_ok_and(|status| status.success()) {
        return skip("there are no process namespaces here");
    }
    let mut shell = Command::new("unshare");
    shell.args(container).arg(this_program()).arg("as:first-process");
    assert_eq!(printed(shell), "0 children");
}

fn a_program_that_executes_itself_leaves_nothing() {
    assert_eq!(printed(role("executes-itself")), "0 children");
}

fn a_program_that_becomes_a_daemon_has_a_pool() {
    assert_eq!(printed(role("daemon")), "49");
}

fn a_program_with_rights_of_its_file_has_no_worker_entry() {
    if !is_root() {
        return skip("only root can give a file its rights");
    }
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let path = directory.path().join("program");
    fs::copy(this_program(), &path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o4755)).unwrap();
    let as_nobody = |role| {
        let mut program = program(&path, role, &[]);
        program.uid(65534).gid(65534).current_dir("/");
        program
    };
    if printed(as_nobody("is-privileged")) != "true" {
        return skip("files have no rights of their own on this file system");
    }
    let said = printed(as_nobody("error"));
    assert!(said.contains("rights of its file"), "{said}");
    for marker in ["", "fork ", "execute ", "worker "] {
        let (ours, theirs) = socket_pair();
        let mut program = as_nobody("square");
        program.env("SKEP_ZYGOTE", marker).stdin(theirs);
        let output = program.output().unwrap();
        assert_eq!((output.status.code(), &*output.stdout), (Some(77), &b""[..]));
        drop(program); // and with it the other end
        assert_eq!(heard(&ours), 0, "it has said something");
    }
}

fn threads_that_are_there_before_init_are_named() {
    let said = printed(role("threads-in-zygote"));
    assert!(said.contains("(c-library)") && said.contains("#[tokio::main]"), "{said}");
}

fn workers_may_be_executed_where_threads_are_there_before_init() {
    assert_eq!(printed(role("executed-workers")), "Exited(3), 49, 0 children");
}

fn executed_workers_die_and_are_replaced_as_forked_ones() {
    let pool = Pool::builder().workers(2).start_by(Start::Execute).build().unwrap();
    let before = pool.stats().worker_pids;
    for _ in 0..3 {
        assert!(pool.apply(exit_with, 1).is_err());
    }
    assert_eq!(pool.map(square, 0..100).unwrap()[99], 99 * 99);
    kill(zygote_of(&pool), libc::SIGKILL);
    until("the first ones are gone", || before.iter().copied().all(is_dead));
    assert_eq!(pool.apply(square_quickly, 7), Ok(49));
    pool.close();
    pool.join().unwrap();
}

fn executed_workers_are_told_apart_and_see_no_other_things_than_forked_ones() {
    let executed = Pool::builder().workers(1).start_by(Start::Execute).build().unwrap();
    let forked = pool(1);
    assert_eq!(executed.apply(arguments, ()), forked.apply(arguments, ()));
    assert_eq!(executed.apply(surroundings, ()), forked.apply(surroundings, ()));
    let name =
        |pool: &Pool| fs::read_to_string(format!("/proc/{}/comm", pool.stats().worker_pids[0])).unwrap();
    assert_eq!(name(&executed), name(&forked));
    assert_ne!(executed.apply(keys_and_count, ()), forked.apply(keys_and_count, ()));
}

fn a_program_that_ignores_its_childrens_ends_has_a_pool() {
    assert_eq!(printed(role("ignores-children")), "Exited(3), 49, 0 children");
}

fn a_program_that_reaps_everything_has_a_pool() {
    assert_eq!(printed(role("reaps-everything")), "Exited(3), 49, 0 children");
}

/// It takes one lock for all, which a fork beside another thread that allocates would copy as held.
const ALLOCATOR: &str = r#"
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
static atomic_flag lock = ATOMIC_FLAG_INIT;
static char *at, *end;
void *aligned_alloc(size_t to, size_t bytes) {
  while (atomic_flag_test_and_set(&lock)) {}
  if (to < 16) to = 16;
  char *block = (char *)(((size_t)at + 16 + to - 1) & ~(to - 1));
  if (!at || block + bytes > end) {
    size_t room = bytes + to + (64 << 20);
    at = mmap(0, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    end = at + room;
    block = (char *)(((size_t)at + 16 + to - 1) & ~(to - 1));
  }
  at = block + bytes;
  ((size_t *)block)[-1] = bytes;
  atomic_flag_clear(&lock);
  return block;
}
void *malloc(size_t bytes) { return aligned_alloc(16, bytes); }
void *memalign(size_t to, size_t bytes) { return aligned_alloc(to, bytes); }
int posix_memalign(void **block, size_t to, size_t bytes) { *block = aligned_alloc(to, bytes); return 0; }
void *calloc(size_t n, size_t bytes) { return memset(malloc(n * bytes), 0, n * bytes); }
void free(void *block) {}
void *realloc(void *block, size_t bytes) {
  void *larger = malloc(bytes);
  if (block) {
    size_t had = ((size_t *)block)[-1];
    memcpy(larger, block, had < bytes ? had : bytes);
  }
  return larger;
}
"#;

fn an_allocator_that_knows_nothing_of_fork_is_no_harm() {
    let directory = tempfile::tempdir().unwrap();
    let [source, library] = ["a.c", "a.so"].map(|name| directory.path().join(name));
    fs::write(&source, ALLOCATOR).unwrap();
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-O1", "-o"]).args([&library, &source]);
    if !compiler.status().is_ok_and(|status| status.success()) {
        return skip("there is no C compiler here");
    }
    let run = |path: &Path| {
        let mut program = role("many-workers");
        program.env("LD_PRELOAD", path);
        printed(program)
    };
    assert_eq!(run(&library), "49");
}

fn heard(socket: &OwnedFd) -> isize {
    let mut buffer = [0_u8; 64];
    // SAFETY: the buffer has that many bytes.
    unsafe { libc::recv(socket.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) }
}

fn socket_pair() -> (OwnedFd, OwnedFd) {
    let mut pair = [-1; 2];
    // SAFETY: the place holds two; they are nobody else's afterwards.
    let [ours, theirs] = unsafe {
        let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC;
        assert_eq!(libc::socketpair(libc::AF_UNIX, kind, 0, pair.as_mut_ptr()), 0);
        pair.map(|fd| OwnedFd::from_raw_fd(fd))
    };
    (ours, theirs)
}
