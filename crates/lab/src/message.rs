//! Messages as the measuring loop sees them: written into a buffer, read from a buffer, judged by a digest.
#![forbid(unsafe_code)]

use std::marker::PhantomData;

use crate::codec::Codec;
use crate::error::{LabError, Result};
use crate::payload::{Payload, VARIANTS, seed};

/// Messages of one kind and size.
pub trait Message {
    /// Writes a message of a variant in full and returns its length.
    ///
    /// # Errors
    /// Where a codec fails.
    fn write(&mut self, variant: u64, out: &mut [u8]) -> Result<usize>;

    /// Reads a message in full and returns its digest.
    ///
    /// # Errors
    /// Where a codec fails.
    fn read(&mut self, bytes: &[u8]) -> Result<u64>;

    /// The digest that a message of a variant must have.
    fn expected(&self, variant: u64) -> u64;

    /// Length of the longest message on the way, in bytes.
    fn capacity(&self) -> usize;

    /// Size of the content in bytes, as the output states it.
    fn size(&self) -> usize;
}

impl Message for Box<dyn Message> {
    fn write(&mut self, variant: u64, out: &mut [u8]) -> Result<usize> {
        (**self).write(variant, out)
    }
    fn read(&mut self, bytes: &[u8]) -> Result<u64> {
        (**self).read(bytes)
    }
    fn expected(&self, variant: u64) -> u64 {
        (**self).expected(variant)
    }
    fn capacity(&self) -> usize {
        (**self).capacity()
    }
    fn size(&self) -> usize {
        (**self).size()
    }
}

/// Reads one received message and checks that it is the one of this number.
#[inline]
pub(crate) fn check<M: Message>(message: &mut M, number: u64, bytes: &[u8]) -> Result<()> {
    let found = message.read(bytes)?;
    let expected = message.expected(number % VARIANTS);
    if found == expected { Ok(()) } else { Err(LabError::Garbled { number, expected, found }) }
}

type Digests = [u64; VARIANTS as usize];

/// Without a codec: content is written and read where the message lies.
#[derive(Debug)]
pub struct Flat<P> {
    payload: P,
    digests: Digests,
}

impl<P: Payload> Flat<P> {
    /// Messages of this payload.
    pub fn new(payload: P) -> Self {
        let mut value = payload.value();
        let digests = std::array::from_fn(|variant| {
            payload.fill(variant as u64, &mut value);
            P::digest(&value)
        });
        Self { payload, digests }
    }
}

impl<P: Payload> Message for Flat<P> {
    #[inline]
    fn write(&mut self, variant: u64, out: &mut [u8]) -> Result<usize> {
        Ok(self.payload.write_flat(variant, out))
    }

    #[inline]
    fn read(&mut self, bytes: &[u8]) -> Result<u64> {
        Ok(P::digest_flat(bytes))
    }

    #[inline]
    fn expected(&self, variant: u64) -> u64 {
        self.digests[variant as usize % self.digests.len()]
    }

    fn capacity(&self) -> usize {
        self.payload.flat_capacity()
    }

    fn size(&self) -> usize {
        self.payload.size()
    }
}

/// With a codec: a value in private memory is written in full and encoded; a decoded value is read in full.
pub struct Encoded<P: Payload, C> {
    payload: P,
    value: P::Value,
    digests: Digests,
    capacity: usize,
    codec: PhantomData<C>,
}

impl<P: Payload, C: Codec> Encoded<P, C> {
    /// Messages of this payload, by this codec.
    ///
    /// # Errors
    /// Where the codec cannot encode it.
    pub fn new(payload: P) -> Result<Self> {
        let mut value = payload.value();
        let digests = std::array::from_fn(|variant| {
            payload.fill(variant as u64, &mut value);
            P::digest(&value)
        });
        // Variants differ in some digits only. Of long messages a few are tried, and there is room to spare.
        let mut out = vec![0; payload.size() * 5 + 4096];
        let step = if payload.size() > 1 << 20 { VARIANTS / 2 } else { 1 };
        let mut longest = 0;
        for variant in (0..VARIANTS).step_by(step as usize) {
            payload.fill(variant, &mut value);
            longest = longest.max(C::encode(&value, &mut out)?);
        }
        let capacity = longest + longest / 10 + 256;
        Ok(Self { payload, value, digests, capacity, codec: PhantomData })
    }
}

impl<P: Payload, C: Codec> Message for Encoded<P, C> {
    fn write(&mut self, variant: u64, out: &mut [u8]) -> Result<usize> {
        self.payload.fill(variant, &mut self.value);
        C::encode(&self.value, out)
    }

    fn read(&mut self, bytes: &[u8]) -> Result<u64> {
        C::decode::<P::Value>(bytes).map(|value| P::digest(&value))
    }

    fn expected(&self, variant: u64) -> u64 {
        self.digests[variant as usize % self.digests.len()]
    }

    fn capacity(&self) -> usize {
        self.capacity
    }

    fn size(&self) -> usize {
        self.payload.size()
    }
}

/// Handed over without touching the content: only the first eight bytes are written and read.
#[derive(Debug)]
pub struct Descriptor {
    size: usize,
}

impl Descriptor {
    /// Messages of `size` bytes, at least eight.
    pub fn new(size: usize) -> Self {
        Self { size: size.max(8) }
    }
}

impl Message for Descriptor {
    #[inline]
    fn write(&mut self, variant: u64, out: &mut [u8]) -> Result<usize> {
        out[..8].copy_from_slice(&seed(variant).to_le_bytes());
        Ok(self.size)
    }

    #[inline]
    fn read(&mut self, bytes: &[u8]) -> Result<u64> {
        Ok(bytes.first_chunk::<8>().map_or(0, |word| u64::from_le_bytes(*word)))
    }

    #[inline]
    fn expected(&self, variant: u64) -> u64 {
        seed(variant)
    }

    fn capacity(&self) -> usize {
        self.size
    }

    fn size(&self) -> usize {
        self.size
    }
}
