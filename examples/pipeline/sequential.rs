//! The same counts without skep: one process, one block after the other. What the pipeline is compared with.

use std::{
    fs::File,
    io::{self, Read, Write},
    path::Path,
};

use crate::{
    Outcome,
    args::Report,
    counts::{Counts, Extent},
    report,
    ui::{Pace, say},
};

pub fn sequential(log: &Path, report: &Report) -> Outcome {
    let pace = Pace::new(Extent::default());
    let mut file = File::open(log).map_err(|error| format!("{}: {error}", log.display()))?;
    let mut counts = Counts::new();
    let mut buffer = vec![0; 1 << 20];
    // Bytes of a line whose end was not read yet.
    let mut kept = 0;
    loop {
        let length = file.read(&mut buffer[kept..])?;
        let filled = kept + length;
        if length == 0 {
            break;
        }
        match buffer[..filled].iter().rposition(|&byte| byte == b'\n') {
            Some(end) => {
                counts.count(&buffer[..=end]);
                buffer.copy_within(end + 1..filled, 0);
                kept = filled - end - 1;
            }
            None => kept = filled,
        }
        if kept == buffer.len() {
            buffer.resize(2 * kept, 0);
        }
    }
    counts.count(&buffer[..kept]);
    io::stdout().write_all(report::text(&counts, report).as_bytes())?;
    say(format_args!("sequential: {}", pace.last_line(counts.extent)));
    Ok(())
}
