//! boost::interprocess, if this build has it.

#[cfg(feature = "boost")]
mod linked;
#[cfg(feature = "boost")]
pub use linked::{contended, one_by_one, uncontended};

#[cfg(not(feature = "boost"))]
mod absent {
    use crate::part::Part;
    use crate::row::Outcome;

    pub fn one_by_one(_: &Part) -> Outcome {
        Err("boost is not in this build".into())
    }
    pub use one_by_one as contended;
    pub use one_by_one as uncontended;
}
#[cfg(not(feature = "boost"))]
pub use absent::{contended, one_by_one, uncontended};
