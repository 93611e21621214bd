//! `--verify` against `sha256sum -c`.

use std::{fs, io::Write, path::Path, process::Command, process::Stdio};

use crate::{
    nasty_tree, random,
    support::{Ran, assert_same, checksum, find_sort_sha256sum, run},
};

fn verify(within: &Path, list: &[u8]) -> Ran {
    fs::write(within.join("list"), list).expect("a list");
    run(checksum().args(["--verify", "list"]).current_dir(within))
}

fn sha256sum_c(within: &Path) -> Ran {
    run(Command::new("sha256sum").args(["-c", "list"]).env("LC_ALL", "C").current_dir(within))
}

/// The warnings, without the name of the program.
fn warnings(ran: &Ran) -> Vec<&str> {
    ran.stderr
        .lines()
        .filter_map(|line| line.split_once(": "))
        .map(|(_, rest)| rest)
        .filter(|rest| rest.starts_with("WARNING"))
        .collect()
}

/// Checks `list` with both; they have to agree.
#[track_caller]
fn same_as_sha256sum_c(within: &Path, list: &[u8]) -> Ran {
    let ours = verify(within, list);
    let theirs = sha256sum_c(within);
    assert_same(&ours.stdout, &theirs.stdout);
    assert_eq!(warnings(&ours), warnings(&theirs));
    let broken = theirs.stderr.contains("no properly formatted");
    assert_eq!(ours.code, if broken { Some(2) } else { theirs.code }, "{}\n{}", ours.stderr, theirs.stderr);
    ours
}

#[test]
fn a_list_of_a_nasty_tree_is_ok_to_both_and_a_change_is_seen_by_both() {
    let tree = nasty_tree();
    let list = run(checksum().arg(".").current_dir(tree.path())).stdout;
    let ours = same_as_sha256sum_c(tree.path(), &list);
    assert_eq!(ours.code, Some(0), "{}", ours.stderr);
    fs::write(tree.path().join("plain"), "changed").expect("a change");
    fs::remove_file(tree.path().join("a-")).expect("a removal");
    let ours = same_as_sha256sum_c(tree.path(), &list);
    assert_eq!(ours.code, Some(1));
    assert!(ours.stderr.contains("./a-: No such file or directory"), "{}", ours.stderr);
    assert_eq!(
        warnings(&ours),
        ["WARNING: 1 listed file could not be read", "WARNING: 1 computed checksum did NOT match"]
    );
}

#[test]
fn all_forms_of_a_line_are_read_as_sha256sum_reads_them() {
    let tree = nasty_tree();
    let line = String::from_utf8(find_sort_sha256sum(tree.path(), &["plain"])).expect("text");
    let digest = &line[..64];
    let upper = digest.to_uppercase();
    for list in [
        format!("{digest}  plain\n{digest} *plain\n{upper}  plain\r\n \t{digest}  plain"),
        format!("# a remark\n\n{digest}  plain\n{digest} plain\n{digest}\tplain\nfoo\n"),
        format!("{digest} plain\n{digest}  plain\n{digest} *plain\n"),
        format!(
            "SHA256 (plain) = {digest}\nSHA256(plain)={digest}\n\\SHA256 (a\\nb) = {digest}\nSHA256 (plain) = {digest}0\n"
        ),
        format!("\\{digest}  a\\nb\n\\{digest}  a\\\\b\n\\{digest}  a\\qb\n\\{digest}  a\\\n"),
        format!("{digest}  plain/\n{digest}  d\n{digest}  \n{digest} \n{digest}   \n{digest}\n"),
        format!("{digest}  link to file\n{digest}  link to nothing\n"),
    ] {
        same_as_sha256sum_c(tree.path(), list.as_bytes());
    }
}

#[test]
fn random_lists_are_read_as_sha256sum_reads_them() {
    let tree = nasty_tree();
    let line = find_sort_sha256sum(tree.path(), &["plain"]);
    let parts: [&[u8]; 14] = [
        &line[..64],
        &line[..63],
        b"  ",
        b" ",
        b" *",
        b"\t",
        b"plain",
        b"\\",
        b"\\n",
        b"\n",
        b"\r",
        b"SHA256 (",
        b") = ",
        b"#",
    ];
    let mut random = random();
    for _ in 0..100 {
        let mut list = Vec::new();
        for _ in 0..8 {
            // Mostly a line as it should be, with something put in or left out.
            let mut pieces = vec![parts[0], parts[2], parts[6], parts[9]];
            for _ in 0..random() % 3 {
                let at = random() as usize % pieces.len();
                match random() % 3 {
                    0 => drop(pieces.remove(at)),
                    _ => pieces.insert(at, parts[random() as usize % parts.len()]),
                }
                if pieces.is_empty() {
                    break;
                }
            }
            list.extend(pieces.concat());
        }
        same_as_sha256sum_c(tree.path(), &list);
    }
}

#[test]
fn a_broken_list_is_refused_with_nothing_printed() {
    let tree = nasty_tree();
    for list in [&b""[..], b"\n\n", b"no list\n", b"\x7fELF\0\0", b"# only a remark\n"] {
        let ours = verify(tree.path(), list);
        assert_eq!(ours.code, Some(2), "{list:?}");
        assert!(ours.stdout.is_empty());
        assert!(ours.stderr.contains("list: no properly formatted checksum lines found"), "{}", ours.stderr);
    }
    for (list, reason) in [("nowhere", "No such file or directory"), (".", "Is a directory")] {
        let ours = run(checksum().args(["--verify", list]).current_dir(tree.path()));
        assert_eq!(ours.code, Some(2), "{list}");
        assert!(ours.stdout.is_empty());
        assert!(ours.stderr.contains(reason), "{}", ours.stderr);
    }
}

#[test]
fn a_fifo_in_a_list_is_refused_and_not_opened() {
    let tree = nasty_tree();
    let zeros = "0".repeat(64);
    // Opened, it would wait for a writer that never comes.
    let ours = verify(tree.path(), format!("{zeros}  fifo\n").as_bytes());
    assert_eq!(ours.code, Some(1));
    assert_same(&ours.stdout, b"fifo: FAILED open or read\n");
    assert!(ours.stderr.contains("fifo: not a regular file"), "{}", ours.stderr);
}

#[test]
fn a_list_and_a_listed_file_may_come_from_standard_input() {
    let tree = nasty_tree();
    let line = find_sort_sha256sum(tree.path(), &["plain"]);
    let feed = |arguments: &[&str], input: &[u8]| {
        let mut child = checksum()
            .args(arguments)
            .current_dir(tree.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it runs");
        child.stdin.take().expect("a pipe").write_all(input).expect("it reads");
        child.wait_with_output().expect("it ends").stdout
    };
    assert_same(&feed(&["--verify", "-"], &line), b"plain: OK\n");
    let content = fs::read(tree.path().join("plain")).expect("the file");
    let list = [&line, &line[..64], b"  -\n", &line].concat();
    fs::write(tree.path().join("list"), list).expect("a list");
    assert_same(&feed(&["--verify", "list"], &content), b"plain: OK\n-: OK\nplain: OK\n");
}
