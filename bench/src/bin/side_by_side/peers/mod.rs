//! How each library is used: in the fast configuration that it recommends itself.

pub mod bare;
#[cfg(feature = "boost")]
pub mod boost;
pub mod iceoryx;
pub mod in_process;
pub mod shaq;
pub mod shmem_ipc;
pub mod skep;
