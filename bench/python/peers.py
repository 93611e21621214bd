#!/usr/bin/env python3
"""Python's pools as contenders: peers.py "(pool|joblib) WHAT" MILLISECONDS CORES prints one figure."""

import itertools
import multiprocessing
import os
import sys
import threading
import time

for threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(threads, "1")

WORKERS = 2


def noop(n):
    return n


def burn(loops):
    for _ in range(loops):
        pass
    return loops


def who(_):
    time.sleep(0.0001)
    return os.getpid()


class Pool:
    """multiprocessing.Pool, forked."""

    def __init__(self, workers=WORKERS):
        self.pool = multiprocessing.get_context("fork").Pool(workers)

    def one_by_one(self, task, inputs):
        return self.pool.map(task, inputs, chunksize=1)

    def map(self, task, inputs):
        return self.pool.map(task, inputs)

    def call(self, task, argument):
        return self.pool.apply(task, (argument,))

    def end(self):
        self.pool.terminate()


class Joblib:
    """joblib.Parallel on loky's processes, kept from call to call."""

    def __init__(self, workers=WORKERS):
        import joblib

        self.delayed = joblib.delayed
        self.batches = joblib.Parallel(n_jobs=workers, backend="loky").__enter__()
        self.single = joblib.Parallel(n_jobs=workers, backend="loky", batch_size=1).__enter__()

    def one_by_one(self, task, inputs):
        return self.single(self.delayed(task)(n) for n in inputs)

    def map(self, task, inputs):
        return self.batches(self.delayed(task)(n) for n in inputs)

    def call(self, task, argument):
        return self.single([self.delayed(task)(argument)])[0]

    def end(self):
        from joblib.externals.loky import get_reusable_executor

        get_reusable_executor().shutdown(wait=True)


def checked(results, expected):
    if results != expected:
        raise SystemExit("a result was lost or changed")


def rate(seconds, batch, run):
    """Millions a second of no-op tasks."""
    run(range(100))
    start, done = time.perf_counter(), 0
    while done == 0 or time.perf_counter() - start < seconds:
        checked(run(range(batch)), list(range(batch)))
        done += batch
    return done / (time.perf_counter() - start) / 1e6


def alone(loops, tasks):
    start = time.perf_counter()
    for _ in range(tasks):
        burn(loops)
    return (time.perf_counter() - start) / tasks


def efficiency(pool, seconds, length):
    """How much of two workers' time goes into tasks of that length."""
    loops = int(20_000 * length / min(alone(20_000, 1) for _ in range(9)))
    tasks = max(int(2 * seconds / length), 20)
    pool.one_by_one(burn, [loops] * 20)
    before = alone(loops, tasks // 4)
    start = time.perf_counter()
    results = pool.one_by_one(burn, [loops] * tasks)
    wall = time.perf_counter() - start
    checked(results, [loops] * tasks)
    one = (before + alone(loops, tasks // 4)) / 2
    return one * tasks / (WORKERS * wall)


def call(pool, seconds, percent):
    """Microseconds there and back."""
    for n in range(50):
        checked(pool.call(noop, n), n)
    start, calls = time.perf_counter(), []
    while time.perf_counter() - start < seconds or len(calls) < 20:
        begun = time.perf_counter_ns()
        result = pool.call(noop, 7)
        calls.append((time.perf_counter_ns() - begun) / 1e3)
        checked(result, 7)
    return sorted(calls)[(len(calls) - 1) * percent // 100]


def start(make, seconds):
    """Milliseconds until both workers have answered."""
    begun, starts = time.perf_counter(), []
    while not starts or time.perf_counter() - begun < seconds:
        start, pids = time.perf_counter(), set()
        pool = make()
        while len(pids) < WORKERS:
            pids.update(pool.one_by_one(who, range(WORKERS)))
        starts.append((time.perf_counter() - start) * 1e3)
        pool.end()
    return sorted(starts)[len(starts) // 2]


def burnt(pid):
    total = 0
    for thread in set(os.listdir(f"/proc/{pid}/task")) - {str(threading.get_native_id())}:
        with open(f"/proc/{pid}/task/{thread}/schedstat") as words:
            total += int(words.read().split()[0])
    return total


def idle(pool, seconds):
    """Percent of a core, with the threads of the pool's own process."""
    pids = {os.getpid(), *pool.one_by_one(who, range(50))}
    time.sleep(0.05)
    begun, before = time.perf_counter_ns(), sum(map(burnt, pids))
    time.sleep(max(5 * seconds, 1))
    elapsed = time.perf_counter_ns() - begun
    return (sum(map(burnt, pids)) - before) * 100 / elapsed


def memory(pool):
    """KiB that a worker has for itself."""
    pid = pool.call(who, 0)
    with open(f"/proc/{pid}/smaps_rollup") as rollup:
        return sum(int(line.split()[1]) for line in rollup if line.startswith("Private_"))


def total(array):
    return float(array.sum())


def doubled(array):
    return array * 2


def first(array):
    return float(array[0])


def array(count):
    import numpy

    return numpy.arange(count, dtype=numpy.float64)


def milliseconds(seconds, call):
    """Milliseconds of a call, once it was called twice."""
    calls, start = [], None
    for n in itertools.count():
        if n == 2:
            start = time.perf_counter()
        begun = time.perf_counter()
        call()
        if n >= 2:
            calls.append((time.perf_counter() - begun) * 1e3)
            if len(calls) >= 3 and time.perf_counter() - start >= seconds:
                return sorted(calls)[len(calls) // 2]


def sums(pool, seconds):
    """Milliseconds until 64 MiB of numbers are added up."""
    numbers = array(8 << 20)
    expected = float(numbers.sum())
    return milliseconds(seconds, lambda: checked(pool.call(total, numbers), expected))


def doubles(pool, seconds):
    """Milliseconds until they are back, doubled."""
    numbers = array(8 << 20)

    def call():
        result = pool.call(doubled, numbers)
        checked((len(result), result[1], result[-1]), (8 << 20, 2.0, 2.0 * numbers[-1]))

    return milliseconds(seconds, call)


def argument(pool, seconds, size):
    """Microseconds of a call with an array of so many bytes."""
    numbers = array(size // 8)
    return milliseconds(seconds, lambda: checked(pool.call(first, numbers), 0.0)) * 1e3


def figure(words, seconds):
    which, what, *rest = words
    make = {"pool": Pool, "joblib": Joblib}[which]
    if what == "start":
        return start(make, seconds)
    pool = make()
    try:
        if what == "noop":
            return rate(seconds, 1000, lambda numbers: pool.one_by_one(noop, numbers))
        if what == "map":
            # joblib takes half a minute for ten million: a tenth says as much.
            count = int(min(50e6 * seconds, 10e6) / (10 if which == "joblib" else 1))
            return rate(seconds, count, lambda numbers: pool.map(noop, numbers))
        if what == "efficiency":
            return efficiency(pool, seconds, int(rest[0]) / 1e6)
        if what == "call":
            return call(pool, seconds, int(rest[0]))
        if what == "sum":
            return sums(pool, seconds)
        if what == "double":
            return doubles(pool, seconds)
        if what == "argument":
            return argument(pool, seconds, int(rest[0]))
        if what == "idle":
            return idle(pool, seconds)
        if what == "memory":
            return memory(pool)
        raise SystemExit(f"no such play: {what}")
    finally:
        pool.end()


if __name__ == "__main__":
    play, length, cores = sys.argv[1:]
    os.sched_setaffinity(0, {int(core) for core in cores.split(",")})
    print(figure(play.split(), int(length) / 1e3))
