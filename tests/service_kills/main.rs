//! SIGKILL at random moments, for a service: servers with calls in hand, clients that call.
//!
//! Requests and responses are numbered and checksummed. No answer is torn or another call's, nobody hangs, every call
//! ends as its service promises, the counts are exact, and calls, lanes and places come back.

// Tests may be blunt.
#![allow(clippy::pedantic)]

mod calls;
#[path = "../common/mod.rs"]
mod common;
mod impatient;
mod misuse;
mod parts;
mod stage;

use std::process::ExitCode;

fn main() -> ExitCode {
    common::main(
        &[
            ("forked_handles_answer_so", misuse::forked_handles_answer_so),
            ("nonsense_is_corrupt", misuse::nonsense_is_corrupt),
            ("the_impatient_are_told_of_a_death", impatient::the_impatient_are_told_of_a_death),
            ("servers_whose_calls_fail", calls::servers_whose_calls_fail),
            ("servers_whose_calls_go_to_another", calls::servers_whose_calls_go_to_another),
            ("clients", calls::clients),
            ("servers_amid_answers_in_parts", parts::servers_amid_answers_in_parts),
            ("clients_amid_answers_in_parts", parts::clients_amid_answers_in_parts),
        ],
        &[
            ("server", calls::server),
            ("client", calls::client),
            ("streamer", parts::streamer),
            ("listener", parts::listener),
        ],
    )
}
