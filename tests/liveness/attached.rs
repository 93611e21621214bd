//! Who takes part can be asked; and a consumer can wait for as long as somebody is there who may put.

use crate::common::{Other, Unlink, fresh_name};
use crate::scene::{HANG, Scene, wait};
use skep::{Arena, GetError, Part, Participant, Pipe, Queue, QueueOptions, RecvValueError, SimpleQueue};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

pub fn put_two_and_wait(fd: OwnedFd) -> ! {
    let mut queue = SimpleQueue::<u64>::from_fd(fd).unwrap();
    queue.put(1).unwrap();
    queue.put(2).unwrap();
    wait()
}

/// Gives what `get` does in a thread of its own; fails if that takes too long.
fn in_time<T: Send + 'static>(get: impl FnOnce() -> T + Send + 'static) -> std::sync::mpsc::Receiver<T> {
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || tell.send(get()));
    told
}

#[test]
fn consumers_whose_only_producer_is_killed_are_told_that_they_are_alone() {
    let mut queue = QueueOptions::new(4).peers(4).anonymous::<u64>().unwrap();
    let producer = Other::start_with_fd("put two, and wait", "", queue.as_fd());
    assert_eq!((queue.get_timeout(HANG), queue.get_timeout(HANG)), (Ok(1), Ok(2)));
    let mut second = queue.try_clone().unwrap();
    assert_eq!(second.try_get(), Err(GetError::Empty));
    let [first, second] = [queue, second].map(|mut queue| in_time(move || queue.get_while_attached()));
    assert!(first.recv_timeout(Duration::from_millis(500)).is_err(), "its producer lives");
    producer.kill();
    for told in [first, second] {
        assert_eq!(told.recv_timeout(HANG), Ok(Err(GetError::Alone)));
    }
}

#[test]
fn who_has_done_nothing_yet_may_put() {
    let mut queue = SimpleQueue::<u64>::new(4).unwrap();
    let mut newcomer = queue.try_clone().unwrap();
    let told = in_time(move || queue.get_while_attached());
    assert!(told.recv_timeout(Duration::from_millis(300)).is_err());
    newcomer.put(7).unwrap();
    assert_eq!(told.recv_timeout(HANG), Ok(Ok(7)));
}

#[test]
fn a_consumer_of_values_is_told_that_it_is_alone() {
    let arena = Arena::new(1 << 20).unwrap();
    let mut queue = Queue::<String>::create_in(&arena, "values", 4).unwrap();
    let mut producer = Queue::<String>::open_in(&arena, "values").unwrap();
    producer.put("last".into()).unwrap();
    drop(producer);
    assert_eq!(queue.get_while_attached().unwrap(), "last");
    assert_eq!(queue.get_while_attached(), Err(RecvValueError::Alone));
}

#[test]
fn participants_are_listed_with_their_roles_and_whether_they_live() {
    let mut scene = Scene::new("participants");
    let other = scene.start("hold, and close all descriptors");
    let pid = other.pid() as u32;
    let pipe = Pipe::open(&format!("{}-pipe", scene.name)).unwrap();
    let of = |all: Vec<Participant>, this: bool| all.into_iter().find(|one| one.is_this == this).unwrap();
    let roles = |one: Participant| (one.pid, one.is_alive, one.puts, one.gets);
    assert_eq!(roles(of(scene.queue.participants().unwrap(), true)), (std::process::id(), true, false, true));
    assert_eq!(roles(of(scene.queue.participants().unwrap(), false)), (pid, true, true, false));
    let ends: Vec<_> = pipe.participants().unwrap().into_iter().map(roles).collect();
    assert_eq!(ends, [(pid, true, true, false), (std::process::id(), true, false, true)]);
    other.kill();
    assert_eq!(roles(of(scene.queue.participants().unwrap(), false)), (pid, false, true, false));
    assert!(!pipe.participants().unwrap()[0].is_alive);
    scene.queue.recover().unwrap();
    assert_eq!(scene.queue.participants().unwrap().len(), 1);
    let name = fresh_name("part");
    let _unlink = Unlink(name.clone());
    let event = skep::Event::create(&name, ()).unwrap();
    assert_eq!(event.participants().unwrap().len(), 1);
}
