//! What allmende is held to against frameworks of others that ran beside it.
//!
//! | figure | limit |
//! | --- | --- |
//! | round trip of 64 B by ring, queue and topic, over the fastest of them | at most 0.75 |
//! | the same over iceoryx2 | at most 0.3 |
//! | messages a second of a stream of 64 B, over the fastest that loses none | at least 1.5 |
//! | round trip of 1 MiB, written and read in full, over the fastest | at most 1.03 |
#![forbid(unsafe_code)]

use crate::names::{Access, CodecKind, Mode, TransportKind, Wait};
use crate::row::Row;
use crate::verdict::{Bound, Verdict};

const SMALL: usize = 64;
const LARGE: usize = 1 << 20;

/// Ours that are compared: the ring of slots and that of bytes, the queue, the topic.
pub(crate) const OURS: [TransportKind; 4] = [
    TransportKind::AllmendeSlots,
    TransportKind::AllmendeLoan,
    TransportKind::AllmendeQueue,
    TransportKind::AllmendeTopic,
];

/// The verdicts; none if no framework of others ran.
pub(crate) fn against_peers(rows: &[Row]) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    let find = |kind: TransportKind, size, mode| -> Option<&Row> {
        rows.iter().find(|row| {
            let plain =
                row.access == Access::Touched && row.codec == CodecKind::None && row.wait == Wait::Spin;
            plain && row.transport == kind && row.payload_bytes == size && row.mode == mode
        })
    };
    let fastest = |size, mode| -> Option<&Row> {
        let peers = TransportKind::ALL.iter().copied().filter(|kind| kind.is_peer());
        let rows = peers.filter_map(|kind| find(kind, size, mode).filter(|row| row.messages_per_s.is_some()));
        rows.max_by(|a, b| a.messages_per_s.unwrap_or(0.0).total_cmp(&b.messages_per_s.unwrap_or(0.0)))
    };
    let iceoryx2 = |size, mode| {
        let kind = TransportKind::ALL.iter().copied().find(|kind| kind.name() == "iceoryx2");
        kind.and_then(|kind| find(kind, size, mode))
    };
    for (what, size, mode, limit, bound, rival) in [
        ("round trip, 64 B", SMALL, Mode::Rtt, 0.75, Bound::AtMost, fastest(SMALL, Mode::Rtt)),
        ("round trip, 64 B", SMALL, Mode::Rtt, 0.3, Bound::AtMost, iceoryx2(SMALL, Mode::Rtt)),
        ("stream, 64 B", SMALL, Mode::Stream, 1.5, Bound::AtLeast, fastest(SMALL, Mode::Stream)),
        ("round trip, 1 MiB", LARGE, Mode::Rtt, 1.03, Bound::AtMost, fastest(LARGE, Mode::Rtt)),
    ] {
        let Some(rival) = rival else { continue };
        for ours in OURS.into_iter().filter_map(|kind| find(kind, size, mode)) {
            verdicts.extend(compare(what, ours, rival, limit, bound));
        }
    }
    verdicts
}

/// Ours over theirs: times, or messages a second where more is better.
fn compare(what: &str, ours: &Row, theirs: &Row, limit: f64, bound: Bound) -> Option<Verdict> {
    // The median over slices of the mean: the median of single times steps with the clock.
    let (rate, rival) = (ours.messages_per_s?, theirs.messages_per_s?);
    let (figure, of) = match bound {
        Bound::AtMost => (rival / rate, "×"),
        Bound::AtLeast => (rate / rival, "× the messages a second of"),
    };
    let name = format!("{}: {what}", ours.transport);
    let floors = ours.floor_rtt_p50_ns.zip(theirs.floor_rtt_p50_ns);
    let other_floor = floors.is_none_or(|(a, b)| a.max(b) > 1.25 * a.min(b));
    Some(Verdict {
        takes_ns: Some(1e9 / rate),
        slices_kept: ours.slices_kept.min(theirs.slices_kept),
        doubtful: ours.doubtful() || theirs.doubtful() || other_floor,
        ..Verdict::new(name, Some(figure), format!("{of} {}", theirs.transport), limit, bound)
    })
}

#[cfg(test)]
#[cfg(feature = "peers")]
mod tests {
    use super::*;
    use crate::finding::tests::row;

    #[test]
    fn ours_is_held_against_the_fastest() {
        use TransportKind::{AllmendeQueue, Iceoryx2, Ringfire};
        let with = |kind, mode, per_s| Row {
            mode,
            messages_per_s: Some(per_s),
            ..row(kind, CodecKind::None, Wait::Spin, 64, 100)
        };
        let rows = [
            with(AllmendeQueue, Mode::Rtt, 8e6),
            with(Iceoryx2, Mode::Rtt, 2e6),
            with(Ringfire, Mode::Rtt, 4e6),
            with(AllmendeQueue, Mode::Stream, 100e6),
            with(Ringfire, Mode::Stream, 80e6),
        ];
        let verdicts = against_peers(&rows);
        let told: Vec<_> = verdicts
            .iter()
            .map(|verdict| (verdict.figure.unwrap(), verdict.unit.as_str(), verdict.met.unwrap()))
            .collect();
        assert_eq!(
            told,
            [
                (0.5, "× ringfire", true),
                (0.25, "× iceoryx2", true),
                (1.25, "× the messages a second of ringfire", false)
            ]
        );
        assert!(against_peers(&rows[..1]).is_empty(), "nobody to be held against");
    }
}
