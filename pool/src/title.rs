//! What `ps` shows of a pool's processes: `program: worker 3 of 1234`, the last the parent's
//! process id.
//!
//! Their arguments stay the program's, for whoever asks `std::env::args`; the kernel is told to
//! show another place. Where it has no such call, `ps` shows the program's arguments. The short
//! name, which `top` and `killall` go by, is `skep-worker-3`: a signal that is sent to the program
//! by its name is not theirs.

use std::ffi::{c_int, c_ulong};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

const PR_SET_MM: c_int = 35;
const PR_SET_MM_MAP: c_ulong = 14;

/// The zygote's short name.
pub(crate) const ZYGOTE: &str = "skep-zygote";

/// A worker's short name.
pub(crate) fn worker(number: u32) -> String {
    format!("skep-worker-{number}")
}

/// `struct prctl_mm_map`: where the kernel says that the parts of a process lie.
#[repr(C)]
#[derive(Clone, Copy)]
struct Map {
    start_code: u64,
    end_code: u64,
    start_data: u64,
    end_data: u64,
    start_brk: u64,
    brk: u64,
    start_stack: u64,
    arg_start: u64,
    arg_end: u64,
    env_start: u64,
    env_end: u64,
    auxv: u64,
    auxv_size: u32,
    exe_fd: u32,
}

/// Sets titles in one process and in those that it forks, which have the same map.
#[derive(Clone, Copy)]
pub(crate) struct Titles(Option<Map>);

impl Titles {
    pub(crate) fn new() -> Titles {
        Titles(Map::of_this_process())
    }

    /// Shows the program's name with this role.
    pub(crate) fn show(&self, role: &str, parent: u32) {
        let Some(map) = self.0 else { return };
        let program = std::env::args_os().next().unwrap_or_default();
        let program = Path::new(&program).file_name().unwrap_or_default().as_bytes();
        let text = [program, format!(": {role} of {parent}\0").as_bytes()].concat();
        // For as long as the process lives.
        let text: &'static [u8] = text.leak();
        let range = text.as_ptr_range();
        // SAFETY: asks where the heap ends.
        let brk = unsafe { libc::sbrk(0) } as u64;
        let map = Map { brk, arg_start: range.start as u64, arg_end: range.end as u64, ..map };
        let size = size_of::<Map>() as c_ulong;
        // SAFETY: the kernel only reads the map; everything but the arguments' place is as it was.
        unsafe { libc::prctl(PR_SET_MM, PR_SET_MM_MAP, &raw const map, size, 0) };
    }
}

impl Map {
    fn of_this_process() -> Option<Map> {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split_ascii_whitespace().collect();
        // By their numbers in proc(5), where the state is the third.
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Map {
            start_code: field(26)?,
            end_code: field(27)?,
            start_stack: field(28)?,
            start_data: field(45)?,
            end_data: field(46)?,
            start_brk: field(47)?,
            brk: 0,
            arg_start: 0,
            arg_end: 0,
            env_start: field(50)?,
            env_end: field(51)?,
            auxv: 0,
            auxv_size: 0,
            exe_fd: u32::MAX,
        })
    }
}
