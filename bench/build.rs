//! Compiles the C++ side of the boost peer, if that is asked for.

fn main() {
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
