//! Says in one sentence what the platform is, before any other crate-level error can: Linux, with 64 bits. Says which compiler this is.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-env=SKEP_COMPILER={}", compiler().unwrap_or_else(|| "an unknown compiler".into()));
    let target = std::env::var("CARGO_CFG_TARGET_OS").unwrap_or_default();
    if target != "linux" {
        println!(
            "cargo::error=skep runs on Linux only (it stands on memfd, futex, OFD locks and pidfd), not on {target}"
        );
    }
    let width = std::env::var("CARGO_CFG_TARGET_POINTER_WIDTH").unwrap_or_default();
    if width != "64" {
        println!(
            "cargo::error=skep runs on 64-bit targets only (its words name positions and blocks in 64 bits, and \
             segments have addresses for all that they may grow to), not on {width}-bit ones"
        );
    }
}

/// Its name and version, as `rustc 1.88.0`.
fn compiler() -> Option<String> {
    let output = std::process::Command::new(std::env::var_os("RUSTC")?).arg("--version").output().ok()?;
    let words = String::from_utf8(output.stdout).ok()?;
    Some(words.split_whitespace().take(2).collect::<Vec<_>>().join(" "))
}
