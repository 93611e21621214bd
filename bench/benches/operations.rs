//! What the hot operations take in a process of its own: `cargo bench`, `cargo bench -- NAME`.

use criterion::Criterion;
use skep_bench::operations::{ALL, TIMES};
use std::time::{Duration, Instant};

fn main() {
    // The workers of the pool begin here.
    skep::init();
    let mut criterion = Criterion::default().configure_from_args();
    for named in ALL {
        // Made only if it is asked for, and once.
        let mut operation = None;
        criterion.bench_function(named.name, |bencher| {
            let operation = operation.get_or_insert_with(|| (named.make)().expect("it can be made"));
            bencher.iter_custom(|iterations| {
                let (mut left, mut elapsed) = (iterations as usize, Duration::ZERO);
                while left > 0 {
                    let times = left.min(TIMES);
                    let start = Instant::now();
                    operation.run(times);
                    elapsed += start.elapsed();
                    operation.undo(times);
                    left -= times;
                }
                elapsed
            });
        });
    }
    criterion.final_summary();
}
