//! Every input that the fuzz targets have found worth keeping, replayed: what was fuzzed once stays checked.

#[path = "../fuzz/cases/attach.rs"]
mod attach;
#[path = "../fuzz/cases/hostile.rs"]
mod hostile;
#[path = "../fuzz/cases/input.rs"]
mod input;
#[path = "../fuzz/cases/message_decoding.rs"]
mod message_decoding;
#[path = "../fuzz/cases/operations.rs"]
mod operations;
#[path = "../fuzz/cases/pipe_framing.rs"]
mod pipe_framing;
#[path = "../fuzz/cases/values.rs"]
mod values;

use std::path::Path;

#[test]
fn attach_on_arbitrary_bytes_is_an_error_or_harmless() {
    replay("attach", attach::run);
}

#[test]
fn a_hostile_peer_causes_errors_or_wrong_items_and_nothing_worse() {
    replay("hostile", hostile::run);
}

#[test]
fn operations_and_kills_come_to_what_a_plain_model_says() {
    if !operations::HAS_FAULTS {
        println!(
            "skipped without --cfg skep_faults: kills between two steps; those within get_with and behind an operation are done"
        );
    }
    replay("operations", operations::run);
}

#[test]
fn messages_of_any_length_come_out_as_they_went_in() {
    replay("pipe_framing", pipe_framing::run);
}

#[test]
fn whatever_a_pool_decodes_is_a_value_or_an_error() {
    replay("message_decoding", message_decoding::run);
}

#[test]
fn values_of_every_kind_arrive_equal_or_are_refused() {
    replay("values", values::run);
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
