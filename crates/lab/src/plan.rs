//! Which contenders run at which sizes.
#![forbid(unsafe_code)]

use crate::names::{Access, CodecKind, Flow, PayloadKind, TransportKind, Wait};
use crate::options::Options;
use crate::setup::{Setup, depth};

/// Contenders that are compared with one another: the same payload of the same size.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Group {
    pub(crate) payload: PayloadKind,
    pub(crate) size: usize,
    pub(crate) setups: Vec<Setup>,
}

impl Group {
    /// The share of time that the group gets, relative to others: large messages take longer.
    pub(crate) fn weight(&self) -> f64 {
        self.setups.len() as f64 * (1.0 + self.size as f64 / f64::from(4 << 20))
    }
}

/// Sizes of the usual choice.
const QUICK_SIZES: [usize; 5] = [56, 64, 4 << 10, 64 << 10, 1 << 20];
const FULL_SIZES: [usize; 9] = [8, 56, 64, 512, 4 << 10, 64 << 10, 1 << 20, 16 << 20, 64 << 20];
const RECORD_SIZES: [usize; 4] = [512, 4 << 10, 64 << 10, 1 << 20];
/// Messages of this size fill a cache line together with their stamp: shared memory alone tells the difference.
const LINE: usize = 56;
/// Sizes at which the channels for many and the frameworks of others run without being asked for.
const SOME_SIZES: [usize; 3] = [64, 4 << 10, 1 << 20];
/// Room for messages in closed loops: one is under way at a time, and few lines stay at hand.
const LOOP_DEPTH: usize = 8;
/// Room for messages in streams: neither side waits for the other at each of them.
const STREAM_DEPTH: usize = 64;
/// Codecs are left out above this size unless asked for: they take seconds a message.
const LARGEST_ENCODED: usize = 16 << 20;

/// The groups to run, small messages first. `file_length` is the length of the user's file.
pub(crate) fn groups(options: &Options, file_length: Option<usize>) -> Vec<Group> {
    let payloads = match (&options.payloads[..], file_length) {
        ([], Some(_)) => vec![PayloadKind::File],
        ([], None) if options.quick || chosen(options) => vec![PayloadKind::Field],
        ([], None) => vec![PayloadKind::Field, PayloadKind::Records],
        (some, _) => some.to_vec(),
    };
    let mut groups = Vec::new();
    for payload in payloads {
        for size in sizes(options, payload, file_length) {
            let wanted = all(payload, size).filter(|setup| wanted(setup, options));
            let setups: Vec<Setup> = wanted.flat_map(|setup| flows(setup, options)).collect();
            if !setups.is_empty() {
                groups.push(Group { payload, size, setups });
            }
        }
    }
    groups
}

fn sizes(options: &Options, payload: PayloadKind, file_length: Option<usize>) -> Vec<usize> {
    let mut sizes = match (&options.sizes[..], options.quick, payload) {
        ([], true, _) => QUICK_SIZES.to_vec(),
        ([], false, PayloadKind::Records) => RECORD_SIZES.to_vec(),
        ([], false, _) => FULL_SIZES.to_vec(),
        (some, ..) => some.to_vec(),
    };
    if let (PayloadKind::File, Some(length)) = (payload, file_length) {
        // A message cannot be longer than the file: the whole file is then the longest.
        for size in &mut sizes {
            *size = (*size).min(length.max(1));
        }
    }
    sizes.sort_unstable();
    sizes.dedup();
    sizes
}

/// Every combination that makes sense.
fn all(payload: PayloadKind, size: usize) -> impl Iterator<Item = Setup> {
    let codecs =
        |transport: TransportKind| if transport.is_python() { &[CodecKind::Pickle] } else { CodecKind::ALL };
    let accesses = |transport: TransportKind, codec: CodecKind| match (transport.in_place(), codec) {
        (true, CodecKind::None) => &[Access::Touched, Access::Descriptor][..],
        _ => &[Access::Touched],
    };
    TransportKind::ALL
        .iter()
        .flat_map(move |&transport| {
            codecs(transport).iter().flat_map(move |&codec| {
                accesses(transport, codec).iter().flat_map(move |&access| {
                    transport.waits().iter().map(move |&wait| Setup {
                        transport,
                        codec,
                        access,
                        wait,
                        payload,
                        size,
                        flow: Flow::Any,
                        depth: STREAM_DEPTH,
                    })
                })
            })
        })
        .filter(fits_slots)
}

