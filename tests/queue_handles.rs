//! Whatever user code does with the handles inside of a value, each block has one owner, and none is lost.

#![cfg(not(loom))]

mod common;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use skep::{Arena, JoinableQueue, Queue, RecvValueError, SendValueError, ShmArc, ShmBox};
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

const SIZE: u64 = 1 << 18;
const HANG: Duration = Duration::from_secs(60);

/// An arena, and a counted value that only this handle refers to when nothing is lost.
struct Scene {
    arena: Arena,
    shared: ShmArc<[u8]>,
}

impl Scene {
    /// The scene, a queue of one slot, and what is free then.
    fn new<T: Serialize + serde::de::DeserializeOwned>() -> (Scene, Queue<T>, u64) {
        let arena = Arena::new(SIZE).unwrap();
        let shared = arena.slice(b"shared").unwrap().share().unwrap();
        let queue = Queue::create_in(&arena, "values", 1).unwrap();
        let free = arena.free_bytes();
        (Scene { arena, shared }, queue, free)
    }

    fn owned(&self, value: u64) -> ShmBox<u64> {
        self.arena.boxed(value).unwrap()
    }

    fn counted(&self) -> ShmArc<[u8]> {
        self.shared.try_clone().unwrap()
    }

    /// Nothing has more of the arena than `bytes`, and nobody a reference.
    fn has_lost_nothing_but(&self, free: u64, bytes: u64) {
        assert_eq!((self.arena.free_bytes(), self.shared.count()), (free - bytes, 1));
    }
}

fn put<T: Serialize + serde::de::DeserializeOwned>(queue: &mut Queue<T>, value: T) {
    queue.put(value).map_err(|e| e.to_string()).unwrap();
}

// --- moved out ---------------------------------------------------------------------------------------------------

/// Whoever sees the value can move its handle out.
#[derive(Serialize, Deserialize)]
struct Loose {
    handle: RefCell<Option<ShmBox<u64>>>,
    rest: ShmArc<[u8]>,
    bytes: Vec<u8>,
}

fn loose(scene: &Scene) -> Loose {
    Loose { handle: RefCell::new(Some(scene.owned(7))), rest: scene.counted(), bytes: vec![1; 100] }
}

#[test]
fn a_handle_moved_out_of_a_leased_value_is_the_movers_and_the_value_is_done_with() {
    let (scene, mut queue, free) = Scene::new::<Loose>();
    for way in 0..3 {
        put(&mut queue, loose(&scene));
        let lease = queue.lease().unwrap();
        let mut moved = lease.handle.take().unwrap();
        match way {
            0 => drop(lease),
            1 => lease.nack(),
            _ => {
                let panicked = catch_unwind(AssertUnwindSafe(|| {
                    let _lease = lease;
                    panic!("on purpose");
                }));
                assert!(panicked.is_err());
            }
        }
        assert!(matches!(queue.try_lease().err(), Some(RecvValueError::Empty)), "it does not come back");
        assert!(queue.join_all(Some(Duration::ZERO)).unwrap(), "the work on it is done");
        scene.has_lost_nothing_but(free, 64);
        *moved = 8;
        assert_eq!(*moved, 8);
        drop(moved);
        scene.has_lost_nothing_but(free, 0);
    }
}

#[test]
fn a_handle_moved_out_of_a_leased_value_may_go_anywhere_before_the_lease_ends() {
    let (scene, mut queue, _) = Scene::new::<Loose>();
    let mut elsewhere = Queue::<ShmBox<u64>>::create_in(&scene.arena, "elsewhere", 1).unwrap();
    let free = scene.arena.free_bytes();
    for way in 0..3 {
        put(&mut queue, loose(&scene));
        let lease = queue.lease().unwrap();
        let moved = lease.handle.take().unwrap();
        match way {
            0 => drop(moved),
            1 => put(&mut elsewhere, moved),
            // Back where it was: nothing has happened.
            _ => drop(lease.handle.replace(Some(moved))),
        }
        drop(lease);
        match way {
            0 => {}
            1 => assert_eq!(*elsewhere.get().unwrap(), 7),
            _ => {
                let value = queue.try_get().unwrap();
                assert_eq!(value.handle.borrow().as_deref(), Some(&7));
            }
        }
        assert!(matches!(queue.try_lease().err(), Some(RecvValueError::Empty)));
        scene.has_lost_nothing_but(free, 0);
    }
}

