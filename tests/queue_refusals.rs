//! A value that cannot be put comes back whole, one that cannot be got is gone whole, and nothing of the arena stays used.

#![cfg(not(loom))]

mod common;

use common::in_forked_child;
use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use skep::{AllocError, Arena, EncodeError, Queue, RecvValueError, SendValueError, ShmArc, ShmBox};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

const SIZE: u64 = 1 << 18;
const SHORT: Duration = Duration::from_millis(5);

/// Handles, some bytes, and what its `Serialize` does behind them.
#[derive(Serialize, Deserialize)]
struct Value {
    owned: ShmBox<u64>,
    counted: ShmArc<[u8]>,
    bytes: Vec<u8>,
    behind: Behind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Behind {
    Nothing,
    Fails,
    Panics,
}

impl Serialize for Behind {
    fn serialize<Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
        match self {
            Behind::Nothing => serializer.serialize_unit(),
            Behind::Fails => Err(Z::Error::custom("on purpose")),
            Behind::Panics => panic!("on purpose"),
        }
    }
}

impl<'de> Deserialize<'de> for Behind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <()>::deserialize(deserializer).map(|()| Behind::Nothing)
    }
}

/// An arena with a queue of one slot.
struct Scene {
    arena: Arena,
    queue: Queue<Value>,
    shared: ShmArc<[u8]>,
}

impl Scene {
    fn new() -> Self {
        let arena = Arena::new(SIZE).unwrap();
        let queue = Queue::create_in(&arena, "values", 1).unwrap();
        let shared = arena.slice(b"shared").unwrap().share().unwrap();
        Scene { arena, queue, shared }
    }

    fn value(&self, bytes: usize, behind: Behind) -> Value {
        Value {
            owned: self.arena.boxed(7).unwrap(),
            counted: self.shared.try_clone().unwrap(),
            bytes: vec![1; bytes],
            behind,
        }
    }

    /// A refused value can be used, changed and put as if nothing had happened, and costs what it did before.
    fn comes_back(&mut self, mut value: Value, free_before: u64) {
        assert_eq!(self.arena.free_bytes(), free_before, "what the attempt took is free again");
        assert_eq!((*value.owned, &value.counted[..], self.shared.count()), (7, &b"shared"[..], 2));
        *value.owned = 7;
        (value.bytes, value.behind) = (vec![2; 100], Behind::Nothing);
        let mut other = Queue::open_or_create_in(&self.arena, "others", 1).unwrap();
        other.put(value).map_err(|e| e.to_string()).unwrap();
        let value: Value = other.get().unwrap();
        assert_eq!((*value.owned, &value.counted[..]), (7, &b"shared"[..]));
    }
}

fn refused(put: Result<(), SendValueError<Value>>) -> SendValueError<Value> {
    put.expect_err("the value cannot be put")
}

#[test]
fn a_full_queue_hands_the_value_back() {
    let mut scene = Scene::new();
    scene.queue.put(scene.value(100, Behind::Nothing)).map_err(|e| e.to_string()).unwrap();
    for bytes in [0, 1000] {
        let value = scene.value(bytes, Behind::Nothing);
        let free = scene.arena.free_bytes();
        let error = refused(scene.queue.try_put(value));
        assert!(matches!(error, SendValueError::Full(_)), "{error}");
        let error = refused(scene.queue.put_timeout(error.into_value().unwrap(), SHORT));
        assert!(matches!(error, SendValueError::Full(_)), "{error}");
        let value = error.into_value().unwrap();
        assert_eq!((*value.owned, &value.counted[..]), (7, &b"shared"[..]));
        assert_eq!(scene.arena.free_bytes(), free);
    }
}

#[test]
fn a_closed_queue_hands_the_value_back() {
    let mut scene = Scene::new();
    scene.queue.close();
    let value = scene.value(1000, Behind::Nothing);
    let free = scene.arena.free_bytes();
    let error = refused(scene.queue.put(value));
    assert!(matches!(error, SendValueError::Closed(_)), "{error}");
    scene.comes_back(error.into_value().unwrap(), free);
}

