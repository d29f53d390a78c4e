//! Which types may lie in shared memory, and how two programs know that they mean the same one.
//!
//! A [`Payload`] is plain bytes: every bit pattern is a value ([`FromBytes`]), every byte is
//! initialised ([`IntoBytes`]: no padding), nothing in it changes behind a shared reference
//! ([`Immutable`]). So what a crashed, buggy or hostile peer left behind is at worst a wrong number,
//! never undefined behaviour. Pointers, references, `bool`, `char`, `usize` and enums are out.
//!
//! ```
//! #[allmende::payload]
//! #[derive(Debug, PartialEq)]
//! struct Sample {
//!     time: u64,
//!     position: [f64; 2],
//! }
//!
//! use allmende::Payload;
//! assert_eq!(Sample::SCHEMA.to_string(), "Sample@1(24,8){time@0:u64,position@8:[f64;2]}");
//! ```
//!
//! The attribute adds `#[repr(C)]` and the derives that are not there yet. Spelled out it is the
//! following, for those who like to see it or who use zerocopy themselves (with zerocopy 0.8 among
//! your own dependencies, the `#[zerocopy(crate = …)]` line falls away):
//!
//! ```
//! use allmende::payload::{FromBytes, Immutable, IntoBytes, KnownLayout, Payload};
//!
//! #[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Payload)]
//! #[zerocopy(crate = "allmende::payload::zerocopy")]
//! #[repr(C)]
//! struct Sample {
//!     time: u64,
//!     position: [f64; 2],
//! }
//! ```
//!
//! # Names and versions
//!
//! The two ends of a channel compare fingerprints of the [schema](Schema): its name, the fields'
//! names, types and offsets, the size and the alignment ([the exact text](schema)). The name is the
//! type's own unless told otherwise; the version is for changes that the layout does not show, such
//! as metres that became feet:
//!
//! ```
//! # mod other { #[allmende::payload] pub struct Reading { pub height: f64 } }
//! #[allmende::payload(name = "weather.Reading", version = 2)]
//! struct Reading {
//!     height: f64,
//! }
//! # use allmende::Payload;
//! assert_eq!(Reading::SCHEMA.to_string(), "weather.Reading@2(8,8){height@0:f64}");
//! assert_ne!(Reading::FINGERPRINT, other::Reading::FINGERPRINT);
//! ```
//!
//! With `#[derive(Payload)]` the same stands in a helper attribute: `#[payload(name = "…", version = 2)]`.
//!
//! # Generic structs
//!
//! Array lengths may be parameters, and so may types, as long as the compiler can see that no padding
//! arises: in a `#[repr(transparent)]` or `#[repr(C, packed)]` struct always, in another one when the
//! type given has alignment 1. The schema shows what the struct was made of.
//!
//! ```
//! use allmende::Payload;
//!
//! #[allmende::payload]
//! struct Matrix<const ROWS: usize, const COLUMNS: usize> {
//!     rows: [[f32; COLUMNS]; ROWS],
//! }
//! assert_eq!(Matrix::<3, 2>::SCHEMA.to_string(), "Matrix@1(24,4){rows@0:[[f32;2];3]}");
//! ```
//!
//! # What is refused, at compile time
//!
//! ```compile_fail
//! #[allmende::payload]
//! struct Padded {
//!     small: u8,
//!     large: u64, // seven bytes of padding before it
//! }
//! ```
//! ```compile_fail
//! #[allmende::payload]
//! struct Text {
//!     text: String, // a pointer
//! }
//! ```
//! ```compile_fail
//! #[derive(Clone, Copy, allmende::Payload)] // zerocopy's derives are missing
//! #[repr(C)]
//! struct Bare {
//!     value: u64,
//! }
//! ```

#![forbid(unsafe_code)]

pub mod schema;

#[doc(inline)]
pub use allmende_derive::Payload;
pub use schema::{Field, Schema};
#[doc(hidden)]
pub use zerocopy;
pub use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A type that may lie in shared memory: plain bytes with a schema.
///
/// Write [`#[allmende::payload]`](macro@crate::payload) on a struct, or derive it. Numbers and arrays
/// have it already. Implementing it by hand needs no `unsafe`: zerocopy's derives prove that the
/// bytes are plain, and a wrong schema costs only the check that both ends mean the same type.
///
/// It may be of size zero (`()`, a struct without fields).
#[diagnostic::on_unimplemented(
    message = "`{Self}` may not lie in shared memory: it is no `Payload`",
    label = "not a `Payload`",
    note = "payloads are numbers of fixed width, arrays of payloads, and structs with `#[allmende::payload]`",
    note = "instead of `bool` use `u8`, of `char` `u32`, of `usize` `u64`, of an enum its number, of text `[u8; N]` and a length"
)]
pub trait Payload: FromBytes + IntoBytes + Immutable + KnownLayout + Copy + 'static {
    /// What it looks like in memory. Print it for the canonical text.
    const SCHEMA: &'static Schema;

    /// The hash of the canonical text, as it stands in a region's directory.
    const FINGERPRINT: u64 = Self::SCHEMA.fingerprint();
}

macro_rules! primitive {
    ($($type:ty)*) => {$(
        impl Payload for $type {
            const SCHEMA: &'static Schema = &Schema::Primitive(stringify!($type));
        }
    )*};
}

primitive!(() u8 u16 u32 u64 u128 i8 i16 i32 i64 i128 f32 f64);

impl<T: Payload, const N: usize> Payload for [T; N] {
    const SCHEMA: &'static Schema = &Schema::Array { element: T::SCHEMA, length: N };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text<T: Payload>() -> String {
        T::SCHEMA.to_string()
    }

    #[test]
    fn primitives_are_called_by_their_names() {
        assert_eq!(text::<u8>(), "u8");
        assert_eq!(text::<i128>(), "i128");
        assert_eq!(text::<f64>(), "f64");
        assert_eq!(text::<()>(), "()");
    }

    #[test]
    fn arrays_nest() {
        assert_eq!(text::<[[f32; 3]; 0]>(), "[[f32;3];0]");
        assert_ne!(<[u8; 4]>::FINGERPRINT, <[u8; 5]>::FINGERPRINT);
    }
}
