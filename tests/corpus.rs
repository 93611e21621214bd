//! Every input that the fuzz targets have found worth keeping, replayed: what was fuzzed once stays checked.

#[path = "../fuzz/cases/attach.rs"]
mod attach;

use std::path::Path;

#[test]
fn attach_on_arbitrary_bytes_is_an_error_or_harmless() {
    replay("attach", attach::run);
}

fn replay(target: &str, case: fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let inputs: Vec<_> = std::fs::read_dir(&corpus).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(inputs.len() > 10, "the corpus of {target} is missing: {}", corpus.display());
    for input in inputs {
        println!("{}", input.display());
        case(&std::fs::read(&input).unwrap());
    }
}
