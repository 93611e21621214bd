//! When, where and with what something was measured.

use std::fs;
use std::path::Path;
use std::process::Command;

/// The libraries side by side, as the lock file names them.
const LIBRARIES: [&str; 9] = [
    "crossbeam-queue",
    "iceoryx2",
    "ipc-channel",
    "mimalloc",
    "procspawn",
    "rayon",
    "rtrb",
    "shaq",
    "shmem-ipc",
];

/// Facts, each with its name.
pub fn about(python: Option<&Path>) -> Vec<(&'static str, String)> {
    let unknown = || "unknown".to_string();
    let mut libraries: Vec<String> =
        LIBRARIES.into_iter().filter_map(|name| Some(format!("{name} {}", locked_version(name)?))).collect();
    libraries.extend(boost_version().map(|version| format!("boost {version}")));
    libraries.extend(python.and_then(python_versions));
    vec![
        ("date", jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M UTC").to_string()),
        ("processor", processor().unwrap_or_else(unknown)),
        ("memory", memory().unwrap_or_else(unknown)),
        (
            "kernel",
            read("/proc/sys/kernel/osrelease").map_or_else(unknown, |v| format!("Linux {}", v.trim())),
        ),
        ("C library", c_library()),
        ("compiler", env!("SKEP_BENCH_RUSTC").to_string()),
        ("skep", format!("{}{}", locked_version("skep").unwrap_or_else(unknown), revision())),
        ("peers", libraries.join(", ")),
    ]
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok()
}

/// What stands behind `key` in lines of `key : value`.
fn field<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| Some(line.split_once(':').filter(|(k, _)| k.trim() == key)?.1.trim()))
}

fn processor() -> Option<String> {
    let info = read("/proc/cpuinfo")?;
    let cores = info.lines().filter(|line| line.starts_with("processor")).count();
    let names =
        ["vendor_id", "cpu family", "model", "model name"].map(|key| field(&info, key).unwrap_or("?"));
    let [vendor, family, model, name] = names;
    Some(format!("{cores} × {name} ({vendor}, family {family}, model {model})"))
}

fn memory() -> Option<String> {
    let info = read("/proc/meminfo")?;
    let kib: f64 = field(&info, "MemTotal")?.split(' ').next()?.parse().ok()?;
    Some(format!("{:.1} GiB", kib / f64::from(1 << 20)))
}

fn c_library() -> String {
    // SAFETY: returns a string that lives for ever.
    let version = unsafe { std::ffi::CStr::from_ptr(libc::gnu_get_libc_version()) };
    format!("glibc {}", version.to_string_lossy())
}

/// Of a package in this workspace's lock file, which was there when this was built.
fn locked_version(name: &str) -> Option<String> {
    let lock = include_str!("../../../Cargo.lock");
    let (_, rest) = lock.split_once(&format!("name = \"{name}\"\nversion = \""))?;
    Some(rest.split_once('"')?.0.to_string())
}

/// Which state of the repository this is, if that can be told.
fn revision() -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").arg("-C").arg(env!("CARGO_MANIFEST_DIR")).args(arguments).output();
        output
            .ok()
            .filter(|o| o.status.success())
            .map(|o| String::from_utf8_lossy(&o.stdout).trim().to_string())
    };
    let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]) else { return String::new() };
    let is_changed =
        git(&["status", "--porcelain", "--untracked-files=no"]).is_none_or(|lines| !lines.is_empty());
    format!(", commit {commit}{}", if is_changed { " and changes" } else { "" })
}

fn boost_version() -> Option<String> {
    let header = read("/usr/include/boost/version.hpp").filter(|_| cfg!(feature = "boost"))?;
    let (_, version) = header.split_once("#define BOOST_LIB_VERSION \"")?;
    Some(version.split_once('"')?.0.replace('_', "."))
}

fn python_versions(python: &Path) -> Option<String> {
    let script = "import sys, numpy, joblib; print(f'Python {sys.version.split()[0]}, numpy {numpy.__version__}, joblib {joblib.__version__}')";
    let output = Command::new(python).args(["-c", script]).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_string())
}
