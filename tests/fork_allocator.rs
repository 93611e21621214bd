//! A fork beside an attachment, in a program whose allocator holds its own lock across forks, as allocators
//! with `pthread_atfork` handlers do: whichever handlers run first, nobody waits for ever.

mod common;

use common::{Other, end_after, role};
use skep::SimpleQueue;
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The system's allocator, one call at a time.
struct Locked;

#[global_allocator]
static ALLOCATOR: Locked = Locked;

static LOCK: AtomicBool = AtomicBool::new(false);

extern "C" fn lock() {
    while LOCK.swap(true, Ordering::Acquire) {
        std::thread::yield_now();
    }
}

extern "C" fn unlock() {
    LOCK.store(false, Ordering::Release);
}

// SAFETY: what the system's allocator does, one call at a time.
unsafe impl GlobalAlloc for Locked {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        lock();
        // SAFETY: as the caller promises.
        let place = unsafe { System.alloc(layout) };
        unlock();
        place
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        lock();
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(place, layout) };
        unlock();
    }
}

fn register() {
    // SAFETY: the functions take nothing, and live as long as the program.
    assert_eq!(unsafe { libc::pthread_atfork(Some(lock), Some(unlock), Some(unlock)) }, 0);
}

extern "C" fn before_skep() {
    // SAFETY: nothing changes the environment before `main`; what is there is text.
    let role = unsafe {
        let role = libc::getenv(c"SKEP_TEST_ROLE".as_ptr());
        if role.is_null() { c"" } else { std::ffi::CStr::from_ptr(role) }
    };
    if role == c"allocator first" {
        register();
    }
}

// SAFETY: called once, before `main`; sections with a number come before those without, as skep's is.
#[used]
#[unsafe(link_section = ".init_array.00101")]
static BEFORE_SKEP: extern "C" fn() = before_skep;

fn attach_and_fork() {
    end_after(Duration::from_secs(120));
    let is_over = AtomicBool::new(false);
    std::thread::scope(|threads| {
        for _ in 0..2 {
            threads.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    let queue = SimpleQueue::<u8>::new(4).unwrap();
                    drop(queue.try_clone().unwrap());
                }
            });
        }
        for _ in 0..1500 {
            // SAFETY: the child ends at once.
            match unsafe { libc::fork() } {
                // SAFETY: as above.
                0 => unsafe { libc::_exit(0) },
                child => {
                    let mut status = 0;
                    // SAFETY: waits for the child just made.
                    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
                    assert_eq!(status, 0);
                }
            }
        }
        is_over.store(true, Ordering::Relaxed);
    });
}

#[test]
fn the_other_process() {
    if let Some((role, _)) = role() {
        if role == "skep first" {
            register();
        }
        attach_and_fork();
    }
}

#[test]
fn a_fork_beside_an_attachment_ends_where_the_allocators_handlers_come_later() {
    Other::start("skep first", "").finish();
}

#[test]
fn a_fork_beside_an_attachment_ends_where_the_allocators_handlers_come_first() {
    Other::start("allocator first", "").finish();
}
