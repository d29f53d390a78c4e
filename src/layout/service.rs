//! A service: requests of many clients, answered by many servers.
//!
//! | offset | size | field | writer | ordering |
//! | --- | --- | --- | --- | --- |
//! | 0 | 256 | role words of the servers, 64 of them: see `spsc` | compare-and-swap | Release, read by Acquire |
//! | 256 | 256 | role words of the clients, 64 of them; a client's number is its lane's | compare-and-swap | Release, read by Acquire |
//! | 512 | 8 | `active`: a bit for each lane that has a client | clients, sweeps | Relaxed |
//! | 520 | 8 | `retries`: how often calls were given back by the dead | sweeps | Release, read by Acquire |
//! | 528 | 112 | reserved, zero | – | – |
//! | 640 | 4 | eventcount on which the servers sleep | servers, clients | see `sync::eventcount` |
//! | 644 | 124 | reserved, zero | – | – |
//! | 768 | 128 | counters: see `counters`, and below | | Relaxed |
//! | 896 | n | lanes, one for each client that there can be | | |
//!
//! A lane:
//!
//! | offset | size | field | writer | ordering |
//! | --- | --- | --- | --- | --- |
//! | 0 | 4 | eventcount on which the client sleeps, and servers that have no room for a part | client, servers | see `sync::eventcount` |
//! | 4 | 124 | reserved, zero | – | – |
//! | 128 | 64 × depth | a line for each call, see below; rounded up to 128 | | |
//! | … | n | call slots, as many as its depth | | |
//!
//! The line of a call there:
//!
//! | offset | size | field | writer | ordering |
//! | --- | --- | --- | --- | --- |
//! | 0 | 8 | `consumed`: `[lap:38][parts:26]` of a stream that the client is done with | client | Release, read by Acquire |
//! | 8 | 8 | tally of how often it was handed out again | the server that has the call, or its sweep | Relaxed |
//! | 16 | 40 | tallies of calls that ended otherwise than by an answer: withdrawn, too late, refused, dropped, failed | client | Relaxed |
//! | 56 | 8 | reserved, zero | – | – |
//!
//! A call slot, whose two halves start at multiples of 128:
//!
//! | offset | size | field | writer | ordering |
//! | --- | --- | --- | --- | --- |
//! | 0 | 8 | `ticket`: the word at which the request is open, or 0 | client, or the sweep of a dead one | Release, read by Acquire |
//! | 8 | 8 | `deadline`: nanoseconds of `CLOCK_MONOTONIC`, 0 for none | client | ordered by `ticket` |
//! | 16 | n | the request, at 16 or its alignment | client | ordered by `ticket` |
//! | half | 8 | `word`: see below | compare-and-swap to take; then the server that has it, or its sweep | Release, read by Acquire |
//! | half + 8 | n | the response, at 8 or its alignment; further parts of a stream at multiples of 64 | server | ordered by `word` |
//!
//! ```text
//!   word:  63          26  25   21  20   18  17           0
//!         ┌──────────────┬────────┬────────┬──────────────┐
//!         │ lap          │ count  │ state  │ server + 1   │
//!         └──────────────┴────────┴────────┴──────────────┘
//!   a tally: 63                      28  27              0
//!         ┌─────────────────────────────┬─────────────────┐   the lap that was counted last,
//!         │ count                       │ lap             │   modulo 2^28
//!         └─────────────────────────────┴─────────────────┘
//!   of those handed out again: 33  32      5  4           0
//!         ┌──────────────────────────┬──────┬─────────────┐   and how many of this
//!         │ count                    │ lap  │ of this lap │   lap are in it
//!         └──────────────────────────┴──────┴─────────────┘
//! ```
//!
//! | state | count | server | the call is |
//! | --- | --- | --- | --- |
//! | 0 FREE | – | 0, 1, 2 | never made (0), withdrawn by its client (1), or too late when a server came to it (2) |
//! | 1 TAKEN | attempt, from 1 | has it | in that server's hands |
//! | 2 STREAMING | parts sent, modulo 32 | has it | being answered in parts |
//! | 3 RETRY | attempts so far | – | open again, since its server died |
//! | 4 ANSWERED | parts sent, modulo 32 | sent them | answered: 1 part, or a stream that has ended |
//! | 5 FAILED | parts sent, modulo 32 | – | given up, since its server died |
//! | 6 REFUSED | as FAILED | – | refused by its server |
//! | 7 DROPPED | as FAILED | – | dropped by its server without an answer |
//!
//! A request is *open* exactly while its ticket equals its word (or the word says RETRY in the lap after the ticket's). Whoever
//! takes or withdraws it raises the lap, so that a ticket is good once. FREE and the last four are *settled*: the
//! slot is the client's. Laps are modular and never 0; the server is a slot of the participant table, without its
//! generation, since a sweep comes before a slot is used again.
//!
//! How the last call of a slot ended stands in its word until the next one is taken or withdrawn. Before the client posts that,
//! it adds all ends but answers to their tallies, each with its lap, so that it is added once: whoever is killed meanwhile, the
//! counts are exact. The counters' block has only how often somebody waited, or found no room or no call.
//!
//! In the directory: `item_size` is the bytes of a request and a response together, `item_count` the calls of all lanes,
//! `parameters` are clients, attempts, parts, and the bytes of a slot's first half in units of 128. All strides follow from these and the
//! object's length.