/// A handle that was exchanged for another one of the same participant is as one that was moved out.
#[test]
fn a_handle_put_in_the_place_of_one_that_was_moved_out_is_dropped_with_the_value() {
    let (scene, mut queue, free) = Scene::new::<Loose>();
    put(&mut queue, loose(&scene));
    let lease = queue.lease().unwrap();
    let moved = lease.handle.replace(Some(queue.arena().boxed(9).unwrap())).unwrap();
    drop(lease);
    assert!(matches!(queue.try_lease().err(), Some(RecvValueError::Empty)));
    assert_eq!(*moved, 7);
    scene.has_lost_nothing_but(free, 64);
}

#[test]
fn a_handle_moved_out_of_a_forgotten_lease_is_the_movers_alone() {
    let (scene, mut queue, _) = Scene::new::<Loose>();
    put(&mut queue, loose(&scene));
    let other = queue.try_clone().unwrap();
    let lease = other.lease().unwrap();
    let mut moved = lease.handle.take().unwrap();
    std::mem::forget(lease);
    drop(other);
    assert!(matches!(queue.try_lease().err(), Some(RecvValueError::Empty)), "nobody else gets its block");
    assert!(queue.join_all(Some(Duration::ZERO)).unwrap());
    *moved = 8;
    put(&mut queue, loose(&scene));
    assert_eq!((*moved, queue.get().unwrap().handle.borrow().as_deref()), (8, Some(&7)));
}

#[test]
fn a_forgotten_lease_of_a_value_without_handles_gives_it_back() {
    let mut queue = Queue::<Vec<u8>>::new(1).unwrap();
    for size in [1, 1000] {
        queue.put(vec![7; size]).unwrap();
        let other = queue.try_clone().unwrap();
        std::mem::forget(other.lease().unwrap());
        drop(other);
        assert_eq!(queue.try_get().unwrap(), vec![7; size]);
    }
}

// --- kept --------------------------------------------------------------------------------------------------------

/// Its `Serialize` writes handles that may live elsewhere too.
struct Borrowing {
    owned: Rc<ShmBox<u64>>,
    counted: Rc<ShmArc<[u8]>>,
    own: ShmBox<[u8]>,
}

impl Serialize for Borrowing {
    fn serialize<Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
        (&*self.owned, &*self.counted, &self.own).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Borrowing {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (owned, counted, own) = Deserialize::deserialize(deserializer)?;
        Ok(Borrowing { owned: Rc::new(owned), counted: Rc::new(counted), own })
    }
}

fn borrowing(scene: &Scene) -> Borrowing {
    let own = scene.arena.slice(&[3_u8; 500]).unwrap();
    Borrowing { owned: Rc::new(scene.owned(7)), counted: Rc::new(scene.counted()), own }
}

#[test]
fn a_handle_that_lives_elsewhere_too_keeps_its_block_and_nobody_gets_anything() {
    let (scene, mut queue, free) = Scene::new::<Borrowing>();
    for which in 0..2 {
        let value = borrowing(&scene);
        let owned = (which == 0).then(|| value.owned.clone());
        let counted = (which == 1).then(|| value.counted.clone());
        let error = queue.put(value).err().unwrap();
        assert!(matches!(error, SendValueError::HandleKept), "{error}");
        assert!(queue.is_empty() && queue.join_all(Some(Duration::ZERO)).unwrap(), "it takes no room");
        assert!(matches!(queue.try_get().err(), Some(RecvValueError::Empty)));
        // The one that is left is as it was; what the value alone had is free.
        assert_eq!(owned.as_deref().map(|owned| **owned), (which == 0).then_some(7));
        assert_eq!(counted.as_deref().map(|counted| &counted[..]), (which == 1).then_some(&b"shared"[..]));
        assert_eq!((scene.arena.free_bytes(), scene.shared.count()), (free - 64, 1 + which));
        drop((owned, counted));
        scene.has_lost_nothing_but(free, 0);
        // Once the value has its handles alone, it goes.
        put(&mut queue, borrowing(&scene));
        let value = queue.get().unwrap();
        assert_eq!((**value.owned, &value.counted[..], &value.own[..]), (7, &b"shared"[..], &[3; 500][..]));
        drop(value);
        scene.has_lost_nothing_but(free, 0);
    }
}

#[test]
fn who_waits_for_a_value_hears_nothing_of_one_whose_handle_was_kept() {
    common::end_after(HANG);
    let (scene, mut queue, free) = Scene::new::<(u32, Borrowing)>();
    let mut there = queue.try_clone().unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            // SAFETY: gives this thread's number.
            tell.send(unsafe { libc::gettid() }).unwrap();
            let (number, value) = there.get().unwrap();
            assert_eq!((number, **value.owned), (2, 7));
        });
        common::until_asleep(told.recv().unwrap());
        let value = borrowing(&scene);
        let kept = value.owned.clone();
        assert!(matches!(queue.put((1, value)).err(), Some(SendValueError::HandleKept)));
        assert_eq!(**kept, 7);
        put(&mut queue, (2, borrowing(&scene)));
    });
    scene.has_lost_nothing_but(free, 0);
}

