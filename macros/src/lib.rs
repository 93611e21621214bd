//! The `#[skep::task]` attribute.
