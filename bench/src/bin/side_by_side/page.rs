//! The measurement as one HTML file, with plots as SVG in it.

use crate::report::{cells_of, digits};
use crate::run::Measured;
use crate::verdict::{Distance, Place, Verdict, figures};
use std::fmt::Write;

const STYLE: &str = "body{font:15px/1.5 sans-serif;max-width:75em;margin:2em auto;padding:0 1em;color:#222}\
table{border-collapse:collapse;margin:1em 0}td,th{padding:.2em .8em;border-bottom:1px solid #ddd;text-align:left}\
td.met{color:#177245}td.missed{color:#b3261e;font-weight:bold}svg{font:12px sans-serif}h2{margin-top:2em}";

/// All of it, and what is to be known `about` it.
pub fn page(measured: &[Measured], about: &[(&str, String)]) -> String {
    let mut page = format!(
        "<!doctype html><meta charset=\"utf-8\"><title>skep: benchmarks</title><style>{STYLE}</style>\n"
    );
    let _ = writeln!(page, "<h1>skep beside its peers</h1>");
    let Some(distance) = Distance::of(measured) else {
        return page + "<p>Nothing could be measured.</p>\n";
    };
    let [low, median, high] = distance.probes;
    let _ = writeln!(
        page,
        "<p>Medians of rounds in which all contenders ran in turns, on two cores. A cache line from core to core took {median:.0} ns \
         ({low:.0} to {high:.0}); figures are of rounds in which the cores were near, if there were any.</p>"
    );
    page.push_str("<table>\n");
    for (name, fact) in about {
        let _ = writeln!(page, "<tr><th>{name}<td>{}", escaped(fact));
    }
    page.push_str("</table>\n");
    targets(&mut page, measured, &distance);
    curves(&mut page, measured, &distance);
    contenders(&mut page, measured, &distance);
    page
}

fn targets(page: &mut String, measured: &[Measured], distance: &Distance) {
    page.push_str("<h2>Targets</h2>\n<table><tr><th>metric<th>measured<th>target<th>met\n");
    for row in measured {
        for goal in &row.row.goals {
            let verdict = Verdict::of(row, goal, distance);
            let class = match verdict.is_met() {
                Some(true) => "met",
                Some(false) => "missed",
                None => "",
            };
            let [metric, value, target, met] = cells_of(&verdict).map(|cell| escaped(&cell));
            let _ = writeln!(page, "<tr><td>{metric}<td>{value}<td>{target}<td class=\"{class}\">{met}");
        }
    }
    page.push_str("</table>\n");
}

fn contenders(page: &mut String, measured: &[Measured], distance: &Distance) {
    page.push_str("<h2>Everybody's figures</h2>\n<table><tr><th>metric<th>contender<th>how<th>median<th>lowest<th>highest<th>rounds\n");
    for row in measured {
        for (number, contender) in row.row.contenders.iter().enumerate() {
            let (title, name, how) =
                (escaped(row.row.title), escaped(contender.name), escaped(contender.how));
            let title = match &row.row.growth {
                Some(growth) => format!("{title}, {} {}", growth.at, growth.along),
                None => title,
            };
            let figures =
                [Place::Near, Place::Far].into_iter().find_map(|at| figures(row, number, at, distance));
            let cells = match figures {
                Some(f) => format!(
                    "{} {}<td>{}<td>{}<td>{}",
                    digits(f.median),
                    row.row.unit.word(),
                    digits(f.low),
                    digits(f.high),
                    f.rounds
                ),
                None => {
                    format!("not measured: {}<td><td><td>", escaped(row.why_not(number).unwrap_or_default()))
                }
            };
            let _ = writeln!(page, "<tr><td>{title}<td>{name}<td>{how}<td>{cells}");
        }
    }
    page.push_str("</table>\n");
}

/// One contender's points.
struct Line {
    name: &'static str,
    points: Vec<[f64; 2]>,
}