use super::counters;

/// Offset of the servers' role words.
pub const SERVERS: u64 = 0;
/// Offset of the clients' role words.
pub const CLIENTS: u64 = 256;
/// Offset of `active`.
pub const ACTIVE: u64 = 512;
/// Offset of `retries`.
pub const RETRIES: u64 = 520;
/// Offset of the eventcount on which the servers sleep.
pub const SERVERS_EVENT: u64 = 640;
/// Offset of the counters.
pub const COUNTERS: u64 = 768;
/// Offset of the first lane.
pub const LANES: u64 = COUNTERS + counters::SIZE;

/// The most servers that a service can have at a time.
pub const MAX_SERVERS: usize = 64;
/// The most clients.
pub const MAX_CLIENTS: u32 = 64;
/// The most calls of a client at a time.
pub const MAX_DEPTH: u32 = 64;
/// The most attempts at a call.
pub const MAX_ATTEMPTS: u32 = 31;
/// The most parts of a stream under way at a time.
pub const MAX_PARTS: u32 = 16;
/// The strictest alignment that a request or a response may have.
pub const MAX_ALIGN: usize = 64;

/// Offset of the client's eventcount in its lane.
pub const LANE_EVENT: u64 = 0;
/// Offset of the first call's line in a lane.
pub const CALL_LINES: u64 = 128;
/// Bytes of a call's line. `consumed` is the first word there.
pub const CALL_LINE: u64 = 64;
/// The bits of `consumed` that count parts.
pub const CONSUMED_PARTS: u64 = (1 << 26) - 1;
/// Offset of `ticket` in a call slot.
pub const TICKET: u64 = 0;
/// Offset of `deadline` in a call slot.
pub const DEADLINE: u64 = 8;

/// The tallies of a call, behind `consumed`.
pub mod tally {
    /// Offset of the first in the line of a call.
    pub const OFFSET: u64 = 8;
    /// How many there are.
    pub const WORDS: usize = 6;
    /// Index of the tally of those handed out again.
    pub const AGAIN: usize = 0;

    /// The bits of a lap, shifted down.
    pub const LAPS: u64 = (1 << 28) - 1;
    /// The lowest bit of the count.
    pub const COUNT_SHIFT: u32 = 28;

