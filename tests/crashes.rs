//! `ipc/CRASHES.md` is complete, and what it and the tables of `pool/PROTOCOL.md` name exists.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// All Rust files below a folder, as one text each.
fn sources(folder: &Path) -> Vec<String> {
    let mut texts = vec![];
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            texts.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            texts.push(fs::read_to_string(&path).unwrap());
        }
    }
    texts
}

/// What stands between `before` and `after`, at each place.
fn between<'a>(text: &'a str, before: &'a str, after: char) -> impl Iterator<Item = &'a str> {
    text.split(before).skip(1).filter_map(move |rest| rest.split(after).next())
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The cells of each row of the tables, the heads left out.
fn rows() -> Vec<Vec<String>> {
    let text = fs::read_to_string(root().join("ipc/CRASHES.md")).unwrap();
    let row = |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
    let is_row =
        |line: &&str| line.starts_with("| ") && !line.starts_with("| ---") && !line.starts_with("| site ");
    text.lines().filter(is_row).map(row).collect()
}

#[test]
fn every_fault_point_has_its_row() {
    let texts = sources(&root().join("ipc/src"));
    let labels: BTreeSet<&str> =
        texts.iter().flat_map(|text| between(text, "fault::point(\"", '"')).collect();
    assert!(labels.len() > 10, "the labels are not found where they were");
    let rows = rows();
    let described: BTreeSet<&str> =
        rows.iter().flat_map(|row| between(&row[0], "`", '`').step_by(2)).collect();
    let missing: Vec<_> = labels.difference(&described).collect();
    assert!(missing.is_empty(), "no row for {missing:?}");
    let gone: Vec<_> = described.difference(&labels).collect();
    assert!(gone.is_empty(), "no fault point for {gone:?}");
}

/// One that is not passed by anybody is armed in vain, and nobody notices.
#[test]
fn every_label_that_is_armed_is_a_fault_points() {
    let labels: BTreeSet<String> = sources(&root().join("ipc/src"))
        .iter()
        .flat_map(|text| between(text, "fault::point(\"", '"').map(str::to_owned).collect::<Vec<_>>())
        .collect();
    let prefixes: BTreeSet<&str> = labels.iter().filter_map(|label| label.split(": ").next()).collect();
    let mut armed = 0;
    for folder in ["examples/torture", "fuzz/cases", "tests"] {
        for text in sources(&root().join(folder)) {
            for literal in text.split('"').skip(1).step_by(2) {
                let is_label = literal.split_once(": ").is_some_and(|(prefix, rest)| {
                    prefixes.contains(prefix) && !rest.contains(['{', '\\']) && !rest.is_empty()
                });
                if is_label {
                    armed += 1;
                    assert!(labels.contains(literal), "no fault point has the label \"{literal}\"");
                }
            }
        }
    }
    assert!(armed > 50, "the labels are not found where they were");
}

/// The functions in a folder.
fn names(folder: &str) -> BTreeSet<String> {
    let is_name = |name: &str| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let names = |text: &String| between(text, "fn ", '(').filter(|n| is_name(n)).map(str::to_owned).collect();
    sources(&root().join(folder)).iter().flat_map(|text| -> Vec<String> { names(text) }).collect()
}

#[test]
fn every_test_that_the_table_of_the_pools_host_names_exists() {
    let text = fs::read_to_string(root().join("pool/PROTOCOL.md")).unwrap();
    let table = between(&text, "\n## What the pool does to its host", '#').next().unwrap();
    let rows: Vec<_> = table.lines().filter(|line| line.starts_with("| ")).skip(2).collect();
    assert!(rows.len() > 15, "the table is not found where it was");
    let tests = names("tests");
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split('|').collect();
        assert_eq!(cells.len(), 4, "four cells: {row}");
        for name in between(cells[3], "`", '`').step_by(2) {
            assert!(tests.contains(name), "{name}: no such test, in the row {}", cells[0]);
        }
    }
}

#[test]
fn every_model_and_test_that_is_named_exists() {
    let (models, tests) = (names("tests/loom"), names("tests"));
    for row in rows() {
        assert_eq!(row.len(), 5, "five cells: {row:?}");
        for (cell, known) in [(&row[3], &models), (&row[4], &tests)] {
            for name in between(cell, "`", '`').step_by(2) {
                assert!(known.contains(name), "{name}: no such test, in the row {:?}", row[0]);
            }
        }
        assert!(!(row[3].is_empty() && row[4].is_empty()), "nothing shows {:?}", row[0]);
    }
}