#[test]
fn a_value_whose_serialize_fails_comes_back() {
    for bytes in [0, 1000] {
        let mut scene = Scene::new();
        let value = scene.value(bytes, Behind::Fails);
        let free = scene.arena.free_bytes();
        let error = refused(scene.queue.put(value));
        assert!(
            matches!(&error, SendValueError::NotEncoded { reason: EncodeError::Serialize { .. }, .. }),
            "{error}"
        );
        scene.comes_back(error.into_value().unwrap(), free);
    }
}

#[test]
fn a_panic_while_a_value_is_encoded_costs_the_value_alone() {
    for bytes in [0, 1000] {
        let mut scene = Scene::new();
        let free = scene.arena.free_bytes();
        let value = scene.value(bytes, Behind::Panics);
        assert!(catch_unwind(AssertUnwindSafe(|| scene.queue.put(value).is_ok())).is_err());
        assert_eq!((scene.arena.free_bytes(), scene.shared.count()), (free, 1));
        let value = scene.value(bytes, Behind::Nothing);
        let free = scene.arena.free_bytes();
        scene.comes_back(value, free);
    }
}

#[test]
fn a_value_with_a_handle_of_another_arena_comes_back() {
    let mut scene = Scene::new();
    let another = Scene::new();
    // The one of the right arena is before the wrong one, or behind it.
    let one = another.value(1000, Behind::Nothing);
    let two = scene.value(1000, Behind::Nothing);
    let first = Value { counted: two.counted, ..one };
    let second =
        Value { owned: two.owned, counted: one.counted, bytes: vec![3; 1000], behind: Behind::Nothing };
    for value in [first, second] {
        let free = (scene.arena.free_bytes(), another.arena.free_bytes());
        let error = refused(scene.queue.put(value));
        assert!(
            matches!(&error, SendValueError::NotEncoded { reason: EncodeError::OtherArena, .. }),
            "{error}"
        );
        assert_eq!((scene.arena.free_bytes(), another.arena.free_bytes()), free);
        let value = error.into_value().unwrap();
        assert_eq!((*value.owned, &value.counted[..]), (7, &b"shared"[..]));
    }
    assert_eq!((scene.shared.count(), another.shared.count()), (1, 1));
}

#[test]
fn a_value_with_one_handle_twice_comes_back() {
    struct Twice(ShmBox<u64>, bool);
    impl Serialize for Twice {
        fn serialize<Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
            if self.1 {
                (&self.0, [0_u8; 32], &self.0).serialize(serializer)
            } else {
                (&self.0,).serialize(serializer)
            }
        }
    }
    impl<'de> Deserialize<'de> for Twice {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            <(ShmBox<u64>,)>::deserialize(deserializer).map(|(owned,)| Twice(owned, false))
        }
    }
    let mut queue = Queue::<Twice>::new(1).unwrap();
    let twice = Twice(queue.arena().boxed(7).unwrap(), true);
    let free = queue.arena().free_bytes();
    let error = queue.put(twice).err().unwrap();
    assert!(matches!(&error, SendValueError::NotEncoded { reason: EncodeError::Sent, .. }), "{error}");
    assert_eq!(queue.arena().free_bytes(), free);
    let Twice(owned, _) = error.into_value().unwrap();
    assert_eq!(*owned, 7);
    queue.put(Twice(owned, false)).map_err(|e| e.to_string()).unwrap();
    assert_eq!(*queue.get().unwrap().0, 7);
}

#[test]
fn a_value_larger_than_the_arena_comes_back() {
    common::end_after(Duration::from_secs(60));
    // Three quarters would fit, if the queue itself were not there, which stays as long as the arena.
    for bytes in [SIZE as usize, SIZE as usize / 4 * 3] {
        let mut scene = Scene::new();
        let value = scene.value(bytes, Behind::Nothing);
        let free = scene.arena.free_bytes();
        let error = refused(scene.queue.put(value));
        let SendValueError::NotEncoded { value, reason } = error else { panic!("{error}") };
        assert_eq!(reason, EncodeError::TooLarge { largest: SIZE as usize / 2 });
        scene.comes_back(value, free);
    }
}

