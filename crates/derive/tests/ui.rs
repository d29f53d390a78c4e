//! What the macros say when they refuse. Messages that rustc words around ours are not compared
//! here, since they change with the compiler: `allmende::payload` shows those as examples that must
//! not compile.

#[test]
fn refusals_say_what_to_do() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
