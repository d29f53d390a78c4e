//! `MessagePack`.
#![forbid(unsafe_code)]

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Codec, failed, written};
use crate::error::Result;

/// `MessagePack` by `rmp-serde`, structures as arrays.
#[derive(Debug)]
pub struct MessagePack;

impl Codec for MessagePack {
    const NAME: &'static str = "messagepack";

    fn encode<V: Serialize>(value: &V, out: &mut [u8]) -> Result<usize> {
        written(Self::NAME, out, |stream| rmp_serde::encode::write(stream, value))
    }

    fn decode<V: DeserializeOwned>(bytes: &[u8]) -> Result<V> {
        rmp_serde::from_slice(bytes).map_err(failed(Self::NAME, "decode"))
    }
}
