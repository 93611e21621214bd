//! The checksum example against the real `sha256sum`, `find` and `sort`.
#![cfg(not(loom))]

mod killed;
mod support;
mod verify;

use std::{
    ffi::OsStr,
    fs,
    io::{self, Write},
    os::unix::{
        ffi::OsStrExt,
        fs::{PermissionsExt, symlink},
    },
    path::Path,
    process::Command,
};

use nix::{sys::stat::Mode, unistd::mkfifo};
use support::{assert_same, checksum, find_sort_sha256sum, path, run, sparse};
use tempfile::TempDir;

/// Names that someone could trip over, some of them only as neighbours: `a-`, `a/…` and `a.` sort in this order.
const NASTY: [&[u8]; 20] = [
    b"plain",
    b"a b",
    b" lead",
    b"trail ",
    b"-dash",
    b"*star",
    b"a\nb",
    b"a\\b",
    b"a\rb",
    b"\\",
    b"\n",
    b"x\r\n",
    b"\xff\xfe",
    b"caf\xc3\xa9",
    b"'quote\"",
    b"a-",
    b"a.",
    b"a0",
    b"$HOME",
    b"tab\t",
];

/// A tree of nasty names, of files and of directories, with all kinds of files in it.
fn nasty_tree() -> TempDir {
    let tree = tempfile::tempdir().expect("a temporary directory");
    let write = |path: &Path| fs::write(path, path.as_os_str().as_bytes()).expect("a file");
    for name in NASTY {
        write(&tree.path().join(path(name)));
        let directory = tree.path().join("d").join(path(name)).join("e");
        fs::create_dir_all(&directory).expect("a directory");
        write(&directory.join(path(name)));
        write(&directory.with_file_name("e-"));
    }
    let at = |name: &str| tree.path().join(name);
    fs::create_dir(at("a")).expect("a directory");
    write(&at("a/inside"));
    fs::write(at("empty"), "").expect("an empty file");
    fs::create_dir(at("empty directory")).expect("a directory");
    symlink("plain", at("link to file")).expect("a link");
    symlink("d", at("link to directory")).expect("a link");
    symlink("nowhere", at("link to nothing")).expect("a link");
    mkfifo(&at("fifo"), Mode::S_IRWXU).expect("a fifo");
    drop(std::os::unix::net::UnixListener::bind(at("socket")).expect("a socket"));
    tree
}

/// Runs both in `within` and compares; the run has to be without fault.
#[track_caller]
fn same_as_sha256sum<S: AsRef<OsStr>>(within: &Path, paths: &[S]) {
    let ours = run(checksum().arg("--").args(paths).current_dir(within));
    assert_eq!(ours.code, Some(0), "{}", ours.stderr);
    assert_same(&ours.stdout, &find_sort_sha256sum(within, paths));
}

#[test]
fn a_nasty_tree_reads_as_from_sha256sum() {
    let tree = nasty_tree();
    same_as_sha256sum(tree.path(), &["."]);
    same_as_sha256sum(tree.path().parent().expect("a parent"), &[tree.path()]);
}

#[test]
fn several_paths_are_merged_and_what_is_given_twice_comes_twice() {
    let tree = nasty_tree();
    same_as_sha256sum(tree.path(), &["./d", "a", "a-", "plain", "a", "./a/", "a//", "./d/plain", "a/inside"]);
}

#[test]
fn a_link_is_not_followed_unless_a_slash_makes_it_a_directory() {
    let tree = nasty_tree();
    same_as_sha256sum(
        tree.path(),
        &["link to directory", "link to file", "link to nothing", "fifo", "socket"],
    );
    same_as_sha256sum(tree.path(), &["link to directory/"]);
}

