//! The implementation of the trait, which both macros write.

use proc_macro2::TokenStream;
use quote::{format_ident, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{DataStruct, DeriveInput, GenericParam, Path, Result, parse_quote};

use crate::check;
use crate::options::Options;

/// `#[derive(Payload)]`.
pub(crate) fn expand(item: TokenStream) -> Result<TokenStream> {
    let input: DeriveInput = syn::parse2(item)?;
    let data = check::check(&input)?;
    check::check_repr(&input)?;
    let options = Options::from_attributes(&input.attrs)?;
    Ok(implementation(&input, data, &options))
}

/// `impl Payload for …`, and an assertion that tells where padding is.
pub(crate) fn implementation(input: &DeriveInput, data: &DataStruct, options: &Options) -> TokenStream {
    let allmende = &options.allmende;
    let core = quote!(::core);
    let ident = &input.ident;
    let name = options.name.clone().unwrap_or_else(|| bare(&ident.to_string()));
    let version = options.version;

    let fields = data.fields.iter().zip(check::members(&data.fields)).map(|(field, (name, member))| {
        let ty = &field.ty;
        let schema = quote_spanned!(ty.span()=> <#ty as #allmende::payload::Payload>::SCHEMA);
        quote! {
            #allmende::payload::Field { name: #name, offset: #core::mem::offset_of!(Self, #member), schema: #schema }
        }
    });
    let generics = bounded(input, allmende);
    let (impl_generics, ty_generics, where_clause) = generics.split_for_impl();
    let padding = padding_assertions(input, data);

    quote! {
        #[automatically_derived]
        impl #impl_generics #allmende::payload::Payload for #ident #ty_generics #where_clause {
            const SCHEMA: &'static #allmende::payload::Schema = &#allmende::payload::Schema::Struct {
                name: #name,
                version: #version,
                size: #core::mem::size_of::<Self>(),
                align: #core::mem::align_of::<Self>(),
                fields: &[#(#fields),*],
            };
        }
        #padding
    }
}

fn bare(ident: &str) -> String {
    ident.trim_start_matches("r#").to_owned()
}

/// Type parameters must be payloads; whether zerocopy's derives hold for a generic struct depends
/// on the parameters, so that is asked of `Self`.
fn bounded(input: &DeriveInput, allmende: &Path) -> syn::Generics {
    let mut generics = input.generics.clone();
    let mut generic = false;
    for parameter in &mut generics.params {
        if let GenericParam::Type(parameter) = parameter {
            parameter.bounds.push(parse_quote!(#allmende::payload::Payload));
            generic = true;
        }
        generic |= matches!(parameter, GenericParam::Const(_));
    }
    if generic {
        generics.make_where_clause().predicates.push(parse_quote! {
            Self: #allmende::payload::FromBytes
                + #allmende::payload::IntoBytes
                + #allmende::payload::Immutable
                + #allmende::payload::KnownLayout
                + ::core::marker::Copy
        });
    }
    generics
}

/// zerocopy says how many bytes of padding there are; this says before which field. Nothing depends
/// on it, so generic structs go without.
fn padding_assertions(input: &DeriveInput, data: &DataStruct) -> TokenStream {
    if !input.generics.params.is_empty() {
        return TokenStream::new();
    }
    let ident = &input.ident;
    let mut end = quote!(0);
    let mut assertions = TokenStream::new();
    let advice = "order the fields by falling size, or add a field such as `reserved: [u8; N]`";
    for (field, (name, member)) in data.fields.iter().zip(check::members(&data.fields)) {
        let ty = &field.ty;
        let message = format!("there is padding before the field `{name}`: {advice} there");
        let start = quote!(::core::mem::offset_of!(#ident, #member));
        assertions.extend(quote_spanned!(field.span()=> ::core::assert!(#start == #end, #message);));
        end = quote!(#start + ::core::mem::size_of::<#ty>());
    }
    let message = format!("there is padding after the last field of `{ident}`: {advice} at the end");
    let size = format_ident!("{ident}");
    assertions.extend(
        quote_spanned!(ident.span()=> ::core::assert!(::core::mem::size_of::<#size>() == #end, #message);),
    );
    quote!(const _: () = { #assertions };)
}