fn curves(page: &mut String, measured: &[Measured], distance: &Distance) {
    let points = || measured.iter().filter_map(|row| Some((row.row.growth.as_ref()?, row)));
    let mut names: Vec<&str> = points().map(|(growth, _)| growth.curve).collect();
    names.dedup();
    for name in names {
        let mut lines: Vec<Line> = vec![];
        let mut labels = [String::new(), String::new(), String::new()];
        for (growth, row) in points().filter(|(growth, _)| growth.curve == name) {
            labels = [row.row.title.into(), growth.along.into(), row.row.unit.word().into()];
            for (number, contender) in row.row.contenders.iter().enumerate() {
                let at =
                    [Place::Near, Place::Far].into_iter().find_map(|at| figures(row, number, at, distance));
                let Some(figures) = at else { continue };
                let point = [growth.at, figures.median];
                match lines.iter_mut().find(|line| line.name == contender.name) {
                    Some(line) => line.points.push(point),
                    None => lines.push(Line { name: contender.name, points: vec![point] }),
                }
            }
        }
        let [title, along, unit] = labels.map(|label| escaped(&label));
        let _ = writeln!(page, "<h2>{title}</h2>\n<p>{unit}, along {along}; both axes are logarithmic.</p>");
        plot(page, &lines);
    }
}

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 360.0;
const MARGIN: f64 = 60.0;
const COLOURS: [&str; 6] = ["#1b5faa", "#444444", "#c2571a", "#177245", "#8a3ab9", "#a8841a"];

fn plot(page: &mut String, lines: &[Line]) {
    let values =
        |axis: usize| lines.iter().flat_map(move |line| line.points.iter().map(move |point| point[axis]));
    let scales =
        [Scale::of(values(0), MARGIN, WIDTH - 130.0), Scale::of(values(1), HEIGHT - MARGIN / 2.0, 10.0)];
    let [Some(x), Some(y)] = scales else { return };
    let _ = writeln!(page, "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" height=\"{HEIGHT}\">");
    let mut marks: Vec<f64> = values(0).collect();
    marks.sort_by(f64::total_cmp);
    marks.dedup();
    for mark in marks {
        let at = x.place(mark);
        let _ = writeln!(
            page,
            "<text x=\"{at:.0}\" y=\"{:.0}\" text-anchor=\"middle\">{mark}</text>",
            HEIGHT - 10.0
        );
    }
    for power in -6..=12 {
        let mark = 10_f64.powi(power);
        let at = y.place(mark);
        if (10.0..=HEIGHT - MARGIN / 2.0).contains(&at) {
            let (left, right) = (MARGIN, WIDTH - 130.0);
            let _ = writeln!(page, "<path d=\"M{left} {at:.0}H{right}\" stroke=\"#ddd\"/>");
            let _ = writeln!(
                page,
                "<text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"end\">{mark}</text>",
                left - 8.0,
                at + 4.0
            );
        }
    }
    for (line, colour) in lines.iter().zip(COLOURS.iter().cycle()) {
        let points: Vec<[f64; 2]> = line.points.iter().map(|&[a, b]| [x.place(a), y.place(b)]).collect();
        let path: Vec<String> = points.iter().map(|[a, b]| format!("{a:.1},{b:.1}")).collect();
        let _ = writeln!(
            page,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            path.join(" ")
        );
        for [a, b] in &points {
            let _ = writeln!(page, "<circle cx=\"{a:.1}\" cy=\"{b:.1}\" r=\"3\" fill=\"{colour}\"/>");
        }
        if let Some([a, b]) = points.last() {
            let name = escaped(line.name);
            let _ = writeln!(
                page,
                "<text x=\"{:.0}\" y=\"{:.0}\" fill=\"{colour}\">{name}</text>",
                a + 8.0,
                b + 4.0
            );
        }
    }
    page.push_str("</svg>\n");
}

/// Where a value is, on a logarithmic axis.
struct Scale {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Scale {
    fn of(values: impl Iterator<Item = f64>, from: f64, to: f64) -> Option<Scale> {
        let logarithms: Vec<f64> = values.filter(|value| *value > 0.0).map(f64::log10).collect();
        let low = logarithms.iter().copied().reduce(f64::min)?;
        let high = logarithms.iter().copied().reduce(f64::max)?;
        Some(Scale { low: low - 0.05, high: high + 0.05, from, to })
    }

    fn place(&self, value: f64) -> f64 {
        let share = (value.log10() - self.low) / (self.high - self.low);
        self.from + share.clamp(-1e3, 1e3) * (self.to - self.from)
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
