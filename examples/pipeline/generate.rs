//! A log to try it with: the same one for the same seed, on every machine.

use std::{
    fs::File,
    io::{BufWriter, Write},
};

use crate::{Outcome, args::Generate, ui::Bar};

const METHODS: [&str; 8] = ["GET", "GET", "GET", "GET", "GET", "POST", "HEAD", "GET"];
const STATUSES: [u16; 16] = [200, 200, 200, 200, 200, 200, 200, 200, 200, 304, 304, 301, 404, 404, 403, 500];
const USERS: [&str; 8] = ["-", "-", "-", "-", "-", "-", "ada", "grace"];
const WORDS: [&str; 8] = ["comb", "honey", "queen", "drone", "swarm", "smoker", "wax", "clover"];
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

pub fn generate(arguments: &Generate) -> Outcome {
    let unwritable = |error: std::io::Error| format!("{}: {error}", arguments.log.display());
    let mut to = BufWriter::with_capacity(1 << 20, File::create(&arguments.log).map_err(unwritable)?);
    let mut random = Random(arguments.seed);
    let paths: Vec<_> = (0..arguments.paths.get()).map(|number| path(&mut random, number)).collect();
    let (lines, bytes) = (arguments.lines.unwrap_or(u64::MAX), arguments.bytes.unwrap_or(u64::MAX));
    let bar = Bar::new(arguments.bytes.unwrap_or(lines), 0);
    let (mut written, mut time) = (0, 1_700_000_000);
    let mut line = Vec::new();
    for number in 0..lines {
        if written >= bytes {
            break;
        }
        line.clear();
        time += u64::from(random.below(16) == 0);
        write_line(&mut line, &mut random, &paths, time)?;
        to.write_all(&line).map_err(unwritable)?;
        written += line.len() as u64;
        if number % 4096 == 0 {
            bar.show(
                if arguments.bytes.is_some() { written } else { number },
                format_args!("{number} lines"),
            );
        }
    }
    Ok(to.flush().map_err(unwritable)?)
}

fn path(random: &mut Random, number: usize) -> String {
    let (a, b) = (random.pick(&WORDS), random.pick(&WORDS));
    format!("/{a}/{b}-{number}.html")
}

fn write_line(to: &mut Vec<u8>, random: &mut Random, paths: &[String], time: u64) -> std::io::Result<()> {
    if random.below(4096) == 0 {
        // What a crashed server leaves.
        return writeln!(to, "10.0.0.1 - - [truncated");
    }
    let [a, b] = [random.below(256), random.below(256)];
    write!(to, "203.0.{a}.{b} - {} [{}] \"", random.pick(&USERS), Stamp(time))?;
    // Few paths are asked for often, and many now and then.
    let path = &paths[((paths.len() as f64).powf(random.fraction()) as usize).min(paths.len()) - 1];
    write!(to, "{} {path}", random.pick(&METHODS))?;
    match random.below(64) {
        0 => write!(to, "?q=\\\"bees\\\"")?,
        1..8 => write!(to, "?page={}", random.below(100))?,
        _ => {}
    }
    let status = random.pick(&STATUSES);
    match status {
        304 => writeln!(to, " HTTP/1.1\" {status} -"),
        _ => {
            let most = 1 << (6 + random.below(14));
            writeln!(to, " HTTP/1.1\" {status} {}", random.below(most))
        }
    }
}

/// Seconds since 1970, as the common log format writes them.
struct Stamp(u64);

impl std::fmt::Display for Stamp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (days, seconds) = (self.0 / 86_400, self.0 % 86_400);
        // Years that begin in March: the leap day is the last one then.
        let days = days + 719_468;
        let (era, day) = (days / 146_097, days % 146_097);
        let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day + 2) / 153;
        let day = day - (153 * month + 2) / 5 + 1;
        let (year, month) = (era * 400 + year + u64::from(month >= 10), (month + 2) % 12);
        let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        write!(f, "{day:02}/{}/{year}:{hour:02}:{minute:02}:{second:02} +0000", MONTHS[month as usize])
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }
}
