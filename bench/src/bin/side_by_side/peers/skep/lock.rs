//! The mutex.

use crate::measure::locks;
use crate::part::Part;
use crate::row::Outcome;
use skep::Mutex;

fn add(mutex: &Mutex<u64>, times: u32) {
    for _ in 0..times {
        *mutex.lock().expect("nobody dies") += 1;
    }
}

/// By one process.
pub fn uncontended(part: &Part) -> Outcome {
    let mutex = Mutex::new(0)?;
    locks::uncontended(part, |times| add(&mutex, times), || *mutex.lock().expect("nobody dies"))
}

/// By as many processes as there are parts.
pub fn contended(part: &Part) -> Outcome {
    let name = part.object("mutex");
    let mutex = if part.number == 0 {
        let mutex = Mutex::create(&name, 0_u64)?;
        part.meet(0);
        part.meet(1);
        Mutex::<u64>::unlink(&name)?;
        mutex
    } else {
        part.meet(0);
        let mutex = Mutex::open(&name)?;
        part.meet(1);
        mutex
    };
    locks::contended(part, |times| add(&mutex, times), || *mutex.lock().expect("nobody dies"))
}
