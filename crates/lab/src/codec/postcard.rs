//! postcard: a compact binary form without a description of itself.
#![forbid(unsafe_code)]

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Codec, failed};
use crate::error::Result;

/// postcard.
#[derive(Debug)]
pub struct Postcard;

impl Codec for Postcard {
    const NAME: &'static str = "postcard";

    fn encode<V: Serialize>(value: &V, out: &mut [u8]) -> Result<usize> {
        postcard::to_slice(value, out).map(|used| used.len()).map_err(failed(Self::NAME, "encode"))
    }

    fn decode<V: DeserializeOwned>(bytes: &[u8]) -> Result<V> {
        postcard::from_bytes(bytes).map_err(failed(Self::NAME, "decode"))
    }
}
