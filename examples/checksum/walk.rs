//! The regular files below some paths, in the bytewise order of their full paths, as
//! `find PATHS -type f -print0 | LC_ALL=C sort -z` would print them, but one at a time.
//!
//! The trick: a directory takes part in the sort of its siblings under its name *and* the slash that follows it.
//! All paths below `a` begin with `a/`, so with `a/` in its place among `a-b` and `a.txt`, walking depth first
//! gives the order of the full paths, and nothing but the names along the current path is held in memory.
//! Several given paths are as many sorted streams, merged by a heap; what is given twice comes twice.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    ffi::{OsStr, OsString},
    os::unix::ffi::{OsStrExt, OsStringExt},
    vec,
};

use nix::{
    dir::{Dir, Type},
    errno::Errno,
    fcntl::{AtFlags, OFlag},
    sys::stat::{FileStat, Mode, SFlag, fstatat, lstat},
};

/// A file to hash. The size is what it was when it was found: good for planning, not for belief.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct File {
    pub path: Vec<u8>,
    pub size: u64,
}

/// A path that could not be looked at, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    pub path: Vec<u8>,
    pub reason: Errno,
}

/// All files below several paths.
pub struct Walk {
    trees: Vec<Tree>,
    /// The next file of each tree that has one, smallest path first.
    heads: BinaryHeap<Reverse<(File, usize)>>,
    unreadable: VecDeque<Unreadable>,
}

impl Walk {
    /// Looks at each given path; those that do not exist are the error, and then nothing is walked.
    pub fn new(paths: Vec<OsString>) -> Result<Self, Vec<Unreadable>> {
        let mut walk = Self { trees: Vec::new(), heads: BinaryHeap::new(), unreadable: VecDeque::new() };
        let mut missing = Vec::new();
        for path in paths.into_iter().map(OsString::into_vec) {
            match lstat(OsStr::from_bytes(&path)) {
                Ok(found) => walk.trees.push(Tree::new(path, &found)),
                Err(reason @ (Errno::ENOENT | Errno::ENOTDIR)) => missing.push(Unreadable { path, reason }),
                Err(reason) => walk.unreadable.push_back(Unreadable { path, reason }),
            }
        }
        if !missing.is_empty() {
            return Err(missing);
        }
        for tree in 0..walk.trees.len() {
            walk.advance(tree);
        }
        Ok(walk)
    }

    /// Brings the next file of this tree into the heap.
    fn advance(&mut self, tree: usize) {
        for found in self.trees[tree].by_ref() {
            match found {
                Ok(file) => return self.heads.push(Reverse((file, tree))),
                Err(unreadable) => self.unreadable.push_back(unreadable),
            }
        }
    }
}

impl Iterator for Walk {
    type Item = Result<File, Unreadable>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(unreadable) = self.unreadable.pop_front() {
            return Some(Err(unreadable));
        }
        let Reverse((file, tree)) = self.heads.pop()?;
        self.advance(tree);
        Some(Ok(file))
    }
}

/// The files below one given path.
struct Tree {
    /// From the given path down to the directory being walked.
    levels: Vec<Level>,
}

/// A directory's entries that are still to come.
struct Level {
    /// What stands before each name: empty for a given path, else it ends with a slash.
    prefix: Vec<u8>,
    entries: vec::IntoIter<Entry>,
}

struct Entry {
    /// With a slash at its end if it is a directory.
    name: Vec<u8>,
    kind: Kind,
}

enum Kind {
    File { size: u64 },
    Directory,
}

impl Kind {
    /// `None` for what is neither: symbolic links, fifos, sockets, devices.
    fn of(found: &FileStat) -> Option<Self> {
        match SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT {
            SFlag::S_IFREG => Some(Self::File { size: u64::try_from(found.st_size).unwrap_or(0) }),
            SFlag::S_IFDIR => Some(Self::Directory),
            _ => None,
        }
    }
}

impl Tree {
    fn new(path: Vec<u8>, found: &FileStat) -> Self {
        // The given path is the one entry of a level above all; a slash at its end is kept, as `find` keeps it.
        let entries: Vec<_> = Kind::of(found).map(|kind| Entry { name: path, kind }).into_iter().collect();
        Self { levels: vec![Level { prefix: Vec::new(), entries: entries.into_iter() }] }
    }

    /// Goes down into a directory, given as `find` would print it.
    fn enter(&mut self, path: Vec<u8>) -> Result<(), Unreadable> {
        let mut entries = Vec::new();
        let outcome = list(&path, &mut entries);
        // What was read before an error is there: it is walked.
        entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        let mut prefix = path.clone();
        if prefix.last() != Some(&b'/') {
            prefix.push(b'/');
        }
        self.levels.push(Level { prefix, entries: entries.into_iter() });
        outcome.map_err(|reason| Unreadable { path, reason })
    }
}

impl Iterator for Tree {
    type Item = Result<File, Unreadable>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let below_the_given = self.levels.len() > 1;
            let level = self.levels.last_mut()?;
            let Some(Entry { name, kind }) = level.entries.next() else {
                self.levels.pop();
                continue;
            };
            let mut path = [level.prefix.as_slice(), &name].concat();
            match kind {
                Kind::File { size } => return Some(Ok(File { path, size })),
                Kind::Directory => {
                    if below_the_given {
                        // The slash was for the sort. Opened without it, a directory that was swapped for a
                        // symbolic link meanwhile is refused.
                        path.pop();
                    }
                    if let Err(unreadable) = self.enter(path) {
                        return Some(Err(unreadable));
                    }
                }
            }
        }
    }
}

/// Appends a directory's files and directories to `entries`, as far as it can be read.
fn list(path: &[u8], entries: &mut Vec<Entry>) -> Result<(), Errno> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mut directory = Dir::open(OsStr::from_bytes(path), flags, Mode::empty())?;
    let mut undecided = Vec::new();
    for entry in directory.iter() {
        let entry = entry?;
        let name = entry.file_name();
        match entry.file_type() {
            Some(Type::Directory) if matches!(name.to_bytes(), b"." | b"..") => {}
            Some(Type::Directory) => {
                entries.push(Entry { name: [name.to_bytes(), b"/"].concat(), kind: Kind::Directory });
            }
            // A file's size takes a stat, and so does what the file system does not tell the kind of.
            Some(Type::File) | None => undecided.push(name.to_owned()),
            Some(_) => {}
        }
    }
    for name in undecided {
        let found = match fstatat(&directory, name.as_c_str(), AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(found) => Kind::of(&found),
            // Gone or hidden since it was listed: whoever opens it tells the reason.
            Err(_) => Some(Kind::File { size: 0 }),
        };
        let Some(kind) = found else { continue };
        let mut name = name.into_bytes();
        if let Kind::Directory = kind {
            if matches!(name.as_slice(), b"." | b"..") {
                continue;
            }
            name.push(b'/');
        }
        entries.push(Entry { name, kind });
    }
    Ok(())
}
