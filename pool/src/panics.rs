//! What a panic in a task said and where, for the one who waits for its result.
//!
//! A panic that unwinds is caught, and told to the caller with the place that the hook has noted; nothing is printed. One that does not
//! unwind kills its worker, and would be lost: under `panic = "abort"`, or when it meets a function that cannot unwind or a destructor
//! at work, which is a second panic. So those are printed.

use crate::error::TaskError;
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::io::{self, Write};
use std::panic::{self, PanicHookInfo};

/// A panic as the hook saw it.
struct Seen {
    text: Option<String>,
    location: String,
    is_printed: bool,
}

thread_local! {
    static LAST: RefCell<Option<Seen>> = const { RefCell::new(None) };
    /// Whether `LAST` may hold one: a plain word, which each item of each task looks at.
    static HAS_LAST: Cell<bool> = const { Cell::new(false) };
}

/// Replaces the panic hook in a worker: panics of this thread are kept, those of others are shown as before.
pub(crate) fn keep_this_threads() {
    let this = std::thread::current().id();
    let print = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if std::thread::current().id() != this {
            return print(info);
        }
        // The task has caught it, or it is why this one comes.
        let earlier = LAST.take();
        if let Some(Seen { text, location, is_printed: false }) = &earlier {
            let _ = writeln!(io::stderr(), "{}", panicked(text.as_deref(), location));
        }
        let is_printed = earlier.is_some() || cfg!(panic = "abort");
        if is_printed {
            print(info);
        }
        let seen =
            Seen { text: text(info.payload()).map(str::to_owned), location: location(info), is_printed };
        LAST.set(Some(seen));
        HAS_LAST.set(true);
    }));
}

/// Forgets what an earlier task said.
#[inline]
pub(crate) fn clear() {
    if HAS_LAST.replace(false) {
        LAST.set(None);
    }
}

/// The panic that was caught with this payload. It may have been raised without the hook (`resume_unwind`), so its text is the truth;
/// what the hook saw last tells the place if it had the same text.
pub(crate) fn told_by(payload: &(dyn Any + Send)) -> TaskError {
    let text = text(payload);
    let seen = LAST.take().filter(|seen| seen.text.as_deref() == text);
    panicked(text, seen.as_ref().map_or("an unknown place", |seen| &seen.location))
}

fn panicked(text: Option<&str>, location: &str) -> TaskError {
    TaskError::Panicked {
        message: text.unwrap_or("a value that is not text").to_owned(),
        location: location.to_owned(),
    }
}

fn text(payload: &(dyn Any + Send)) -> Option<&str> {
    payload.downcast_ref::<&str>().copied().or(payload.downcast_ref::<String>().map(String::as_str))
}

fn location(info: &PanicHookInfo<'_>) -> String {
    info.location().map_or_else(|| "an unknown place".into(), ToString::to_string)
}
