//! A list to check, as `sha256sum -c` reads it: line by line, while the files named so far are being hashed.

use std::{
    ffi::{OsStr, OsString},
    fs,
    io::{self, BufRead, BufReader},
    os::unix::ffi::OsStrExt,
};

use crate::{
    hash::reason,
    list::{Digest, Parser},
    ui::{Ui, readable},
    walk::File,
};

/// An open list. As an iterator it gives the files and what their digests should be.
pub struct List {
    name: String,
    stdin: bool,
    input: Box<dyn BufRead + Send>,
    parser: Parser,
    proper: u64,
    misformatted: u64,
    /// Why reading ended early.
    error: Option<io::Error>,
}

impl List {
    /// Opens a list; `-` is standard input. The error says what is wrong with which list.
    pub fn open(path: OsString) -> Result<Self, String> {
        let stdin = path == "-";
        let name = if stdin { "standard input".to_owned() } else { readable(path.as_bytes()) };
        let input: Box<dyn BufRead + Send> = if stdin {
            Box::new(BufReader::new(io::stdin()))
        } else {
            let file = fs::File::open(&path).map_err(|error| format!("{name}: {}", reason(&error)))?;
            Box::new(BufReader::new(file))
        };
        Ok(Self { name, stdin, input, parser: Parser::default(), proper: 0, misformatted: 0, error: None })
    }

    /// After the last line: what makes the whole list worthless, if anything does.
    pub fn broken(&self) -> Option<String> {
        let name = &self.name;
        match &self.error {
            Some(error) => Some(format!("{name}: {}", reason(error))),
            None if self.proper == 0 => Some(format!(
                "{name}: no properly formatted checksum lines found; a line reads DIGEST, two spaces, NAME, \
                 as sha256sum prints it"
            )),
            None => None,
        }
    }

    /// Says how many lines were passed over.
    pub fn warn(&self, ui: &Ui) {
        match self.misformatted {
            0 => {}
            1 => ui.say("WARNING: 1 line is improperly formatted"),
            n => ui.say(format_args!("WARNING: {n} lines are improperly formatted")),
        }
    }

    /// The next line without its end, or `None` after the last.
    fn line(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        if self.input.read_until(b'\n', &mut line)? == 0 {
            return Ok(None);
        }
        line.pop_if(|end| *end == b'\n');
        line.pop_if(|end| *end == b'\r');
        Ok(Some(line))
    }
}

impl Iterator for List {
    type Item = (File, Digest);

    fn next(&mut self) -> Option<Self::Item> {
        while self.error.is_none() {
            let line = match self.line() {
                Ok(line) => line?,
                Err(error) => {
                    self.error = Some(error);
                    break;
                }
            };
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            match self.parser.parse(&line) {
                // A list on standard input cannot at once be a file that it lists.
                Some((digest, path)) if !(self.stdin && path == b"-") => {
                    self.proper += 1;
                    let size = match path.as_slice() {
                        // Standard input: who knows, so it goes alone.
                        b"-" => u64::MAX,
                        path => fs::metadata(OsStr::from_bytes(path)).map_or(0, |found| found.len()),
                    };
                    return Some((File { path, size }, digest));
                }
                _ => self.misformatted += 1,
            }
        }
        None
    }
}
