//! A model's bell: its supervisor looks around whenever it is told to.

pub(crate) struct Bell;

impl Bell {
    pub(crate) fn ring(&self) {}
}
