//! One line of a checksum list, as `sha256sum` writes and reads it.
//!
//! A name with a backslash, a newline or a carriage return in it has them escaped, and a backslash in front of the
//! line says so. Three forms are read: `DIGEST  NAME` (or ` *NAME`), the older `DIGEST NAME`, and
//! `SHA256 (NAME) = DIGEST`.

use std::io::{self, Write};

pub type Digest = [u8; 32];

/// Writes the line of one file.
pub fn write_line(out: &mut impl Write, digest: &Digest, name: &[u8]) -> io::Result<()> {
    let escape = name.iter().any(|byte| matches!(byte, b'\\' | b'\n' | b'\r'));
    if escape {
        out.write_all(b"\\")?;
    }
    out.write_all(hex::encode(digest).as_bytes())?;
    out.write_all(b"  ")?;
    write_name(out, name, escape)?;
    out.write_all(b"\n")
}

/// Writes what a check says about one file. Here a newline alone calls for escaping, as in `sha256sum -c`.
pub fn write_verdict(out: &mut impl Write, name: &[u8], verdict: &str) -> io::Result<()> {
    let escape = name.contains(&b'\n');
    if escape {
        out.write_all(b"\\")?;
    }
    write_name(out, name, escape)?;
    writeln!(out, ": {verdict}")
}

fn write_name(out: &mut impl Write, name: &[u8], escape: bool) -> io::Result<()> {
    if !escape {
        return out.write_all(name);
    }
    for byte in name {
        match byte {
            b'\\' => out.write_all(b"\\\\")?,
            b'\n' => out.write_all(b"\\n")?,
            b'\r' => out.write_all(b"\\r")?,
            byte => out.write_all(&[*byte])?,
        }
    }
    Ok(())
}

/// Reads lines. What form the first untagged line has decides how the later ones are read: else an attacker could
/// pass a name that begins with a space or a star for another one.
#[derive(Default)]
pub struct Parser {
    form: Option<Form>,
}

#[derive(Clone, Copy, PartialEq)]
enum Form {
    /// `DIGEST`, a blank, a space or star that marks the mode, `NAME`.
    Marked,
    /// `DIGEST`, a blank, `NAME`.
    Bare,
}

impl Parser {
    /// The digest and the name on a line (without its end), or `None` if it is not properly formatted.
    pub fn parse(&mut self, line: &[u8]) -> Option<(Digest, Vec<u8>)> {
        let line = skip_blanks(line);
        let (escaped, line) = match line.strip_prefix(b"\\") {
            Some(rest) => (true, rest),
            None => (false, line),
        };
        let (digest, name) = match line.strip_prefix(b"SHA256") {
            Some(tagged) => parse_tagged(tagged)?,
            None => self.parse_plain(line)?,
        };
        let name = if escaped { unescape(name)? } else { name.to_vec() };
        (!name.contains(&0)).then_some((digest, name))
    }

    fn parse_plain<'a>(&mut self, line: &'a [u8]) -> Option<(Digest, &'a [u8])> {
        let (digest, rest) = line.split_at_checked(64)?;
        let digest = decode(digest)?;
        let (blank, rest) = rest.split_first()?;
        let mark = *rest.first()?;
        if !matches!(blank, b' ' | b'\t') {
            return None;
        }
        let looks = if rest.len() > 1 && matches!(mark, b' ' | b'*') { Form::Marked } else { Form::Bare };
        match (self.form, looks) {
            (Some(Form::Marked), Form::Bare) => None,
            (Some(Form::Bare), _) | (None, Form::Bare) => {
                self.form = Some(Form::Bare);
                Some((digest, rest))
            }
            (_, Form::Marked) => {
                self.form = Some(Form::Marked);
                Some((digest, &rest[1..]))
            }
        }
    }
}

/// What follows `SHA256`: ` (NAME) = DIGEST`. The name may hold parentheses: it ends at the last one.
fn parse_tagged(rest: &[u8]) -> Option<(Digest, &[u8])> {
    let rest = rest.strip_prefix(b" ").unwrap_or(rest).strip_prefix(b"(")?;
    let end = rest.iter().rposition(|byte| *byte == b')')?;
    let digest = skip_blanks(skip_blanks(&rest[end + 1..]).strip_prefix(b"=")?);
    Some((decode(digest)?, &rest[..end]))
}

fn decode(digest: &[u8]) -> Option<Digest> {
    let mut bytes = Digest::default();
    hex::decode_to_slice(digest, &mut bytes).ok()?;
    Some(bytes)
}

fn unescape(name: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = name.iter();
    let mut plain = Vec::with_capacity(name.len());
    while let Some(byte) = bytes.next() {
        plain.push(match byte {
            b'\\' => match bytes.next()? {
                b'\\' => b'\\',
                b'n' => b'\n',
                b'r' => b'\r',
                _ => return None,
            },
            byte => *byte,
        });
    }
    Some(plain)
}

fn skip_blanks(text: &[u8]) -> &[u8] {
    let blanks = text.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    &text[blanks..]
}
