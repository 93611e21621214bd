//! Where a worker's life begins in a program: `init()` in `main`, `test_entry!()` in a test
//! harness.

use crate::error::PoolError;
use crate::origin::Start;
use crate::{inherited, leftover, sys, zygote};
use rustix::net::SocketType;
use std::sync::OnceLock;

/// The environment variable that tells a new process that it is a pool's: its [`Role`], and which
/// descriptors are not for it.
pub(crate) const MARKER: &str = "SKEP_ZYGOTE";

/// How a new process comes to the worker entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry {
    /// Through `main`.
    Main,
    /// Through libtest, which runs this test.
    Test(&'static str),
}

/// What a process is that was started for a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// It starts workers, in this way.
    Zygote(Start),
    /// It was executed to be a worker.
    Worker,
}

impl Role {
    const ALL: [(Role, &'static str); 3] = [
        (Role::Zygote(Start::Fork), "fork"),
        (Role::Zygote(Start::Execute), "execute"),
        (Role::Worker, "worker"),
    ];

    /// As the marker says it, with these descriptors to close.
    pub(crate) fn marker(self, list: &str) -> String {
        let name = Role::ALL.into_iter().find_map(|(role, name)| (role == self).then_some(name));
        format!("{} {list}", name.unwrap_or_default())
    }

    /// What the marker says.
    pub(crate) fn of(marker: &str) -> Option<(Role, &str)> {
        let (name, list) = marker.split_once(' ')?;
        let role = Role::ALL.into_iter().find_map(|(role, known)| (known == name).then_some(role))?;
        Some((role, list))
    }
}

/// What `init()` found wrong.
#[derive(Debug, Clone)]
enum Flaw {
    /// The names of those that were there.
    Threads(Vec<String>),
    /// The marker without its socket. Taking this process for an ordinary program would let it
    /// start the next one like it, endlessly.
    NoSocket,
}

static INIT: OnceLock<Result<(), Flaw>> = OnceLock::new();

/// Makes this program one that can have pools. The first line of `main`.
///
/// Workers are the same executable, started once more: there this call never returns. In the
/// program itself it only looks around and remembers; what is wrong is reported by
/// [`Pool::new`](crate::Pool::new).
///
/// ```
/// skep_pool::init();
/// // the rest of main
/// ```
///
/// A fork would copy the locks of other threads and not the threads, so there must be none yet. An
/// attribute such as `#[tokio::main]` starts some before the body of the function that it is
/// written on; so `main` goes without it:
///
/// ```
/// fn main() {
///     skep_pool::init();
///     serve()
/// }
///
/// // #[tokio::main]
/// // async fn serve() { … }
/// # fn serve() {}
/// ```
///
/// Where a library starts threads even before `main`, workers can be
/// [executed](crate::Start::Execute) instead.
pub fn init() {
    if is_zygote() {
        zygote::main(1);
    }
    remember();
}

fn remember() {
    INIT.get_or_init(|| {
        inherited::remember();
        leftover::bury();
        let others = sys::other_threads();
        match std::env::var_os(MARKER) {
            Some(_) => Err(Flaw::NoSocket),
            None if !others.is_empty() => Err(Flaw::Threads(others)),
            None => Ok(()),
        }
    });
}

/// In a new zygote: it may have pools of its own.
pub(crate) fn admit() {
    INIT.get_or_init(|| Ok(()));
}

/// Returns how new processes of this program come to their entry, if it can have workers that start
/// in this way.
pub(crate) fn entry(start: Start) -> Result<Entry, PoolError> {
    leftover::bury();
    let test = inventory::iter::<TestEntry>().next();
    match (INIT.get(), test) {
        (Some(Ok(())), _) => Ok(Entry::Main),
        (Some(Err(Flaw::NoSocket)), _) => Err(PoolError::StdinReplaced),
        (_, Some(test)) => Ok(Entry::Test(test.path())),
        (Some(Err(Flaw::Threads(_))), None) if start == Start::Execute => Ok(Entry::Main),
        (Some(Err(Flaw::Threads(others))), None) => {
            Err(PoolError::InitAfterThreads { others: others.clone() })
        }
        (None, None) => Err(PoolError::NotInitialised),
    }
}

/// How a process ends that the marker calls a zygote and the kernel privileged.
pub(crate) const REFUSED: i32 = 77;

/// Whether this process was started as a zygote: the marker is set, and standard input is the
/// socket that belongs to it.
///
/// One that has rights which its caller lacks ends here: whoever sets a variable and standard input
/// would have a process that obeys with them. It does not go on as an ordinary program, since that
/// is not what it was started for if the program itself did it.
fn is_zygote() -> bool {
    let is_marked = std::env::var_os(MARKER).is_some();
    if is_marked && sys::is_privileged() {
        std::process::exit(REFUSED);
    }
    is_marked && rustix::net::sockopt::socket_type(rustix::stdio::stdin()) == Ok(SocketType::SEQPACKET)
}

/// The test that is the worker entry of a test harness, as [`test_entry!`](crate::test_entry)
/// registers it.
#[doc(hidden)]
pub struct TestEntry(&'static str);

inventory::collect!(TestEntry);

impl TestEntry {
    /// For `test_entry!`: the test's full path.
    pub const fn new(path: &'static str) -> Self {
        TestEntry(path)
    }

    /// The path as libtest calls it: without the crate's name.
    fn path(&self) -> &'static str {
        self.0.split_once("::").map_or(self.0, |(_, path)| path)
    }
}

/// For `test_entry!`: the body of that test. In an ordinary run of the tests it does nothing.
#[doc(hidden)]
pub fn test_entry() {
    if is_zygote() {
        // libtest runs even a single test on a thread of its own; its main thread sleeps until the
        // test ends.
        zygote::main(2);
    }
}

/// Lets the tests of this file use pools. Write it once, at the root of the test file (or of the
/// crate, under `#[cfg(test)]`).
///
/// The test harness has a `main` of its own, which does not call [`init`]; this adds a test named
/// `skep_worker_entry` in which workers start instead. A harness that you write yourself (`harness
/// = false`) calls [`init`].
#[macro_export]
macro_rules! test_entry {
    () => {
        #[test]
        fn skep_worker_entry() {
            $crate::__private::test_entry();
        }
        $crate::__private::inventory::submit! {
            $crate::__private::TestEntry::new(::core::concat!(::core::module_path!(), "::skep_worker_entry"))
        }
    };
}
