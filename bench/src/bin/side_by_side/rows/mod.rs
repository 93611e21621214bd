//! What is measured, and what is aimed at.

mod latency;
mod queue;
mod stream;

use crate::row::{Contender, Play, Row};

/// All rows, in the order of the report.
pub fn all() -> Vec<Row> {
    [latency::rows(), stream::rows(), queue::rows()].into_iter().flatten().collect()
}

/// A contender that needs the boost headers at build time.
#[cfg(feature = "boost")]
fn boost(how: &'static str, parts: u32, play: fn(&crate::part::Part) -> crate::row::Outcome) -> Contender {
    Contender { name: "boost", how, play: Play::Parts(parts, play) }
}
#[cfg(not(feature = "boost"))]
fn boost(how: &'static str) -> Contender {
    Contender { name: "boost", how, play: Play::Absent("built without --features boost: no boost headers") }
}
