//! A model's spill file: there is no room in it.

use crate::error::TaskError;
use rustix::io::Errno;

#[derive(Debug, Clone, Copy)]
pub(crate) enum Side {
    Arguments,
    Results,
}

pub(crate) struct Spill;

impl Spill {
    pub(crate) fn write(&self, _record: u32, _side: Side, _at: u64, bytes: &[u8]) -> Result<(), TaskError> {
        if bytes.is_empty() { Ok(()) } else { Err(TaskError::no_memory("a model has none")) }
    }

    pub(crate) fn read(&self, _record: u32, _side: Side, _at: u64, into: &mut [u8]) -> Result<(), Errno> {
        if into.is_empty() { Ok(()) } else { Err(Errno::IO) }
    }

    pub(crate) fn holds(&self, _record: u32, _side: Side, at: u64, end: u64) -> Result<bool, Errno> {
        Ok(at >= end)
    }

    pub(crate) fn is_lost(&self) -> bool {
        false
    }

    pub(crate) fn release(&self, _record: u32, _side: Side) {}

    pub(crate) fn release_from(&self, _record: u32, _side: Side, _at: u64) {}

    pub(crate) fn results_window(&self, _record: u32) -> MappedWindow<'_> {
        MappedWindow(self)
    }
}

pub(crate) struct MappedWindow<'a>(&'a Spill);

impl MappedWindow<'_> {
    pub(crate) fn len(&self) -> u64 {
        0
    }

    pub(crate) fn write(&mut self, at: u64, bytes: &[u8]) -> Result<(), TaskError> {
        self.0.write(0, Side::Results, at, bytes)
    }
}
