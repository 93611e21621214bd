//! Events and shared structs between real processes.

mod common;

use common::{Other, Unlink, fresh_name, given_fd, in_forked_child, role};
use skep::{Error, Event, Mismatch, Mutex, Part, PartOptions, RwLock, WaitError, shared_struct};
use std::os::fd::AsFd;
use std::time::Duration;

/// So long that only a hang reaches it.
const HANG: Duration = Duration::from_secs(60);

shared_struct! {
    struct Signals {
        ready: Event,
        go: Event,
    }
}

#[test]
fn the_other_process() {
    let Some((role, argument)) = role() else { return };
    match role.as_str() {
        "set ready, and wait for go" => {
            let signals = Signals::from_fd(given_fd()).unwrap();
            signals.ready.set().unwrap();
            signals.go.wait_timeout(HANG).unwrap();
        }
        "set by name" => Event::open(&argument).unwrap().set().unwrap(),
        other => panic!("no such role: {other}"),
    }
    std::process::exit(0);
}

#[test]
fn events_of_one_struct_are_events_of_their_own() {
    let signals = Signals::anonymous(((), ())).unwrap();
    let other = Other::start_with_fd("set ready, and wait for go", "", signals.as_fd());
    signals.ready.wait_timeout(HANG).unwrap();
    assert!(!signals.go.is_set());
    signals.go.set().unwrap();
    other.finish();
}

#[test]
fn an_event_set_by_name_wakes_a_sleeper() {
    let name = fresh_name("event");
    let _unlink = Unlink(name.clone());
    let event = Event::create(&name, ()).unwrap();
    let other = Other::start("set by name", &name);
    event.wait_timeout(HANG).unwrap();
    other.finish();
    event.clear().unwrap();
    assert_eq!(event.wait_timeout(Duration::from_millis(1)), Err(WaitError::Timeout));
}

#[test]
fn a_dead_participants_place_is_free_again() {
    let signals = PartOptions::new().peers(2).anonymous::<Signals>(((), ())).unwrap();
    for _ in 0..5 {
        let other = Other::start_with_fd("set ready, and wait for go", "", signals.as_fd());
        signals.ready.wait_timeout(HANG).unwrap();
        signals.ready.clear().unwrap();
        other.kill();
    }
    assert_eq!(signals.recover().unwrap(), 1);
    let second = signals.try_clone().unwrap();
    assert!(matches!(signals.try_clone(), Err(Error::TooManyPeers { limit: 2 })));
    drop(second);
    signals.try_clone().unwrap();
}

#[test]
fn what_is_not_the_expected_part_is_refused() {
    let signals = Signals::anonymous(((), ())).unwrap();
    let fd = || signals.as_fd().try_clone_to_owned().unwrap();
    assert!(matches!(Event::from_fd(fd()), Err(Error::Mismatch(Mismatch::Kind { .. }))));
    assert!(matches!(signals.ready.try_clone(), Err(Error::Mismatch(Mismatch::Kind { .. }))));
    shared_struct! {
        struct Other { a: Event, b: Event, c: Event }
    }
    assert!(matches!(Other::from_fd(fd()), Err(Error::Mismatch(Mismatch::Item { .. }))));
    Signals::from_fd(fd()).unwrap();
}

#[test]
fn an_impossible_number_of_participants_is_refused() {
    for peers in [0, 1 << 20, usize::MAX] {
        let refused = PartOptions::new().peers(peers).anonymous::<RwLock<u64>>(0);
        assert!(matches!(refused, Err(Error::Peers { .. })), "{peers}");
    }
}

/// However it was made: as itself, as a part, or as a part with options.
#[test]
fn a_mutex_made_as_a_part_is_opened_as_a_mutex() {
    fn made_and_opened<P: Part<Setup = u64>>(name: &str) {
        drop(P::create(name, 1).unwrap());
        P::open(name).unwrap();
    }
    let name = fresh_name("mutex-as-a-part");
    let _unlink = Unlink(name.clone());
    made_and_opened::<Mutex<u64>>(&name);
    assert_eq!(*Mutex::<u64>::open(&name).unwrap().lock().unwrap(), 1);
    Mutex::<u64>::unlink(&name).unwrap();
    drop(PartOptions::new().create::<Mutex<u64>>(&name, 2).unwrap());
    assert_eq!(*Mutex::<u64>::open(&name).unwrap().lock().unwrap(), 2);
}

#[test]
fn a_forked_childs_copy_refuses() {
    let event = Event::new().unwrap();
    let status = in_forked_child(|| {
        assert_eq!(event.set(), Err(WaitError::Forked));
        assert_eq!(event.wait(), Err(WaitError::Forked));
        0
    });
    assert!(status.success());
    assert!(!event.is_set());
}
