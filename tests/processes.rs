//! Real processes, killed for real, on one queue.

mod common;

use common::{Other, Random, Unlink, fresh_name, given_fd, role};
use skep::{GetError, QueueOptions, SimpleQueue};
use std::collections::HashMap;
use std::os::fd::AsFd;
use std::time::Duration;

/// So long that only a hang reaches it.
const HANG: Duration = Duration::from_secs(60);

#[test]
fn the_other_process() {
    let Some((role, argument)) = role() else { return };
    match role.as_str() {
        "count up" => count_up(argument.parse().unwrap()),
        "forward" => forward(&argument),
        "forward while held" => forward_while_held(&argument),
        "join, say so, and wait" => {
            let mut queue = SimpleQueue::<u64>::from_fd(given_fd()).unwrap();
            queue.put(u64::from(std::process::id())).unwrap();
            loop {
                std::thread::park();
            }
        }
        "create, put, and wait" => {
            let mut queue = SimpleQueue::<u64>::create(&argument, 16).unwrap();
            (1..=3).for_each(|n| queue.put(n).unwrap());
            SimpleQueue::<u64>::from_fd(given_fd()).unwrap().put(0).unwrap();
            loop {
                std::thread::park();
            }
        }
        other => panic!("no such role: {other}"),
    }
    std::process::exit(0);
}

/// Puts `{ id, 0 }, { id, 1 }, …` until it is killed.
fn count_up(id: u64) {
    let mut queue = SimpleQueue::<u64>::from_fd(given_fd()).unwrap();
    for n in 0.. {
        queue.put(id << 32 | n).unwrap();
    }
}

/// Takes items and puts them into the queue of that name.
fn forward(name: &str) {
    let mut from = SimpleQueue::<u64>::from_fd(given_fd()).unwrap();
    let mut to = SimpleQueue::<u64>::open(name).unwrap();
    while let Ok(n) = from.get() {
        to.put(n).unwrap();
    }
}

/// The same, each item still held while it is passed on.
fn forward_while_held(name: &str) {
    let mut from = SimpleQueue::<u64>::from_fd(given_fd()).unwrap();
    let mut to = SimpleQueue::<u64>::open(name).unwrap();
    while from.get_with(|n| to.put(n).unwrap()).is_ok() {}
}

/// Waits until a started process shows that it takes part, then for some of its steps more.
fn let_run(queue: &mut SimpleQueue<u64>, seen: &mut HashMap<u64, u64>, items: u64) {
    for _ in 0..=items {
        check_sequence(queue.get_timeout(HANG).expect("a killed producer wedged the queue"), seen);
    }
}

/// Of each producer the numbers come without a gap, from 0 on.
fn check_sequence(item: u64, seen: &mut HashMap<u64, u64>) {
    let (id, n) = (item >> 32, item & 0xffff_ffff);
    let next = seen.entry(id).or_insert(0);
    assert_eq!(n, *next, "producer {id}: lost, doubled, torn or reordered");
    *next += 1;
}

#[test]
fn producers_killed_at_random_leave_a_prefix_of_their_items() {
    let mut queue = QueueOptions::new(8).peers(3).anonymous::<u64>().unwrap();
    let mut seen = HashMap::new();
    let mut random = Random(0x5eed);
    let mut steady = Other::start_with_fd("count up", "0", queue.as_fd());
    // Two places for producers: the dead one's is used again each time.
    for id in 1..=100 {
        let other = Other::start_with_fd("count up", &id.to_string(), queue.as_fd());
        while !seen.contains_key(&id) {
            let_run(&mut queue, &mut seen, 0);
        }
        let_run(&mut queue, &mut seen, random.below(300));
        if random.below(10) == 0 {
            steady.kill();
            steady = Other::start_with_fd("count up", &(1000 + id).to_string(), queue.as_fd());
            let_run(&mut queue, &mut seen, 10);
        }
        other.kill();
    }
    steady.kill();
    while let Ok(item) = queue.get_timeout(Duration::from_millis(300)) {
        check_sequence(item, &mut seen);
    }
    assert!(queue.is_empty());
    queue.put(1).unwrap();
    assert_eq!(queue.get(), Ok(1), "it works on");
}

#[test]
fn a_consumer_killed_at_random_costs_at_most_the_item_in_its_hands() {
    let (lost, doubled, kills) = kill_consumers("forward");
    assert_eq!(doubled, 0);
    assert!(lost <= kills, "{lost} lost in {kills} kills");
}

