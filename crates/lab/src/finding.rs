//! The finding: what the rows say, in plain sentences.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;

use crate::crash::{Crash, Fate};
use crate::names::{Access, CodecKind, Mode, PayloadKind, TransportKind, Wait};
use crate::options::format_size;
use crate::output::units::{factor, rate, time};
use crate::row::Row;
use crate::verdict::Verdict;

/// A contender, whatever the size and mode.
type Key = (TransportKind, CodecKind, Access, Wait);

fn key(row: &Row) -> Key {
    (row.transport, row.codec, row.access, row.wait)
}

/// Name of a contender in a sentence.
pub(crate) fn name((transport, codec, access, wait): Key) -> String {
    let codec = match codec {
        CodecKind::None => String::new(),
        _ if transport.is_python() => String::new(),
        _ => format!(" + {codec}"),
    };
    let access = if access == Access::Descriptor { ", not touched" } else { "" };
    let wait = if wait == Wait::Blocking { String::new() } else { format!(" ({wait})") };
    format!("{transport}{codec}{wait}{access}")
}

/// Rows of one payload in one mode.
struct View<'a>(Vec<&'a Row>);

impl<'a> View<'a> {
    fn of(rows: &'a [Row], payload: PayloadKind, mode: Mode) -> Self {
        Self(rows.iter().filter(|row| row.payload_kind == payload && row.mode == mode).collect())
    }

    fn find(&self, wanted: Key, size: usize) -> Option<&'a Row> {
        self.0.iter().copied().find(|row| key(row) == wanted && row.payload_bytes == size)
    }

    fn sizes(&self, wanted: Key) -> Vec<usize> {
        let sizes: BTreeSet<usize> =
            self.0.iter().filter(|row| key(row) == wanted).map(|row| row.payload_bytes).collect();
        sizes.into_iter().collect()
    }

    /// The zero-copy contender that is quoted: the first of the list, waiting as `wait` says if it can.
    fn zero_copy(&self, wait: &[Wait]) -> Option<Key> {
        let fits = |row: &&&Row| {
            row.transport.in_place() && row.codec == CodecKind::None && row.access == Access::Touched
        };
        wait.iter().find_map(|wait| {
            self.0.iter().filter(fits).filter(|row| row.wait == *wait).map(|row| key(row)).min()
        })
    }
}

/// Rows of this many floors are ruled by memory and kernel: how far apart the cores are hardly counts.
const LONG: f64 = 100.0;

/// How many times as long `slow` takes as `quick`. Nothing if the floor was at another level beside them, unless both
/// take so long that this does not count: times across levels say nothing, and ratios to the floor only where the
/// floor is most of the time.
fn times_as_long(slow: &Row, quick: &Row) -> Option<f64> {
    let (a, b) = slow.floor_rtt_p50_ns.zip(quick.floor_rtt_p50_ns)?;
    let long = |row: &Row, floor: f64| row.typical_ns().is_some_and(|ns| ns > LONG * floor);
    let comparable = a.max(b) <= 1.25 * a.min(b) || (long(slow, a) && long(quick, b));
    comparable.then(|| Some(slow.typical_ns()? / quick.typical_ns()?)).flatten()
}

/// The pickled pipe that is quoted.
const PICKLED: Key = (TransportKind::Pipe, CodecKind::Pickle, Access::Touched, Wait::Blocking);

/// The finding, sentence by sentence.
pub(crate) fn findings(rows: &[Row], channels: &[Verdict], crashes: &[Crash]) -> Vec<String> {
    let mut sentences = Vec::new();
    let payloads: BTreeSet<PayloadKind> = rows.iter().map(|row| row.payload_kind).collect();
    for payload in payloads {
        let trips = View::of(rows, payload, Mode::Rtt);
        let what = match payload {
            PayloadKind::Bytes => "bytes",
            PayloadKind::Field => "f64",
            PayloadKind::Records => "records",
            PayloadKind::File => "your file",
        };
        for wait in [&[Wait::Spin][..], &[Wait::Park]] {
            if let Some(zero_copy) = trips.zero_copy(wait) {
                sentences.extend(against_pickle(&trips, zero_copy, what));
            }
        }
        if let Some(zero_copy) = trips.zero_copy(&[Wait::Spin, Wait::Park]) {
            sentences.extend(typed_ring(&trips));
            sentences.extend(crossovers(&trips, zero_copy, what));
            sentences.extend(descriptors(&trips, zero_copy));
            sentences.extend(costs(&trips, zero_copy, what));
            sentences.extend(streams(&View::of(rows, payload, Mode::Stream), zero_copy, what));
        }
        sentences.extend(against_peers(&trips));
        sentences.extend(against_peers(&View::of(rows, payload, Mode::Stream)));
        sentences.extend(paced(&View::of(rows, payload, Mode::Paced), what));
    }
    if sentences.is_empty() && !rows.is_empty() {
        sentences.push(
            "Nothing to compare: these rows hold no zero-copy contender with another beside it.".into(),
        );
    }
    sentences.extend(held(channels));
    sentences.extend(killed(crashes));
    sentences
}

