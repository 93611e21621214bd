//! What can travel from one process to another as bytes.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A value that travels from one process to another: through a [`Queue`](crate::Queue), or as the
/// argument or the result of a task.
///
/// Every type that implements serde's `Serialize` and `Deserialize` and borrows nothing is one; there is
/// nothing to implement.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot travel to another process",
    label = "serde can not both encode it and decode it",
    note = "a struct or enum of your own derives `serde::Serialize` and `serde::Deserialize`",
    note = "an error that has neither, such as `std::io::Error`, travels as its text: `error.to_string()`",
    note = "queues, pipes, locks and arenas do not travel: open them by name where they are used"
)]
pub trait Message: Serialize + DeserializeOwned {}

#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned> Message for T {}
