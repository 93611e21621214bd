//! The command line.

use std::{ffi::OsString, num::NonZeroUsize};

use clap::Parser;

/// SHA-256 of every regular file under the given paths, by a pool of worker processes.
///
/// Prints what `sha256sum` prints for the same files, in the bytewise order of their paths. Directories are walked;
/// symbolic links are not followed; fifos, sockets and devices are passed over.
#[derive(Parser)]
#[command(name = "checksum", after_help = EXAMPLES)]
pub struct Args {
    /// Files and directories to hash
    #[arg(value_name = "PATH", required_unless_present = "verify", conflicts_with = "verify")]
    pub paths: Vec<OsString>,

    /// Worker processes [default: the cores this process may use]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub workers: Option<NonZeroUsize>,

    /// Check the files of a list, as `sha256sum -c` does; `-` reads the list from standard input
    #[arg(long, value_name = "FILE")]
    pub verify: Option<OsString>,
}

const EXAMPLES: &str = "\
Examples:
  checksum /usr/share/doc > doc.sha256    hash a tree
  checksum --verify doc.sha256            check it later (or: sha256sum -c doc.sha256)
  checksum --workers 4 a.iso b.iso        hash files with four processes
  checksum -- -odd-name                   a path that begins with a dash

Exit codes:
  0  all files were hashed, or found unchanged
  1  a file could not be read, or does not match; standard error says which
  2  nothing was done: a path or the list does not exist or is broken";

fn at_least_one(text: &str) -> Result<NonZeroUsize, String> {
    let workers: usize = text.parse().map_err(|_| "give a whole number, at least 1".to_owned())?;
    NonZeroUsize::new(workers).ok_or_else(|| "there must be at least 1 worker".to_owned())
}
