//! Copies of short messages by a few moves of the processor.
//!
//! A call of the C library's `memcpy`, which must find out about the length first, takes longer than all else that sending a short message does.

/// Copies a message that probably is short. Both are of one length.
#[inline]
pub(crate) fn short(to: &mut [u8], from: &[u8]) {
    let done = match from.len() {
        8..=16 => ends::<8>(to, from),
        17..=32 => ends::<16>(to, from),
        33..=64 => ends::<32>(to, from),
        _ => false,
    };
    if !done {
        to.copy_from_slice(from);
    }
}

/// Copies the first and the last `N` bytes, which are all if there are at most twice as many; false if there are fewer than `N`.
#[inline]
fn ends<const N: usize>(to: &mut [u8], from: &[u8]) -> bool {
    let (Some(first), Some(last)) = (from.first_chunk::<N>(), from.last_chunk::<N>()) else { return false };
    let Some(start) = to.first_chunk_mut() else { return false };
    *start = *first;
    let Some(end) = to.last_chunk_mut() else { return false };
    *end = *last;
    true
}

#[cfg(test)]
mod tests {
    #[test]
    fn messages_of_each_length_are_copied_whole_and_nothing_beside_them() {
        let from: Vec<u8> = (1..=200).collect();
        for length in 0..from.len() {
            let mut to = vec![0; 202];
            super::short(&mut to[1..=length], &from[..length]);
            assert_eq!(to[1..=length], from[..length], "{length} bytes");
            assert!(to[0] == 0 && to[length + 1..].iter().all(|&byte| byte == 0), "{length} bytes");
        }
    }
}
