//! Repeats one hot operation where callgrind counts: `ci/instructions.sh` runs it.

use skep_bench::operations::{ALL, Operation, TIMES};
use std::process::ExitCode;

fn main() -> ExitCode {
    skep::init();
    let Some(wanted) = std::env::args().nth(1) else {
        ALL.iter().for_each(|operation| println!("{}", operation.name));
        return ExitCode::SUCCESS;
    };
    let Some(named) = ALL.iter().find(|operation| operation.name == wanted) else {
        eprintln!("instructions: no operation \"{wanted}\"; without arguments I list them");
        return ExitCode::from(2);
    };
    let mut operation = match (named.make)() {
        Ok(operation) => operation,
        Err(error) => {
            eprintln!("instructions: {wanted}: {error}");
            return ExitCode::FAILURE;
        }
    };
    // The first time it takes memory, and resolves what the linker left open.
    operation.run(TIMES);
    operation.undo(TIMES);
    skep_bench_counted(&mut *operation);
    operation.undo(TIMES);
    ExitCode::SUCCESS
}

/// Where callgrind counts; it knows it by this name.
#[unsafe(no_mangle)]
#[inline(never)]
extern "Rust" fn skep_bench_counted(operation: &mut dyn Operation) {
    operation.run(TIMES);
}
