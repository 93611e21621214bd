//! Curves: how the figures change with what is asked for.

use crate::peers::skep::{array, pipe, pool, queue};
use crate::peers::{bare, boost, iceoryx, in_process, procspawn, rayon, shmem_ipc};
use crate::row::{Row, Unit};

pub fn rows() -> Vec<Row> {
    vec![
        message::<8>("growth-message-8"),
        message::<64>("growth-message-64"),
        message::<512>("growth-message-512"),
        message::<{ 4 << 10 }>("growth-message-4k"),
        message::<{ 32 << 10 }>("growth-message-32k"),
        message::<{ 256 << 10 }>("growth-message-256k"),
        message::<{ 1 << 20 }>("growth-message-1m"),
        message::<{ 8 << 20 }>("growth-message-8m"),
        message::<{ 64 << 20 }>("growth-message-64m"),
        pairs::<1>("growth-pairs-1"),
        pairs::<2>("growth-pairs-2"),
        pairs::<4>("growth-pairs-4"),
        pairs::<8>("growth-pairs-8"),
        pairs::<16>("growth-pairs-16"),
        slots::<2>("growth-slots-2"),
        slots::<16>("growth-slots-16"),
        slots::<128>("growth-slots-128"),
        slots::<1024>("growth-slots-1k"),
        slots::<8192>("growth-slots-8k"),
        slots::<65_536>("growth-slots-64k"),
        queued::<1>("growth-queued-1"),
        queued::<100>("growth-queued-100"),
        queued::<10_000>("growth-queued-10k"),
        queued::<1_000_000>("growth-queued-1m"),
        task::<5>("growth-task-5us", "pool efficiency 5"),
        task::<20>("growth-task-20us", "pool efficiency 20"),
        task::<50>("growth-task-50us", "pool efficiency 50"),
        task::<200>("growth-task-200us", "pool efficiency 200"),
        task::<1000>("growth-task-1ms", "pool efficiency 1000"),
        argument::<{ 1 << 10 }>("growth-argument-1k", "pool argument 1024", "joblib argument 1024"),
        argument::<{ 32 << 10 }>("growth-argument-32k", "pool argument 32768", "joblib argument 32768"),
        argument::<{ 1 << 20 }>("growth-argument-1m", "pool argument 1048576", "joblib argument 1048576"),
        argument::<{ 32 << 20 }>("growth-argument-32m", "pool argument 33554432", "joblib argument 33554432"),
        workers::<1>("growth-workers-1"),
        workers::<2>("growth-workers-2"),
        workers::<4>("growth-workers-4"),
        workers::<8>("growth-workers-8"),
        workers::<16>("growth-workers-16"),
        workers::<64>("growth-workers-64"),
        workers::<200>("growth-workers-200"),
        idle::<2>("growth-idle-2"),
        idle::<20>("growth-idle-20"),
        idle::<200>("growth-idle-200"),
    ]
}

fn message<const BYTES: usize>(name: &'static str) -> Row {
    Row::new(name, "One way between two processes, copied in and out", Unit::Nanoseconds)
        .parts("skep", "Pipe: try_reserve, try_recv", 2, pipe::bulk_latency::<BYTES>)
        .parts("two copies", "and a flag, four buffers in turn", 2, bare::bulk_latency::<BYTES>)
        .parts("shmem-ipc", "sharedring without signals, 4 items", 2, shmem_ipc::bulk_latency::<BYTES>)
        .parts("iceoryx2", "loaned, copied in and out", 2, iceoryx::bulk_latency::<BYTES>)
        .at("message", "bytes", BYTES as f64)
}

fn task<const MICROSECONDS: u64>(name: &'static str, python: &'static str) -> Row {
    Row::new(name, "Efficiency of 2 workers, tasks one by one", Unit::Fraction)
        .parts("skep", "apply_async, 256 ahead", 1, pool::efficiency::<MICROSECONDS>)
        .parts("rayon", "threads of one process, scope.spawn", 1, rayon::efficiency::<MICROSECONDS>)
        .parts("procspawn", "4 ahead", 1, procspawn::efficiency::<MICROSECONDS>)
        .python("mp.Pool", "fork, map with chunksize=1", python)
        .at("task", "µs a task", MICROSECONDS as f64)
}

fn argument<const BYTES: usize>(name: &'static str, pool: &'static str, joblib: &'static str) -> Row {
    Row::new(name, "A task with an argument of which it reads the first word", Unit::Microseconds)
        .parts("skep", "apply, a block of the arena there and back", 1, array::call::<BYTES>)
        .python("mp.Pool", "fork, apply, an array there", pool)
        .python("joblib", "loky, the same array again", joblib)
        .at("argument", "bytes", BYTES as f64)
}

fn pairs<const PAIRS: usize>(name: &'static str) -> Row {
    let parts = 2 * PAIRS as u32;
    Row::new(name, "SimpleQueue of u64, as many to as many", Unit::Rate)
        .parts("skep", "try_put, try_get", parts, queue::one_by_one)
        .parts("ArrayQueue", "crossbeam, threads of one process", 1, in_process::array_queue::<PAIRS>)
        .boost("message_queue with circular index", parts, boost::one_by_one)
        .at("pairs", "producers, and as many consumers", PAIRS as f64)
}

fn slots<const SLOTS: usize>(name: &'static str) -> Row {
    Row::new(name, "SimpleQueue of u64, 1 to 1", Unit::Rate)
        .parts("skep", "try_put, try_get", 2, queue::through_slots::<SLOTS>)
        .parts("ArrayQueue", "crossbeam, threads of one process", 1, in_process::array_queue_of::<1, SLOTS>)
        .at("slots", "slots", SLOTS as f64)
}

fn queued<const TASKS: u64>(name: &'static str) -> Row {
    Row::new(name, "A no-op task, with so many queued", Unit::Microseconds)
        .parts("skep", "apply_async, then get", 1, pool::queued::<TASKS>)
        .at("queued", "tasks that are queued", TASKS as f64)
}

fn idle<const WORKERS: usize>(name: &'static str) -> Row {
    Row::new(name, "An idle pool, of one core", Unit::Percent).parts("skep", "", 1, pool::idle::<WORKERS>).at(
        "idle",
        "workers",
        WORKERS as f64,
    )
}

fn workers<const WORKERS: usize>(name: &'static str) -> Row {
    Row::new(name, "No-op tasks one by one", Unit::Rate)
        .parts("skep", "apply_async, 256 ahead", 1, pool::noop_calls::<WORKERS>)
        .parts("rayon", "threads of one process, scope.spawn", 1, rayon::noop_spawned::<WORKERS>)
        .parts("procspawn", "4 ahead", 1, procspawn::noop::<WORKERS>)
        .at("workers", "workers", WORKERS as f64)
}