/// Which limits of the channels are met.
fn held(channels: &[Verdict]) -> Option<String> {
    let missed: Vec<String> = channels
        .iter()
        .filter(|verdict| verdict.met == Some(false))
        .filter_map(|verdict| {
            let doubt = if verdict.doubtful { "?" } else { "" };
            Some(format!("{} ({:.2}{doubt} instead of {:.2})", verdict.name, verdict.figure?, verdict.limit))
        })
        .collect();
    let measured = channels.iter().filter(|verdict| verdict.met.is_some()).count();
    let not = if missed.is_empty() { String::new() } else { format!("; not {}", missed.join(", ")) };
    let met = measured - missed.len();
    (measured > 0)
        .then(|| format!("Of {measured} limits that allmende's channels are held to, {met} are met{not}."))
}

/// What survivors see.
fn killed(crashes: &[Crash]) -> Option<String> {
    let names = |fate: Fate| -> Vec<&str> {
        crashes.iter().filter(|crash| crash.outcome == fate).map(|crash| crash.transport.name()).collect()
    };
    let (told, ends, hangs) = (names(Fate::Told), names(Fate::EndOfStream), names(Fate::Hangs));
    let longest =
        crashes.iter().filter(|crash| crash.outcome == Fate::Told).filter_map(|crash| crash.after_ms);
    let mut parts = Vec::new();
    if !told.is_empty() {
        let within = time(longest.fold(0.0, f64::max) * 1e6);
        parts.push(format!("{} said so within {within}", told.join(", ")));
    }
    if !ends.is_empty() {
        parts.push(format!("{} showed an end of stream, as if it had left in good order", ends.join(", ")));
    }
    if !hangs.is_empty() {
        parts.push(format!("with {} it waited for ever", hangs.join(", ")));
    }
    (!parts.is_empty()).then(|| {
        format!(
            "When a process was killed in the middle of sending, what did the one that waited for it see? {}.",
            parts.join("; ")
        )
    })
}

/// How many times cheaper than pickling through a pipe, size by size.
fn against_pickle(view: &View<'_>, zero_copy: Key, what: &str) -> Option<String> {
    let parts: Vec<String> = view
        .sizes(zero_copy)
        .into_iter()
        .filter_map(|size| {
            let (quick, slow) = (view.find(zero_copy, size)?, view.find(PICKLED, size)?);
            let doubt = if quick.doubtful() || slow.doubtful() { "?" } else { "" };
            let times = factor(times_as_long(slow, quick)?) + doubt;
            let (quick, slow) = (time(quick.typical_ns()?), time(slow.typical_ns()?));
            Some(format!("{times} at {} ({quick} against {slow})", format_size(size)))
        })
        .collect();
    let how = match zero_copy.3 {
        Wait::Spin => "busy waiting",
        Wait::Yield => "yielding",
        Wait::Park | Wait::Blocking => "asleep while they wait",
    };
    let name = name(zero_copy);
    (!parts.is_empty()).then(|| {
        let parts = parts.join(", ");
        format!("Zero-copy by {name}, both ends {how}: a round trip of {what} costs less time than pickled through a pipe by a factor of {parts}.")
    })
}

/// How near the typed ring comes to the floor.
fn typed_ring(view: &View<'_>) -> Option<String> {
    let ring = (TransportKind::AllmendeSlots, CodecKind::None, Access::Touched, Wait::Spin);
    let parts: Vec<String> = view
        .sizes(ring)
        .into_iter()
        .filter_map(|size| {
            let row = view.find(ring, size)?;
            let ratio = row.ratio_to_floor.filter(|_| !row.doubtful())?;
            Some(format!("{} at {}", factor(ratio), format_size(size)))
        })
        .collect();
    (!parts.is_empty()).then(|| {
        format!(
            "The floor is what two cores can do at best, with nothing sent but a flag. A round trip by {}, through slots of a fixed type, takes so many times as long: {}.",
            name(ring),
            parts.join(", ")
        )
    })
}

