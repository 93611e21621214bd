//! The aggregator: adds up what the parsers count, each block once, and prints the result.

use std::io::{self, Write};

use crate::{
    Outcome,
    args::Report,
    fault,
    ledger::Ledger,
    report,
    site::{Site, take},
    ui::{Bar, Pace, say},
};

pub fn aggregate(site: &Site, report: &Report, quiet: bool) -> Outcome {
    let mut role = take(&site.board.aggregator, "aggregator", quiet)?;
    if site.is_over() {
        // The one before this one had printed the result.
        return site.remove();
    }
    let (chunks, partials, checkpoints) = (site.chunks()?, site.partials()?, site.checkpoints()?);
    let (mut ledger, mut sum) = Ledger::open(&checkpoints, &role)?;
    let mut bar = None;
    let mut pace = Pace::new(sum.counts.extent);
    let mut again = 0;
    while !sum.is_complete() {
        let mut batch = Vec::new();
        // One at least, and as many more as there are now and as this handle may lease.
        let mut next = Ok(partials.lease()?);
        while let Ok(partial) = next {
            if sum.add(&partial)? {
                batch.push(partial);
            } else {
                // The other one of this number is in the checkpoint, or in this batch.
                partial.ack()?;
                again += 1;
            }
            next = partials.try_lease();
        }
        fault::point("aggregate: leased");
        if batch.is_empty() {
            continue;
        }
        if bar.is_none() {
            pace = Pace::new(sum.counts.extent); // from the first counts on: what was waited for them says nothing
        }
        ledger.commit(&mut role, &sum)?;
        for partial in batch {
            partial.ack()?;
            fault::point("aggregate: done");
        }
        let extent = sum.counts.extent;
        let bar =
            bar.get_or_insert_with(|| if quiet { Bar::hidden() } else { Bar::new(sum.size, extent.bytes) });
        let (lines, done, blocks) = (pace.lines_per_second(extent), sum.before, sum.blocks);
        bar.show(extent.bytes, format_args!("{lines} lines/s, {done}/{blocks} blocks"));
    }
    drop(bar);
    // All that may still come is in the sum already: who has it in his hands need not give it on.
    chunks.close();
    partials.close();
    let text = report::text(&sum.counts, report);
    io::stdout().write_all(text.as_bytes())?;
    io::stdout().flush()?;
    fault::point("aggregate: printed");
    if !quiet {
        let again =
            if again > 0 { format!(", {again} blocks came again and were left out") } else { String::new() };
        say(format_args!("aggregate: {}{again}", pace.last_line(sum.counts.extent)));
    }
    site.board.over.set()?;
    fault::point("aggregate: over");
    site.remove()
}
