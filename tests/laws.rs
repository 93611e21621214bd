//! `LAWS.md` says which tests stand for which promise. Each one that it names exists, and none stands there
//! twice; how many there are of each kind is printed.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// A kind: its name, and its laws as `(file, test)`.
type Kind = (String, Vec<(String, String)>);

fn kinds(text: &str) -> Vec<Kind> {
    let mut kinds: Vec<Kind> = vec![];
    let mut file = String::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("## ") {
            kinds.push((name.to_owned(), vec![]));
        } else if let Some(named) = line.strip_prefix("`").and_then(|rest| rest.strip_suffix("`:")) {
            named.clone_into(&mut file);
        } else if let Some(law) = line.strip_prefix("- ") {
            kinds.last_mut().expect("a kind comes first").1.push((file.clone(), law.to_owned()));
        }
    }
    kinds
}

#[test]
fn every_law_that_is_listed_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let kinds = kinds(&fs::read_to_string(root.join("tests/LAWS.md")).unwrap());
    assert!(kinds.len() > 10, "the kinds are not found where they were");
    let mut seen = BTreeSet::new();
    let mut missing = vec![];
    for (kind, laws) in &kinds {
        println!("{kind}: {} laws", laws.len());
        assert!(!laws.is_empty(), "nothing stands for {kind}");
        for (file, law) in laws {
            assert!(seen.insert((file, law)), "{file}: {law} stands there twice");
            let text = fs::read_to_string(root.join(file)).unwrap_or_default();
            if !text.contains(&format!("fn {law}(")) {
                missing.push(format!("{file}: {law}"));
            }
        }
    }
    assert!(missing.is_empty(), "no such test: {missing:#?}");
    println!("kinds: {}, laws: {}", kinds.len(), seen.len());
}
