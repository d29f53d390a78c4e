//! `name`, `version` and `crate`, as both macros take them.

use syn::meta::ParseNestedMeta;
use syn::{Attribute, Error, Lit, LitStr, Path, Result, parse_quote};

/// What the user may say about a payload.
pub(crate) struct Options {
    /// The schema's name; the type's own if absent.
    pub(crate) name: Option<String>,
    /// The schema's version.
    pub(crate) version: u32,
    /// Where allmende is found.
    pub(crate) allmende: Path,
}

impl Default for Options {
    fn default() -> Self {
        Self { name: None, version: 1, allmende: parse_quote!(::allmende) }
    }
}

impl Options {
    /// Reads every `#[payload(…)]` among the attributes.
    pub(crate) fn from_attributes(attributes: &[Attribute]) -> Result<Self> {
        let mut options = Self::default();
        for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("payload")) {
            attribute.parse_nested_meta(|meta| options.read(&meta))?;
        }
        Ok(options)
    }

    /// Reads one option.
    pub(crate) fn read(&mut self, meta: &ParseNestedMeta) -> Result<()> {
        if meta.path.is_ident("name") {
            self.name = Some(checked_name(&meta.value()?.parse()?)?);
        } else if meta.path.is_ident("version") {
            let version: Lit = meta.value()?.parse()?;
            self.version = checked_version(&version)?;
        } else if meta.path.is_ident("crate") {
            self.allmende = meta.value()?.parse::<LitStr>()?.parse_with(Path::parse_mod_style)?;
        } else {
            return Err(
                meta.error("unknown option; there are `name = \"…\"`, `version = 1` and `crate = \"…\"`")
            );
        }
        Ok(())
    }

    /// The path of zerocopy as `#[zerocopy(crate = "…")]` wants it.
    pub(crate) fn zerocopy(&self) -> String {
        let allmende = &self.allmende;
        quote::quote!(#allmende::payload::zerocopy).to_string().replace(' ', "")
    }
}

/// The signs of the canonical text itself may not stand in a name.
fn checked_name(name: &LitStr) -> Result<String> {
    let text = name.value();
    let fits = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
    if text.is_empty() || !text.chars().all(fits) {
        return Err(Error::new(name.span(), "a schema's name consists of letters, digits, `_`, `-` and `.`"));
    }
    Ok(text)
}

fn checked_version(version: &Lit) -> Result<u32> {
    let number = match version {
        Lit::Int(number) => number.base10_parse().ok(),
        _ => None,
    };
    number.ok_or_else(|| Error::new(version.span(), "a schema's version is a whole number below 2³²"))
}