#[test]
fn random_trees_come_in_the_order_of_sort() {
    let mut random = random();
    for _ in 0..20 {
        let tree = tempfile::tempdir().expect("a temporary directory");
        for _ in 0..60 {
            // What sorts before, at and after the slash, and a byte that sorts last if it is unsigned.
            let names = (0..1 + random() % 3).map(|_| {
                (0..1 + random() % 2).map(|_| b"a-.0\n\xff!"[random() as usize % 7]).collect::<Vec<u8>>()
            });
            let name = names.collect::<Vec<_>>().join(&b'/');
            let file = tree.path().join(path(&[b"r".as_slice(), &name].concat()));
            // A name may be taken, by a directory or a file: then this one is left out.
            let _ =
                fs::create_dir_all(file.parent().expect("a parent")).and_then(|()| fs::write(&file, &name));
        }
        same_as_sha256sum(tree.path(), &["."]);
    }
}

/// A small generator of numbers, the same ones in each run.
fn random() -> impl FnMut() -> u64 {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state >> 8
    }
}

#[test]
fn sizes_around_a_piece_and_a_block_are_hashed_right() {
    let tree = tempfile::tempdir().expect("a temporary directory");
    let piece = 8 << 20;
    for size in
        [1, 55, 56, 63, 64, 65, 1 << 17, (1 << 20) + 1, piece - 1, piece, piece + 1, 2 * piece, 3 * piece + 7]
    {
        sparse(&tree.path().join(format!("{size}")), size);
    }
    let mut file =
        fs::File::options().append(true).open(tree.path().join(format!("{piece}"))).expect("the file");
    file.write_all(b"an end that is not zero").expect("room for it");
    same_as_sha256sum(tree.path(), &["."]);
}

#[test]
fn any_number_of_workers_gives_the_same() {
    let tree = nasty_tree();
    let theirs = find_sort_sha256sum(tree.path(), &["."]);
    for workers in ["1", "2", "7"] {
        let ours = run(checksum().args(["--workers", workers, "."]).current_dir(tree.path()));
        assert_same(&ours.stdout, &theirs);
        assert!(ours.stderr.contains(&format!("{workers} workers, 0 lost")), "{}", ours.stderr);
    }
}

#[test]
fn the_last_line_counts_files_and_bytes() {
    let tree = tempfile::tempdir().expect("a temporary directory");
    fs::write(tree.path().join("five"), "12345").expect("a file");
    fs::write(tree.path().join("two"), "12").expect("a file");
    let ours = run(checksum().arg(tree.path()));
    let lines: Vec<_> = ours.stderr.lines().collect();
    let [line] = lines[..] else { panic!("not a terminal, so one line: {lines:?}") };
    assert!(line.starts_with("checksum: 2 files, 7 bytes, "), "{line}");
    assert!(line.contains(" s, ") && line.contains(" GB/s, "), "{line}");
}

#[test]
fn what_cannot_be_read_is_named_and_the_rest_goes_on() {
    let tree = tempfile::tempdir().expect("a temporary directory");
    fs::write(tree.path().join("good"), "good").expect("a file");
    // A regular file that not even root can read at its start.
    let ours = run(checksum().arg("/proc/self/mem").arg("good").current_dir(tree.path()));
    assert_eq!(ours.code, Some(1), "{}", ours.stderr);
    assert!(ours.stderr.contains("checksum: /proc/self/mem: Input/output error\n"), "{}", ours.stderr);
    assert!(ours.stderr.contains("checksum: 1 files, 4 bytes, "), "{}", ours.stderr);
    assert_same(&ours.stdout, &find_sort_sha256sum(tree.path(), &["good"]));
}

