//! Why a value cannot be encoded or decoded, and where in it.

use std::fmt;

/// What serde says, or what is wrong with the bytes; and the fields that lead to the place.
pub struct Error(Box<Inner>);

struct Inner {
    /// From the outside to the inside.
    path: Vec<String>,
    reason: String,
}

impl Error {
    #[cold]
    pub(crate) fn new(reason: impl Into<String>) -> Error {
        Error(Box::new(Inner { path: Vec::new(), reason: reason.into() }))
    }

    /// The same, of what lies in the field or variant of that name.
    #[cold]
    pub(super) fn within(mut self, name: &str) -> Error {
        self.0.path.insert(0, name.into());
        self
    }
}

impl Error {
    /// The same, of a name that others may be writing: it is copied first, and looked at then.
    #[cold]
    pub(super) fn within_bytes(self, name: &[u8]) -> Error {
        let copy = name.to_vec();
        self.within(&String::from_utf8_lossy(&copy))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.0.path.is_empty() {
            write!(f, "in {}: ", self.0.path.join("."))?;
        }
        f.write_str(&self.0.reason)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Error({self})")
    }
}

impl std::error::Error for Error {}

impl serde::ser::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Error::new(message.to_string())
    }
}

impl serde::de::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Error::new(message.to_string())
    }
}
