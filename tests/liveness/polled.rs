//! Those who never wait but try, and not often: the first try after the bound sees a death.

use crate::common::{Other, Unlink, end_after, fresh_name};
use crate::paused::stopped_in_a_put;
use crate::scene::{HANG, Scene, wait};
use skep::{GetError, Part, PutError, RecvError, Semaphore, SemaphoreSetup, WaitError};
use std::time::Duration;

/// What a call that waits may take to see a death, and so one that tries.
const BOUND: Duration = Duration::from_millis(100);

/// A clock that is read as of its last tick lags behind by one.
const TICK: Duration = Duration::from_millis(10);

fn until_the_bound() {
    std::thread::sleep(BOUND + TICK);
}

#[test]
fn who_tries_rarely_gets_what_is_behind_a_dead_producers_place() {
    let (mut queue, other) = stopped_in_a_put(4, 2);
    queue.put(8).unwrap();
    for _ in 0..3 {
        assert_eq!(queue.try_get(), Err(GetError::Empty), "it lives");
        until_the_bound();
    }
    assert_eq!(queue.try_get(), Err(GetError::Empty), "it lives");
    other.kill();
    until_the_bound();
    assert_eq!(queue.try_get(), Ok(8));
}

#[test]
fn who_tries_rarely_gets_room_that_a_dead_consumer_held() {
    let mut queue = skep::QueueOptions::new(2).peers(2).anonymous::<u64>().unwrap();
    let other = Other::start_with_fd("hold an item", "", std::os::fd::AsFd::as_fd(&queue));
    queue.put(1).unwrap();
    while !queue.is_empty() {
        std::thread::yield_now();
    }
    queue.put(2).unwrap();
    assert_eq!(queue.try_put(3), Err(PutError::Full(3)));
    other.kill();
    until_the_bound();
    assert_eq!(queue.try_put(3), Err(PutError::Full(3)), "both are there again");
    assert_eq!((queue.try_get(), queue.try_get()), (Ok(1), Ok(2)));
}

pub fn hold_the_permits(name: &str) -> ! {
    let semaphore = Semaphore::open(name).unwrap();
    std::mem::forget(semaphore.acquire_many(2).unwrap());
    wait()
}

#[test]
fn who_tries_rarely_gets_a_dead_holders_permit() {
    end_after(3 * HANG);
    let name = fresh_name("rarely");
    let _unlink = Unlink(name.clone());
    let semaphore = Semaphore::create(&name, SemaphoreSetup::counting(2)).unwrap();
    let other = Other::start("hold the permits", &name);
    while semaphore.try_acquire().is_ok() {
        std::thread::yield_now();
    }
    assert_eq!(semaphore.try_acquire().err(), Some(WaitError::Timeout));
    other.kill();
    until_the_bound();
    assert!(semaphore.try_acquire_many(2).is_ok());
}

#[test]
fn who_tries_rarely_is_told_the_end_by_a_dead_sender() {
    let mut scene = Scene::new("rarely-eof");
    let other = scene.start("hold queue and pipe");
    assert_eq!(scene.receiver.try_recv().err(), Some(RecvError::Empty));
    other.kill();
    until_the_bound();
    assert_eq!(scene.receiver.try_recv().err(), Some(RecvError::Eof));
}
