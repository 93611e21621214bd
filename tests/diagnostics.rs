//! What the compiler says of a value that cannot travel: one sentence and what to do, instead of a list of
//! serde's implementations.

#![cfg(not(loom))]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::process::Command;

/// Compiles a program that depends on skep, and returns what the compiler says.
fn refused(main: &str) -> String {
    let directory = tempfile::tempdir().unwrap();
    let root = env!("CARGO_MANIFEST_DIR");
    let manifest = format!(
        "[package]\nname = \"refused\"\nedition = \"2024\"\n[workspace]\n[dependencies]\nskep = {{ path = {root:?} }}\n"
    );
    fs::create_dir(directory.path().join("src")).unwrap();
    fs::write(directory.path().join("Cargo.toml"), manifest).unwrap();
    fs::write(directory.path().join("src/main.rs"), main).unwrap();
    // The versions of this workspace, which are here already.
    fs::copy(format!("{root}/Cargo.lock"), directory.path().join("Cargo.lock")).unwrap();
    let output = Command::new(env!("CARGO"))
        .args(["check", "--quiet", "--offline", "--color=never"])
        .current_dir(directory.path())
        .env("CARGO_TARGET_DIR", format!("{}/refused", env!("CARGO_TARGET_TMPDIR")))
        .output()
        .unwrap();
    assert!(!output.status.success(), "it was accepted");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn what_cannot_travel_is_refused_in_one_sentence() {
    let said = refused(
        r#"
        #[skep::task]
        fn drain(queue: skep::SimpleQueue<u64>) -> Result<u64, std::io::Error> {
            let _ = queue;
            Ok(1)
        }
        fn main() {
            skep::Queue::<std::fs::File>::new(4).unwrap().put(std::fs::File::open("x").unwrap()).unwrap();
        }
        "#,
    );
    for value in ["SimpleQueue<u64>", "Result<u64, std::io::Error>", "File"] {
        assert!(said.contains(&format!("`{value}` cannot travel to another process")), "{value}: {said}");
    }
    for remedy in
        ["open them by name where they are used", "travels as its text", "derives `serde::Serialize`"]
    {
        assert!(said.contains(remedy), "{remedy}: {said}");
    }
    assert!(!said.contains("the following other types implement trait"), "{said}");
}
