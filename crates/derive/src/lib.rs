//! The macros of allmende's `Payload` trait. Use them through `allmende`, which documents the trait,
//! the canonical schema text and the fingerprint.

#![forbid(unsafe_code)]

mod attribute;
mod check;
mod derive;
mod options;

use proc_macro::TokenStream;

/// Implements `Payload`: declares the schema of a `#[repr(C)]` struct.
///
/// zerocopy's `FromBytes`, `IntoBytes`, `Immutable`, `KnownLayout`, and `Clone` and `Copy`, must be
/// derived beside it; `#[allmende::payload]` does all of that.
///
/// | helper attribute | meaning |
/// | --- | --- |
/// | `#[payload(name = "…")]` | the schema's name, instead of the type's: letters, digits, `_`, `-`, `.` |
/// | `#[payload(version = 2)]` | the schema's version, instead of 1 |
/// | `#[payload(crate = "…")]` | where allmende is found, instead of `::allmende` |
#[proc_macro_derive(Payload, attributes(payload))]
pub fn derive_payload(item: TokenStream) -> TokenStream {
    derive::expand(item.into()).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Makes a struct a `Payload`: adds `#[repr(C)]`, the derives of `Clone`, `Copy` and of zerocopy's
/// `FromBytes`, `IntoBytes`, `Immutable` and `KnownLayout` as far as they are not there, and the schema.
///
/// It takes the same options as the derive: `#[allmende::payload(name = "…", version = 2, crate = "…")]`.
/// Put it above other derives, so that it sees them.
#[proc_macro_attribute]
pub fn payload(options: TokenStream, item: TokenStream) -> TokenStream {
    attribute::expand(options.into(), &item.into()).into()
}
