//! Everything that can be wrong with what one opens: each has an error of its own, and none of it
//! ends in a signal, a panic or a wait.

// Tests may be blunt.
#![allow(clippy::pedantic)]

#[path = "../common/mod.rs"]
mod common;
mod headers;
mod names;
mod nonsense;
mod objects;
mod sample;

use std::process::ExitCode;

fn main() -> ExitCode {
    common::main(
        &[
            ("headers", headers::headers),
            ("files_of_the_wrong_size_or_kind", headers::files_of_the_wrong_size_or_kind),
            ("memfds_that_are_not_sealed", headers::memfds_that_are_not_sealed),
            ("names", names::names),
            ("the_slow_keep_nobody_waiting", names::the_slow_keep_nobody_waiting),
            ("links_in_the_way", names::links_in_the_way),
            ("unsafe_directories", names::unsafe_directories),
            ("owners_and_permissions", names::owners_and_permissions),
            ("another_user", names::another_user),
            ("too_many", objects::too_many),
            ("wrong_objects", objects::wrong_objects),
            ("read_only", objects::read_only),
            ("impossible_sizes", objects::impossible_sizes),
            ("objects_that_claim_what_they_have_not", nonsense::objects_that_claim_what_they_have_not),
            ("random_headers", nonsense::random_headers),
            ("random_tables_and_objects", nonsense::random_tables_and_objects),
        ],
        &[],
    )
}
