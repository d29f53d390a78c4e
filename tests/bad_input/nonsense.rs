//! Numbers that do not fit together, and bytes at random, where tables and objects should be.

use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::time::Duration;

use allmende::inspect;
use allmende::layout::header::{self, Header};
use allmende::ring::error::{TryPopError, TryPushError};
use allmende::sync::mutex::LockError;
use allmende::{Event, Mutex, Region, bytes, spsc};
use zerocopy::{FromBytes, IntoBytes};

use crate::common::{Random, count, say};
use crate::sample::{attach, header_of, memfd_of, sample_bytes};

/// Directory entries whose numbers do not fit together, at the very end of the region.
pub fn objects_that_claim_what_they_have_not() {
    use allmende::layout::directory::{Entry, ObjectKind, READY};
    let good = sample_bytes();
    let header = header_of(&good);
    let kinds = [ObjectKind::Mutex, ObjectKind::Event, ObjectKind::Spsc, ObjectKind::Bytes];
    for kind in kinds {
        for length in [0, 64, 128, 512, 640, 768, 896, u64::MAX - 127] {
            for (item_size, item_count) in
                [(8, 8), (8, 1), (0, 0), (1, 1 << 40), (u64::MAX, 1), (8, u64::MAX), (1 << 62, 4), (1, 512)]
            {
                let mut entry = Entry::read_from_bytes(
                    &good[usize::try_from(header.directory_offset).unwrap()..][..size_of::<Entry>()],
                )
                .unwrap();
                (entry.state, entry.kind, entry.length) = (READY, kind as u32, length);
                (entry.item_size, entry.item_count) = (item_size, item_count);
                for offset in [header.total.wrapping_sub(length) & !127, header.total, 0, u64::MAX - 127] {
                    entry.offset = offset;
                    for name in ["mutex", "event", "ring", "bytes"] {
                        entry.name = [0; 64];
                        entry.name[..name.len()].copy_from_slice(name.as_bytes());
                        let mut bytes = good.clone();
                        let at = usize::try_from(header.directory_offset).unwrap();
                        bytes[at..at + size_of::<Entry>()].copy_from_slice(entry.as_bytes());
                        if let Ok(region) = attach(&bytes) {
                            use_it(&region);
                        }
                    }
                }
            }
        }
    }
}

/// Everything that one can do with a region and must not panic, hang or fault, whatever is in it.
fn use_it(region: &Region) {
    let _ = (region.size(), region.free(), region.label(), region.slot(), region.huge_pages());
    let _ = region.participants();
    for object in region.objects() {
        let _ = inspect::state(region, &object);
    }
    let _ = region.sweep();
    if let Ok(mutex) = Mutex::<u64>::open_or_create(region, "mutex", &0) {
        match mutex.try_lock() {
            Ok(mut guard) => *guard = guard.wrapping_add(1),
            Err(LockError::OwnerDied(suspect) | LockError::Poisoned(suspect)) => {
                drop(suspect.mark_consistent());
            }
            Err(_) => {}
        }
        let _ = mutex.lock_timeout(Duration::from_micros(50)).map(drop);
    }
    if let Ok(event) = Event::open_or_create(region, "event") {
        let _ = (event.set(), event.reset(), event.wait_timeout(Duration::from_micros(50)));
    }
    if let Ok(ring) = spsc::Ring::<u64>::open_or_create(region, "ring", 8) {
        if let Ok(mut producer) = ring.producer() {
            let _ = producer.free();
            for value in 0..12 {
                if let Err(TryPushError::Access(..)) = producer.try_push(value) {
                    break;
                }
            }
            let _ = producer.push_slice(&[1; 12]);
            let _ = producer.push_timeout(7, Duration::from_micros(50));
        }
        if let Ok(mut consumer) = ring.consumer() {
            let _ = (consumer.len(), consumer.is_empty());
            let _ = consumer.pop_slice(&mut [MaybeUninit::uninit(); 3]);
            let _ = consumer.try_receive().map(|loan| loan.seen_before());
            for _ in 0..12 {
                if let Err(TryPopError::Access(_)) = consumer.try_pop() {
                    break;
                }
            }
            let _ = consumer.pop_timeout(Duration::from_micros(50));
        }
    }
    if let Ok(ring) = bytes::Ring::open_or_create(region, "bytes", 512) {
        if let Ok(mut producer) = ring.producer() {
            for length in 0..40 {
                let _ = producer.try_push(&[7; 64][..length]);
            }
        }
        if let Ok(mut consumer) = ring.consumer() {
            let mut into = Vec::new();
            for _ in 0..40 {
                let _ = consumer.try_pop(&mut into);
            }
            if !consumer.is_empty() {
                let _ = consumer.receive_batch(8).map(|batch| batch.iter().map(<[u8]>::len).sum::<usize>());
            }
            let _ = consumer.receive_timeout(Duration::from_micros(50)).map(|loan| loan.len());
        }
    }
    let _ = spsc::Ring::<[u64; 3]>::create(region, "another", 2);
}

