//! The reader: blocks of the log into shared memory, each at least once.

use std::path::Path;

use skep::SendValueError;

use crate::{
    Outcome, fault,
    site::{Chunk, Place, Site, take},
    source::Source,
    ui::say,
};

/// The words of the role.
const LOG: usize = 0;
const NEXT: usize = 1;

pub fn read(site: &Site, log: &Path, block: u64, quiet: bool) -> Outcome {
    let log = Source::open(log, block)?;
    let mut role = take(&site.board.reader, "reader", quiet)?;
    if role[LOG] == 0 {
        role[LOG] = log.identity();
    } else if role[LOG] != log.identity() {
        Err(
            "this pipeline is at another log, or at this one with another --block, or the log has changed since: \
             give it up with `status --clean`, or use another --name",
        )?;
    }
    let mut chunks = site.chunks()?;
    let (first, blocks, size) = (role[NEXT], log.blocks(), log.size());
    let mut start = log.start(first)?;
    for number in first..blocks {
        let end = log.start(number + 1)?;
        let mut lines = site.arena.slice_unfilled((end - start) as usize)?;
        log.read(start, &mut lines)?;
        fault::point("read: before put");
        match chunks.put(Chunk { place: Place { number, blocks, size }, lines }) {
            Err(SendValueError::Closed(_)) => break, // it came from the reader before this one, and is counted already
            outcome => outcome?,
        }
        fault::point("read: put");
        fault::in_order();
        role[NEXT] = number + 1;
        fault::point("read: moved on");
        start = end;
    }
    chunks.close();
    if !quiet {
        let before =
            if first > 0 { format!(", {first} of them by the reader before") } else { String::new() };
        say(format_args!("read: {blocks} blocks, {size} bytes{before}"));
    }
    Ok(())
}
