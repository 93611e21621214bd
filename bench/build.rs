//! Compiles the C++ side of the boost peer, if that is asked for, and says which compiler this is.

use std::process::Command;

fn main() {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Command::new(rustc).arg("--version").output();
    let version =
        version.map_or_else(|_| "unknown".into(), |v| String::from_utf8_lossy(&v.stdout).trim().to_string());
    println!("cargo::rustc-env=SKEP_BENCH_RUSTC={version}");
    println!("cargo::rerun-if-changed=cpp/boost.cpp");
    #[cfg(feature = "boost")]
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .opt_level(3)
        .warnings(false)
        .file("cpp/boost.cpp")
        .compile("skep_bench_boost");
}
