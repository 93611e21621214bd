//! A line of the common log format, and what of it is counted.
//!
//! ```text
//! 203.0.113.9 - ada [10/Oct/2000:13:55:36 -0700] "GET /honey?page=2 HTTP/1.0" 200 2326
//! ```

/// What is counted of a request.
#[derive(Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// The hour of the day, as the log has it.
    pub hour: usize,
    /// What was asked for, without the query.
    pub path: &'a [u8],
    pub status: usize,
    /// How long the answer was.
    pub bytes: u64,
}

/// `None` if the line is not of this format. What stands behind the answer's length is left alone: other formats have more fields there.
pub fn parse(line: &[u8]) -> Option<Request<'_>> {
    let time = after(line, b'[')?;
    let &[_, _, b'/', _, _, _, b'/', _, _, _, _, b':', tens, ones, b':', ref rest @ ..] = time else {
        return None;
    };
    let hour = number(&[tens, ones]).filter(|&hour| hour < 24)? as usize;
    let request = after(rest, b'"')?;
    let (request, rest) = request.split_at(closing_quote(request)?);
    let target = after(request, b' ')?;
    let path = before(before(target, b' '), b'?');
    let &[b'"', b' ', a, b, c, b' ', ref rest @ ..] = rest else { return None };
    let status = number(&[a, b, c])? as usize;
    let bytes = match before(rest, b' ') {
        b"-" => 0,
        digits => number(digits)?,
    };
    Some(Request { hour, path, status, bytes })
}

/// The lines of a text, each without its end.
pub fn lines(mut text: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        if text.is_empty() {
            return None;
        }
        let end = find(text, b'\n').unwrap_or(text.len());
        let line = &text[..end];
        text = text.get(end + 1..).unwrap_or_default();
        Some(line.strip_suffix(b"\r").unwrap_or(line))
    })
}

fn find(text: &[u8], byte: u8) -> Option<usize> {
    text.iter().position(|&each| each == byte)
}

fn after(text: &[u8], byte: u8) -> Option<&[u8]> {
    find(text, byte).map(|at| &text[at + 1..])
}

fn before(text: &[u8], byte: u8) -> &[u8] {
    find(text, byte).map_or(text, |at| &text[..at])
}

/// Where a quoted text ends: at the first quote that no backslash escapes.
fn closing_quote(text: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        match text.get(at)? {
            b'"' => return Some(at),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    let add = |sum: u64, digit: &u8| sum.checked_mul(10)?.checked_add(u64::from(digit - b'0'));
    if is_number { digits.iter().try_fold(0, add) } else { None }
}