// --- looked at ---------------------------------------------------------------------------------------------------

thread_local! {
    static HOARD: RefCell<Vec<ShmBox<u64>>> = const { RefCell::new(Vec::new()) };
}

/// Its `Deserialize` takes the handles, looks at them, and drops them, or keeps one elsewhere.
struct Looking {
    handles: Option<(ShmBox<u64>, ShmArc<[u8]>)>,
    hoards: bool,
    seen: u64,
}

impl Serialize for Looking {
    fn serialize<Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
        (&self.handles, self.hoards).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Looking {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (handles, hoards) = <(Option<(ShmBox<u64>, ShmArc<[u8]>)>, bool)>::deserialize(deserializer)?;
        let (owned, counted) = handles.unwrap();
        let seen = *owned + counted.len() as u64;
        if hoards {
            HOARD.with_borrow_mut(|hoard| hoard.push(owned));
        }
        Ok(Looking { handles: None, hoards, seen })
    }
}

#[test]
fn a_deserialize_that_drops_its_handles_frees_nothing_before_its_time_and_nothing_twice() {
    let (scene, mut queue, free) = Scene::new::<Looking>();
    let value = || Looking { handles: Some((scene.owned(7), scene.counted())), hoards: false, seen: 0 };
    put(&mut queue, value());
    let with_it = scene.arena.free_bytes();
    for deliveries in 0..5 {
        let lease = queue.lease().unwrap();
        assert_eq!((lease.seen, lease.deliveries()), (13, deliveries));
        assert_eq!((scene.arena.free_bytes(), scene.shared.count()), (with_it, 2), "all is the queue's");
        // What is taken now is no block of the queue's.
        drop(scene.arena.slice(&[9_u8; 4096]).unwrap());
        drop(lease);
    }
    assert_eq!(queue.get().unwrap().seen, 13);
    scene.has_lost_nothing_but(free, 0);
    let others: Vec<_> = std::iter::from_fn(|| scene.arena.boxed(1_u64).ok()).collect();
    assert!(others.iter().all(|other| **other == 1));
    assert_eq!(others.len() as u64 * 64, free, "each granule is free once");
}

#[test]
fn a_handle_that_a_deserialize_keeps_elsewhere_is_its_keepers() {
    let (scene, mut queue, free) = Scene::new::<Looking>();
    for takes in [false, true] {
        put(&mut queue, Looking { handles: Some((scene.owned(7), scene.counted())), hoards: true, seen: 0 });
        if takes {
            queue.get().unwrap();
        } else {
            drop(queue.lease().unwrap());
        }
        assert!(matches!(queue.try_lease().err(), Some(RecvValueError::Empty)));
        scene.has_lost_nothing_but(free, 64);
        let mut kept = HOARD.with_borrow_mut(Vec::pop).unwrap();
        *kept += 1;
        assert_eq!(*kept, 8);
        drop(kept);
        scene.has_lost_nothing_but(free, 0);
    }
}

// --- dropped -----------------------------------------------------------------------------------------------------

/// Its destructor panics, or moves its handle elsewhere.
#[derive(Serialize, Deserialize)]
struct Stubborn {
    handle: Option<ShmBox<u64>>,
    counted: Option<ShmArc<[u8]>>,
    bytes: Vec<u8>,
    #[serde(skip)]
    end: End,
}

#[derive(Default, PartialEq, Eq, Clone, Copy, Debug)]
enum End {
    #[default]
    Quiet,
    Panics,
    Hoards,
}

impl Drop for Stubborn {
    fn drop(&mut self) {
        match self.end {
            End::Quiet => {}
            End::Panics => panic!("on purpose"),
            End::Hoards => HOARD.with_borrow_mut(|hoard| hoard.extend(self.handle.take())),
        }
    }
}

fn stubborn(scene: &Scene, end: End) -> Stubborn {
    Stubborn { handle: Some(scene.owned(7)), counted: Some(scene.counted()), bytes: vec![2; 100], end }
}