    /// Of those handed out again: the bits of how many of this lap are in the count.
    pub const AGAIN_NOTED: u64 = (1 << 5) - 1;
    /// The same: the lowest bit of the lap.
    pub const AGAIN_LAP_SHIFT: u32 = 5;
    /// The same: the lowest bit of the count.
    pub const AGAIN_COUNT_SHIFT: u32 = 33;
}

/// The bits of a call's word.
pub mod word {
    /// The lowest bit of the lap.
    pub const LAP_SHIFT: u32 = 26;
    /// The lowest bit of the count.
    pub const COUNT_SHIFT: u32 = 21;
    /// What a count is modulo.
    pub const COUNTS: u64 = 32;
    /// The lowest bit of the state.
    pub const STATE_SHIFT: u32 = 18;
    /// The bits of the server.
    pub const SERVER: u64 = (1 << STATE_SHIFT) - 1;
    /// The word of a slot that was never used: FREE, in lap 1.
    pub const FIRST: u64 = 1 << LAP_SHIFT;
    /// Where the server stands, in FREE: its client withdrew the call.
    pub const WITHDRAWN: u64 = 1;
    /// The same: its time was over.
    pub const LATE: u64 = 2;
}

/// What `consumed` says when a client is done with `parts` (modulo 2^26) of the stream of `lap`.
pub const fn consumed_word(lap: u64, parts: u64) -> u64 {
    lap << CONSUMED_PARTS.count_ones() | parts & CONSUMED_PARTS
}

/// Where the request stands in a call slot.
pub const fn request_offset(align: usize) -> u64 {
    if align > 16 { align as u64 } else { 16 }
}

/// Where the first response stands in a call slot's second half.
pub const fn response_offset(align: usize) -> u64 {
    if align > 8 { align as u64 } else { 8 }
}

/// Bytes of a call slot's first half.
pub const fn request_half(size: u64, align: usize) -> Option<u64> {
    match size.checked_add(request_offset(align)) {
        Some(bytes) => super::round_up(bytes, 128),
        None => None,
    }
}

/// Where, in the second half, the second part of a stream stands; and the bytes from each further one to the next.
pub const fn further_parts(size: u64, align: usize) -> Option<(u64, u64)> {
    match size.checked_add(response_offset(align)) {
        Some(first) => match (super::round_up(first, 64), super::round_up(size, 64)) {
            (Some(first), Some(stride)) => Some((first, stride)),
            _ => None,
        },
        None => None,
    }
}

/// Bytes of a call slot's second half.
pub const fn response_half(size: u64, align: usize, parts: u32) -> Option<u64> {
    match further_parts(size, align) {
        Some((first, stride)) => match stride.checked_mul(parts as u64 - 1) {
            Some(further) => match first.checked_add(further) {
                Some(bytes) => super::round_up(bytes, 128),
                None => None,
            },
            None => None,
        },
        None => None,
    }
}

/// The numbers of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// Lanes, each for a client: at most 64.
    pub clients: u32,
    /// Call slots of a lane: at most 64.
    pub depth: u32,
    /// How often a call is given to a server at most.
    pub attempts: u32,
    /// Parts of a stream that can be under way.
    pub parts: u32,
    /// Bytes of a call slot's first half.
    pub request_half: u64,
    /// Bytes from one call slot to the next.
    pub call_stride: u64,
}

impl Geometry {
    /// Bytes of a lane's head.
    pub const fn lane_head(&self) -> u64 {
        CALL_LINES + (CALL_LINE * self.depth as u64).next_multiple_of(128)
    }

    /// Bytes from one lane to the next.
    pub const fn lane_stride(&self) -> Option<u64> {
        match self.call_stride.checked_mul(self.depth as u64) {
            Some(calls) => calls.checked_add(self.lane_head()),
            None => None,
        }
    }

    /// Bytes of the service.
    pub const fn length(&self) -> Option<u64> {
        match self.lane_stride() {
            Some(lane) => match lane.checked_mul(self.clients as u64) {
                Some(lanes) => lanes.checked_add(LANES),
                None => None,
            },
            None => None,
        }
    }

