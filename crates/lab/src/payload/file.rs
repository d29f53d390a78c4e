//! The user's own file, cut into messages.
#![forbid(unsafe_code)]

use serde_bytes::ByteBuf;

use super::{Payload, VARIANTS, digest_bytes};

/// Messages cut from a file: piece after piece of one size, as many different ones as there are variants, spread over
/// the whole file.
#[derive(Debug, Clone)]
pub struct FileMessages {
    pieces: Vec<Vec<u8>>,
    size: usize,
}

impl FileMessages {
    /// Cuts `content` into messages of `size` bytes; of a longer size than the content there is one, the whole.
    pub fn new(content: &[u8], size: usize) -> Self {
        let size = size.clamp(1, content.len().max(1));
        let available = (content.len() / size).max(1);
        let wanted = available.min(VARIANTS as usize);
        let pieces = (0..wanted).map(|i| {
            let first = i * available / wanted * size;
            content[first..(first + size).min(content.len())].to_vec()
        });
        Self { pieces: pieces.collect(), size }
    }

    fn piece(&self, variant: u64) -> &[u8] {
        &self.pieces[variant as usize % self.pieces.len()]
    }
}

impl Payload for FileMessages {
    type Value = ByteBuf;

    fn value(&self) -> ByteBuf {
        ByteBuf::from(vec![0; self.size])
    }

    fn fill(&self, variant: u64, value: &mut ByteBuf) {
        value.copy_from_slice(self.piece(variant));
    }

    fn digest(value: &ByteBuf) -> u64 {
        digest_bytes(value)
    }

    fn flat_capacity(&self) -> usize {
        self.size
    }

    #[inline]
    fn write_flat(&self, variant: u64, out: &mut [u8]) -> usize {
        out[..self.size].copy_from_slice(self.piece(variant));
        self.size
    }

    #[inline]
    fn digest_flat(bytes: &[u8]) -> u64 {
        digest_bytes(bytes)
    }

    fn size(&self) -> usize {
        self.size
    }
}
