//! Descriptors: each leads to its block once, and a forged one to an error.

#![cfg(not(loom))]

mod common;

use bytemuck::{bytes_of, pod_read_unaligned};
use common::{Other, given_fd, role};
use skep::{Arena, Descriptor, DescriptorError, Queue, ShmArc, ShmBox};
use std::os::fd::AsFd;

const SIZE: u64 = 1 << 16;

#[test]
fn the_other_process() {
    let Some((_, argument)) = role() else { return };
    let arena = Arena::from_fd(given_fd()).unwrap();
    let bytes: Vec<u8> = argument.split(',').map(|byte| byte.parse().unwrap()).collect();
    let descriptor = pod_read_unaligned(&bytes);
    assert_eq!(ShmBox::<u64>::from_descriptor(&arena, &descriptor).err(), Some(DescriptorError::Stale));
    std::process::exit(0);
}

/// The descriptor as its eight words: arena (two), kind (two), len (two), index, generation.
fn words(descriptor: &Descriptor) -> [u32; 8] {
    pod_read_unaligned(bytes_of(descriptor))
}

fn forged(words: [u32; 8]) -> Descriptor {
    pod_read_unaligned(bytes_of(&words))
}

const INDEX: usize = 6;
const GENERATION: usize = 7;

#[test]
fn a_copied_descriptor_leads_to_its_block_once() {
    let arena = Arena::new(SIZE).unwrap();
    let another = arena.another().unwrap();
    let take = |arena, d: &Descriptor| ShmBox::<u64>::from_descriptor(arena, d);
    let owned = arena.boxed(7_u64).unwrap().into_descriptor().unwrap();
    let copy = owned;
    let taken = take(&another, &owned).unwrap();
    for arena in [&arena, &another] {
        assert_eq!(take(arena, &copy).err(), Some(DescriptorError::Stale), "while it is held");
    }
    // In another process too.
    let argument = bytes_of(&copy).iter().map(u8::to_string).collect::<Vec<_>>().join(",");
    Other::start_with_fd("take", &argument, arena.as_fd()).finish();
    assert_eq!(*taken, 7);
    let again = taken.into_descriptor().unwrap();
    assert_eq!(take(&arena, &copy).err(), Some(DescriptorError::Stale), "after it was sent again");
    drop(take(&arena, &again).unwrap());
    assert_eq!(take(&arena, &again).err(), Some(DescriptorError::Stale), "after it was freed");
    let newer = arena.boxed(8_u64).unwrap().into_descriptor().unwrap();
    assert_eq!(words(&newer)[INDEX], words(&copy)[INDEX], "the same block");
    for old in [&copy, &again] {
        assert_eq!(take(&arena, old).err(), Some(DescriptorError::Stale), "when it is another one's");
    }
    assert_eq!(*take(&arena, &newer).unwrap(), 8);
    assert_eq!(arena.free_bytes(), SIZE);
}

#[test]
fn a_copied_descriptor_of_a_reference_counts_once() {
    let arena = Arena::new(SIZE).unwrap();
    let take = |d: &Descriptor| ShmArc::<[u8]>::from_descriptor(&arena, d);
    let first = arena.slice(b"shared").unwrap().share().unwrap();
    let copy = first.try_clone().unwrap().into_descriptor().unwrap();
    let second = take(&copy).unwrap();
    assert_eq!((take(&copy).err(), first.count()), (Some(DescriptorError::Stale), 2));
    drop(second);
    assert_eq!((take(&copy).err(), first.count()), (Some(DescriptorError::Stale), 1));
    assert_eq!(first[..], *b"shared");
    drop(first);
    assert_eq!(take(&copy).err(), Some(DescriptorError::Stale));
    assert_eq!(arena.free_bytes(), SIZE);
}