/// The contender with the room that suits the modes it is to run in: one for all, or one for closed loops and one for
/// streams. All contenders follow the same rule.
fn flows(setup: Setup, options: &Options) -> Vec<Setup> {
    let most = |flow| options.depth.unwrap_or(if flow == Flow::Loops { LOOP_DEPTH } else { STREAM_DEPTH });
    let room = |flow| depth(setup.size, most(flow));
    if !setup.transport.has_depth() || room(Flow::Loops) == room(Flow::Streams) {
        return vec![Setup { depth: most(Flow::Streams), ..setup }];
    }
    let modes = options.modes();
    let wanted = [Flow::Loops, Flow::Streams]
        .into_iter()
        .filter(|flow| modes.iter().any(|mode| flow.suits(*mode) && setup.transport.runs_in(*mode)));
    wanted.map(|flow| Setup { flow, depth: most(flow), ..setup }).collect()
}

/// Whether slots of a fixed size can hold these messages, where the transport has such slots.
fn fits_slots(setup: &Setup) -> bool {
    let transport = setup.transport;
    let plain = setup.codec == CodecKind::None
        && setup.access == Access::Touched
        && setup.payload != PayloadKind::Records;
    let size = transport.fixed_sizes().is_none_or(|sizes| sizes.contains(&setup.size));
    size && (plain || !(transport.is_peer() || transport.fixed_sizes().is_some()))
}

/// Why no contender fits, in a sentence: what the chosen transports can do.
pub(crate) fn nothing_fits(options: &Options) -> String {
    let chosen = if options.transports.is_empty() { TransportKind::ALL } else { &options.transports };
    let can = |transport: &TransportKind| {
        let waits: Vec<&str> = transport.waits().iter().map(|wait| wait.name()).collect();
        let more = match transport {
            _ if transport.fixed_sizes().is_some() => ", messages of 56 or 64 bytes, no codec, no records",
            _ if transport.is_peer() => ", no codec, no records",
            _ if transport.is_python() => ", codec pickle only",
            _ => "",
        };
        format!("{transport}: wait {}{more}", waits.join(" or "))
    };
    format!(
        "no contender fits these options. What there is: {}",
        chosen.iter().map(can).collect::<Vec<_>>().join("; ")
    )
}

/// Whether the user has chosen contenders.
fn chosen(options: &Options) -> bool {
    !(options.transports.is_empty() && options.codecs.is_empty() && options.waits.is_empty())
}

/// Whether a contender runs: if none is chosen, the usual ones; otherwise all that fit the choice.
fn wanted(setup: &Setup, options: &Options) -> bool {
    if !chosen(options) {
        return usual(setup, options);
    }
    let fits = |list: &[_], value| list.is_empty() || list.contains(value);
    // Python always pickles: without a word about codecs it runs.
    let codec = if options.codecs.is_empty() {
        setup.codec == CodecKind::None || setup.transport.is_python()
    } else {
        options.codecs.contains(&setup.codec)
    };
    let wait = if options.waits.is_empty() { usual_wait(setup) } else { options.waits.contains(&setup.wait) };
    fits(&options.transports, &setup.transport) && codec && wait
}

/// The wait strategies that run without being asked for.
fn usual_wait(setup: &Setup) -> bool {
    setup.wait == Wait::Blocking || !setup.transport.waits().contains(&Wait::Blocking)
}

