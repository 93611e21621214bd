//! Memory is an error where it is short, and never a signal: in control groups, under `ulimit`, in a full
//! `/dev/shm`.

mod common;

use common::{Unlink, end_after, fresh_name, in_forked_child};
use skep::{
    AllocError, Arena, ArenaOptions, Error, Pipe, Pool, Queue, SendValueError, Shortage, SimpleQueue,
    TaskError,
};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

const MIB: u64 = 1 << 20;

// --- control groups ----------------------------------------------------------------------------------------------

/// A control group with a limit, and one without inside of it.
struct Groups {
    outer: PathBuf,
    inner: PathBuf,
}

impl Groups {
    /// Makes them below this process's own group, if this machine lets it.
    fn new(limit: u64) -> Option<Groups> {
        let own = fs::read_to_string("/proc/self/cgroup").unwrap();
        let path = |wanted: &str| {
            own.lines().find_map(|line| {
                let mut fields = line.splitn(3, ':').skip(1);
                let (controllers, path) = (fields.next()?, fields.next()?);
                (controllers == wanted).then(|| path.trim_start_matches('/').to_owned())
            })
        };
        let one = path("memory")
            .map(|path| (Path::new("/sys/fs/cgroup/memory").join(path), "memory.limit_in_bytes"));
        let two = path("").map(|path| (Path::new("/sys/fs/cgroup").join(path), "memory.max"));
        [one, two].into_iter().flatten().find_map(|(own, file)| {
            static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
            let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let outer = own.join(format!("skep-test-{}-{number}", std::process::id()));
            let groups = Groups { inner: outer.join("inner"), outer };
            fs::create_dir(&groups.outer).ok()?;
            fs::create_dir(&groups.inner).ok()?;
            fs::write(groups.outer.join(file), limit.to_string()).ok()?;
            eprintln!("in real control groups: {file} of {}", groups.outer.display());
            Some(groups)
        })
    }

    /// Runs `work` in a forked process that is in the inner group.
    fn run(&self, work: impl FnOnce()) -> ExitStatus {
        in_forked_child(|| {
            fs::write(self.inner.join("cgroup.procs"), std::process::id().to_string()).unwrap();
            work();
            0
        })
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        // The kernel lets go of a dead process's group a moment after its parent has heard of its end.
        for group in [&self.inner, &self.outer] {
            let end = std::time::Instant::now() + Duration::from_secs(5);
            while fs::remove_dir(group).is_err() && group.exists() && std::time::Instant::now() < end {
                std::thread::yield_now();
            }
        }
    }
}

/// Runs `work` in a group that has no limit itself, inside of one that has.
fn in_nested_group(limit: u64, work: impl FnOnce()) {
    match Groups::new(limit) {
        Some(groups) => {
            let status = groups.run(work);
            assert!(status.success(), "{status}");
        }
        None => eprintln!(
            "SKIPPED: no control groups can be made here; ipc/src/memory/tests.rs has them as trees of files"
        ),
    }
}

fn is_of_group(short: &Shortage) -> bool {
    matches!(short, Shortage::Group { group, .. } if group.contains("skep-test-"))
}

/// Writes to each page of a queue, as its users would.
fn fill(bytes: u64) -> Result<(), Error> {
    let mut queue = SimpleQueue::<[u8; 4088]>::new((bytes / 4096) as usize)?;
    while queue.try_put([1; 4088]).is_ok() {}
    Ok(())
}

#[test]
fn more_than_a_group_above_allows_is_an_error_and_no_kill() {
    in_nested_group(256 * MIB, || {
        for mib in [64, 128, 200, 230, 240, 250, 255, 256, 1024] {
            match fill(mib * MIB) {
                Ok(()) => assert!(mib < 256, "{mib} MiB"),
                Err(Error::NoMemory { short, .. }) => {
                    assert!(is_of_group(&short), "{mib} MiB: {short}");
                    assert!(mib > 128, "{mib} MiB: {short}");
                }
                Err(other) => panic!("{mib} MiB: {other}"),
            }
        }
    });
}

#[test]
fn many_small_objects_end_in_an_error_and_no_kill() {
    in_nested_group(64 * MIB, || {
        let mut queues = vec![];
        loop {
            match SimpleQueue::<[u8; 4088]>::new(128) {
                Ok(mut queue) => {
                    while queue.try_put([1; 4088]).is_ok() {}
                    queues.push(queue);
                }
                Err(Error::NoMemory { short, .. }) => break assert!(is_of_group(&short), "{short}"),
                Err(other) => panic!("{other}"),
            }
            assert!(queues.len() < 128, "64 MiB of queues of half a MiB each");
        }
        assert!(queues.len() > 64, "{} queues of half a MiB each", queues.len());
    });
}

