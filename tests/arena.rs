//! The arena: what is allocated, shared, sent, and freed.

use skep::{AllocError, Arena, ArenaOptions, Descriptor, DescriptorError, ShmArc, ShmBox, ShmSlice};

#[test]
fn everything_that_is_dropped_is_free_again() {
    let arena = Arena::new(1 << 20).unwrap();
    let all = arena.free_bytes();
    assert_eq!(all, 1 << 20);
    let blocks: Vec<ShmSlice<u8>> =
        (0..200).map(|n| arena.slice_with(n * 7, |i| (n + i) as u8).unwrap()).collect();
    assert!(arena.free_bytes() < all);
    for (n, block) in blocks.iter().enumerate() {
        assert!(block.len() == n * 7 && block.iter().enumerate().all(|(i, &b)| b == (n + i) as u8));
    }
    drop(blocks);
    assert_eq!(arena.free_bytes(), all);
    let whole = arena.slice_zeroed::<u8>(1 << 20).unwrap();
    assert_eq!(arena.free_bytes(), 0);
    assert_eq!(arena.boxed(7_u32).unwrap_err().value, 7);
    drop(whole);
}

#[test]
fn a_full_arena_says_so_and_one_that_never_could_too() {
    let arena = Arena::new(1 << 16).unwrap();
    let half = arena.slice_zeroed::<u8>(40_000).unwrap();
    assert_eq!(arena.slice_zeroed::<u8>(1 << 15).err(), Some(AllocError::Full { bytes: 1 << 15 }));
    assert!(matches!(arena.slice_zeroed::<u8>(1 << 17), Err(AllocError::TooLarge { .. })));
    assert!(matches!(arena.slice_zeroed::<u64>(usize::MAX), Err(AllocError::TooLarge { .. })));
    drop(half);
}

#[test]
fn an_arena_grows_to_its_limit() {
    let arena = ArenaOptions::new(1 << 16).limit(1 << 18).anonymous().unwrap();
    assert_eq!((arena.size(), arena.limit()), (1 << 16, 1 << 18));
    let parts: Vec<_> = (0..4).map(|_| arena.slice_zeroed::<u8>(1 << 16).unwrap()).collect();
    assert_eq!((arena.size(), arena.free_bytes()), (1 << 18, 0));
    assert!(arena.slice_zeroed::<u8>(1).is_err());
    drop(parts);
    assert_eq!(arena.slice_zeroed::<u8>(1 << 18).unwrap().len(), 1 << 18);
}

#[test]
fn a_shared_value_is_freed_with_its_last_handle() {
    let arena = Arena::new(1 << 16).unwrap();
    let first = arena.slice(&[1_u32, 2, 3]).unwrap().share().unwrap();
    let others: Vec<_> = (0..10).map(|_| first.try_clone().unwrap()).collect();
    assert_eq!(first.count(), 11);
    drop(first);
    assert_eq!(others[9][..], [1, 2, 3]);
    drop(others);
    assert_eq!(arena.free_bytes(), 1 << 16);
}

#[test]
fn a_descriptor_is_good_once_and_for_what_it_was_made() {
    let arena = Arena::new(1 << 16).unwrap();
    let other = Arena::new(1 << 16).unwrap();
    let descriptor = arena.slice(&[5_u16; 9]).unwrap().into_descriptor().unwrap();
    let take = |arena, d: &Descriptor| ShmBox::<[u16]>::from_descriptor(arena, d);
    assert_eq!(take(&other, &descriptor).err(), Some(DescriptorError::OtherArena));
    assert_eq!(ShmBox::<[u32]>::from_descriptor(&arena, &descriptor).err(), Some(DescriptorError::OtherType));
    assert_eq!(ShmArc::<[u16]>::from_descriptor(&arena, &descriptor).err(), Some(DescriptorError::OtherType));
    assert_eq!(take(&arena, &descriptor).unwrap()[..], [5; 9]);
    assert_eq!(take(&arena, &descriptor).err(), Some(DescriptorError::Stale));
    assert_eq!(arena.free_bytes(), 1 << 16);
}

/// A plain value that wants to begin at a multiple of two pages.
#[derive(Debug, Clone, Copy, PartialEq, bytemuck::Zeroable, bytemuck::Pod)]
#[repr(C, align(8192))]
struct OverAligned([u8; 8192]);

/// The same of a page.
#[derive(Debug, Clone, Copy, PartialEq, bytemuck::Zeroable, bytemuck::Pod)]
#[repr(C, align(4096))]
struct PageAligned([u8; 4096]);

#[test]
fn a_type_that_wants_more_than_the_alignment_of_a_page_is_refused() {
    let arena = Arena::new(1 << 20).unwrap();
    let refused = AllocError::Alignment { align: 8192 };
    let error = arena.boxed(OverAligned([7; 8192])).unwrap_err();
    assert_eq!((error.reason, error.value.0[0]), (refused, 7), "the value comes back");
    assert_eq!(arena.slice(&[OverAligned([7; 8192])]).err(), Some(refused));
    assert_eq!(arena.slice_zeroed::<OverAligned>(0).err(), Some(refused));
    assert_eq!(arena.vec::<OverAligned>(0).err(), Some(refused));
    assert_eq!(arena.within(std::time::Duration::MAX).vec::<OverAligned>(1).err(), Some(refused));
    for align in [0, 3, 4097, 8192] {
        assert_eq!(arena.slice_aligned::<u8>(1, align).err(), Some(AllocError::Alignment { align }));
    }
    let told = refused.to_string();
    assert!(told.contains("4096") && told.contains("8192"), "{told}");
    assert_eq!(arena.free_bytes(), 1 << 20);
    let pages: Vec<_> = (0..20).map(|n| arena.boxed(PageAligned([n; 4096])).unwrap()).collect();
    assert!(pages.iter().enumerate().all(|(n, page)| page.0 == [n as u8; 4096]));
    assert!(
        (0..20).all(|_| arena.slice_aligned::<u8>(1, 4096).unwrap().as_ptr().addr().is_multiple_of(4096))
    );
}

/// As a peer that does not keep to the protocol: it writes into a block that is not its own.
#[test]
fn a_text_that_a_peer_has_overwritten_is_told_by_its_checked_copy() {
    let arena = Arena::new(1 << 16).unwrap();
    let (string, other) = (arena.string("tested").unwrap(), arena.string("tested").unwrap());
    let (boxed, shared) = (arena.string("tested").unwrap().into_boxed_str(), other.share().unwrap());
    for text in [string.to_checked_string(), boxed.to_checked_string(), shared.to_checked_string()] {
        assert_eq!(text.unwrap(), "tested");
    }
    for place in [string.as_ptr(), boxed.as_ptr(), shared.as_ptr()] {
        // SAFETY: within the block of a handle that is not looked at as a text any more.
        unsafe { place.cast_mut().add(2).write_volatile(0xff) };
    }
    for text in [string.to_checked_string(), boxed.to_checked_string(), shared.to_checked_string()] {
        assert_eq!(text.unwrap_err().into_bytes(), b"te\xffted");
    }
}
