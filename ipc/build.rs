//! Says in one sentence that the platform is Linux, before any other crate-level error can.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let target = std::env::var("CARGO_CFG_TARGET_OS").unwrap_or_default();
    if target != "linux" {
        println!(
            "cargo::error=skep runs on Linux only (it stands on memfd, futex, OFD locks and pidfd), not on {target}"
        );
    }
}