/// Up to a tenth is a draw: two runs differ by as much.
const DRAW: f64 = 0.9;

/// From which size on zero-copy wins over each other way.
fn crossovers(view: &View<'_>, zero_copy: Key, what: &str) -> Vec<String> {
    // Another wait strategy of the same way is not another way; the typed ring and the channels have sentences of their
    // own.
    let own = |kind: TransportKind| kind == TransportKind::AllmendeSlots || kind.is_channel();
    let same = |key: &Key| (key.0, key.1) == (zero_copy.0, zero_copy.1) || own(key.0);
    let others: BTreeSet<Key> =
        view.0.iter().map(|row| key(row)).filter(|key| !same(key) && key.2 == Access::Touched).collect();
    let (mut always, mut from, mut never) = (Vec::new(), Vec::new(), Vec::new());
    for other in others {
        let compared: Vec<(usize, f64)> = view
            .sizes(zero_copy)
            .into_iter()
            .filter_map(|size| {
                let (slow, quick) = (view.find(other, size)?, view.find(zero_copy, size)?);
                let sure = !slow.doubtful() && !quick.doubtful();
                sure.then(|| Some((size, times_as_long(slow, quick)?))).flatten()
            })
            .collect();
        let losses = compared.iter().rposition(|(_, times)| *times < DRAW);
        match (losses, &compared[..]) {
            (_, []) => {}
            (None, _) => always.push(name(other)),
            (Some(last), all) => match all.get(last + 1) {
                Some((size, _)) => from.push(format!("{} from {} on", name(other), format_size(*size))),
                None => never.push(name(other)),
            },
        }
    }
    let name = name(zero_copy);
    let mut sentences = Vec::new();
    if !always.is_empty() {
        sentences.push(format!(
            "Zero-copy of {what} by {name} is at every size with a steady figure at least as quick as {}.",
            always.join(", ")
        ));
    }
    if !from.is_empty() {
        sentences.push(format!("It is at least as quick as {}.", from.join(", ")));
    }
    if !never.is_empty() {
        sentences.push(format!("At the greatest of them it is slower than {}.", never.join(", ")));
    }
    sentences
}

/// Which framework of others is the fastest at each size, and how allmende compares with it.
fn against_peers(view: &View<'_>) -> Vec<String> {
    // The median over slices of the mean: the median of single times steps with the clock.
    let takes = |row: &Row| row.messages_per_s.map(|rate| 1e9 / rate);
    let rows = |size: usize, wanted: fn(&Row) -> bool| -> Vec<(&Row, f64)> {
        let all = view.0.iter().copied().filter(|row| row.payload_bytes == size && wanted(row));
        let mut rows: Vec<_> = all.filter_map(|row| Some((row, takes(row)?))).collect();
        rows.sort_by(|a, b| a.1.total_cmp(&b.1));
        rows
    };
    let sizes: BTreeSet<usize> = view.0.iter().map(|row| row.payload_bytes).collect();
    let mut sentences = Vec::new();
    for size in sizes {
        let peers = rows(size, |row| row.transport.is_peer());
        let ours = rows(size, |row| {
            row.transport.is_ours()
                && row.access == Access::Touched
                && row.wait == Wait::Spin
                && row.codec == CodecKind::None
        });
        let Some((best, quickest)) = peers.first().copied() else { continue };
        if ours.is_empty() {
            continue;
        }
        let others: Vec<String> =
            peers.iter().map(|(row, ns)| format!("{} {}", name(key(row)), time(*ns))).collect();
        let parts: Vec<String> =
            ours.iter()
                .map(|(row, ns)| {
                    let far = row.floor_rtt_p50_ns.zip(best.floor_rtt_p50_ns).is_none_or(|(a, b)| {
                        a.max(b) > 1.25 * a.min(b) && ns.min(quickest) < LONG * a.max(b)
                    });
                    let doubt = if row.doubtful() || best.doubtful() || far { "?" } else { "" };
                    format!("{} {:.2}{doubt}", name(key(row)), ns / quickest)
                })
                .collect();
        let what = if best.mode == Mode::Rtt { "A round trip" } else { "A message of a stream" };
        sentences.push(format!(
            "{what} of {} by frameworks of others: {}. Over the fastest of them, allmende's time is: {}.",
            format_size(size),
            others.join(", "),
            parts.join(", ")
        ));
    }
    sentences
}

