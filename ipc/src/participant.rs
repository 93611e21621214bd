//! Who takes part in an object, for its users to look at.

/// A participant of an object: one handle in one process, as another one sees it at this moment.
///
/// ```
/// use skep_ipc::SimpleQueue;
/// let mut here = SimpleQueue::<u64>::new(16)?;
/// let mut there = here.try_clone()?; // in another process
/// there.put(7)?;
/// let producers = here.participants()?.iter().filter(|other| other.is_alive && other.puts).count();
/// assert_eq!(producers, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Participant {
    /// Its process, as numbered in that one's own pid namespace.
    pub pid: u32,
    /// Whether it lives. One that does not is still listed until somebody has put in order what it left.
    pub is_alive: bool,
    /// Whether it is the handle that was asked.
    pub is_this: bool,
    /// Whether it has ever put something or tried to, or is a pipe's sender.
    pub puts: bool,
    /// Whether it has ever got something or tried to, or is a pipe's receiver.
    pub gets: bool,
}
