//! `#[allmende::payload]`: everything at once.

use proc_macro2::TokenStream;
use quote::quote;
use syn::parse::Parser;
use syn::{Attribute, DeriveInput, Result, parse_quote};

use crate::options::Options;
use crate::{check, derive};

/// Expands the attribute. On an error the item stays as it was, so that nothing else seems wrong.
pub(crate) fn expand(arguments: TokenStream, item: &TokenStream) -> TokenStream {
    try_expand(arguments, item.clone()).unwrap_or_else(|error| {
        let error = error.into_compile_error();
        quote!(#item #error)
    })
}

fn try_expand(arguments: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let mut options = Options::default();
    syn::meta::parser(|meta| options.read(&meta)).parse2(arguments)?;
    let mut input: DeriveInput = syn::parse2(item)?;
    check::check(&input)?;
    if check::fixed_repr(&input.attrs)?.is_none() {
        input.attrs.push(parse_quote!(#[repr(C)]));
    }
    add_derives(&mut input, &options)?;
    let implementation = derive::implementation(&input, &options)?;
    Ok(quote!(#input #implementation))
}

/// Adds the derives that are not there, above the user's own: a helper attribute must come after
/// the derive that it helps.
fn add_derives(input: &mut DeriveInput, options: &Options) -> Result<()> {
    let present = derived(&input.attrs)?;
    let missing = |name: &str| !present.iter().any(|derive| derive == name);
    let allmende = &options.allmende;

    let mut derives = Vec::new();
    for (name, path) in [("Clone", quote!(::core::clone::Clone)), ("Copy", quote!(::core::marker::Copy))] {
        if missing(name) {
            derives.push(path);
        }
    }
    let mut zerocopy = false;
    for (name, path) in [
        ("FromBytes", quote!(#allmende::payload::FromBytes)),
        ("IntoBytes", quote!(#allmende::payload::IntoBytes)),
        ("Immutable", quote!(#allmende::payload::Immutable)),
        ("KnownLayout", quote!(#allmende::payload::KnownLayout)),
    ] {
        if missing(name) {
            derives.push(path);
            zerocopy = true;
        }
    }
    let mut added: Vec<Attribute> = Vec::new();
    if !derives.is_empty() {
        added.push(parse_quote!(#[derive(#(#derives),*)]));
    }
    if zerocopy && !input.attrs.iter().any(|attribute| attribute.path().is_ident("zerocopy")) {
        let path = options.zerocopy();
        added.push(parse_quote!(#[zerocopy(crate = #path)]));
    }
    input.attrs.splice(0..0, added);
    Ok(())
}

/// The last segments of everything in `#[derive(…)]`.
fn derived(attributes: &[Attribute]) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("derive")) {
        attribute.parse_nested_meta(|meta| {
            names.extend(meta.path.segments.last().map(|segment| segment.ident.to_string()));
            Ok(())
        })?;
    }
    Ok(names)
}