/// What handing over a large message takes if nobody touches it.
fn descriptors(view: &View<'_>, zero_copy: Key) -> Option<String> {
    let key = (zero_copy.0, zero_copy.1, Access::Descriptor, zero_copy.3);
    let sizes = view.sizes(key);
    let (small, large) = (*sizes.first()?, *sizes.last()?);
    let typical = |size| Some(time(view.find(key, size)?.typical_ns()?));
    let (of_small, of_large) = (typical(small)?, typical(large)?);
    let name = name(zero_copy);
    (16 * small <= large).then(|| {
        let (small, large) = (format_size(small), format_size(large));
        format!("Handed over by {name} without being touched, {large} take {of_large} and {small} take {of_small}.")
    })
}

/// Processor time against the pickled pipe, at the size in the middle.
fn costs(view: &View<'_>, zero_copy: Key, what: &str) -> Option<String> {
    let sizes = view.sizes(zero_copy);
    let size = *sizes.get(sizes.len() / 2)?;
    let (ours, theirs) =
        (view.find(zero_copy, size)?.cpu_s_per_million?, view.find(PICKLED, size)?.cpu_s_per_million?);
    let (name, size) = (name(zero_copy), format_size(size));
    Some(format!(
        "A million round trips of {size} of {what} cost {ours:.3} s of processor time by {name}, and {theirs:.3} s pickled through a pipe."
    ))
}

/// Throughput against the pickled pipe and the plain pipe, at the greatest size that they share.
fn streams(view: &View<'_>, zero_copy: Key, what: &str) -> Option<String> {
    let plain = (TransportKind::Pipe, CodecKind::None, Access::Touched, Wait::Blocking);
    let sure = |key, size| view.find(key, size).is_some_and(|row| !row.doubtful());
    let size =
        view.sizes(zero_copy).into_iter().rfind(|size| sure(PICKLED, *size) && sure(zero_copy, *size))?;
    let speed = |key| view.find(key, size).and_then(|row| row.bytes_per_s).map(rate);
    let (ours, theirs) = (speed(zero_copy)?, speed(PICKLED)?);
    let pipe = speed(plain).map(|speed| format!(", {speed} through a plain pipe")).unwrap_or_default();
    Some(format!(
        "Streaming {what} in messages of {}: {ours} by {}{pipe}, {theirs} pickled through a pipe.",
        format_size(size),
        name(zero_copy)
    ))
}

