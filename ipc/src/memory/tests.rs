//! Trees of files as kernels show them: both versions of control groups, nested, in a container and
//! seen through a namespace.

use super::*;
use std::fs;
use std::sync::atomic::AtomicU32;

const MIB: u64 = 1 << 20;

/// A folder that stands for the root of the file systems.
struct Tree(PathBuf);

impl Tree {
    /// A machine of 8 GiB, with this process in the groups of `cgroup` and the mounts of `mountinfo`.
    fn new(cgroup: &str, mountinfo: &str) -> Tree {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("skep-groups-{}-{}", std::process::id(), COUNT.fetch_add(1, Relaxed));
        let tree = Tree(std::env::temp_dir().join(name));
        tree.write("proc/meminfo", "MemTotal: 9000000 kB\nMemAvailable:    8388608 kB\n");
        tree.write("proc/thread-self/cgroup", cgroup);
        tree.write("proc/thread-self/mountinfo", mountinfo);
        tree
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// A group of version 2, whose sizes are in MiB.
    fn two(&self, folder: &str, limit: Option<u64>, usage: u64, stat: &str) {
        let limit = limit.map_or("max".into(), |limit| (limit * MIB).to_string());
        self.write(&format!("{folder}/memory.max"), &format!("{limit}\n"));
        self.write(&format!("{folder}/memory.current"), &format!("{}\n", usage * MIB));
        self.write(&format!("{folder}/memory.stat"), stat);
    }

    /// A group of version 1, whose sizes are in MiB.
    fn one(&self, folder: &str, limit: u64, usage: u64, stat: &str) {
        self.write(&format!("{folder}/memory.limit_in_bytes"), &format!("{}\n", limit.saturating_mul(MIB)));
        self.write(&format!("{folder}/memory.usage_in_bytes"), &format!("{}\n", usage * MIB));
        self.write(&format!("{folder}/memory.stat"), stat);
    }

    /// What is tightest here: the group's folder, or nothing for the machine, and MiB.
    fn tightest(&self) -> (String, u64) {
        let room = tightest(&self.0).unwrap();
        let group = room.group.map_or(String::new(), |(folder, _)| folder.to_str().unwrap().into());
        (group, room.available / MIB)
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const TWO: &str = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
const ONE: &str = "31 23 0:9 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                   32 23 0:10 / /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory\n";
/// Version 1 has no limit that is not a number.
const NO_LIMIT: u64 = u64::MAX / MIB;

#[test]
fn a_limit_of_any_group_up_to_the_root_is_seen_in_version_2() {
    let tree = Tree::new("0::/outer/inner/own\n", TWO);
    assert_eq!(tree.tightest(), (String::new(), 8192), "no group says anything");
    tree.two("sys/fs/cgroup/outer/inner/own", None, 1, "");
    tree.two("sys/fs/cgroup/outer/inner", Some(300), 100, "");
    assert_eq!(tree.tightest(), ("/sys/fs/cgroup/outer/inner".into(), 200));
    tree.two("sys/fs/cgroup/outer", Some(1000), 990, "");
    assert_eq!(tree.tightest(), ("/sys/fs/cgroup/outer".into(), 10));
    tree.two("sys/fs/cgroup/outer/inner/own", Some(4), 5, "");
    assert_eq!(tree.tightest(), ("/sys/fs/cgroup/outer/inner/own".into(), 0), "above its limit");
    tree.two("sys/fs/cgroup", Some(1), 1, "");
    tree.two("sys/fs/cgroup/outer/inner/own", None, 5, "");
    assert_eq!(tree.tightest(), ("/sys/fs/cgroup".into(), 0));
}

#[test]
fn a_limit_of_any_group_up_to_the_root_is_seen_in_version_1() {
    let tree = Tree::new("4:memory:/outer/own\n2:cpu:/else\n0::/\n", ONE);
    tree.one("sys/fs/cgroup/memory/outer/own", NO_LIMIT, 1, "");
    tree.one("sys/fs/cgroup/memory", NO_LIMIT, 5000, "");
    assert_eq!(tree.tightest(), (String::new(), 8192));
    tree.one("sys/fs/cgroup/memory/outer", 256, 6, "");
    assert_eq!(tree.tightest(), ("/sys/fs/cgroup/memory/outer".into(), 250));
    let swap = "sys/fs/cgroup/memory/outer/memory.memsw";
    tree.write(&format!("{swap}.limit_in_bytes"), &(256 * MIB).to_string());
    tree.write(&format!("{swap}.usage_in_bytes"), &(106 * MIB).to_string());
    assert_eq!(tree.tightest().1, 150, "what is in swap counts towards the limit of both");
}

/// A controller is in one hierarchy, and others are mounted beside it.
#[test]
fn version_1_and_2_are_seen_beside_each_other() {
    let mounts = format!("{ONE}41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n");
    let tree = Tree::new("4:cpu,memory:/a\n0::/b\n", &mounts.replace("rw,memory", "rw,cpu,memory"));
    tree.one("sys/fs/cgroup/memory/a", 100, 1, "");
    assert_eq!(tree.tightest(), ("/sys/fs/cgroup/memory/a".into(), 99));
    tree.two("sys/fs/cgroup/unified/b", Some(50), 1, "");
    assert_eq!(tree.tightest(), ("/sys/fs/cgroup/unified/b".into(), 49));
}

/// `/proc/self/cgroup` names the group as the host does, and only the container's own is mounted.
#[test]
fn a_container_whose_group_has_the_hosts_name_is_seen() {
    let mounts = "32 23 0:10 /docker/4711 /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n";
    let tree = Tree::new("4:memory:/docker/4711/nested\n", mounts);
    tree.one("sys/fs/cgroup/memory", 512, 12, "");
    assert_eq!(tree.tightest(), ("/sys/fs/cgroup/memory".into(), 500));
    tree.one("sys/fs/cgroup/memory/nested", 100, 1, "");
    assert_eq!(tree.tightest(), ("/sys/fs/cgroup/memory/nested".into(), 99));
    let above = format!("hierarchical_memory_limit {}\n", 64 * MIB);
    tree.one("sys/fs/cgroup/memory", NO_LIMIT, 12, &above);
    assert_eq!(tree.tightest(), ("/sys/fs/cgroup/memory".into(), 52), "a group above the container");
}

/// In a namespace of its own the group is the root, and one outside of it leads upwards.
#[test]
fn a_group_that_a_namespace_hides_is_taken_for_the_one_that_is_mounted() {
    for path in ["/", "/../sibling", "/nowhere/near"] {
        let root = if path == "/nowhere/near" { "/elsewhere" } else { "/" };
        let mounts = TWO.replace("0:26 / ", &format!("0:26 {root} "));
        let tree = Tree::new(&format!("0::{path}\n"), &mounts);
        tree.two("sys/fs/cgroup", Some(512), 12, "");
        assert_eq!(tree.tightest(), ("/sys/fs/cgroup".into(), 500), "{path}");
    }
}

#[test]
fn what_the_kernel_can_take_back_is_available_and_a_tmpfs_is_not() {
    let stat = format!(
        "anon {0}\nfile {1}\nshmem {0}\ninactive_file {0}\nactive_file {0}\nslab_reclaimable {0}\n",
        10 * MIB,
        30 * MIB
    );
    let tree = Tree::new("0::/own\n", TWO);
    tree.two("sys/fs/cgroup/own", Some(100), 90, &stat);
    assert_eq!(tree.tightest().1, 40, "10 free, and three times 10");
    let stat = format!(
        "cache {1}\nshmem {0}\ninactive_file {0}\ntotal_inactive_file {1}\ntotal_active_file {0}\n",
        10 * MIB,
        30 * MIB
    );
    let tree = Tree::new("9:memory:/own\n", ONE);
    tree.one("sys/fs/cgroup/memory/own", 100, 100, &stat);
    assert_eq!(tree.tightest().1, 40, "the totals, which are those of the groups below too");
}

#[test]
fn a_mount_point_with_a_space_in_it_is_found() {
    let tree = Tree::new("0::/own\n", &TWO.replace("/sys/fs/cgroup", "/my\\040groups\\134x"));
    tree.two("my groups\\x/own", Some(7), 2, "");
    assert_eq!(tree.tightest(), ("/my groups\\x/own".into(), 5));
}

#[test]
fn where_nothing_can_be_read_nothing_is_short() {
    assert_eq!(tightest(Path::new("/nowhere")), None);
    let tree = Tree::new("garbage\n4:memory\n:::\n", "garbage\n1 2 3 / - \n");
    assert_eq!(tree.tightest(), (String::new(), 8192));
}

/// A kernel whose `fallocate` commits `speed` pages between two signals, and starts afresh at each.
fn commit_under_signals(range: Range<u64>, speed: u64) -> (Vec<Range<u64>>, u64) {
    let (mut done, mut calls) = (vec![], 0);
    let kernel = |piece: Range<u64>| {
        calls += 1;
        assert!(calls < 1_000_000, "no progress");
        let is_done = piece.end - piece.start <= speed * PAGE;
        if is_done {
            done.push(piece);
        }
        Ok::<_, ()>(is_done)
    };
    in_pieces(range, |_| Ok(LARGEST_PIECE), kernel).unwrap();
    (done, calls)
}

#[test]
fn a_reservation_gets_on_however_fast_signals_come() {
    for speed in [1, 2, 7, 100, 1 << 20] {
        let range = 3 * PAGE..200 * MIB + PAGE;
        let (done, calls) = commit_under_signals(range.clone(), speed);
        let mut at = range.start;
        for piece in &done {
            assert_eq!(piece.start, at, "one behind the other, each once");
            at = piece.end;
        }
        assert_eq!(at, range.end);
        assert!(calls < 5 * done.len() as u64 + 20, "{calls} calls for {} pieces", done.len());
    }
}

#[test]
fn each_large_piece_asks_and_what_is_refused_ends_it() {
    let mut asked = vec![];
    let ask = |rest: Range<u64>| {
        asked.push(rest.start);
        if rest.start < 128 * MIB { Ok(LARGEST_PIECE) } else { Err("short") }
    };
    assert_eq!(in_pieces(0..1 << 40, ask, |_| Ok(true)), Err("short"));
    assert_eq!(asked, [0, 64 * MIB, 128 * MIB]);
}

#[test]
fn a_look_is_good_for_a_small_part_of_what_it_found() {
    let credit = Credit(AtomicU64::new(0));
    assert!(!credit.spend(1), "nobody has looked yet");
    credit.grant(64 * MIB);
    let spent = (0..).take_while(|_| credit.spend(64 << 10)).count();
    assert!(spent <= 16, "{spent} times 64 KiB of a 64th of 64 MiB");
    credit.grant(64);
    assert!(!credit.spend(1), "where little is left, each commitment looks");
}
