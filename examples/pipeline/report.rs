//! The result, as tables for people or as JSON for programs.

use std::fmt::Write;

use crate::{
    args::Report,
    counts::{Count, Counts},
};

/// The whole report, of the same counts always the same.
pub fn text(counts: &Counts, report: &Report) -> String {
    let mut text = String::new();
    let write = if report.json { json } else { tables };
    // A string takes whatever is written.
    let _ = write(&mut text, counts, report.top);
    text
}

fn tables(to: &mut String, counts: &Counts, top: usize) -> std::fmt::Result {
    let (extent, total) = (counts.extent, counts.total());
    writeln!(to, "{:>14} requests", total.requests)?;
    writeln!(to, "{:>14} bytes sent", total.bytes)?;
    writeln!(to, "{:>14} lines, {} of them malformed", extent.lines, extent.malformed)?;
    writeln!(to, "{:>14} paths", counts.paths.len())?;
    let mut table = |what: &str, rows: &mut dyn Iterator<Item = (String, Count)>| {
        writeln!(to, "\n{:>14} {:>20}  {what}", "requests", "bytes")?;
        for (name, Count { requests, bytes }) in rows {
            writeln!(to, "{requests:>14} {bytes:>20}  {name}")?;
        }
        Ok(())
    };
    table("status", &mut statuses(counts))?;
    table("hour", &mut hours(counts))?;
    table("path", &mut paths(counts, top).into_iter().map(|(name, count)| (readable(name), count)))
}

fn json(to: &mut String, counts: &Counts, top: usize) -> std::fmt::Result {
    let (extent, total) = (counts.extent, counts.total());
    let object = |to: &mut String, rows: &mut dyn Iterator<Item = (String, Count)>| {
        for (number, (name, Count { requests, bytes })) in rows.enumerate() {
            let comma = if number > 0 { "," } else { "" };
            write!(to, "{comma}\n    \"{name}\": {{\"requests\": {requests}, \"bytes\": {bytes}}}")?;
        }
        Ok(())
    };
    writeln!(to, "{{\n  \"requests\": {},\n  \"bytes\": {},", total.requests, total.bytes)?;
    writeln!(to, "  \"lines\": {},\n  \"malformed\": {},", extent.lines, extent.malformed)?;
    writeln!(to, "  \"log_bytes\": {},\n  \"distinct_paths\": {},", extent.bytes, counts.paths.len())?;
    write!(to, "  \"status\": {{")?;
    object(to, &mut statuses(counts))?;
    write!(to, "\n  }},\n  \"hours\": {{")?;
    object(to, &mut hours(counts))?;
    write!(to, "\n  }},\n  \"paths\": [")?;
    for (number, (name, Count { requests, bytes })) in paths(counts, top).into_iter().enumerate() {
        let comma = if number > 0 { "," } else { "" };
        write!(to, "{comma}\n    {{\"path\": ")?;
        quoted(to, name)?;
        write!(to, ", \"requests\": {requests}, \"bytes\": {bytes}}}")?;
    }
    writeln!(to, "\n  ]\n}}")
}

fn statuses(counts: &Counts) -> impl Iterator<Item = (String, Count)> {
    some(&counts.status).map(|(status, count)| (format!("{status:03}"), count))
}

fn hours(counts: &Counts) -> impl Iterator<Item = (String, Count)> {
    some(&counts.hours).map(|(hour, count)| (format!("{hour:02}"), count))
}

fn some(counts: &[Count]) -> impl Iterator<Item = (usize, Count)> {
    counts.iter().copied().enumerate().filter(|(_, count)| count.requests > 0)
}

/// The paths with the most requests; of those with as many, in bytewise order.
fn paths(counts: &Counts, top: usize) -> Vec<(&[u8], Count)> {
    let mut paths: Vec<_> = counts.paths.iter().map(|(name, &count)| (&**name, count)).collect();
    paths.sort_unstable_by(|(a, one), (b, other)| other.requests.cmp(&one.requests).then(a.cmp(b)));
    paths.truncate(top);
    paths
}

/// A path for a person, on one line.
fn readable(path: &[u8]) -> String {
    match std::str::from_utf8(path) {
        Ok(path) if !path.contains(char::is_control) => path.to_owned(),
        _ => path.escape_ascii().to_string(),
    }
}

/// A path as a string of JSON; bytes that are no text become U+FFFD.
fn quoted(to: &mut String, path: &[u8]) -> std::fmt::Result {
    to.write_char('"')?;
    for each in String::from_utf8_lossy(path).chars() {
        match each {
            '"' | '\\' => write!(to, "\\{each}")?,
            each if each.is_control() => write!(to, "\\u{:04x}", u32::from(each))?,
            each => to.write_char(each)?,
        }
    }
    to.write_char('"')
}