#[test]
fn a_value_for_which_there_is_no_memory_now_comes_back() {
    let mut scene = Scene::new();
    let rest = scene.arena.slice_unfilled::<u8>(SIZE as usize / 2).unwrap();
    let value = scene.value(SIZE as usize / 2 - 200, Behind::Nothing);
    let free = scene.arena.free_bytes();
    let error = refused(scene.queue.try_put(value));
    assert!(matches!(error, SendValueError::Full(_)), "{error}");
    let error = refused(scene.queue.put_timeout(error.into_value().unwrap(), SHORT));
    assert!(matches!(error, SendValueError::Full(_)), "{error}");
    scene.comes_back(error.into_value().unwrap(), free);
    drop(rest);
}

#[test]
fn a_small_value_fits_where_a_large_one_was_put_before() {
    let arena = Arena::new(SIZE).unwrap();
    let mut queue = Queue::<Vec<u8>>::create_in(&arena, "bytes", 4).unwrap();
    queue.put(vec![1; SIZE as usize / 4]).unwrap();
    queue.get().unwrap();
    // Of the memory there is one page left.
    let mut rest: Vec<_> = std::iter::from_fn(|| arena.slice_unfilled::<u8>(4096).ok()).collect();
    rest.truncate(rest.len() - 1);
    queue.try_put(vec![2; 100]).unwrap();
    assert_eq!(queue.get().unwrap(), [2; 100]);
}

#[test]
fn a_value_takes_no_more_memory_than_it_needs_whatever_was_put_before() {
    let arena = Arena::new(SIZE).unwrap();
    let mut queue = Queue::<Vec<u8>>::create_in(&arena, "bytes", 4).unwrap();
    queue.put(vec![1; SIZE as usize / 4]).unwrap();
    queue.get().unwrap();
    let free = arena.free_bytes();
    queue.put(vec![2; 100]).unwrap();
    assert_eq!(arena.free_bytes(), free - 128);
    assert_eq!(queue.get().unwrap(), [2; 100]);
}

#[test]
fn who_waits_for_memory_to_put_hears_that_the_queue_is_closed() {
    common::end_after(Duration::from_secs(60));
    let arena = Arena::new(SIZE).unwrap();
    let mut queue = Queue::<Vec<u8>>::create_in(&arena, "bytes", 4).unwrap();
    let closer = queue.try_clone().unwrap();
    let _rest: Vec<_> = std::iter::from_fn(|| arena.slice_unfilled::<u8>(64).ok()).collect();
    // SAFETY: gives this thread's number.
    let waiter = unsafe { libc::gettid() };
    std::thread::scope(|scope| {
        scope.spawn(move || {
            common::until_asleep(waiter);
            closer.close();
        });
        let error = queue.put(vec![1; 100]).err().unwrap();
        assert!(matches!(&error, SendValueError::Closed(bytes) if bytes == &[1; 100]), "{error}");
    });
}

/// Its `Deserialize` takes the handles, and then does what the number says.
struct Picky(ShmBox<u64>, ShmArc<[u8]>, u8);

impl Serialize for Picky {
    fn serialize<Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
        (&self.0, &self.1, self.2).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Picky {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (owned, counted, number) = Deserialize::deserialize(deserializer)?;
        match number {
            0 => Ok(Picky(owned, counted, number)),
            1 => Err(D::Error::custom("on purpose")),
            _ => panic!("on purpose"),
        }
    }
}

