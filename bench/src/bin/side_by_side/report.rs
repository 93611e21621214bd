//! What is printed, and written as JSON.

use crate::row::{Row, Unit};
use crate::run::{Ending, Measured};
use crate::verdict::{Distance, Figures, Place, Verdict, figures};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{self, Write};

/// The rows by name, with what each is to reach.
pub fn list(rows: &[Row]) {
    for row in rows {
        let targets: Vec<_> = row.goals.iter().map(|goal| goal.target(row.unit)).collect();
        println!("{:<26} {} ({})", row.name, row.title, targets.join(", "));
    }
}

/// Prints each row's figures and the table of targets, and writes the JSON.
///
/// # Errors
/// Those of writing the file.
pub fn report(measured: &[Measured], mut json: Option<&mut File>) -> io::Result<Ending> {
    let Some(distance) = Distance::of(measured) else {
        println!("Nothing could be measured.");
        return Ok(Ending::SomeFailed);
    };
    let [low, median, high] = distance.probes;
    println!("A cache line from core to core: {median:.0} ns ({low:.0} to {high:.0}).");
    measured.iter().for_each(|row| print_row(row, &distance));
    println!();
    let mut cells = vec![["metric", "measured", "target", "met"].map(String::from)];
    let (mut missed, mut failed) = (false, false);
    for row in measured {
        failed |= !row.failed.is_empty();
        if let (true, Some(file)) = (row.row.goals.is_empty(), &mut json) {
            writeln!(file, "{}", described(row, &distance))?;
        }
        for goal in &row.row.goals {
            let verdict = Verdict::of(row, goal, &distance);
            missed |= verdict.is_met() == Some(false);
            cells.push(cells_of(&verdict));
            if let Some(file) = &mut json {
                writeln!(file, "{}", object(&verdict, &distance))?;
            }
        }
    }
    print_table(&cells);
    Ok(match (failed, missed) {
        (true, _) => Ending::SomeFailed,
        (false, true) => Ending::SomeMissed,
        (false, false) => Ending::AllMet,
    })
}

fn print_row(measured: &Measured, distance: &Distance) {
    let row = &measured.row;
    println!("\n{}: {}", row.name, row.title);
    for (number, contender) in row.contenders.iter().enumerate() {
        let [near, far] = [Place::Near, Place::Far].map(|place| figures(measured, number, place, distance));
        let mut words: Vec<String> = [(near, Place::Near), (far, Place::Far)]
            .iter()
            .filter_map(|(figures, place)| Some(format!("{} {}", spelt((*figures)?, row.unit), place.word())))
            .collect();
        words.extend(measured.why_not(number).map(|why| format!("not measured: {why}")));
        let how = if contender.how.is_empty() { String::new() } else { format!(" [{}]", contender.how) };
        println!("  {}: {}{how}", contender.name, words.join("; "));
    }
}

/// Median, lowest and highest.
fn spelt(figures: Figures, unit: Unit) -> String {
    let [median, low, high] = [figures.median, figures.low, figures.high].map(digits);
    let space = if unit.word().is_empty() { "" } else { " " };
    format!("{median}{space}{} ({low} to {high}, {} rounds)", unit.word(), figures.rounds)
}

/// Three or four digits that say something.
pub fn digits(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

pub fn cells_of(verdict: &Verdict<'_>) -> [String; 4] {
    let row = &verdict.measured.row;
    let value = |median: f64| match verdict.goal.against() {
        Some(_) => format!("{} ×", digits(median)),
        None => format!("{} {}", digits(median), row.unit.word()).trim_end().into(),
    };
    let measured = match (verdict.near, verdict.far) {
        (Some(near), Some(far)) => format!("{} (far: {})", value(near.median), value(far.median)),
        (Some(near), None) => value(near.median),
        (None, Some(far)) => format!("{} (far)", value(far.median)),
        (None, None) => "nothing".into(),
    };
    let met = match verdict.is_met() {
        Some(true) => "yes",
        Some(false) => "NO",
        None => "not measured",
    };
    [row.title.into(), measured, verdict.goal.target(row.unit), met.into()]
}

fn print_table(cells: &[[String; 4]]) {
    let width = |column: usize| cells.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths = [0, 1, 2, 3].map(width);
    for (number, row) in cells.iter().enumerate() {
        let padded: Vec<_> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        println!("| {} |", padded.join(" | "));
        if number == 0 {
            println!("| {} |", widths.map(|width| "-".repeat(width)).join(" | "));
        }
    }
}

fn spread(figures: Option<Figures>) -> Value {
    figures.map_or(
        Value::Null,
        |f| json!({ "median": f.median, "low": f.low, "high": f.high, "rounds": f.rounds }),
    )
}

/// What a row is, and everybody's figures.
fn described(measured: &Measured, distance: &Distance) -> Value {
    let row = &measured.row;
    let figures = |contender, place| spread(figures(measured, contender, place, distance));
    let contenders = row.contenders.iter().enumerate().map(|(number, contender)| {
        json!({
            "name": contender.name,
            "how": contender.how,
            "near": figures(number, Place::Near),
            "far": figures(number, Place::Far),
        })
    });
    json!({
        "metric": row.name,
        "title": row.title,
        "unit": row.unit.word(),
        "contenders": contenders.collect::<Vec<_>>(),
    })
}

fn object(verdict: &Verdict<'_>, distance: &Distance) -> Value {
    let rounds: Vec<Value> = verdict
        .rounds
        .iter()
        .map(|round| {
            json!({
                "skep": round.skep.figure,
                "other": round.other.map(|other| other.figure),
                "value": round.value,
                "place": round.place.word(),
                "probe_ns": [Some(round.skep.probe), round.other.map(|other| other.probe)],
            })
        })
        .collect();
    let mut object = described(verdict.measured, distance);
    object["against"] = json!(verdict.goal.against());
    object["measured"] = json!(verdict.value().map(|figures| figures.median));
    object["target"] = json!(verdict.goal.target(verdict.measured.row.unit));
    object["met"] = json!(verdict.is_met());
    object["near"] = spread(verdict.near);
    object["far"] = spread(verdict.far);
    object["rounds"] = json!(rounds);
    object
}
