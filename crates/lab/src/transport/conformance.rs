//! What every transport must do, run over each of them with both ends in one process.
#![forbid(unsafe_code)]

use std::thread;

use super::{Line, Shape, Transport, TwoLines};
use crate::names::Wait;

/// Sends messages of many lengths there and back and compares every byte.
fn echo<T: Transport>(wait: Wait, capacity: usize) {
    let shape = Shape { capacity, depth: 4, wait };
    let (mut near, handover) = T::create(&shape).unwrap();
    let lengths: Vec<usize> =
        [0, 1, 7, 8, 100, 4096, 70_000, capacity].into_iter().filter(|l| *l <= capacity).collect();
    let content =
        |round: usize, length: usize| (0..length).map(move |i| (i * 7 + round) as u8).collect::<Vec<u8>>();
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut far = T::attach(&shape, handover).unwrap();
            for _ in 0..3 * lengths.len() {
                let got = far.receive(|bytes| Ok(bytes.to_vec())).unwrap();
                far.send(|out| {
                    out[..got.len()].copy_from_slice(&got);
                    Ok(got.len())
                })
                .unwrap();
            }
            // Then a stream, more than fits at a time.
            for round in 0..200_usize {
                assert_eq!(far.receive(|bytes| Ok(bytes.to_vec())).unwrap(), content(round, round % 50));
            }
        });
        near.meet().unwrap();
        for round in 0..3 {
            for &length in &lengths {
                let sent = content(round, length);
                near.send(|out| {
                    assert_eq!(out.len(), capacity);
                    out[..length].copy_from_slice(&sent);
                    Ok(length)
                })
                .unwrap();
                assert!(near.receive(|bytes| Ok(bytes == sent)).unwrap(), "{length} bytes");
            }
        }
        for round in 0..200 {
            let sent = content(round, round % 50);
            near.send(|out| {
                out[..sent.len()].copy_from_slice(&sent);
                Ok(sent.len())
            })
            .unwrap();
        }
    });
}

/// The same for messages of one size.
fn echo_fixed<T: Transport>(wait: Wait, size: usize, lossless: bool) {
    let shape = Shape { capacity: size, depth: 4, wait };
    let (mut near, handover) = T::create(&shape).unwrap();
    let message = |round: usize| (0..size).map(|i| (i * 7 + round) as u8).collect::<Vec<u8>>();
    let streamed = if lossless { 200 } else { 0 };
    thread::scope(|scope| {
        scope.spawn(move || {
            let mut far = T::attach(&shape, handover).unwrap();
            for round in 0..100 {
                assert!(far.receive(|bytes| Ok(bytes == message(round))).unwrap());
                far.send(|out| {
                    out.copy_from_slice(&message(round + 1));
                    Ok(size)
                })
                .unwrap();
            }
            for round in 0..streamed {
                assert!(far.receive(|bytes| Ok(bytes == message(round))).unwrap());
            }
        });
        near.meet().unwrap();
        for round in 0..100 {
            near.send(|out| {
                out.copy_from_slice(&message(round));
                Ok(size)
            })
            .unwrap();
            assert!(near.receive(|bytes| Ok(bytes == message(round + 1))).unwrap());
        }
        for round in 0..streamed {
            near.send(|out| {
                out.copy_from_slice(&message(round));
                Ok(size)
            })
            .unwrap();
        }
    });
}

/// The same for slots of one size, which refuse messages of another.
fn echo_slots<T: Transport>(size: usize, lossless: bool) {
    for wait in [Wait::Spin, Wait::Yield, Wait::Park] {
        let shape = Shape { capacity: size, depth: 4, wait };
        echo_fixed::<T>(wait, size, lossless);
        let (mut near, _handover) = T::create(&shape).unwrap();
        let shorter = near.send(|_| Ok(8)).unwrap_err().to_string();
        assert!(shorter.contains(&format!("slots of {size} bytes")), "{shorter}");
        let other = Shape { capacity: 100, ..shape };
        assert!(T::create(&other).is_err(), "slots of another size are refused");
    }
}

macro_rules! typed {
    ($($test:ident: $name:ident::$slots:ident, lossless $lossless:literal;)+) => {$(
        #[test]
        fn $test() {
            echo_slots::<super::$name::$slots<Line>>(size_of::<Line>(), $lossless);
            echo_slots::<super::$name::$slots<TwoLines>>(size_of::<TwoLines>(), $lossless);
        }
    )+};
}

typed! {
    allmende_slots: allmende_slots::AllmendeSlots, lossless true;
    allmende_typed_topic: allmende_topic::AllmendeTypedTopic, lossless true;
    allmende_queue: allmende_queue::AllmendeQueue, lossless true;
    allmende_service: allmende_service::AllmendeService, lossless false;
    allmende_cell: allmende_cell::AllmendeCell, lossless false;
    allmende_broadcast: allmende_broadcast::AllmendeBroadcast, lossless false;
}

macro_rules! conforms {
    ($($name:ident: $type:ty, $($wait:ident)+;)+) => {$(
        #[test]
        fn $name() {
            for wait in [$(Wait::$wait),+] {
                echo::<$type>(wait, 64);
                echo::<$type>(wait, 300_000);
            }
        }
    )+};
}

conforms! {
    allmende_loan: super::allmende_loan::AllmendeLoan, Spin Yield Park;
    allmende_copy: super::allmende_copy::AllmendeCopy, Spin Yield Park;
    allmende_lanes: super::allmende_lanes::AllmendeLanes, Spin Yield Park;
    allmende_topic: super::allmende_topic::AllmendeTopic, Spin Yield Park;
    pipe: super::pipe::Pipe, Spin Yield Blocking;
    unix: super::unix::Unix, Spin Yield Blocking;
    tcp: super::tcp::Tcp, Spin Yield Blocking;
    futex: super::futex::Futex, Park;
    raw_sync: super::raw_sync::RawSync, Spin Park;
}

/// Frameworks of others: 64 bytes and what is more than one page, where they take it.
#[cfg(feature = "peers")]
mod peers {
    use super::*;
    use crate::transport::{crossbar, iceoryx2, ipc_channel, ringfire};

    #[test]
    fn iceoryx2() {
        echo_fixed::<iceoryx2::Iceoryx2>(Wait::Spin, 64, true);
        echo_fixed::<iceoryx2::Iceoryx2>(Wait::Spin, 300_000, true);
    }

    #[test]
    fn crossbar() {
        crate::cleanup::sweep_traces();
        for size in [64, 300_000] {
            echo_fixed::<crossbar::Crossbar>(Wait::Spin, size, false);
            echo_fixed::<crossbar::CrossbarPinned>(Wait::Spin, size, false);
        }
        echo_fixed::<crossbar::CrossbarBus<Line>>(Wait::Spin, size_of::<Line>(), true);
        echo_fixed::<crossbar::CrossbarBus<TwoLines>>(Wait::Spin, size_of::<TwoLines>(), true);
        crate::cleanup::sweep_traces();
    }

    #[test]
    fn ringfire() {
        echo_fixed::<ringfire::Ringfire<Line>>(Wait::Spin, size_of::<Line>(), true);
        echo_fixed::<ringfire::Ringfire<TwoLines>>(Wait::Spin, size_of::<TwoLines>(), true);
        echo_fixed::<ringfire::RingfireBlob>(Wait::Spin, 300_000, false);
    }

    #[test]
    fn ipc_channel() {
        for wait in [Wait::Spin, Wait::Blocking] {
            echo::<ipc_channel::IpcChannel>(wait, 64);
            echo::<ipc_channel::IpcChannel>(wait, 300_000);
        }
    }
}
