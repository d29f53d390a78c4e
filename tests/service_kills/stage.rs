//! What the storms share: a service in a region, messages that cannot be torn unnoticed, and a journal.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use allmende::channel::service::{OnServerDeath, Service, ServiceOptions, TryReceiveError};
use allmende::inspect::{ObjectState, state};
use allmende::region::Liveness;
use allmende::ring::counters::Counts;
use allmende::ring::error::RoleError;
use allmende::{Region, Wait};

use crate::common::{self, Journal, Process, Random, count, mix, until};

/// Kills of each kind.
pub fn kills() -> u64 {
    count(50, 1000)
}

/// A number, and what follows from it: long enough to be killed in the middle of.
pub type Message = [u64; 64];
pub type Numbers = Service<Message, Message>;

pub fn message(number: u64, salt: u64) -> Message {
    std::array::from_fn(|index| if index == 0 { number } else { mix(number ^ salt << 56 ^ index as u64) })
}

/// Panics if it is not whole.
pub fn number_of(message: &Message, salt: u64) -> u64 {
    for (index, &word) in message.iter().enumerate().skip(1) {
        assert_eq!(word, mix(message[0] ^ salt << 56 ^ index as u64), "torn at {index}: {message:?}");
    }
    message[0]
}

pub const ASKED: u64 = 1;
pub const ANSWERED: u64 = 2;

/// Words of the journal: what child n has done so far, counted from 1.
pub const fn of_child(index: usize) -> usize {
    8 + 8 * index
}

/// How many calls child n gave up amid their answers.
pub const fn dropped(index: usize) -> usize {
    of_child(index) + 3
}

/// The call that child n has in hand, or 0.
pub const fn in_hand(index: usize) -> usize {
    of_child(index) + 1
}

/// Whether child n is to keep what it has in hand, half answered, until it is killed.
pub const fn hold(index: usize) -> usize {
    of_child(index) + 2
}

pub struct Stage {
    pub region: Region,
    pub journal: Journal,
    pub service: Numbers,
    pub random: Random,
}

impl Stage {
    pub fn new(options: ServiceOptions<Message, Message>) -> Self {
        let region = Region::create().size(1 << 20).participants(8).memfd("storm").unwrap();
        let service = options.create(&region, "service").unwrap();
        Self { region, journal: Journal::new(), service, random: Random::new() }
    }

    pub fn start(&self, child: &str, index: usize) -> Process {
        self.journal.set(of_child(index), 0);
        self.journal.set(in_hand(index), 0);
        self.journal.set(hold(index), 0);
        self.journal.set(dropped(index), 0);
        let process =
            Process::start(child, &[&index.to_string()], &[self.region.descriptor(), self.journal.as_fd()]);
        until("the child is at work", || self.journal.get(of_child(index)) != 0);
        process
    }

    /// Mostly short, now and then long.
    pub fn random_moment(&mut self) -> Duration {
        let magnitude = 10 + self.random.below(11);
        Duration::from_nanos(self.random.below(1 << magnitude))
    }

    /// Until that server has a call in hand; not for long, since another may have all of them.
    pub fn wait_until_in_hand(&self, index: usize) {
        let end = Instant::now() + Duration::from_millis(20);
        while self.journal.get(in_hand(index)) == 0 && Instant::now() < end {
            // The victim may want this core.
            std::thread::yield_now();
        }
    }

    /// What one of its facts says.
    pub fn fact(&self, name: &str) -> u64 {
        let ObjectState::Shared(seen) = state(&self.region, &self.region.objects()[0]) else { panic!() };
        seen.facts.iter().find(|(what, _)| *what == name).unwrap().1.parse().unwrap()
    }

    /// The counts, once nothing is under way any more. They are exact.
    pub fn counts(&self) -> Counts {
        self.region.sweep().unwrap();
        until("nothing is in hand", || self.fact("in servers' hands") == 0);
        let counts = self.service.counts();
        assert_eq!(counts.messages, counts.received + counts.lost + counts.aborted, "{counts:?}");
        assert_eq!(counts.lost, self.fact("too late") + self.fact("failed with their server"));
        counts
    }

    /// Waits until these servers, which go on, have written down that they ended so many calls; no more, and no fewer.
    pub fn servers_ended(&self, servers: &[usize], calls: u64) {
        let ended = || servers.iter().map(|&index| self.journal.get(of_child(index)) - 1).sum::<u64>();
        until("what is counted is what the servers wrote down", || ended() >= calls);
        assert_eq!(ended(), calls);
    }

    /// All that there was has been given back, and every slot of every lane is good.
    pub fn all_is_back(&self) {
        self.region.sweep().unwrap();
        let participants = self.region.participants();
        assert_eq!(participants.len(), 1, "slots were not given back: {participants:?}");
        assert_eq!(participants[0].liveness, Liveness::Alive);
        let ObjectState::Shared(seen) = state(&self.region, &self.region.objects()[0]) else { panic!() };
        assert_eq!(seen.queued, Some(0));
        assert_eq!((self.fact("in servers' hands"), self.fact("to be tried again")), (0, 0));
        let clients: Vec<_> = (0..CLIENTS).map(|_| self.service.client().unwrap()).collect();
        assert!(matches!(self.service.client(), Err(RoleError::TooMany { .. })));
        // Every slot of every lane is good.
        let server = self.service.server().unwrap();
        for client in &clients {
            let pending: Vec<_> = (0..client.depth()).map(|_| client.request().unwrap().send()).collect();
            for _ in 0..client.depth() {
                server.receive_timeout(common::FOREVER).unwrap().reply(message(1, ANSWERED));
            }
            pending.into_iter().for_each(|call| assert_eq!(number_of(&call.wait().unwrap(), ANSWERED), 1));
        }
        drop(clients);
        assert_eq!(server.try_receive().map(|_| ()), Err(TryReceiveError::Disconnected));
        assert_eq!(self.region.late_wakes(), 0);
    }
}

pub const CLIENTS: u32 = 4;

pub fn options() -> ServiceOptions<Message, Message> {
    Numbers::options().clients(CLIENTS).depth(2)
}

/// The same, where the calls of a dead server go to another.
pub fn retry() -> ServiceOptions<Message, Message> {
    options().on_server_death(OnServerDeath::Retry { max_attempts: 31 })
}

pub fn wait_of(index: usize) -> Wait {
    if index.is_multiple_of(2) { Wait::Park } else { Wait::Yield }
}

/// What a child finds.
pub fn found() -> (Numbers, Journal, usize) {
    let region = Region::attach(common::descriptor(0)).unwrap();
    (Numbers::open(&region, "service").unwrap(), Journal::inherited(1), common::argument(0).parse().unwrap())
}
