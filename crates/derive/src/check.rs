//! What can be refused by looking at the source alone, with a word on what to write instead.

use syn::spanned::Spanned;
use syn::{Attribute, Data, DataStruct, DeriveInput, Error, Fields, GenericParam, Result, Type};

/// The struct's data, if it can be a payload as far as its source tells.
pub(crate) fn check(input: &DeriveInput) -> Result<&DataStruct> {
    let data = match &input.data {
        Data::Struct(data) => data,
        Data::Enum(data) => {
            return Err(Error::new(
                data.enum_token.span,
                "an enum cannot be a `Payload`: a peer may leave a number there that is no variant; \
                 store the number (`u8`, `u32`, …) and convert it with `TryFrom` when you read it",
            ));
        }
        Data::Union(data) => {
            return Err(Error::new(
                data.union_token.span,
                "a union cannot be a `Payload`: bytes that the smaller members leave out are not \
                 initialised; use a struct, or `[u8; N]` and zerocopy's conversions",
            ));
        }
    };
    let mut errors = Errors::default();
    for parameter in &input.generics.params {
        if let GenericParam::Lifetime(lifetime) = parameter {
            errors.add(Error::new(
                lifetime.span(),
                "a `Payload` cannot borrow: a reference means nothing in another process",
            ));
        }
    }
    for field in &data.fields {
        if let Err(error) = check_type(&field.ty) {
            errors.add(error);
        }
    }
    errors.finish()?;
    Ok(data)
}

/// What fixes the order of the fields.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repr {
    C,
    Transparent,
}

/// Refuses a struct whose layout Rust may choose anew with every compiler.
pub(crate) fn check_repr(input: &DeriveInput) -> Result<Repr> {
    fixed_repr(&input.attrs)?.ok_or_else(|| {
        Error::new(
            input.ident.span(),
            "a `Payload` needs `#[repr(C)]`: without it two builds may lay the fields out differently",
        )
    })
}

/// The `C` or `transparent` of a `#[repr(…)]`.
pub(crate) fn fixed_repr(attributes: &[Attribute]) -> Result<Option<Repr>> {
    let mut fixed = None;
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("repr")) {
        attribute.parse_nested_meta(|meta| {
            if meta.path.is_ident("C") {
                fixed = Some(Repr::C);
            } else if meta.path.is_ident("transparent") {
                fixed = Some(Repr::Transparent);
            } else if meta.input.peek(syn::token::Paren) {
                // The number of `align(N)` and `packed(N)`.
                let inner;
                syn::parenthesized!(inner in meta.input);
                inner.parse::<proc_macro2::TokenStream>()?;
            }
            Ok(())
        })?;
    }
    Ok(fixed)
}

fn check_type(ty: &Type) -> Result<()> {
    let instead = match ty {
        Type::Reference(_) | Type::Ptr(_) | Type::FnPtr(_) => {
            "a pointer means nothing in another process; store the value itself, or an offset or index as `u64`"
        }
        Type::Slice(_) | Type::TraitObject(_) => {
            "a `Payload` has a fixed size; use an array `[T; N]` and a length"
        }
        Type::Tuple(tuple) if !tuple.elems.is_empty() => {
            "a tuple's layout is not fixed; use a struct with `#[allmende::payload]`"
        }
        Type::Array(array) => return check_type(&array.elem),
        Type::Group(group) => return check_type(&group.elem),
        Type::Paren(paren) => return check_type(&paren.elem),
        Type::Path(path) if path.qself.is_none() => match path.path.get_ident() {
            Some(ident) if ident == "bool" => {
                "a peer may leave a byte there that is neither 0 nor 1; use `u8`"
            }
            Some(ident) if ident == "char" => {
                "a peer may leave a number there that is no character; use `u32`"
            }
            Some(ident) if ident == "usize" => "`usize` is not equally wide everywhere; use `u64`",
            Some(ident) if ident == "isize" => "`isize` is not equally wide everywhere; use `i64`",
            Some(ident) if ident == "str" => "a `Payload` has a fixed size; use `[u8; N]` and a length",
            _ => return Ok(()),
        },
        _ => return Ok(()),
    };
    Err(Error::new_spanned(ty, instead))
}

/// The fields' names as they stand in the schema, with the fields' members.
pub(crate) fn members(fields: &Fields) -> Vec<(String, syn::Member)> {
    let name = |member: &syn::Member| match member {
        syn::Member::Named(ident) => ident.to_string().trim_start_matches("r#").to_owned(),
        syn::Member::Unnamed(index) => index.index.to_string(),
    };
    fields.members().map(|member| (name(&member), member)).collect()
}

/// Several errors shown at once.
#[derive(Default)]
struct Errors(Option<Error>);

impl Errors {
    fn add(&mut self, error: Error) {
        match &mut self.0 {
            Some(errors) => errors.combine(error),
            none => *none = Some(error),
        }
    }

    fn finish(self) -> Result<()> {
        self.0.map_or(Ok(()), Err)
    }
}