/// Several processes that commit at the same time leave none of them to the OOM killer.
#[test]
fn several_that_want_most_of_a_group_at_once_are_told_so() {
    in_nested_group(256 * MIB, || {
        // SAFETY: the children run what is below, and end by `_exit`.
        let children: Vec<_> = (0..4)
            .map(|_| unsafe {
                match libc::fork() {
                    0 => {
                        let is_fine =
                            (0..10).all(|_| matches!(fill(128 * MIB), Ok(()) | Err(Error::NoMemory { .. })));
                        libc::_exit(i32::from(!is_fine));
                    }
                    child => child,
                }
            })
            .collect();
        for child in children {
            let mut status = 0;
            // SAFETY: waits for a child that is not reaped yet.
            assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
            assert!(ExitStatus::from_raw(status).success(), "{:?}", ExitStatus::from_raw(status));
        }
    });
}

/// Reads or writes files on disk until the group is full of their pages.
fn fill_with_cache(folder: &Path, bytes: u64) {
    let path = folder.join("cached");
    let mut file =
        fs::File::options().create(true).truncate(true).read(true).write(true).open(&path).unwrap();
    let block = vec![7_u8; MIB as usize];
    for _ in 0..bytes / MIB {
        file.write_all(&block).unwrap();
    }
    file.sync_all().unwrap();
    drop(file);
    let mut read = 0;
    let mut file = fs::File::open(&path).unwrap();
    let mut block = block;
    while let Ok(more @ 1..) = file.read(&mut block) {
        read += more as u64;
    }
    assert_eq!(read, bytes);
}

#[test]
fn a_group_full_of_files_that_the_kernel_can_forget_has_room() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    in_nested_group(128 * MIB, || {
        fill_with_cache(folder.path(), 160 * MIB);
        fill(64 * MIB).unwrap();
        let arena = ArenaOptions::new(MIB).limit(80 * MIB).anonymous().unwrap();
        let blocks: Vec<_> = (0..64).map(|_| arena.slice_with(1 << 20, |_| 7_u8).unwrap()).collect();
        assert_eq!(blocks.len(), 64);
    });
}

#[test]
fn an_arena_that_cannot_grow_says_what_is_short() {
    in_nested_group(128 * MIB, || {
        let arena = ArenaOptions::new(MIB).limit(1024 * MIB).anonymous().unwrap();
        let mut blocks = vec![];
        let error = loop {
            match arena.slice_with(1 << 20, |_| 7_u8) {
                Ok(block) => blocks.push(block),
                Err(error) => break error,
            }
        };
        assert!(matches!(&error, AllocError::NoMemory { short, .. } if is_of_group(short)), "{error}");
        assert!(blocks.len() > 80, "{} MiB", blocks.len());
        drop(blocks);
        assert!(arena.slice_zeroed::<u8>(1 << 20).is_ok(), "what was given back serves");
    });
}

#[test]
fn a_queues_arena_that_cannot_grow_says_what_is_short() {
    in_nested_group(64 * MIB, || {
        let mut queue = Queue::<Vec<u8>>::new(1 << 10).unwrap();
        let error = (0..1 << 10).find_map(|_| queue.try_put(vec![7; 1 << 20]).err()).unwrap();
        assert!(matches!(error, SendValueError::NotEncoded { .. }), "{error}");
        assert!(error.to_string().contains("skep-test-"), "{error}");
        assert!(queue.try_get().is_ok());
    });
}

#[skep::task]
fn nap(seconds: u64) {
    std::thread::sleep(Duration::from_secs(seconds));
}

#[skep::task]
fn length(bytes: Vec<u8>) -> usize {
    bytes.len()
}

skep::test_entry!();

/// They lie in the pool's overflow file until a worker comes to them.
#[test]
fn arguments_that_a_group_has_no_room_for_are_told_so_and_kill_nobody() {
    in_nested_group(128 * MIB, || {
        let pool = Pool::builder().workers(1).queue_depth(128).build().unwrap();
        let busy = pool.apply_async(nap, 3600);
        let queued: Vec<_> = (0..60).map(|_| pool.apply_async(length, vec![7; 4 << 20])).collect();
        pool.terminate();
        assert_eq!(busy.get(), Err(TaskError::Terminated));
        let outcomes: Vec<_> = queued.into_iter().map(|future| future.get().unwrap_err()).collect();
        let fit = outcomes.iter().filter(|&outcome| *outcome == TaskError::Terminated).count();
        assert!((10..32).contains(&fit), "{fit} times 4 MiB");
        for outcome in outcomes.into_iter().skip(32) {
            let is_told = |reason: &str| reason.contains("skep-test-");
            assert!(matches!(&outcome, TaskError::NoMemory { reason } if is_told(reason)), "{outcome}");
        }
    });
}

// --- ulimit and /dev/shm -------------------------------------------------------------------------------------------

fn with_limit(which: libc::__rlimit_resource_t, bytes: u64, work: impl FnOnce()) {
    let status = in_forked_child(|| {
        let limit = libc::rlimit { rlim_cur: bytes, rlim_max: libc::RLIM_INFINITY };
        // SAFETY: a plain system call with a valid structure.
        assert_eq!(unsafe { libc::setrlimit(which, &raw const limit) }, 0);
        work();
        0
    });
    assert!(status.success(), "{status}");
}

#[track_caller]
fn short_of<T>(result: Result<T, Error>) -> Shortage {
    match result {
        Err(Error::NoMemory { short, .. }) => short,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it was made"),
    }
}