    /// What a directory entry says of a service; `None` for nonsense.
    pub fn of(length: u64, item_count: u64, parameters: [u32; 4]) -> Option<Self> {
        let [clients, attempts, parts, halves] = parameters;
        let depth = u32::try_from(item_count.checked_div(u64::from(clients))?).ok()?;
        let within = |number: u32, most: u32| (1..=most).contains(&number);
        let sound = within(clients, MAX_CLIENTS)
            && within(depth, MAX_DEPTH)
            && within(attempts, MAX_ATTEMPTS)
            && within(parts, MAX_PARTS)
            && halves >= 1
            && u64::from(clients) * u64::from(depth) == item_count;
        let mut this =
            Self { clients, depth, attempts, parts, request_half: u64::from(halves) * 128, call_stride: 0 };
        if !sound {
            return None;
        }
        let calls = (length.checked_sub(LANES)? / u64::from(clients)).checked_sub(this.lane_head())?;
        this.call_stride = (calls / u64::from(depth)) & !127;
        (this.request_half < this.call_stride).then_some(this)
    }

    /// Offset of a lane within the service.
    pub const fn lane(&self, lane: u32) -> u64 {
        let stride = self.lane_head() + self.call_stride * self.depth as u64;
        LANES + stride * lane as u64
    }

    /// Offset of a call's line in the head of its lane.
    pub const fn call_line(&self, lane: u32, slot: u32) -> u64 {
        self.lane(lane) + CALL_LINES + CALL_LINE * slot as u64
    }

    /// Offset of a call slot within the service.
    pub const fn call(&self, lane: u32, slot: u32) -> u64 {
        self.lane(lane) + self.lane_head() + self.call_stride * slot as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_directory_says_is_what_was_meant() {
        for (clients, depth, parts, request, response) in
            [(1, 1, 1, 0, 0), (64, 64, 16, 64, 64), (3, 5, 2, 1000, 8), (7, 17, 3, 48, 56)]
        {
            let request_half = request_half(request, 8).unwrap();
            let call_stride = request_half + response_half(response, 8, parts).unwrap();
            let meant = Geometry { clients, depth, attempts: 2, parts, request_half, call_stride };
            let halves = u32::try_from(request_half / 128).unwrap();
            let length = meant.length().unwrap();
            let items = u64::from(clients * depth);
            assert_eq!(Geometry::of(length, items, [clients, 2, parts, halves]), Some(meant));
            assert_eq!(meant.call(clients - 1, depth - 1) + call_stride, length, "the last one ends it");
            assert_eq!(meant.call(clients - 1, depth - 1) % 128, 0);
        }
    }

    #[test]
    fn nonsense_is_no_geometry() {
        for (length, items, parameters) in [
            (1 << 20, 8, [0, 1, 1, 1]),
            (1 << 20, 8, [65, 1, 1, 1]),
            (1 << 20, 9, [8, 1, 1, 1]),
            (1 << 20, 0, [8, 1, 1, 1]),
            (1 << 20, 8 * 65, [8, 1, 1, 1]),
            (1 << 20, 8, [8, 32, 1, 1]),
            (1 << 20, 8, [8, 1, 17, 1]),
            (1 << 20, 8, [8, 1, 0, 1]),
            (1 << 20, 8, [8, 1, 1, 0]),
            (1 << 20, 8, [8, 1, 1, u32::MAX]),
            (LANES, 8, [8, 1, 1, 1]),
            (0, 8, [8, 1, 1, 1]),
        ] {
            assert_eq!(Geometry::of(length, items, parameters), None, "{parameters:?}");
        }
    }

    #[test]
    fn small_ones_travel_in_one_line() {
        assert_eq!(request_offset(8) + 48, 64);
        assert_eq!(response_offset(8) + 56, 64);
        assert_eq!(request_half(64, 8), Some(128));
        assert_eq!(response_half(64, 8, 1), Some(128));
    }
}
