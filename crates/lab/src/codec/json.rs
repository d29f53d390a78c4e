//! JSON.
#![forbid(unsafe_code)]

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Codec, failed, written};
use crate::error::Result;

/// JSON by `serde_json`.
#[derive(Debug)]
pub struct Json;

impl Codec for Json {
    const NAME: &'static str = "json";

    fn encode<V: Serialize>(value: &V, out: &mut [u8]) -> Result<usize> {
        written(Self::NAME, out, |stream| serde_json::to_writer(stream, value))
    }

    fn decode<V: DeserializeOwned>(bytes: &[u8]) -> Result<V> {
        serde_json::from_slice(bytes).map_err(failed(Self::NAME, "decode"))
    }
}
