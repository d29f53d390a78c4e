//! The command line of allmende.
fn main() {}
