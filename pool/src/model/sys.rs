//! What the protocol asks of the system: in a model nothing forks.

pub(crate) fn vanish() -> ! {
    unreachable!("a model's task does not fork")
}