/// Bytes of the header page, flipped at random; half of the time with a checksum that is right.
pub fn random_headers() {
    let good = sample_bytes();
    let mut random = Random::new();
    let (mut attached, rounds) = (0, count(4_000, 100_000));
    for round in 0..rounds {
        let mut bytes = good.clone();
        for _ in 0..=random.below(4) {
            let within = if random.below(4) == 0 { 4096 } else { 248 };
            let at = usize::try_from(random.below(within)).unwrap();
            bytes[at] = match random.below(4) {
                0 => 0,
                1 => 0xff,
                2 => bytes[at] ^ (1 << random.below(8)),
                _ => random.next() as u8,
            };
        }
        if round % 2 == 0 {
            let mut header = header_of(&bytes);
            // What the first checks ask for, so that the later ones have something to do.
            if random.below(8) != 0 {
                header.magic = header::MAGIC;
                (header.major, header.format) = (header::MAJOR, header::format_fingerprint());
                header.total = good.len() as u64;
            }
            header.checksum = header.expected_checksum();
            bytes[..size_of::<Header>()].copy_from_slice(header.as_bytes());
        }
        if let Ok(region) = attach(&bytes) {
            attached += 1;
            use_it(&region);
        }
    }
    say(&format!("  {rounds} headers, {attached} of them were good enough to attach"));
}

/// The same behind a good header: tables and objects full of nonsense.
pub fn random_tables_and_objects() {
    let good = sample_bytes();
    let header = header_of(&good);
    let used = usize::try_from(header.data_offset).unwrap() + 4096;
    let mut random = Random::new();
    let rounds = count(4_000, 100_000);
    for _ in 0..rounds {
        let mut bytes = good.clone();
        let areas = [header.participants_offset, header.directory_offset, header.data_offset];
        let area = usize::try_from(areas[usize::try_from(random.below(3)).unwrap()]).unwrap();
        for _ in 0..=random.below(24) {
            let reach = if random.below(2) == 0 { 640 } else { used - area };
            let at = (area + usize::try_from(random.below(reach as u64)).unwrap()).min(used - 1) & !7;
            let word = match random.below(6) {
                0 => 0,
                1 => u64::MAX,
                2 => 1 << random.below(64),
                3 => random.below(1 << 20),
                4 => u64::MAX - random.below(1 << 12),
                _ => random.next(),
            };
            bytes[at..at + 8].copy_from_slice(&word.to_ne_bytes());
        }
        let fd = memfd_of(&bytes, true);
        if let Ok(region) = Region::attach(&fd) {
            use_it(&region);
        }
        // A reader must survive it, too.
        if let Ok(region) = Region::open().read_only(true).descriptor(fd.as_fd()) {
            let _ = (region.participants(), region.free());
            for object in region.objects() {
                let _ = inspect::state(&region, &object);
            }
        }
    }
    say(&format!("  {rounds} regions"));
}
