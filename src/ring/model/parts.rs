//! Models of [`crate::ring::parts`]: an answer of two parts, with room for one, so that the second is written over
//! the first.

use std::sync::Arc;

use loom::thread;

use super::calls::World;
use crate::atomic::{AtomicU64, Ordering};
use crate::ring::calls::{State, Taken, Word};
use crate::ring::parts::{Next, NoPlace, Receiving, Sending};
use crate::sync::eventcount::{AfterSlice, EventCount};
use crate::sync::model::kernel::{Kernel, Process};
use crate::sync::model::{check, check_kills};
use crate::sync::platform::Platform;
use crate::sync::wait::Wait;

/// How many parts an answer has.
const PARTS: u64 = 2;
const ROOM: u64 = 1;

/// The slot that has one place for parts: where else one response lies.
struct Stage {
    world: Arc<World>,
    consumed: AtomicU64,
}

impl Stage {
    fn new() -> Arc<Self> {
        Arc::new(Self { world: World::new(2), consumed: AtomicU64::new(0) })
    }

    /// Sweeps the dead in both their roles: slot 1 is a server, slot 3 a client. Calls first, then all are told.
    fn sweep(&self, process: &Process) -> AfterSlice {
        for dead in process.kernel().the_dead() {
            if dead == 3 {
                self.world.slot.call().sweep_client();
                self.world.lane_event.fetch_add(2, Ordering::Release);
                process.wake(&self.world.lane_event, u32::MAX);
            } else {
                self.world.sweep_server(process, u64::from(dead) + 1);
            }
        }
        AfterSlice::GoOn
    }

    /// Sends all parts, asleep while there is no room; whether none was refused.
    fn send_all(&self, process: &Process, taken: Taken) -> bool {
        let slot = &self.world.slot;
        let (number, mut window) = (slot.request.read(), Sending::new(taken, ROOM));
        for part in 0..PARTS {
            let look = || {
                if slot.call().cancelled(taken) {
                    return Some(false);
                }
                match window.place(&self.consumed) {
                    Ok(at) => Some(at == 0),
                    Err(NoPlace::Full) => None,
                    Err(NoPlace::Corrupt) => panic!("nobody writes that"),
                }
            };
            let there = EventCount(&self.world.lane_event)
                .wait_until(process, Wait::Park, None, look, || self.sweep(process))
                .expect("there is no other way out");
            if !there {
                slot.call().settle(taken, State::Dropped, window.sent());
                return false;
            }
            slot.response.write(number + part);
            window.send(slot.call());
            EventCount(&self.world.lane_event).notify(process);
        }
        slot.call().settle(taken, State::Answered, window.sent());
        EventCount(&self.world.lane_event).notify(process);
        true
    }

    /// The next part, which must be the one that comes next, or how the call ended.
    fn receive(&self, process: &Process, window: &mut Receiving, number: u64) -> Option<State> {
        let look = || match window.next(self.world.slot.call()) {
            Next::NotYet => None,
            Next::Corrupt => panic!("nobody writes that"),
            next => Some(next),
        };
        let next = EventCount(&self.world.lane_event)
            .wait_until(process, Wait::Park, None, look, || self.sweep(process))
            .expect("there is no other way out");
        match next {
            Next::Over(state) => Some(state),
            _ => {
                assert_eq!(self.world.slot.response.read(), number + window.done());
                window.consume(&self.consumed);
                EventCount(&self.world.lane_event).notify(process);
                None
            }
        }
    }

    /// All that comes: how many parts, and how the call ended.
    fn receive_all(&self, process: &Process, ticket: Word, number: u64) -> (u64, State) {
        let mut window = Receiving::new(ticket, ROOM);
        loop {
            if let Some(state) = self.receive(process, &mut window, number) {
                return (window.done(), state);
            }
        }
    }
}

/// Parts are read before they are written over, and come in order, whoever sleeps.
#[test]
fn loom_calls_in_parts() {
    check(3, || {
        let (kernel, stage) = (Kernel::new(), Stage::new());
        let me = kernel.process(0);
        let ticket = stage.world.post(&me, 1);
        let server = {
            let (process, stage) = (kernel.process(1), stage.clone());
            thread::spawn(move || {
                let taken = stage.world.slot.take(2).expect("open");
                assert!(stage.send_all(&process, taken));
            })
        };
        assert_eq!(stage.receive_all(&me, ticket, 1), (PARTS, State::Answered));
        stage.world.call_once_more(&me, || ());
        server.join().expect("no panic");
    });
}

