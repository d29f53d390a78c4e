//! A call of a service and its answer, 64 B each.

use allmende::channel::service::{Client, Server, Service};
use allmende::{Region, Wait};

use crate::Result;
use crate::figures::{Figure, TRIPS};
use crate::messages::{LINE, Message, task};

type Line = Message<LINE>;

/// The end that one side has.
pub(crate) enum Calls {
    First(Client<Line, Line>),
    Second(Server<Line, Line>),
}

impl Calls {
    pub(crate) fn new(region: &Region, first: bool) -> Result<Self> {
        let options = Service::<Line, Line>::options();
        let service = Service::<Line, Line>::open_or_create(region, "service", &options)?;
        Ok(if first {
            Self::First(service.client()?.wait_strategy(Wait::Spin))
        } else {
            Self::Second(service.server()?.wait_strategy(Wait::Spin))
        })
    }

    /// First side: every word is written, and checked in the answer.
    pub(crate) fn call(&mut self, count: u64) -> Result {
        let Self::First(client) = self else { return Err("the first side calls".into()) };
        for number in 0..count {
            let answer = client.call(&[number; LINE])?;
            assert!(answer.iter().all(|&word| word == number), "an answer that was not asked for");
        }
        Ok(())
    }

    /// Second side.
    pub(crate) fn serve(&mut self, count: u64) -> Result {
        let Self::Second(server) = self else { return Err("the second side answers".into()) };
        for _ in 0..count {
            let call = server.receive()?;
            let request = *call;
            call.reply(request);
        }
        Ok(())
    }
}

pub(crate) static FIGURES: [Figure; 1] = [Figure {
    name: "service, 64 B there and back, spin",
    ours: |sides| sides.trips(task::SERVICE, TRIPS, |rings| rings.service.call(TRIPS)),
    theirs: None,
    against: "floor",
    limit: 2.50,
}];
