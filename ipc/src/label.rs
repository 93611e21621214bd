//! The name of a type as it lies in shared memory, for people: who opens what holds another type is told both names.

use bytemuck::{Pod, Zeroable};

const NAME: usize = 216;
const COMPILER: usize = 38;

/// What this program was compiled by: two compilers may give one type two names.
const BUILT_BY: &str = env!("SKEP_COMPILER");

/// A type's name, as much of it as there is room for, and the compiler of the program that wrote it.
#[derive(Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Label {
    /// How many bytes of each.
    name_len: u8,
    compiler_len: u8,
    name: [u8; NAME],
    compiler: [u8; COMPILER],
}

/// The bytes of a label.
pub(crate) const LABEL_BYTES: usize = size_of::<Label>();

const _: () = assert!(LABEL_BYTES == 256);

impl Label {
    /// The label of that name in this program.
    pub(crate) const fn of(name: &str) -> Label {
        let (name, name_len) = cut(name);
        let (compiler, compiler_len) = cut(BUILT_BY);
        Label { name_len, compiler_len, name, compiler }
    }
}

/// As many whole characters as there is room for, and their bytes.
const fn cut<const N: usize>(text: &str) -> ([u8; N], u8) {
    let mut len = if text.len() < N { text.len() } else { N };
    while !text.is_char_boundary(len) {
        len -= 1;
    }
    let (mut bytes, mut at) = ([0; N], 0);
    while at < len {
        bytes[at] = text.as_bytes()[at];
        at += 1;
    }
    (bytes, len as u8)
}

/// Text that anybody may have written.
fn shown(bytes: &[u8], len: u8) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(len.into())]);
    text.chars().map(|c| if c.is_control() { '.' } else { c }).collect()
}

impl std::fmt::Display for Label {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (name, compiler) = (shown(&self.name, self.name_len), shown(&self.compiler, self.compiler_len));
        let name = if name.is_empty() { "without a name" } else { &name };
        if compiler.is_empty() { f.write_str(name) } else { write!(f, "{name} (by {compiler})") }
    }
}

impl std::fmt::Debug for Label {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Label({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_says_name_and_compiler_whatever_its_bytes() {
        let text = Label::of("jobs::Job").to_string();
        assert!(text.starts_with("jobs::Job (by rustc 1."), "{text}");
        let long = Label::of(&"ß".repeat(200)).to_string();
        assert!(long.starts_with(&"ß".repeat(NAME / 2)), "{long}");
        let hostile: Label = bytemuck::pod_read_unaligned(&[255; LABEL_BYTES]);
        assert!(!hostile.to_string().is_empty());
        assert_eq!(Label::zeroed().to_string(), "without a name");
    }
}
