//! What a panic in a task said and where, for the one who waits for its result.

use crate::error::TaskError;
use std::cell::RefCell;
use std::panic::{self, PanicHookInfo};

thread_local! {
    static LAST: RefCell<Option<TaskError>> = const { RefCell::new(None) };
}

/// Replaces the panic hook in a worker: panics of this thread are kept, those of others are shown as before.
pub(crate) fn keep_this_threads() {
    let this = std::thread::current().id();
    let others = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if std::thread::current().id() == this {
            let told = TaskError::Panicked { message: message(info), location: location(info) };
            LAST.set(Some(told));
        } else {
            others(info);
        }
    }));
}

/// Forgets what an earlier task said.
pub(crate) fn clear() {
    LAST.set(None);
}

/// The panic that was caught just now.
pub(crate) fn take() -> TaskError {
    LAST.take().unwrap_or_else(|| TaskError::Panicked {
        message: String::new(),
        location: "an unknown place".into(),
    })
}

fn message(info: &PanicHookInfo<'_>) -> String {
    let payload = info.payload();
    let text =
        payload.downcast_ref::<&str>().copied().or(payload.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a value that is not text").to_owned()
}

fn location(info: &PanicHookInfo<'_>) -> String {
    info.location().map_or_else(|| "an unknown place".into(), ToString::to_string)
}