#[test]
fn a_value_whose_destructor_panics_is_not_put_and_leaves_a_queue_that_works() {
    let (scene, mut queue, free) = Scene::new::<Stubborn>();
    for _ in 0..3 {
        let value = stubborn(&scene, End::Panics);
        assert!(catch_unwind(AssertUnwindSafe(|| queue.put(value).is_ok())).is_err());
        assert!(queue.is_empty() && matches!(queue.try_get().err(), Some(RecvValueError::Empty)));
        scene.has_lost_nothing_but(free, 0);
        put(&mut queue, stubborn(&scene, End::Quiet));
        let value = queue.get().unwrap();
        assert_eq!((value.handle.as_deref(), value.bytes.len()), (Some(&7), 100));
        drop(value);
        scene.has_lost_nothing_but(free, 0);
    }
}

/// Nothing of such a value can be reached by a handle, so it is put before it is dropped.
#[test]
fn a_value_without_handles_whose_destructor_panics_is_put() {
    let (scene, mut queue, free) = Scene::new::<Stubborn>();
    let value = Stubborn { handle: None, counted: None, bytes: vec![2; 100], end: End::Panics };
    assert!(catch_unwind(AssertUnwindSafe(|| queue.put(value).is_ok())).is_err());
    assert_eq!(queue.try_get().unwrap().bytes, [2; 100]);
    scene.has_lost_nothing_but(free, 0);
}

#[test]
fn a_handle_that_a_destructor_moves_elsewhere_keeps_its_block() {
    let (scene, mut queue, free) = Scene::new::<Stubborn>();
    let error = queue.put(stubborn(&scene, End::Hoards)).err().unwrap();
    assert!(matches!(error, SendValueError::HandleKept), "{error}");
    scene.has_lost_nothing_but(free, 64);
    assert_eq!(HOARD.with_borrow_mut(Vec::pop).as_deref(), Some(&7));
    scene.has_lost_nothing_but(free, 0);
}

#[test]
fn a_joinable_queue_does_not_wait_for_a_value_that_was_not_put() {
    let (scene, queue, _) = Scene::new::<Borrowing>();
    let mut work = JoinableQueue::from_queue(queue);
    let value = borrowing(&scene);
    let _kept = value.owned.clone();
    assert!(work.put(value).is_err());
    assert!(work.join_timeout(HANG).unwrap(), "though nobody looks for work");
}

// --- user code while a value is put ------------------------------------------------------------------------------

/// What a destructor does.
type Last = Box<dyn FnOnce(&mut Ending)>;

/// Its destructor runs what a test gave it, once.
#[derive(Serialize, Deserialize)]
struct Ending {
    number: u64,
    owned: Option<ShmBox<u64>>,
    counted: Option<ShmArc<[u8]>>,
    #[serde(skip)]
    end: Option<Last>,
}

impl Ending {
    fn new(scene: &Scene, number: u64, end: impl FnOnce(&mut Ending) + 'static) -> Ending {
        let (owned, counted) = (Some(scene.owned(number)), Some(scene.counted()));
        Ending { number, owned, counted, end: Some(Box::new(end)) }
    }

    fn is_whole(&self, number: u64) -> bool {
        let owned = self.owned.as_deref() == Some(&number);
        self.number == number && owned && self.counted.as_ref().is_some_and(|bytes| bytes[..] == *b"shared")
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        if let Some(end) = self.end.take() {
            end(self);
        }
    }
}

/// What a value without handles is, of the same type.
fn plain(number: u64) -> Ending {
    Ending { number, owned: None, counted: None, end: None }
}

/// Nothing of the queue is held while a value is dropped, so what is put meanwhile gets through.
#[test]
fn a_destructor_may_wait_for_a_consumer_of_the_queue_that_its_value_is_put_into() {
    common::end_after(HANG);
    let (scene, mut queue, free) = Scene::new::<Ending>();
    let (mut consumer, mut other) = (queue.try_clone().unwrap(), queue.try_clone().unwrap());
    let (tell, told) = std::sync::mpsc::channel();
    let value = Ending::new(&scene, 7, move |_| {
        other.put(plain(1)).map_err(|e| e.to_string()).unwrap();
        assert_eq!(told.recv(), Ok(1), "a consumer has got it");
    });
    let got = std::thread::scope(|scope| {
        let consumer = scope.spawn(move || {
            tell.send(consumer.get().unwrap().number).unwrap();
            consumer.get().unwrap().is_whole(7)
        });
        queue.put(value).map_err(|e| e.to_string()).unwrap();
        consumer.join().unwrap()
    });
    assert!(got);
    scene.has_lost_nothing_but(free, 0);
}

