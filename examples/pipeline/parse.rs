//! A parser: counts each block that it gets, and gives its counts on before it lets go of the block.

use skep::{RecvValueError, SendValueError};

use crate::{
    Outcome,
    counts::Counts,
    fault,
    site::{Partial, Site},
    table::Table,
    ui::say,
};

pub fn parse(site: &Site, quiet: bool) -> Outcome {
    let (chunks, mut partials) = (site.chunks()?, site.partials()?);
    let mut parsed = 0;
    loop {
        let chunk = match chunks.lease() {
            Err(RecvValueError::Closed) => break,
            chunk => chunk?,
        };
        fault::point("parse: leased");
        let mut counts = Counts::new();
        counts.count(&chunk.lines);
        let partial = Partial { place: chunk.place, table: Table::new(&site.arena, &counts)? };
        fault::point("parse: counted");
        match partials.put(partial) {
            Err(SendValueError::Closed(_)) => drop(chunk.ack()?), // it was a second one of this block, and nobody needs it
            outcome => {
                outcome?;
                fault::point("parse: put");
                chunk.ack()?;
                parsed += 1;
            }
        }
        fault::point("parse: done");
    }
    if !quiet {
        say(format_args!("parse: {parsed} blocks"));
    }
    Ok(())
}
