//! Who lives and who is dead, whatever processes do: the living are never taken for dead (a second
//! copy of the library comes and goes, all descriptors are closed, a child is forked, everything
//! stands still), and the killed are known dead at once.

// Tests may be blunt.
#![allow(clippy::pedantic)]

#[path = "../common/mod.rs"]
mod common;
mod deaths;
mod descriptors;
mod forks;
mod second_copy;
mod victim;

use std::process::ExitCode;

fn main() -> ExitCode {
    common::main(
        &[
            ("the_living_live_and_the_killed_are_dead", deaths::the_living_live_and_the_killed_are_dead),
            ("the_stopped_are_not_robbed", deaths::the_stopped_are_not_robbed),
            ("signals_hide_no_death", deaths::signals_hide_no_death),
            ("without_futexes_the_dead_are_found", deaths::without_futexes_the_dead_are_found),
            ("exec_is_a_death", deaths::exec_is_a_death),
            ("a_second_copy_comes_and_goes", second_copy::a_second_copy_comes_and_goes),
            ("all_descriptors_are_closed", descriptors::all_descriptors_are_closed),
            ("without_privileges_nothing_is_proven", descriptors::without_privileges_nothing_is_proven),
            ("a_forked_child_touches_nothing", forks::a_forked_child_touches_nothing),
            ("a_forked_child_attaches_anew", forks::a_forked_child_attaches_anew),
            ("children_inherit_no_locks", forks::children_inherit_no_locks),
            ("a_child_of_a_dead_publisher_answers_nobody", forks::a_child_of_a_dead_publisher_answers_nobody),
            ("a_reused_process_id_is_nobody_s", deaths::a_reused_process_id_is_nobody_s),
        ],
        &[
            ("victim", victim::victim),
            ("second_copy", second_copy::second_copy),
            ("forks_amid", forks::forks_amid),
        ],
    )
}
