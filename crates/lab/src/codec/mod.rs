//! How values become bytes and bytes values: one trait, one file a codec.
#![forbid(unsafe_code)]

use std::io::Cursor;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{LabError, Result};

pub mod json;
pub mod messagepack;
pub mod pickle;
pub mod postcard;

/// A codec.
pub trait Codec {
    /// Its name.
    const NAME: &'static str;

    /// Encodes `value` into the transport's buffer and returns the length.
    ///
    /// # Errors
    /// Where the value cannot be encoded or does not fit.
    fn encode<V: Serialize>(value: &V, out: &mut [u8]) -> Result<usize>;

    /// Decodes a value of its own from the transport's buffer.
    ///
    /// # Errors
    /// Where the bytes are not a value of this type.
    fn decode<V: DeserializeOwned>(bytes: &[u8]) -> Result<V>;
}

/// Wraps what a codec says.
fn failed<E: ToString>(codec: &'static str, action: &'static str) -> impl FnOnce(E) -> LabError {
    move |error| LabError::Codec { codec, action, reason: error.to_string() }
}

/// Runs an encoder that writes to a stream, and returns how much of `out` it filled.
fn written<E: ToString>(
    codec: &'static str,
    out: &mut [u8],
    encode: impl FnOnce(&mut Cursor<&mut [u8]>) -> std::result::Result<(), E>,
) -> Result<usize> {
    let mut stream = Cursor::new(out);
    encode(&mut stream).map_err(failed(codec, "encode"))?;
    Ok(stream.position() as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::{Payload, bytes::Bytes, field::Field, records::Records};

    fn round_trip<C: Codec, P: Payload>(payload: &P) {
        let mut value = payload.value();
        for variant in 0..4 {
            payload.fill(variant, &mut value);
            let mut out = vec![0; 16 * payload.size() + 1000];
            let length = C::encode(&value, &mut out).unwrap();
            let back: P::Value = C::decode(&out[..length]).unwrap();
            assert_eq!(P::digest(&back), P::digest(&value), "{}", C::NAME);
            C::encode(&value, &mut out[..length / 2]).expect_err("half a buffer is too short");
            assert!(
                C::decode::<P::Value>(&out[..length / 2]).is_err(),
                "{}: half a message decodes",
                C::NAME
            );
        }
    }

    fn every_payload<C: Codec>() {
        for size in [64, 1000, 40_000] {
            round_trip::<C, _>(&Bytes::new(size));
            round_trip::<C, _>(&Field::new(size));
            round_trip::<C, _>(&Records::new(size));
        }
    }

    #[test]
    fn pickle() {
        every_payload::<pickle::Pickle>();
    }

    #[test]
    fn postcard() {
        every_payload::<postcard::Postcard>();
    }

    #[test]
    fn messagepack() {
        every_payload::<messagepack::MessagePack>();
    }

    #[test]
    fn json() {
        every_payload::<json::Json>();
    }
}
