//! What a payload looks like in memory, as data: its text is canonical, its fingerprint is a hash of
//! that text, and both come from the same walk over the same constant.
//!
//! # The canonical text
//!
//! ```text
//! schema    = primitive | "()" | array | struct
//! primitive = "u8" | "u16" | "u32" | "u64" | "u128" | "i8" | "i16" | "i32" | "i64" | "i128" | "f32" | "f64"
//! array     = "[" schema ";" length "]"
//! struct    = name "@" version "(" size "," align "){" [ field { "," field } ] "}"
//! field     = name "@" offset ":" schema
//! ```
//!
//! No white space anywhere. Numbers are decimal, without sign and leading zeros; `size`, `align` and
//! `offset` are bytes, `offset` counts from the start of the struct that the field stands in. Fields
//! come in the order of their declaration, those of a tuple struct are named `0`, `1`, …. A name is
//! UTF-8: letters, digits, `_`, `-` and `.`.
//!
//! The **fingerprint** is FNV-1a with 64 bits over the bytes of that text: start with
//! `0xcbf29ce484222325`; for each byte, xor it in, then multiply by `0x100000001b3` modulo 2⁶⁴. So
//! any language can compute it; in Python:
//!
//! ```python
//! def fingerprint(text):
//!     h = 0xcbf29ce484222325
//!     for byte in text.encode():
//!         h = (h ^ byte) * 0x100000001b3 % 2**64
//!     return h
//!
//! assert fingerprint("Sample@1(24,8){time@0:u64,position@8:[f64;2]}") == 0xc66b0e458245260f
//! ```
//!
//! Nothing here depends on crate paths, on the compiler, or on which binary it is in. Byte order is
//! not part of it: a region's header refuses the other one.

use core::fmt;

/// What a type looks like in memory. Get it from [`Payload::SCHEMA`](super::Payload::SCHEMA); print
/// it for its canonical text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Schema {
    /// A number, or `()`: the text is its name.
    Primitive(&'static str),
    /// So many elements, one after the other.
    Array {
        /// What each element is.
        element: &'static Schema,
        /// How many.
        length: usize,
    },
    /// Named fields at fixed offsets.
    Struct {
        /// The schema's name: the type's bare name unless the derive was told another one.
        name: &'static str,
        /// Raise it when the meaning changes and the layout does not. 1 unless said otherwise.
        version: u32,
        /// Bytes of the whole.
        size: usize,
        /// Alignment in bytes.
        align: usize,
        /// In the order of their declaration.
        fields: &'static [Field],
    },
}

/// One field of a struct.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// As it was declared, without `r#`.
    pub name: &'static str,
    /// Bytes from the start of the struct.
    pub offset: usize,
    /// What it is.
    pub schema: &'static Schema,
}

impl Schema {
    /// FNV-1a, 64 bits, of the canonical text: the number that both ends of a channel compare.
    ///
    /// ```
    /// use allmende::Payload;
    /// assert_eq!(u8::SCHEMA.fingerprint(), 0x08c4_8207_b567_53d8); // FNV-1a of "u8"
    /// ```
    #[must_use]
    pub const fn fingerprint(&self) -> u64 {
        let mut sink = Sink::new(&mut []);
        self.emit(&mut sink);
        sink.hash
    }

    /// How many bytes the canonical text has.
    #[must_use]
    pub const fn text_len(&self) -> usize {
        let mut sink = Sink::new(&mut []);
        self.emit(&mut sink);
        sink.length
    }

    const fn emit(&self, sink: &mut Sink<'_>) {
        match self {
            Self::Primitive(name) => sink.text(name),
            Self::Array { element, length } => {
                sink.text("[");
                element.emit(sink);
                sink.text(";");
                sink.number(*length);
                sink.text("]");
            }
            Self::Struct { name, version, size, align, fields } => {
                sink.text(name);
                sink.text("@");
                sink.number(*version as usize);
                sink.text("(");
                sink.number(*size);
                sink.text(",");
                sink.number(*align);
                sink.text("){");
                let mut index = 0;
                while index < fields.len() {
                    if index > 0 {
                        sink.text(",");
                    }
                    let field = &fields[index];
                    sink.text(field.name);
                    sink.text("@");
                    sink.number(field.offset);
                    sink.text(":");
                    field.schema.emit(sink);
                    index += 1;
                }
                sink.text("}");
            }
        }
    }
}

impl fmt::Display for Schema {
    /// Writes the canonical text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut buffer = vec![0; self.text_len()];
        self.emit(&mut Sink::new(&mut buffer));
        f.pad(&String::from_utf8_lossy(&buffer))
    }
}

/// Takes the text piece by piece: hashes it, counts it, and keeps as much as the buffer can hold.
struct Sink<'a> {
    hash: u64,
    length: usize,
    buffer: &'a mut [u8],
}

impl<'a> Sink<'a> {
    const fn new(buffer: &'a mut [u8]) -> Self {
        Self { hash: 0xcbf2_9ce4_8422_2325, length: 0, buffer }
    }

    const fn byte(&mut self, byte: u8) {
        self.hash = (self.hash ^ byte as u64).wrapping_mul(0x0000_0100_0000_01b3);
        if self.length < self.buffer.len() {
            self.buffer[self.length] = byte;
        }
        self.length += 1;
    }

    const fn text(&mut self, text: &str) {
        let bytes = text.as_bytes();
        let mut index = 0;
        while index < bytes.len() {
            self.byte(bytes[index]);
            index += 1;
        }
    }

    const fn number(&mut self, number: usize) {
        if number >= 10 {
            self.number(number / 10);
        }
        self.byte(b"0123456789"[number % 10]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAIR: Schema = Schema::Struct {
        name: "Pair",
        version: 7,
        size: 16,
        align: 8,
        fields: &[
            Field { name: "left", offset: 0, schema: &Schema::Primitive("u64") },
            Field {
                name: "right",
                offset: 8,
                schema: &Schema::Array { element: &Schema::Primitive("u8"), length: 8 },
            },
        ],
    };
    const FINGERPRINT: u64 = PAIR.fingerprint();

    fn fnv1a(bytes: &[u8]) -> u64 {
        bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
        })
    }

    #[test]
    fn the_text_is_as_documented() {
        assert_eq!(PAIR.to_string(), "Pair@7(16,8){left@0:u64,right@8:[u8;8]}");
        assert_eq!(PAIR.text_len(), PAIR.to_string().len());
    }

    #[test]
    fn the_fingerprint_is_the_hash_of_the_text() {
        assert_eq!(FINGERPRINT, fnv1a(PAIR.to_string().as_bytes()));
    }

    #[test]
    fn numbers_are_plain_decimals() {
        for number in [0, 1, 9, 10, 109, 1_000_000, usize::MAX] {
            let array = Schema::Array { element: &Schema::Primitive("u8"), length: number };
            assert_eq!(array.to_string(), format!("[u8;{number}]"));
        }
    }

    #[test]
    fn an_empty_struct_has_a_text() {
        let empty = Schema::Struct { name: "Ping", version: 1, size: 0, align: 1, fields: &[] };
        assert_eq!(empty.to_string(), "Ping@1(0,1){}");
    }
}
