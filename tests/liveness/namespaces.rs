//! Other namespaces: processes whose pids mean nothing here, and processes without `/proc`.

use crate::common::Other;
use crate::scene::{HANG, Scene, open_mutex};
use skep::{Error, Mismatch, Mutex, Pipe, SimpleQueue};
use std::ffi::CStr;
use std::io;

/// What a namespace needs and this machine may not grant.
fn permitted(what: &str, code: i32) -> bool {
    let error = io::Error::last_os_error();
    match (code, error.raw_os_error()) {
        (0, _) => true,
        (_, Some(libc::EPERM)) => {
            eprintln!("SKIPPED: this process may not {what}");
            false
        }
        _ => panic!("{what}: {error}"),
    }
}

/// Gives this thread, and the processes that it starts, mounts of their own; whether that is permitted.
fn unshare_mounts() -> bool {
    // SAFETY: changes what this thread alone sees.
    permitted("have mounts of its own", unsafe { libc::unshare(libc::CLONE_NEWNS) })
        && mount(c"none", c"/", c"none", libc::MS_REC | libc::MS_PRIVATE)
}

fn mount(source: &CStr, target: &CStr, kind: &CStr, flags: libc::c_ulong) -> bool {
    // SAFETY: the strings end with NUL; the mounts are this thread's own.
    let code =
        unsafe { libc::mount(source.as_ptr(), target.as_ptr(), kind.as_ptr(), flags, std::ptr::null()) };
    permitted("mount", code)
}

/// A `/dev/shm` for this thread and the processes that it starts, where nobody else makes or removes files.
pub struct PrivateShm {
    is_private: bool,
}

impl PrivateShm {
    /// If that is not permitted, nothing can be said of what is used.
    pub fn enter() -> PrivateShm {
        PrivateShm { is_private: unshare_mounts() && mount(c"tmpfs", c"/dev/shm", c"tmpfs", 0) }
    }

    /// Files and blocks, those without a name too.
    pub fn used(&self) -> Option<(u64, u64)> {
        // SAFETY: zeroes are valid, and the call fills them.
        let mut facts: libc::statvfs = unsafe { std::mem::zeroed() };
        // SAFETY: as above.
        assert_eq!(unsafe { libc::statvfs(c"/dev/shm".as_ptr(), &raw mut facts) }, 0);
        self.is_private.then(|| (facts.f_files - facts.f_ffree, facts.f_blocks - facts.f_bfree))
    }
}

impl PrivateShm {
    /// Waits until so much is used again. A process that another test is just forking off has this one's files for a moment.
    pub fn settles_at(&self, used: Option<(u64, u64)>, leaked: &str) {
        let end = std::time::Instant::now() + HANG;
        while self.used() != used {
            assert!(std::time::Instant::now() < end, "{leaked}: {:?} and not {used:?}", self.used());
            std::thread::yield_now();
        }
    }
}

/// Starts a process in a role as the first one of a pid namespace of its own, if that is permitted.
fn start_in_another_pid_namespace(role: &str, name: &str) -> Option<Other> {
    let start = || {
        // SAFETY: changes where this thread's children are, and nothing else.
        let code = unsafe { libc::unshare(libc::CLONE_NEWPID) };
        permitted("make a pid namespace", code).then(|| Other::start(role, name))
    };
    std::thread::scope(|threads| threads.spawn(start).join().unwrap())
}

#[test]
fn a_process_of_another_pid_namespace_is_alive_until_it_is_dead() {
    let mut scene = Scene::new("pid-namespace");
    let Some(other) = start_in_another_pid_namespace("hold queue and pipe", &scene.name) else { return };
    assert_eq!(scene.report(), 1, "its pid there");
    scene.assert_alive_in_queue_and_pipe();
    other.kill();
    scene.assert_dead_in_queue_and_pipe();
}

/// There this process is one of another namespace.
#[test]
fn a_mutex_is_refused_in_another_pid_namespace() {
    let mut scene = Scene::new("mutex-namespace");
    let role = "open in another pid namespace";
    let Some(other) = start_in_another_pid_namespace(role, &scene.name) else { return };
    other.finish();
    assert!(scene.mutex.try_lock().is_ok());
    let here = scene.start("hold");
    scene.assert_alive();
    here.kill();
}

pub fn open_elsewhere(name: &str) {
    let refused = open_mutex(name);
    assert!(matches!(refused, Err(Error::Mismatch(Mismatch::PidNamespace { .. }))), "{refused:?}");
    let own = Mutex::new(5_u64).unwrap();
    assert_eq!(*own.lock().unwrap(), 5);
}

#[test]
fn without_proc_the_error_says_what_to_do_and_what_was_attached_works_on() {
    let mut scene = Scene::new("no-proc");
    let other = scene.start_unheard("live without /proc");
    other.finish();
    assert_ne!(scene.report(), 0);
}

pub fn live_without_proc(name: &str) {
    let mut part = crate::scene::take_part(name);
    if unshare_mounts() && mount(c"tmpfs", c"/proc", c"tmpfs", 0) {
        let fresh = format!("{name}-without-proc");
        let errors = [
            SimpleQueue::<u64>::new(4).err(),
            SimpleQueue::<u64>::create(&fresh, 4).err(),
            SimpleQueue::<u64>::open(&format!("{name}-queue")).err(),
            Pipe::new(10).err(),
            Mutex::new(1_u64).err(),
        ];
        for error in errors {
            let told = error.unwrap().to_string();
            assert!(told.contains("mount") && told.contains("/proc"), "{told}");
        }
        assert!(matches!(SimpleQueue::<u64>::open(&fresh), Err(Error::NotFound { .. })), "half born");
    }
    part.queue.put(1).unwrap();
}