#[test]
fn a_consumer_killed_at_random_while_it_holds_an_item_costs_nothing() {
    let (lost, doubled, kills) = kill_consumers("forward while held");
    assert_eq!(lost, 0);
    assert!(doubled <= kills, "{doubled} doubled in {kills} kills");
}

/// Puts a sequence that processes of a role pass on into a second queue, killing one after the other.
/// Returns how many items were lost and doubled, and the number of kills.
fn kill_consumers(role: &str) -> (u64, u64, u64) {
    const KILLS: u64 = 100;
    let name = fresh_name(&role.replace(' ', "-"));
    let _unlink = Unlink(name.clone());
    let mut from = QueueOptions::new(8).peers(3).anonymous::<u64>().unwrap();
    let mut to = QueueOptions::new(1024).peers(4).create::<u64>(&name).unwrap();
    let mut random = Random(0xfeed);
    let mut times: Vec<u64> = vec![];
    let mut put = 0;
    let mut pass = |times: &mut Vec<u64>, from: &mut SimpleQueue<u64>, items: u64| {
        let target = times.len() as u64 + items;
        while (times.len() as u64) < target {
            while from.try_put(put).is_ok() {
                put += 1;
            }
            times.push(to.get_timeout(HANG).expect("a killed consumer wedged a queue"));
        }
        put
    };
    for _ in 0..KILLS {
        let other = Other::start_with_fd(role, &name, from.as_fd());
        pass(&mut times, &mut from, 1 + random.below(200));
        other.kill();
    }
    let last = Other::start_with_fd(role, &name, from.as_fd());
    let put = pass(&mut times, &mut from, 1);
    from.close();
    last.finish();
    while let Ok(item) = to.get_timeout(Duration::from_millis(300)) {
        times.push(item);
    }
    let total = times.len() as u64;
    times.sort_unstable();
    times.dedup();
    let distinct = times.len() as u64;
    assert!(times.iter().all(|&n| n < put), "torn");
    (put - distinct, total - distinct, KILLS)
}

#[test]
fn a_stopped_participant_is_alive_and_a_killed_one_is_not() {
    let mut queue = QueueOptions::new(4).peers(2).anonymous::<u64>().unwrap();
    let other = Other::start_with_fd("join, say so, and wait", "", queue.as_fd());
    assert_eq!(queue.get_timeout(HANG), Ok(other.pid() as u64));
    other.signal(libc::SIGSTOP);
    assert_eq!(queue.recover().unwrap(), 0);
    assert!(matches!(queue.try_clone(), Err(skep::Error::TooManyPeers { limit: 2 })));
    other.kill();
    assert_eq!(queue.recover().unwrap(), 1);
    let _its_place = queue.try_clone().unwrap();
}

#[test]
fn a_dead_participants_place_is_taken_even_if_nobody_repaired() {
    let queue = QueueOptions::new(4).peers(2).anonymous::<u64>().unwrap();
    for _ in 0..20 {
        let mut watch = SimpleQueue::<u64>::new(1).unwrap();
        let other = Other::start_with_fd("join, say so, and wait", "", watch.as_fd());
        watch.get_timeout(HANG).unwrap();
        other.kill();
        drop(watch);
        let other = Other::start_with_fd("join, say so, and wait", "", queue.as_fd());
        while queue.is_empty() {
            std::thread::yield_now();
        }
        other.kill();
        let mut second = queue.try_clone().unwrap();
        assert!(second.get_timeout(HANG).is_ok());
    }
}

#[test]
fn a_named_queue_outlives_its_processes() {
    let name = fresh_name("outlives");
    let _unlink = Unlink(name.clone());
    let mut ready = SimpleQueue::<u64>::new(1).unwrap();
    let other = Other::start_with_fd("create, put, and wait", &name, ready.as_fd());
    assert_eq!(ready.get_timeout(HANG), Ok(0));
    other.kill();
    let mut queue = SimpleQueue::<u64>::open(&name).unwrap();
    assert_eq!((queue.get(), queue.get(), queue.get()), (Ok(1), Ok(2), Ok(3)));
    assert_eq!(queue.try_get(), Err(GetError::Empty));
    assert_eq!(queue.recover().unwrap(), 1, "its creator's place");
}