/// What comes of a set rate: the time that all but one in a hundred keep, counted from when each was due.
fn paced(view: &View<'_>, what: &str) -> Option<String> {
    let plain = (TransportKind::Pipe, CodecKind::None, Access::Touched, Wait::Blocking);
    let quoted = [view.zero_copy(&[Wait::Spin]), view.zero_copy(&[Wait::Park]), Some(plain), Some(PICKLED)];
    let keys: Vec<Key> = quoted.into_iter().flatten().collect();
    let size = view.0.iter().filter(|row| keys.contains(&key(row))).map(|row| row.payload_bytes).min()?;
    let rows: Vec<&Row> = keys.iter().filter_map(|wanted| view.find(*wanted, size)).collect();
    let parts: Vec<String> = rows
        .iter()
        .filter_map(|row| {
            let late = if row.kept_pace() { "" } else { " (it could not keep the rate)" };
            Some(format!("{} by {}{late}", time(row.p99_ns? as f64), name(key(row))))
        })
        .collect();
    let rate = rows.first()?.rate_per_s?;
    (!parts.is_empty()).then(|| {
        format!(
            "With {rate} messages of {} of {what} a second, all but one in a hundred were read, counted from when each was due, within {}.",
            format_size(size),
            parts.join(", ")
        )
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn row(transport: TransportKind, codec: CodecKind, wait: Wait, size: usize, ns: u64) -> Row {
        Row {
            transport,
            codec,
            access: Access::Touched,
            wait,
            payload_bytes: size,
            payload_kind: PayloadKind::Field,
            mode: Mode::Rtt,
            rate_per_s: None,
            messages: 1000,
            p50_ns: Some(ns),
            p90_ns: None,
            p99_ns: None,
            p999_ns: None,
            p9999_ns: None,
            max_ns: None,
            mean_ns: Some(ns as f64),
            messages_per_s: None,
            bytes_per_s: None,
            cpu_s_per_million: Some(1.0),
            context_switches: None,
            page_faults: None,
            peak_rss_bytes: None,
            floor_rtt_p50_ns: Some(100.0),
            slices_kept: 3,
            slices_dropped: 0,
            ratio_to_floor: Some(ns as f64 / 100.0),
        }
    }

    #[test]
    fn says_how_many_times_and_from_where_on() {
        use TransportKind::{Pipe, RawSync};
        let rows = [
            row(RawSync, CodecKind::None, Wait::Spin, 64, 300),
            row(RawSync, CodecKind::None, Wait::Spin, 4096, 1000),
            row(Pipe, CodecKind::Pickle, Wait::Blocking, 64, 30_000),
            row(Pipe, CodecKind::Pickle, Wait::Blocking, 4096, 100_000),
            row(Pipe, CodecKind::None, Wait::Blocking, 64, 200),
            row(Pipe, CodecKind::None, Wait::Blocking, 4096, 40_000),
        ];
        let text = findings(&rows, &[], &[]).join("\n");
        assert!(text.contains("100 at 64 B (300 ns against 30.0 µs), 100 at 4 KiB"), "{text}");
        assert!(
            text.contains("at every size with a steady figure at least as quick as pipe + pickle"),
            "{text}"
        );
        assert!(text.contains("pipe from 4 KiB on"), "{text}");
    }

    #[test]
    fn rows_beside_different_floors_are_not_compared_unless_long() {
        use TransportKind::{Pipe, RawSync};
        let quick = row(RawSync, CodecKind::None, Wait::Spin, 64, 300);
        let mut other = row(Pipe, CodecKind::None, Wait::Spin, 64, 900);
        assert_eq!(times_as_long(&other, &quick), Some(3.0));
        other.floor_rtt_p50_ns = Some(480.0);
        assert_eq!(times_as_long(&other, &quick), None);
        let (quick, mut other) = (Row { p50_ns: Some(1_000_000), ..quick }, other);
        other.p50_ns = Some(4_000_000);
        assert_eq!(times_as_long(&other, &quick), Some(4.0));
    }

    #[test]
    fn the_typed_ring_stands_beside_the_floor() {
        let rows = [56, 64].map(|size| {
            row(TransportKind::AllmendeSlots, CodecKind::None, Wait::Spin, size, 2 * size as u64)
        });
        let text = findings(&rows, &[], &[]).join("\n");
        assert!(text.contains("so many times as long: 1.12 at 56 B, 1.28 at 64 B."), "{text}");
    }

    #[test]
    fn a_set_rate_is_told_by_its_tail() {
        let paced = |transport, wait, p99, kept| Row {
            mode: Mode::Paced,
            rate_per_s: Some(1000),
            p99_ns: Some(p99),
            messages_per_s: Some(kept),
            ..row(transport, CodecKind::None, wait, 64, 100)
        };
        let rows = [
            paced(TransportKind::RawSync, Wait::Spin, 700, 1000.0),
            paced(TransportKind::Pipe, Wait::Blocking, 90_000, 500.0),
        ];
        let text = findings(&rows, &[], &[]).join("\n");
        assert!(
            text.contains("700 ns by raw-sync (spin), 90.0 µs by pipe (it could not keep the rate)"),
            "{text}"
        );
    }

    #[test]
    fn what_survivors_see_is_said() {
        let crash = |transport, outcome, after_ms| Crash {
            transport,
            wait: Wait::Park,
            outcome,
            after_ms,
            said: None,
        };
        let crashes = [
            crash(TransportKind::AllmendeLoan, Fate::Told, Some(80.0)),
            crash(TransportKind::AllmendeCopy, Fate::Told, Some(90.0)),
            crash(TransportKind::RawSync, Fate::Hangs, None),
        ];
        let text = findings(&[], &[], &crashes).join("\n");
        assert!(text.contains("allmende-loan, allmende-copy said so within 90.0 ms"), "{text}");
        assert!(text.contains("with raw-sync it waited for ever"), "{text}");
    }

    #[test]
    fn limits_that_are_not_met_are_named() {
        use crate::verdict::Bound;
        let verdict = |name: &str, figure| {
            Verdict::new(name.into(), Some(figure), "× floor".into(), 2.0, Bound::AtMost)
        };
        let text = findings(&[], &[verdict("topic", 1.5), verdict("cell", 2.5)], &[]).join("\n");
        assert!(text.contains("Of 2 limits") && text.contains("1 are met; not cell (2.50 instead of 2.00)"));
    }

    #[test]
    fn nothing_to_compare_is_said() {
        let rows = [row(TransportKind::Pipe, CodecKind::None, Wait::Blocking, 64, 200)];
        assert!(findings(&rows, &[], &[])[0].starts_with("Nothing to compare"));
        assert!(findings(&[], &[], &[]).is_empty());
    }
}
