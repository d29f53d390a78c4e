//! The implementation of the trait, which both macros write.

use proc_macro2::{Ident, TokenStream};
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{DataStruct, DeriveInput, GenericParam, Path, Result, parse_quote};

use crate::check::{self, Repr};
use crate::options::Options;

/// `#[derive(Payload)]`.
pub(crate) fn expand(item: TokenStream) -> Result<TokenStream> {
    let input: DeriveInput = syn::parse2(item)?;
    let options = Options::from_attributes(&input.attrs)?;
    implementation(&input, &options)
}

/// `impl Payload for …`, and an assertion that tells where padding is.
pub(crate) fn implementation(input: &DeriveInput, options: &Options) -> Result<TokenStream> {
    let data = check::check(input)?;
    let repr = check::check_repr(input)?;
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
    // Generic structs go without the hint: nothing depends on it.
    let hint = repr == Repr::C && input.generics.params.is_empty();
    let padding = hint.then(|| padding_assertions(&input.ident, data));

    Ok(quote! {
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
    })
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

/// zerocopy says how many bytes of padding there are; this says before which field.
fn padding_assertions(ident: &Ident, data: &DataStruct) -> TokenStream {
    const ADVICE: &str = "order the fields by falling size, or add a field such as `reserved: [u8; N]`";
    let mut end = quote!(0);
    let mut assertions = TokenStream::new();
    for (field, (name, member)) in data.fields.iter().zip(check::members(&data.fields)) {
        let ty = &field.ty;
        let message = format!("there is padding before the field `{name}`: {ADVICE} there");
        let start = quote!(::core::mem::offset_of!(#ident, #member));
        assertions.extend(quote_spanned!(field.span()=> ::core::assert!(#start == #end, #message);));
        end = quote!(#start + ::core::mem::size_of::<#ty>());
    }
    let message = format!("there is padding after the last field of `{ident}`: {ADVICE} at the end");
    assertions.extend(
        quote_spanned!(ident.span()=> ::core::assert!(::core::mem::size_of::<#ident>() == #end, #message);),
    );
    quote!(const _: () = { #assertions };)
}