/// The usual choice.
fn usual(setup: &Setup, options: &Options) -> bool {
    let &Setup { transport, codec, access, wait, payload, size, .. } = setup;
    if size == LINE && !(transport.in_place() && codec == CodecKind::None && access == Access::Touched) {
        return false;
    }
    let first_wait = transport.waits().first() == Some(&wait);
    if (transport.is_channel() || transport.is_peer()) && size != LINE && !SOME_SIZES.contains(&size) {
        return false;
    }
    if access == Access::Descriptor {
        return first_wait && payload != PayloadKind::Records;
    }
    if transport.is_channel() {
        let asleep = wait == Wait::Park && size <= 64 && !options.quick;
        return (first_wait || asleep) && codec == CodecKind::None && payload != PayloadKind::Records;
    }
    if transport == TransportKind::AllmendeCopy {
        return first_wait && codec == CodecKind::None && payload != PayloadKind::Records;
    }
    if transport.is_peer() {
        return first_wait;
    }
    if transport.is_python() {
        return size <= LARGEST_ENCODED;
    }
    if codec != CodecKind::None {
        let pipe = transport == TransportKind::Pipe && wait == Wait::Blocking;
        // The same encoded message through shared memory shows what the codec takes, and what the transport.
        let loan = transport == TransportKind::AllmendeLoan && wait == Wait::Spin && !options.quick;
        return (pipe || loan) && size <= LARGEST_ENCODED;
    }
    match (payload, wait) {
        (PayloadKind::Records, Wait::Blocking) => transport == TransportKind::Pipe,
        (PayloadKind::Records, _) => transport.in_place() && (first_wait || wait == Wait::Park),
        (_, Wait::Blocking | Wait::Park) => true,
        (_, Wait::Spin) => transport.in_place() || !options.quick,
        (_, Wait::Yield) => transport.in_place() && !options.quick,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_choices_hold_what_must_be_compared() {
        for quick in [true, false] {
            let options = Options { quick, ..Options::default() };
            let groups = groups(&options, None);
            for group in groups.iter().filter(|group| {
                group.payload == PayloadKind::Field && group.size <= 1 << 20 && group.size != LINE
            }) {
                for transport in TransportKind::ALL {
                    let runs = group.setups.iter().any(|setup| setup.transport == *transport);
                    let slots = transport.fixed_sizes().is_some() && group.size != 64;
                    let some = transport.is_peer() || transport.is_channel();
                    let some = some && !SOME_SIZES.contains(&group.size);
                    assert_eq!(runs, !slots && !some, "{transport} at {}", group.size);
                }
                for codec in CodecKind::ALL {
                    assert!(group.setups.iter().any(|setup| setup.codec == *codec), "{codec}");
                }
            }
            assert!(groups.iter().all(|group| group.weight() > 0.0));
        }
    }

    #[test]
    fn the_typed_ring_runs_at_the_sizes_of_its_slots() {
        let options = Options { transports: vec![TransportKind::AllmendeSlots], ..Options::default() };
        let groups = groups(&options, None);
        assert_eq!(groups.iter().map(|group| group.size).collect::<Vec<_>>(), crate::names::SLOT_SIZES);
        let line = super::groups(&Options::default(), None).into_iter().find(|group| group.size == LINE);
        assert!(line.unwrap().setups.iter().all(|setup| setup.transport.in_place()));
    }

    #[test]
    fn loops_and_streams_have_the_room_that_suits_them() {
        use crate::names::Mode::{Rtt, Stream};
        use TransportKind::{AllmendeQueue, AllmendeService, AllmendeTopic, Pipe};
        let of = |transport, sizes: &[usize], modes: &[crate::names::Mode], depth| {
            let (sizes, modes) = (sizes.to_vec(), modes.to_vec());
            let transports = vec![transport];
            let waits = vec![Wait::Spin];
            let options = Options { sizes, transports, waits, modes, depth, ..Options::default() };
            let setups = groups(&options, None).remove(0).setups;
            let mut flows: Vec<_> = setups.iter().map(|setup| (setup.flow, setup.depth)).collect();
            flows.dedup();
            flows
        };
        let both = [(Flow::Loops, LOOP_DEPTH), (Flow::Streams, STREAM_DEPTH)];
        assert_eq!(of(AllmendeQueue, &[64], &[], None), both);
        assert_eq!(of(AllmendeQueue, &[64], &[Stream], None), both[1..]);
        assert_eq!(of(AllmendeTopic, &[64], &[Rtt], None), both[..1]);
        for (transport, size, depth) in [
            (AllmendeTopic, 1 << 20, None),
            (AllmendeQueue, 64, Some(16)),
            (AllmendeService, 64, None),
            (Pipe, 64, None),
        ] {
            let flows = of(transport, &[size], &[], depth);
            assert_eq!(flows, [(Flow::Any, depth.unwrap_or(STREAM_DEPTH))], "{transport}");
        }
    }

    #[test]
    fn what_does_not_fit_is_explained() {
        let transports = vec![TransportKind::AllmendeSlots];
        let options = Options { transports, sizes: vec![100], ..Options::default() };
        assert!(groups(&options, None).is_empty());
        let text = nothing_fits(&options);
        assert!(
            text.contains("allmende-slots: wait spin or yield or park, messages of 56 or 64 bytes"),
            "{text}"
        );
        assert!(!text.contains("tcp"), "{text}");
    }

    #[test]
    fn every_transport_can_be_chosen_by_its_name_alone() {
        for &transport in TransportKind::ALL {
            let options = Options { transports: vec![transport], ..Options::default() };
            assert!(!groups(&options, None).is_empty(), "{transport}");
        }
    }

    #[test]
    fn a_choice_is_followed() {
        let options = Options {
            sizes: vec![4096, 64],
            transports: vec![TransportKind::Pipe],
            codecs: vec![CodecKind::None, CodecKind::Json],
            ..Options::default()
        };
        let groups = groups(&options, None);
        assert_eq!(groups.iter().map(|group| group.size).collect::<Vec<_>>(), [64, 4096]);
        assert_eq!(groups[0].setups.len(), 2);
    }

    #[test]
    fn the_file_bounds_the_sizes() {
        let groups = groups(&Options { quick: true, ..Options::default() }, Some(5000));
        assert_eq!(groups.iter().map(|group| group.size).collect::<Vec<_>>(), [56, 64, 4096, 5000]);
        assert!(groups.iter().all(|group| group.payload == PayloadKind::File));
    }
}
