//! The example of a user's own protocol, as it stands in the documentation of the models.

use crate::support::report;

mod example {
    include!("../../ipc/src/model/pipeline.rs");
}

#[test]
fn a_pipeline_of_a_users_own_delivers_each_square() {
    report("a user's own pipeline, killed first stage", example::pipeline);
}