#[test]
fn a_value_whose_destructor_takes_the_room_comes_back_from_try_put_as_it_was_written() {
    let (scene, mut queue, free) = Scene::new::<Ending>();
    for way in 0..3 {
        let mut other = queue.try_clone().unwrap();
        let value = Ending::new(&scene, 7, move |_| match way {
            2 => other.close(),
            _ => other.put(plain(1)).map_err(|e| e.to_string()).unwrap(),
        });
        let error = match way {
            0 => queue.try_put(value),
            1 => queue.put_timeout(value, Duration::from_millis(1)),
            _ => queue.put(value),
        };
        let refused = match error.unwrap_err() {
            SendValueError::Full(value) if way < 2 => value,
            SendValueError::Closed(value) if way == 2 => value,
            error => panic!("{error}"),
        };
        assert!(refused.is_whole(7) && refused.end.is_none(), "decoded from what was encoded");
        assert_eq!(queue.try_get().ok().map(|value| value.number), (way < 2).then_some(1));
        drop(refused);
        scene.has_lost_nothing_but(free, 0);
    }
}

#[test]
fn a_value_that_finds_no_room_comes_back_itself() {
    let (scene, mut queue, free) = Scene::new::<Ending>();
    let dropped = Rc::new(RefCell::new(0));
    let count = dropped.clone();
    put(&mut queue, plain(1));
    let value = Ending::new(&scene, 7, move |_| *count.borrow_mut() += 1);
    let Err(SendValueError::Full(value)) = queue.try_put(value) else { panic!("there is no room") };
    assert!(value.is_whole(7) && *dropped.borrow() == 0);
    queue.close();
    let Err(SendValueError::Closed(value)) = queue.put(value) else { panic!("it is closed") };
    assert!(value.is_whole(7) && *dropped.borrow() == 0);
    drop(value);
    assert_eq!(*dropped.borrow(), 1);
    scene.has_lost_nothing_but(free, 0);
}

#[test]
fn a_value_whose_destructor_takes_the_room_is_put_when_there_is_room_again() {
    common::end_after(HANG);
    let (scene, mut queue, free) = Scene::new::<Ending>();
    let (mut consumer, mut other) = (queue.try_clone().unwrap(), queue.try_clone().unwrap());
    let value = Ending::new(&scene, 7, move |_| other.put(plain(1)).map_err(|e| e.to_string()).unwrap());
    std::thread::scope(|scope| {
        scope.spawn(move || {
            assert_eq!(consumer.get().unwrap().number, 1);
            assert!(consumer.get().unwrap().is_whole(7));
        });
        queue.put(value).map_err(|e| e.to_string()).unwrap();
    });
    scene.has_lost_nothing_but(free, 0);
}

/// The other thread drops it before `put` has found out that the value does not own it any more.
#[test]
fn a_handle_that_a_destructor_sends_to_a_thread_which_drops_it_is_not_lost() {
    let (scene, mut queue, free) = Scene::new::<Ending>();
    for which in 0..2 {
        let value = Ending::new(&scene, 7, move |value| {
            let (owned, counted) = (value.owned.take(), value.counted.take());
            let gone: Box<dyn Send> = if which == 0 {
                value.counted = counted;
                Box::new(owned)
            } else {
                value.owned = owned;
                Box::new(counted)
            };
            std::thread::spawn(move || drop(gone)).join().unwrap();
        });
        let error = queue.put(value).unwrap_err();
        assert!(matches!(error, SendValueError::HandleKept), "{error}");
        scene.has_lost_nothing_but(free, 0);
    }
}

/// Its `Serialize` drops the handle that it has written.
#[derive(Deserialize)]
struct Fickle(RefCell<Option<ShmBox<u64>>>, RefCell<Option<ShmArc<[u8]>>>);

impl Serialize for Fickle {
    fn serialize<Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
        let written = (&self.0, &self.1).serialize(serializer);
        drop((self.0.take(), self.1.take()));
        written
    }
}

#[test]
fn a_handle_that_a_serialize_drops_is_not_lost_and_nobody_gets_it() {
    let (scene, mut queue, free) = Scene::new::<Fickle>();
    let fickle = || Fickle(RefCell::new(Some(scene.owned(7))), RefCell::new(Some(scene.counted())));
    let error = queue.put(fickle()).err().unwrap();
    assert!(matches!(error, SendValueError::HandleKept), "{error}");
    scene.has_lost_nothing_but(free, 0);
    // Also where it comes back for another reason.
    queue.close();
    let mut full = Queue::<Fickle>::create_in(&scene.arena, "full", 1).unwrap();
    let free = scene.arena.free_bytes();
    full.put(Fickle(RefCell::default(), RefCell::default())).map_err(|e| e.to_string()).unwrap();
    assert!(matches!(full.try_put(fickle()).err(), Some(SendValueError::Full(_))));
    scene.has_lost_nothing_but(free, 0);
}