#[test]
fn a_value_that_cannot_be_decoded_stays_with_its_blocks_until_it_is_taken_out() {
    let arena = Arena::new(SIZE).unwrap();
    let mut queue = Queue::<Picky>::create_in(&arena, "values", 2).unwrap();
    let shared = arena.slice(b"shared").unwrap().share().unwrap();
    let free = arena.free_bytes();
    let picky = |number| Picky(arena.boxed(7).unwrap(), shared.try_clone().unwrap(), number);
    queue.put(picky(0)).map_err(|e| e.to_string()).unwrap();
    assert_eq!(queue.remove_undecodable().unwrap(), None);
    drop(queue.get().unwrap());
    for number in [1, 0] {
        queue.put(picky(number)).map_err(|e| e.to_string()).unwrap();
    }
    let with_two = arena.free_bytes();
    for _ in 0..3 {
        let error = queue.get().err().unwrap();
        assert!(matches!(&error, RecvValueError::NotDecoded { .. }));
        assert!(error.to_string().contains("Picky: on purpose"), "{error}");
        assert_eq!((arena.free_bytes(), shared.count()), (with_two, 3));
    }
    assert!(queue.remove_undecodable().unwrap().is_some());
    let Picky(owned, counted, _) = queue.get().unwrap();
    assert_eq!((*owned, &counted[..]), (7, &b"shared"[..]));
    drop((owned, counted));
    assert_eq!((arena.free_bytes(), shared.count()), (free, 1));
}

#[test]
fn a_value_whose_deserialize_panics_goes_back() {
    let arena = Arena::new(SIZE).unwrap();
    let mut queue = Queue::<Picky>::create_in(&arena, "values", 2).unwrap();
    let shared = arena.slice(b"shared").unwrap().share().unwrap();
    for number in [0, 2] {
        let picky = Picky(arena.boxed(7).unwrap(), shared.try_clone().unwrap(), number);
        queue.put(picky).map_err(|e| e.to_string()).unwrap();
    }
    drop(queue.get().unwrap());
    let free = arena.free_bytes();
    for _ in 0..3 {
        assert!(catch_unwind(AssertUnwindSafe(|| queue.get().map(drop))).is_err());
        assert_eq!((arena.free_bytes(), shared.count()), (free, 2));
    }
}

#[test]
fn a_forked_childs_copies_free_and_give_back_nothing() {
    let mut scene = Scene::new();
    scene.queue.put(scene.value(1000, Behind::Nothing)).map_err(|e| e.to_string()).unwrap();
    let reader = scene.queue.try_clone().unwrap();
    let mut lease = Some(reader.lease().unwrap());
    let mut value = Some(scene.value(0, Behind::Nothing));
    let free = scene.arena.free_bytes();
    let mut scene = Some(scene);
    let status = in_forked_child(|| {
        let Scene { arena, mut queue, shared } = scene.take().unwrap();
        assert!(matches!(reader.try_lease().err(), Some(RecvValueError::Forked)));
        assert!(matches!(arena.boxed(1_u8).err().map(|r| r.reason), Some(AllocError::Forked)));
        assert!(matches!(shared.try_clone().err(), Some(AllocError::Forked)));
        assert!(arena.recover().is_err() && arena.another().is_err() && queue.try_clone().is_err());
        assert!(Queue::<Value>::open_in(&arena, "values").is_err());
        let error = queue.try_put(value.take().unwrap()).err().unwrap();
        assert!(matches!(error, SendValueError::Forked(_)));
        let Value { owned, counted, .. } = error.into_value().unwrap();
        assert!(matches!(owned.share().err(), Some(AllocError::Forked)));
        assert_eq!(counted.into_descriptor(), None);
        assert!(lease.take().unwrap().ack().is_err());
        queue.close();
        0
    });
    assert!(status.success());
    let mut scene = scene.unwrap();
    assert_eq!((scene.arena.free_bytes(), scene.shared.count(), scene.queue.is_closed()), (free, 3, false));
    let value = value.unwrap();
    assert_eq!((*value.owned, &value.counted[..]), (7, &b"shared"[..]));
    drop(lease);
    let value = scene.queue.get().unwrap();
    assert_eq!((*value.owned, &value.counted[..]), (7, &b"shared"[..]));
}
