//! Python's pickle, protocol 3, without a Python.
#![forbid(unsafe_code)]

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_pickle::{DeOptions, SerOptions};

use super::{Codec, failed, written};
use crate::error::Result;

/// Pickle by `serde-pickle`.
#[derive(Debug)]
pub struct Pickle;

impl Codec for Pickle {
    const NAME: &'static str = "pickle";

    fn encode<V: Serialize>(value: &V, out: &mut [u8]) -> Result<usize> {
        written(Self::NAME, out, |stream| serde_pickle::to_writer(stream, value, SerOptions::new()))
    }

    fn decode<V: DeserializeOwned>(bytes: &[u8]) -> Result<V> {
        serde_pickle::from_slice(bytes, DeOptions::new()).map_err(failed(Self::NAME, "decode"))
    }
}
