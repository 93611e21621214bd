//! How each library is used: in the fast configuration that it recommends itself.

pub mod bare;
pub mod boost;
pub mod iceoryx;
pub mod in_process;
pub mod mimalloc;
pub mod procspawn;
pub mod pthread;
pub mod rayon;
pub mod shaq;
pub mod shmem_ipc;
pub mod skep;
