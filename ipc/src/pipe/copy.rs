//! Copies between this process's memory and a pipe's, without a reference to what a peer may write.
//!
//! A peer that keeps to the protocol leaves the bytes alone meanwhile. One that breaks it must change what
//! is copied, and nothing else:
//! - **Into** shared memory there are stores alone, through a pointer. Nothing is read there, so there is
//!   nothing that the compiler could conclude from it.
//! - **Out of** it each word is read once, by a volatile access, or by an instruction that the compiler does
//!   not look into. A message starts at a multiple of eight and its record has whole words (`layout.rs`), so
//!   the last word is read whole too.
//!
//! A call of the C library's `memcpy`, which must find out about the length first, takes longer than all
//! else that sending a short message does.

use std::ptr::NonNull;

/// Copies a message, which probably is short, into shared memory.
///
/// # Safety
/// At `to` so many bytes are mapped for writing, as long as the call takes.
#[inline]
pub(crate) unsafe fn into_shared(to: NonNull<u8>, message: &[u8]) {
    let (to, from, bytes) = (to.as_ptr(), message.as_ptr(), message.len());
    // SAFETY: as the caller promises; a message that somebody has a reference to does not lie in a place of the ring
    // that is to be written.
    unsafe {
        match bytes {
            8..=16 => ends::<8>(to, from, bytes),
            17..=32 => ends::<16>(to, from, bytes),
            33..=64 => ends::<32>(to, from, bytes),
            _ => to.copy_from_nonoverlapping(from, bytes),
        }
    }
}

/// Copies the first and the last `N` bytes, which are all if there are at most twice as many.
///
/// # Safety
/// At both places there are so many bytes, at least `N`.
#[inline]
unsafe fn ends<const N: usize>(to: *mut u8, from: *const u8, bytes: usize) {
    // SAFETY: as the caller promises; arrays of bytes have no alignment.
    unsafe {
        to.cast::<[u8; N]>().write(from.cast::<[u8; N]>().read());
        to.add(bytes - N).cast::<[u8; N]>().write(from.add(bytes - N).cast::<[u8; N]>().read());
    }
}

/// Some words, which the processor moves by its wide registers.
type Block = [u64; 4];

/// From so many bytes on the processor's own instruction for copies is faster.
#[cfg(target_arch = "x86_64")]
const LONG: usize = 2048;

/// Appends a message in shared memory to a vector.
///
/// # Safety
/// `from` is a multiple of eight, and the words that hold so many bytes are mapped there, as long as the
/// call takes.
pub(crate) unsafe fn out_of_shared(from: NonNull<u8>, bytes: usize, into: &mut Vec<u8>) {
    into.reserve(bytes.next_multiple_of(size_of::<u64>()));
    let before = into.len();
    // SAFETY: the vector has room for so many whole words, and so many bytes are written before they count.
    unsafe {
        words_out(from.as_ptr(), bytes, into.as_mut_ptr().add(before));
        into.set_len(before + bytes);
    }
}

/// # Safety
/// As for [`out_of_shared`]; at `to` there is room for as many whole words.
unsafe fn words_out(from: *const u8, bytes: usize, to: *mut u8) {
    #[cfg(target_arch = "x86_64")]
    if bytes >= LONG {
        // SAFETY: as the caller promises; the direction flag is clear, as the ABI has it.
        return unsafe {
            std::arch::asm!(
                "rep movsb",
                inout("rcx") bytes => _,
                inout("rdi") to => _,
                inout("rsi") from => _,
                options(nostack, preserves_flags)
            );
        };
    }
    let blocks = bytes / size_of::<Block>();
    let (first, place) = (from.cast::<Block>(), to.cast::<Block>());
    for n in 0..blocks {
        // SAFETY: within the message's words, aligned to a word; within the room.
        unsafe { place.add(n).write_unaligned(first.add(n).read_volatile()) };
    }
    // SAFETY: behind the blocks, within the message's words and the room.
    let (first, place) = unsafe { (first.add(blocks).cast::<u64>(), place.add(blocks).cast::<u64>()) };
    for n in 0..(bytes - blocks * size_of::<Block>()).div_ceil(size_of::<u64>()) {
        // SAFETY: within the message's words, aligned; within the room.
        unsafe { place.add(n).write_unaligned(first.add(n).read_volatile()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_each_length_are_copied_whole_and_nothing_beside_them() {
        let message: Vec<u8> = (0..5000_u32).map(|n| (n % 251 + 1) as u8).collect();
        for bytes in (0..300).chain([1000, 2047, 2048, 2049, 5000]) {
            let mut record = vec![0_u64; 640];
            let place = NonNull::new(record.as_mut_ptr()).unwrap();
            // SAFETY: the words behind the first one have room.
            unsafe { into_shared(place.add(1).cast(), &message[..bytes]) };
            let shared: &[u8] = bytemuck::cast_slice(&record);
            assert_eq!(shared[8..8 + bytes], message[..bytes], "{bytes} bytes");
            let is_beside = |at: usize| at < 8 || at >= 8 + bytes;
            assert!((0..shared.len()).filter(|&at| is_beside(at)).all(|at| shared[at] == 0), "{bytes} bytes");
            let mut into = vec![7];
            // SAFETY: as above.
            unsafe { out_of_shared(place.add(1).cast(), bytes, &mut into) };
            assert!(into[0] == 7 && into[1..] == message[..bytes], "{bytes} bytes");
        }
    }
}
