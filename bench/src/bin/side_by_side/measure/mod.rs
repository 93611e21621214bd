//! Plays: what all contenders of a kind do alike, given the calls of one library.

pub mod arrays;
pub mod churn;
pub mod crowd;
pub mod item;
pub mod locks;
pub mod pingpong;
pub mod processes;
pub mod repeat;
pub mod tasks;
pub mod wake;
