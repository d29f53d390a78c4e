//! A victim is stopped at every single instruction of an operation and killed there; a survivor goes
//! on and finds all as promised.
//!
//! Locks and channels are stepped instruction by instruction. Attaching, detaching, sweeping and creating take
//! tens of thousands of instructions, of which only those matter that leave a trace: there the victim is killed
//! after every change of a shared byte, and on both sides of every system call.
//!
//! Each kill point is reached in a new process. Where there are few traces, which is so but for attaching and the
//! like, every run tries all of them: that is every state that a survivor can find. Of the rest, which ought
//! to make no difference, a stride is chosen with the small counts, so that every operation takes about
//! a second; its offset is random. `ALLMENDE_PIECE=0/10` to `9/10` cover
//! all points in ten runs.

// Tests may be blunt.
#![allow(clippy::pedantic)]
#[path = "../common/mod.rs"]
mod common;
mod harness;
mod world;

mod bytes;
mod coordination;
mod event;
mod lanes;
mod locks;
mod mutex;
mod queue;
mod region;
mod service;
mod slots;
mod state;
mod topic;

use std::process::ExitCode;

fn main() -> ExitCode {
    common::main(
        &[
            ("locking", mutex::locking),
            ("locking_after_a_death", mutex::locking_after_a_death),
            ("unlocking_while_others_sleep", mutex::unlocking_while_others_sleep),
            ("waiting_for_a_lock", mutex::waiting_for_a_lock),
            ("reading_and_writing", locks::reading_and_writing),
            ("waiting_to_read_or_write", locks::waiting_to_read_or_write),
            ("inheriting_a_value", locks::inheriting_a_value),
            ("taking_permits", locks::taking_permits),
            ("waiting_for_permits", locks::waiting_for_permits),
            ("giving_back_while_others_sleep", locks::giving_back_while_others_sleep),
            ("sweeping_locks", locks::sweeping),
            ("telling_of_a_change", coordination::telling_of_a_change),
            ("waiting_for_a_change", coordination::waiting_for_a_change),
            ("meeting_at_a_barrier", coordination::meeting_at_a_barrier),
            ("joining_and_resetting_a_barrier", coordination::joining_and_resetting_a_barrier),
            ("doing_it_once", coordination::doing_it_once),
            ("passing_an_event_that_resets_itself", coordination::passing_an_event_that_resets_itself),
            ("sending_slots", slots::sending),
            ("sending_bytes", bytes::sending),
            ("receiving_slots", slots::receiving),
            ("receiving_bytes", bytes::receiving),
            ("sending_to_a_queue", queue::sending),
            ("receiving_from_a_queue", queue::receiving),
            ("closing_a_queue", queue::closing),
            ("joining_and_leaving_a_queue", queue::joining_and_leaving),
            ("sweeping_a_queue", queue::sweeping),
            ("sending_in_a_lane", lanes::sending),
            ("receiving_from_lanes", lanes::receiving),
            ("revoking_a_lane", lanes::revoking),
            ("joining_and_leaving_lanes", lanes::joining_and_leaving),
            ("sweeping_lanes", lanes::sweeping),
            ("publishing_to_a_topic", topic::publishing),
            ("receiving_from_a_topic", topic::receiving),
            ("joining_and_leaving_a_topic", topic::joining_and_leaving),
            ("sweeping_a_topic", topic::sweeping),
            ("writing_a_cell", state::writing_a_cell),
            ("reading_a_cell", state::reading_a_cell),
            ("broadcasting", state::broadcasting),
            ("lending_parts", state::lending),
            ("sweeping_state", state::sweeping),
            ("taking_and_leaving_roles", slots::taking_and_leaving_roles),
            ("setting_an_event", event::setting_an_event),
            ("answering_calls", service::answering),
            ("answering_calls_in_parts", service::answering_in_parts),
            ("asking_a_service", service::asking),
            ("joining_and_leaving_a_service", service::joining_and_leaving),
            ("sweeping_a_service", service::sweeping),
            ("attaching_and_detaching", region::attaching_and_detaching),
            ("sweeping", region::sweeping),
            ("creating_objects", region::creating_objects),
            ("creating_and_removing_names", region::creating_and_removing_names),
        ],
        &[],
    )
}
