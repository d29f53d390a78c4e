//! Nested records with strings and parts of varying length: what pickling is for.
//!
//! Without a codec they are written flat: a count, then record after record, every part behind its length, strings
//! and numbers readable where they lie.
#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

use super::{Payload, VARIANTS, digest_bytes};

/// Where something was measured.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Position {
    /// Degrees north.
    pub latitude: f64,
    /// Degrees east.
    pub longitude: f64,
}

/// One record.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Running number.
    pub id: u64,
    /// Seconds since an epoch.
    pub time: f64,
    /// Where.
    pub position: Position,
    /// Name of the station.
    pub station: String,
    /// Words that describe the record; 0 to 3.
    pub tags: Vec<String>,
    /// Measured values; 0 to 7.
    pub samples: Vec<f64>,
}

/// Messages that are lists of records.
#[derive(Debug, Clone)]
pub struct Records {
    records: Vec<Record>,
    size: usize,
}

const STATIONS: [&str; 5] = ["Ny-Ålesund", "Zugspitze", "Mauna Loa", "Tiksi", "South Pole Observatory"];
const TAGS: [&str; 4] = ["raw", "calibrated", "wind from the north-west", "ok"];

/// The `index`-th record. Numbers depend on the variant, lengths do not.
fn record(index: usize) -> Record {
    Record {
        station: STATIONS[index % STATIONS.len()].to_owned(),
        tags: (0..index % 4).map(|i| TAGS[(index + i) % TAGS.len()].to_owned()).collect(),
        samples: vec![0.0; index * 5 % 8],
        ..Record::default()
    }
}

/// Writes every number of a record.
fn refresh(record: &mut Record, index: usize, variant: u64) {
    let variant = variant % VARIANTS;
    record.id = index as u64 * VARIANTS + variant;
    record.time = index as f64 * 0.1 + variant as f64;
    record.position = Position { latitude: (index % 90) as f64 + 0.123_456, longitude: variant as f64 * 1.1 };
    for (i, sample) in record.samples.iter_mut().enumerate() {
        *sample = (i as f64 + 0.7) * (variant as f64 + 1.3);
    }
}

/// Length of one record in flat form.
fn flat_length(record: &Record) -> usize {
    let strings: usize = record.tags.iter().map(|tag| 4 + tag.len()).sum();
    32 + 4 + record.station.len() + 4 + strings + 4 + 8 * record.samples.len()
}

impl Records {
    /// Messages of as many records as fit into about `size` bytes of flat form, at least one.
    pub fn new(size: usize) -> Self {
        let mut records = Vec::new();
        let mut total = 4;
        while records.is_empty() || total < size {
            let next = record(records.len());
            total += flat_length(&next);
            if total > size && !records.is_empty() {
                total -= flat_length(&next);
                break;
            }
            records.push(next);
        }
        Self { records, size: total }
    }
}

/// Writes parts one after the other.
struct Writer<'a> {
    out: &'a mut [u8],
    at: usize,
}

impl Writer<'_> {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        self.out[self.at..self.at + bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len();
    }

    #[inline]
    fn length(&mut self, length: usize) {
        self.put(&(length as u32).to_le_bytes());
    }
}

/// Reads parts one after the other, in place. What does not fit reads as empty: the digest will show it.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    #[inline]
    fn take(&mut self, length: usize) -> &'a [u8] {
        let (head, tail) = self.0.split_at(length.min(self.0.len()));
        self.0 = tail;
        head
    }

    #[inline]
    fn word(&mut self) -> u64 {
        digest_bytes(self.take(8))
    }

    #[inline]
    fn length(&mut self) -> usize {
        digest_bytes(self.take(4)) as usize
    }
}

impl Payload for Records {
    type Value = Vec<Record>;

    fn value(&self) -> Vec<Record> {
        self.records.clone()
    }

    fn fill(&self, variant: u64, value: &mut Vec<Record>) {
        for (index, record) in value.iter_mut().enumerate() {
            refresh(record, index, variant);
        }
    }

    fn digest(value: &Vec<Record>) -> u64 {
        value.iter().fold(value.len() as u64, |mut sum, record| {
            let Position { latitude, longitude } = record.position;
            for word in [record.id, record.time.to_bits(), latitude.to_bits(), longitude.to_bits()] {
                sum = sum.wrapping_add(word);
            }
            sum = sum.wrapping_add(digest_bytes(record.station.as_bytes()));
            for tag in &record.tags {
                sum = sum.wrapping_add(digest_bytes(tag.as_bytes()));
            }
            record.samples.iter().fold(sum, |sum, sample| sum.wrapping_add(sample.to_bits()))
        })
    }

    fn flat_capacity(&self) -> usize {
        self.size
    }

    fn write_flat(&self, variant: u64, out: &mut [u8]) -> usize {
        let mut writer = Writer { out, at: 0 };
        writer.length(self.records.len());
        let variant = variant % VARIANTS;
        for (index, record) in self.records.iter().enumerate() {
            writer.put(&(index as u64 * VARIANTS + variant).to_le_bytes());
            writer.put(&(index as f64 * 0.1 + variant as f64).to_le_bytes());
            writer.put(&((index % 90) as f64 + 0.123_456).to_le_bytes());
            writer.put(&(variant as f64 * 1.1).to_le_bytes());
            writer.length(record.station.len());
            writer.put(record.station.as_bytes());
            writer.length(record.tags.len());
            for tag in &record.tags {
                writer.length(tag.len());
                writer.put(tag.as_bytes());
            }
            writer.length(record.samples.len());
            for i in 0..record.samples.len() {
                writer.put(&((i as f64 + 0.7) * (variant as f64 + 1.3)).to_le_bytes());
            }
        }
        writer.at
    }

    fn digest_flat(bytes: &[u8]) -> u64 {
        let mut reader = Reader(bytes);
        let count = reader.length();
        let mut sum = count as u64;
        for _ in 0..count.min(bytes.len()) {
            for _ in 0..4 {
                sum = sum.wrapping_add(reader.word());
            }
            let station = reader.length();
            sum = sum.wrapping_add(digest_bytes(reader.take(station)));
            for _ in 0..reader.length().min(bytes.len()) {
                let tag = reader.length();
                sum = sum.wrapping_add(digest_bytes(reader.take(tag)));
            }
            let samples = reader.length();
            sum = sum.wrapping_add(digest_bytes(reader.take(samples.saturating_mul(8))));
        }
        sum
    }

    fn size(&self) -> usize {
        self.size
    }
}