#[test]
fn a_descriptor_forged_in_any_bit_is_refused_and_its_block_stays_where_it_is() {
    let arena = Arena::new(SIZE).unwrap();
    let shared = arena.boxed(6_u64).unwrap().share().unwrap();
    let owned = arena.boxed(7_u64).unwrap().into_descriptor().unwrap();
    let counted = shared.try_clone().unwrap().into_descriptor().unwrap();
    let free = arena.free_bytes();
    let expected: fn(usize) -> &'static [DescriptorError] = |bit| match bit / 32 {
        0 | 1 => &[DescriptorError::OtherArena],
        2 | 3 => &[DescriptorError::OtherType],
        4 | 5 => &[DescriptorError::OutOfBounds],
        // The one may lead to the other's block, which was given up too.
        INDEX => &[DescriptorError::Stale, DescriptorError::OtherType],
        _ => &[DescriptorError::Stale],
    };
    for bit in 0..256 {
        let forge = |descriptor: &Descriptor| {
            let mut words = words(descriptor);
            words[bit / 32] ^= 1 << (bit % 32);
            forged(words)
        };
        let errors = [
            ShmBox::<u64>::from_descriptor(&arena, &forge(&owned)).err(),
            ShmArc::<u64>::from_descriptor(&arena, &forge(&counted)).err(),
        ];
        assert!(
            errors.iter().flatten().filter(|&e| expected(bit).contains(e)).count() == 2,
            "{bit}: {errors:?}"
        );
        assert_eq!((arena.free_bytes(), shared.count()), (free, 2));
    }
    assert_eq!(*ShmBox::<u64>::from_descriptor(&arena, &owned).unwrap(), 7);
    assert_eq!(*ShmArc::<u64>::from_descriptor(&arena, &counted).unwrap(), 6);
    drop(shared);
    assert_eq!(arena.free_bytes(), SIZE);
}

#[test]
fn a_descriptor_with_a_forged_length_reaches_nothing_behind_its_block() {
    let arena = Arena::new(SIZE).unwrap();
    let descriptor = arena.slice(&[5_u16; 40]).unwrap().into_descriptor().unwrap();
    let with = |len: u64| {
        let mut words = words(&descriptor);
        [words[4], words[5]] = [len as u32, (len >> 32) as u32];
        forged(words)
    };
    // Its block has 128 bytes.
    for len in [65, 66, 1 << 15, 1 << 31, 1 << 32, 1 << 62, 1 << 63, (1 << 63) + 1, u64::MAX] {
        let error = ShmBox::<[u16]>::from_descriptor(&arena, &with(len)).err();
        assert_eq!(error, Some(DescriptorError::OutOfBounds), "{len}");
    }
    let taken = ShmBox::<[u16]>::from_descriptor(&arena, &descriptor).unwrap();
    assert_eq!(taken[..], [5; 40]);
}

#[test]
fn no_descriptor_leads_to_a_block_that_was_not_given_up_for_one() {
    let arena = Arena::new(SIZE).unwrap();
    let free = arena.boxed(1_u64).unwrap().into_descriptor().unwrap();
    drop(ShmBox::<u64>::from_descriptor(&arena, &free).unwrap());
    let held = arena.boxed(2_u64).unwrap();
    let mut queue = Queue::<(ShmBox<u64>, ShmArc<u64>)>::create_in(&arena, "values", 1).unwrap();
    let shared = arena.boxed(4_u64).unwrap().share().unwrap();
    queue.put((arena.boxed(3_u64).unwrap(), shared.try_clone().unwrap())).unwrap();
    let before = (arena.free_bytes(), shared.count());
    let last = (SIZE / 64) as u32;
    for index in (0..last + 2).chain([u32::MAX - 1, u32::MAX]) {
        for generation in (0..16).chain([(1 << 20) - 1, 1 << 20, u32::MAX]) {
            let mut words = words(&free);
            (words[INDEX], words[GENERATION]) = (index, generation);
            let error = ShmBox::<u64>::from_descriptor(&arena, &forged(words)).err();
            assert_eq!(error, Some(DescriptorError::Stale), "block {index}, generation {generation}");
        }
    }
    assert_eq!((arena.free_bytes(), shared.count()), before);
    let (owned, counted) = queue.get().unwrap();
    assert_eq!((*held, *owned, *counted), (2, 3, 4));
}