#[test]
fn beyond_ulimit_f_a_creation_is_an_error_and_no_signal() {
    let name = fresh_name("long");
    let _unlink = Unlink(name.clone());
    with_limit(libc::RLIMIT_FSIZE, MIB, || {
        let limit = Shortage::FileSize { limit: MIB };
        assert_eq!(short_of(SimpleQueue::<u64>::new(1 << 18)), limit);
        assert_eq!(short_of(SimpleQueue::<u64>::create(&name, 1 << 18)), limit);
        assert_eq!(short_of(Pipe::new(2 << 20)), limit);
        assert_eq!(short_of(Arena::new(2 << 20)), limit, "committed");
        assert_eq!(short_of(ArenaOptions::new(1 << 16).limit(1 << 30).anonymous()), limit, "to grow into");
        assert!(limit.to_string().contains("ulimit -f"));
        assert!(SimpleQueue::<u64>::new(64).is_ok());
    });
    // An arena that was there before.
    let arena = ArenaOptions::new(1 << 16).limit(64 * MIB).anonymous().unwrap();
    with_limit(libc::RLIMIT_FSIZE, MIB, || {
        let arena = Arena::from_fd(std::os::fd::AsFd::as_fd(&arena).try_clone_to_owned().unwrap()).unwrap();
        let error = arena.slice_zeroed::<u8>(4 << 20).unwrap_err();
        assert!(error.to_string().contains("ulimit -f"), "{error}");
    });
}

#[test]
fn beyond_ulimit_v_the_error_says_so() {
    let statm = fs::read_to_string("/proc/self/statm").unwrap();
    let mapped = statm.split(' ').next().unwrap().parse::<u64>().unwrap() * 4096;
    with_limit(libc::RLIMIT_AS, mapped + 8 * MIB, || {
        let is_short = |short| matches!(short, Shortage::AddressSpace { limit } if limit == mapped + 8 * MIB);
        assert!(is_short(short_of(SimpleQueue::<u64>::new(1 << 20))));
        assert!(is_short(short_of(ArenaOptions::new(1 << 16).limit(1 << 30).anonymous())));
        assert!(is_short(short_of(Pipe::new(4 << 20))), "which is mapped three times");
        let told = SimpleQueue::<u64>::new(1 << 20).err().unwrap().to_string();
        assert!(told.contains("ulimit -v"), "{told}");
    });
}

#[test]
fn a_full_dev_shm_is_named() {
    let status = in_forked_child(|| {
        // SAFETY: changes what this process alone sees.
        if unsafe { libc::unshare(libc::CLONE_NEWNS) } != 0 {
            eprintln!("SKIPPED: this process may not have mounts of its own");
            return 0;
        }
        let mount = |source: &std::ffi::CStr, target: &std::ffi::CStr, flags, data: *const libc::c_void| {
            // SAFETY: the strings end with NUL; the mounts are this process's own.
            let code = unsafe { libc::mount(source.as_ptr(), target.as_ptr(), source.as_ptr(), flags, data) };
            assert_eq!(code, 0);
        };
        mount(c"none", c"/", libc::MS_REC | libc::MS_PRIVATE, std::ptr::null());
        mount(c"tmpfs", c"/dev/shm", 0, c"size=4m".as_ptr().cast());
        let short = short_of(SimpleQueue::<u64>::create("too-large", 1 << 19));
        assert!(matches!(short, Shortage::FileSystem { available } if available <= 4 * MIB), "{short}");
        assert!(short.to_string().contains("/dev/shm"), "{short}");
        assert!(!Path::new("/dev/shm/too-large").exists());
        let arena = ArenaOptions::new(MIB).limit(64 * MIB).create("grows").unwrap();
        let mut blocks = vec![];
        let error = loop {
            match arena.slice_with(1 << 18, |_| 7_u8) {
                Ok(block) => blocks.push(block),
                Err(error) => break error,
            }
        };
        assert!(error.to_string().contains("/dev/shm"), "{error}");
        0
    });
    assert!(status.success(), "{status}");
}

// --- signals -------------------------------------------------------------------------------------------------------

#[test]
fn a_large_creation_ends_under_a_storm_of_signals() {
    extern "C" fn ignore(_: libc::c_int) {}
    end_after(Duration::from_secs(300));
    let status = in_forked_child(|| {
        // SAFETY: zeroes are a valid sigaction; the handler does nothing.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = ignore as extern "C" fn(libc::c_int) as usize;
            assert_eq!(libc::sigaction(libc::SIGALRM, &raw const action, std::ptr::null_mut()), 0);
            let often = libc::timeval { tv_sec: 0, tv_usec: 100 };
            let timer = libc::itimerval { it_interval: often, it_value: often };
            assert_eq!(libc::setitimer(libc::ITIMER_REAL, &raw const timer, std::ptr::null_mut()), 0);
        }
        let arena = Arena::new(1 << 30).unwrap();
        assert_eq!(arena.size(), 1 << 30);
        0
    });
    assert!(status.success(), "{status}");
}
