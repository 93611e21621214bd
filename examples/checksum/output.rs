//! Results on their way to standard output.

use std::io::{self, Write};

use crate::{
    hash::Hashed,
    list::{Digest, write_line, write_verdict},
    run::Emit,
    ui::Ui,
    walk::File,
};

/// Lines are gathered as long as more are ready, but no further than this.
const GATHER: usize = 64 << 10;

/// Standard output.
struct Output<'a> {
    ui: &'a Ui,
    lines: Vec<u8>,
}

impl<'a> Output<'a> {
    fn new(ui: &'a Ui) -> Self {
        Self { ui, lines: Vec::new() }
    }

    fn write_full(&mut self) -> io::Result<()> {
        if self.lines.len() < GATHER { Ok(()) } else { self.write() }
    }

    fn write(&mut self) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        let outcome = self.ui.output(|| stdout.write_all(&self.lines).and_then(|()| stdout.flush()));
        self.lines.clear();
        outcome
    }
}

/// Prints a list, as `sha256sum` does.
pub struct Listing<'a>(Output<'a>);

impl<'a> Listing<'a> {
    pub fn new(ui: &'a Ui) -> Self {
        Self(Output::new(ui))
    }
}

impl Emit<()> for Listing<'_> {
    fn emit(&mut self, file: File, (): (), hashed: Hashed) -> io::Result<()> {
        match hashed {
            Ok((digest, _)) => write_line(&mut self.0.lines, &digest, &file.path)?,
            Err(reason) => self.0.ui.complain(&file.path, reason),
        }
        self.0.write_full()
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.write()
    }
}

/// Compares with a list and prints verdicts, as `sha256sum -c` does.
pub struct Checking<'a> {
    output: Output<'a>,
    unread: u64,
    mismatched: u64,
}

impl<'a> Checking<'a> {
    pub fn new(ui: &'a Ui) -> Self {
        Self { output: Output::new(ui), unread: 0, mismatched: 0 }
    }

    /// Sums up what failed.
    pub fn warn(&self) {
        let ui = self.output.ui;
        match self.unread {
            0 => {}
            1 => ui.say("WARNING: 1 listed file could not be read"),
            n => ui.say(format_args!("WARNING: {n} listed files could not be read")),
        }
        match self.mismatched {
            0 => {}
            1 => ui.say("WARNING: 1 computed checksum did NOT match"),
            n => ui.say(format_args!("WARNING: {n} computed checksums did NOT match")),
        }
    }
}

impl Emit<Digest> for &mut Checking<'_> {
    fn emit(&mut self, file: File, expected: Digest, hashed: Hashed) -> io::Result<()> {
        let verdict = match hashed {
            Ok((digest, _)) if digest == expected => "OK",
            Ok(_) => {
                self.mismatched += 1;
                self.output.ui.fail();
                "FAILED"
            }
            Err(reason) => {
                self.unread += 1;
                self.output.ui.complain(&file.path, reason);
                "FAILED open or read"
            }
        };
        write_verdict(&mut self.output.lines, &file.path, verdict)?;
        self.output.write_full()
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.write()
    }
}