#[test]
fn what_is_forbidden_is_named_and_the_rest_goes_on() {
    let tree = tempfile::tempdir().expect("a temporary directory");
    let at = |name: &str| tree.path().join(name);
    let mode =
        |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode");
    fs::create_dir(at("closed")).expect("a directory");
    for name in ["closed/file", "good", "secret"] {
        fs::write(at(name), name).expect("a file");
    }
    // Whoever runs it has to reach the program, too.
    let program = at(".checksum");
    fs::copy(support::binary(), &program).expect("a copy of the program");
    for (path, bits) in [(tree.path(), 0o755), (&program, 0o755), (&at("closed"), 0), (&at("secret"), 0)] {
        mode(path, bits);
    }
    let mut command = if nix::unistd::geteuid().is_root() {
        // Modes do not stop root.
        if Command::new("setpriv").arg("--version").output().is_err() {
            return support::skip("without `setpriv` root cannot become somebody whom modes stop");
        }
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]).arg(&program);
        command
    } else {
        Command::new(&program)
    };
    let ours = run(command.args(["closed", "good", "secret"]).current_dir(tree.path()));
    mode(&at("closed"), 0o755);
    assert_eq!(ours.code, Some(1), "{}", ours.stderr);
    assert!(ours.stderr.contains("checksum: closed: Permission denied\n"), "{}", ours.stderr);
    assert!(ours.stderr.contains("checksum: secret: Permission denied\n"), "{}", ours.stderr);
    assert_same(&ours.stdout, &find_sort_sha256sum(tree.path(), &["good"]));
}

#[test]
fn a_path_that_does_not_exist_ends_it_before_anything_is_printed() {
    let tree = nasty_tree();
    for missing in ["nowhere", "plain/", "d/plain/nowhere", ""] {
        let ours = run(checksum().args(["plain", missing, "d"]).current_dir(tree.path()));
        assert_eq!(ours.code, Some(2), "{missing}: {}", ours.stderr);
        assert!(ours.stdout.is_empty());
        assert!(ours.stderr.contains(missing), "{}", ours.stderr);
    }
}

#[test]
fn wrong_usage_is_explained_with_exit_code_2() {
    for (arguments, says) in [
        (&["--workers", "0", "."][..], "at least 1 worker"),
        (&["--workers", "many", "."], "whole number"),
        (&[], "<PATH>"),
        (&["--verify", "list", "path"], "cannot be used with"),
    ] {
        let ours = run(checksum().args(arguments));
        assert_eq!(ours.code, Some(2), "{arguments:?}");
        assert!(ours.stdout.is_empty(), "{arguments:?}");
        assert!(ours.stderr.contains(says), "{arguments:?}: {}", ours.stderr);
    }
}

#[test]
fn help_shows_examples() {
    let ours = run(checksum().arg("--help"));
    assert_eq!(ours.code, Some(0));
    let help = String::from_utf8(ours.stdout).expect("text");
    for part in ["--workers", "--verify", "Examples:", "Exit codes:"] {
        assert!(help.contains(part), "{help}");
    }
}

#[test]
fn full_output_is_an_error_that_says_so() {
    let tree = nasty_tree();
    let full = fs::File::options().write(true).open("/dev/full").expect("/dev/full");
    let status = checksum().arg(tree.path()).stdout(full).output().expect("it runs");
    let stderr = String::from_utf8_lossy(&status.stderr);
    assert_eq!(status.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("standard output: No space left on device"), "{stderr}");
}

#[test]
fn a_terminal_gets_a_bar_and_everybody_else_does_not() {
    let tree = tempfile::tempdir().expect("a temporary directory");
    sparse(&tree.path().join("big"), 1 << 30);
    let command = format!("'{}' big", support::binary().display());
    let on_terminal = match Command::new("script")
        .args(["-qec", &command, "/dev/null"])
        .current_dir(tree.path())
        .output()
    {
        Ok(output) => String::from_utf8_lossy(&output.stdout).into_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return support::skip("without `script` there is no terminal to try");
        }
        Err(error) => panic!("script: {error}"),
    };
    assert!(
        on_terminal.contains("GiB/s, 0 files") || on_terminal.contains("MiB/s, 0 files"),
        "{on_terminal:?}"
    );
    assert!(on_terminal.contains(" left"), "progress moves inside a file: {on_terminal:?}");
    let elsewhere = run(checksum().arg("big").current_dir(tree.path()));
    assert_eq!(elsewhere.stderr.lines().count(), 1, "{}", elsewhere.stderr);
}
