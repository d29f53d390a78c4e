//! Both macros on every shape of struct, and what they say of it.

use allmende::Payload;
use allmende::payload::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// FNV-1a as any other language would write it.
fn fnv1a(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[track_caller]
fn assert_schema<T: Payload>(text: &str) {
    assert_eq!(T::SCHEMA.to_string(), text);
    assert_eq!(T::FINGERPRINT, fnv1a(text), "the fingerprint is not that of {text}");
}

#[allmende::payload]
#[derive(Debug, PartialEq)]
struct Sample {
    time: u64,
    position: [f64; 2],
}

#[test]
fn the_documented_example_has_the_documented_fingerprint() {
    const FINGERPRINT: u64 = Sample::FINGERPRINT;
    assert_schema::<Sample>("Sample@1(24,8){time@0:u64,position@8:[f64;2]}");
    assert_eq!(FINGERPRINT, 0xc66b_0e45_8245_260f);
}

#[test]
fn a_payload_is_bytes_and_back() {
    let sample = Sample { time: 7, position: [0.5, -1.0] };
    assert_eq!(Sample::read_from_bytes(sample.as_bytes()), Ok(sample));
}

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Payload)]
#[zerocopy(crate = "allmende::payload::zerocopy")]
#[payload(name = "lab.Spelled-out", version = 3)]
#[repr(C)]
struct SpelledOut {
    samples: [Sample; 2],
}

#[test]
fn the_derive_does_the_same_spelled_out() {
    assert_schema::<SpelledOut>(
        "lab.Spelled-out@3(48,8){samples@0:[Sample@1(24,8){time@0:u64,position@8:[f64;2]};2]}",
    );
}

#[allmende::payload(name = "Renamed", version = 4_000_000_000, crate = "::allmende")]
#[derive(Clone, Copy)]
struct Tuple(u32, i16, [i8; 2]);

#[test]
fn tuple_structs_number_their_fields() {
    assert_schema::<Tuple>("Renamed@4000000000(8,4){0@0:u32,1@4:i16,2@6:[i8;2]}");
}

#[allmende::payload]
struct Ping;

#[test]
fn a_struct_may_be_empty() {
    assert_schema::<Ping>("Ping@1(0,1){}");
    assert_schema::<()>("()");
}

#[allmende::payload]
#[repr(C, packed(2))]
struct Packed {
    r#type: u8,
    _flags: u8,
    value: u64,
}

#[test]
fn packed_structs_and_raw_names_are_shown_as_they_lie() {
    assert_schema::<Packed>("Packed@1(10,2){type@0:u8,_flags@1:u8,value@2:u64}");
}

#[allmende::payload]
#[repr(align(16))]
struct Aligned {
    value: u128,
}

#[allmende::payload]
#[repr(transparent)]
struct Metres(f64);

#[test]
fn other_representations_keep_their_alignment() {
    assert_schema::<Aligned>("Aligned@1(16,16){value@0:u128}");
    assert_schema::<Metres>("Metres@1(8,8){0@0:f64}");
}

#[allmende::payload]
struct Matrix<const ROWS: usize, const COLUMNS: usize> {
    rows: [[f32; COLUMNS]; ROWS],
}

#[allmende::payload]
#[repr(transparent)]
struct Tagged<T> {
    value: T,
}

#[allmende::payload]
#[repr(C, packed)]
struct Pair<A, B>
where
    A: Copy,
{
    a: A,
    b: B,
}

#[test]
fn generic_structs_show_what_they_were_made_of() {
    assert_schema::<Matrix<3, 2>>("Matrix@1(24,4){rows@0:[[f32;2];3]}");
    assert_schema::<Tagged<Tagged<u16>>>("Tagged@1(2,2){value@0:Tagged@1(2,2){value@0:u16}}");
    assert_schema::<Pair<u8, f64>>("Pair@1(9,1){a@0:u8,b@1:f64}");
    assert_ne!(Tagged::<u32>::FINGERPRINT, Tagged::<f32>::FINGERPRINT);
}

mod imported {
    use allmende::payload;

    #[payload]
    pub(crate) struct Inner {
        pub(crate) value: u32,
    }
}

#[test]
fn the_attribute_can_be_imported() {
    assert_schema::<imported::Inner>("Inner@1(4,4){value@0:u32}");
    let _ = imported::Inner { value: 1 }.value;
}

mod imported_both {
    #![allow(unused_imports)]
    use allmende::payload::{FromBytes, Immutable, IntoBytes, KnownLayout};
    use allmende::{Payload, payload};

    #[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Payload)]
    #[zerocopy(crate = "allmende::payload::zerocopy")]
    #[payload(version = 2)]
    #[repr(C)]
    pub(crate) struct Inner {
        pub(crate) value: u32,
    }
}

#[test]
fn the_helper_attribute_is_not_taken_for_the_imported_attribute() {
    assert_schema::<imported_both::Inner>("Inner@2(4,4){value@0:u32}");
    let _ = imported_both::Inner { value: 1 }.value;
}
