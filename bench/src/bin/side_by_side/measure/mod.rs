//! Plays: what all contenders of a kind do alike, given the calls of one library.

pub mod crowd;
pub mod item;
pub mod pingpong;
pub mod repeat;
pub mod wake;