/// The client gives up after the first part: its server, which may be asleep, is told.
#[test]
fn loom_calls_in_parts_given_up() {
    check(3, || {
        let (kernel, stage) = (Kernel::new(), Stage::new());
        let me = kernel.process(0);
        let ticket = stage.world.post(&me, 1);
        let server = {
            let (process, stage) = (kernel.process(1), stage.clone());
            thread::spawn(move || {
                let taken = stage.world.slot.take(2).expect("open");
                stage.send_all(&process, taken)
            })
        };
        let next = || match Receiving::new(ticket, ROOM).next(stage.world.slot.call()) {
            Next::NotYet => None,
            next => Some(next),
        };
        let first = EventCount(&stage.world.lane_event)
            .wait_until(&me, Wait::Park, None, next, || AfterSlice::GoOn)
            .expect("there is no other way out");
        assert_eq!(first, Next::Part(0));
        assert!(!stage.world.slot.call().cancel(ticket));
        EventCount(&stage.world.lane_event).notify(&me);
        assert!(!server.join().expect("no panic"), "nobody made room");
        stage.world.call_once_more(&me, || ());
    });
}

/// A server is killed at any step of taking and sending: the client gets what was sent, then learns it. A call of
/// which a part was sent is not open again.
#[test]
fn loom_calls_in_parts_of_a_dead_server() {
    check_kills(2, |steps| {
        let (kernel, stage) = (Kernel::new(), Stage::new());
        let me = kernel.process(0);
        let ticket = stage.world.post(&me, 1);
        let victim = {
            let (process, stage) = (kernel.process(1), stage.clone());
            thread::spawn(move || {
                let life = || stage.world.slot.take(2).map(|taken| stage.send_all(&process, taken));
                process.killed_after(steps, life, || ()).is_none()
            })
        };
        let mut window = Receiving::new(ticket, ROOM);
        let state = loop {
            let look = || match window.next(stage.world.slot.call()) {
                // Killed before it had the call, or before it had sent a part: then another one would have it.
                Next::NotYet if kernel.is_dead(1) => {
                    stage.sweep(&me);
                    let was = stage.world.slot.call().withdraw_open(ticket);
                    was.map(|_| Next::Over(State::Free))
                }
                Next::NotYet => None,
                next => Some(next),
            };
            let next = EventCount(&stage.world.lane_event)
                .wait_until(&me, Wait::Park, None, look, || stage.sweep(&me))
                .expect("there is no other way out");
            if let Next::Over(state) = next {
                break state;
            }
            assert_eq!(stage.world.slot.response.read(), 1 + window.done());
            window.consume(&stage.consumed);
            EventCount(&stage.world.lane_event).notify(&me);
        };
        let killed = victim.join().expect("no panic");
        match (state, window.done()) {
            (State::Answered, PARTS) => {}
            (State::Free, 0) | (State::Failed, 1..=PARTS) => assert!(killed),
            other => panic!("{other:?}"),
        }
        stage.world.call_once_more(&me, || ());
        killed
    });
}

/// A client is killed at any step of calling and receiving: its server, which may be asleep, learns it, and the slot is
/// the next client's.
#[test]
fn loom_calls_in_parts_of_a_dead_client() {
    check_kills(2, |steps| {
        let (kernel, stage) = (Kernel::new(), Stage::new());
        let victim = {
            let (process, stage) = (kernel.process(3), stage.clone());
            thread::spawn(move || {
                let life = || {
                    let ticket = stage.world.post(&process, 1);
                    stage.receive_all(&process, ticket, 1)
                };
                match process.killed_after(steps, life, || ()) {
                    Some(end) => {
                        assert_eq!(end, (PARTS, State::Answered));
                        false
                    }
                    None => true,
                }
            })
        };
        let me = kernel.process(0);
        let look = || match stage.world.slot.take(1) {
            Some(taken) => Some(Some(taken)),
            None => kernel.is_dead(3).then_some(None),
        };
        let taken = EventCount(&stage.world.servers_event)
            .wait_until(&me, Wait::Park, None, look, || AfterSlice::GoOn)
            .expect("there is no other way out");
        // The slice that the death let expire may be spent: what a later one would do.
        if kernel.is_dead(3) {
            stage.sweep(&me);
        }
        if let Some(taken) = taken {
            stage.send_all(&me, taken);
        }
        let killed = victim.join().expect("no panic");
        if killed {
            stage.sweep(&me);
        }
        stage.world.call_once_more(&me, || ());
        killed
    });
}
