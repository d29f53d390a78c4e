//! Calls of a service and their answers: of 64 B each, of bytes, and an answer in parts.

use allmende::channel::service::{Body, Bytes, Client, Server, Service, ServiceOptions};
use allmende::{Region, Wait};

use crate::Result;
use crate::figures::{Figure, STREAM, TRIPS};
use crate::messages::{LINE, Message, task};

type Line = Message<LINE>;

/// Parts under way.
const PARTS: u32 = 16;

/// The end that one side has.
enum End<Q: Body, R: Body> {
    First(Client<Q, R>),
    Second(Server<Q, R>),
}

impl<Q: Body, R: Body> End<Q, R> {
    fn new(region: &Region, name: &str, options: &ServiceOptions<Q, R>, first: bool) -> Result<Self> {
        let service = options.open_or_create(region, name)?;
        Ok(if first {
            Self::First(service.client()?.wait_strategy(Wait::Spin))
        } else {
            Self::Second(service.server()?.wait_strategy(Wait::Spin))
        })
    }

    fn client(&self) -> Result<&Client<Q, R>> {
        let Self::First(client) = self else { return Err("the first side calls".into()) };
        Ok(client)
    }

    fn server(&self) -> Result<&Server<Q, R>> {
        let Self::Second(server) = self else { return Err("the second side answers".into()) };
        Ok(server)
    }
}

/// The ends of one side.
pub(crate) struct Calls {
    lines: End<Line, Line>,
    parts: End<u64, Line>,
    bytes: End<Bytes, Bytes>,
}

impl Calls {
    pub(crate) fn new(region: &Region, first: bool) -> Result<Self> {
        Ok(Self {
            lines: End::new(region, "service", &Service::options(), first)?,
            parts: End::new(region, "service in parts", &Service::options().parts(PARTS), first)?,
            bytes: End::new(region, "service of bytes", &Service::options(), first)?,
        })
    }

    /// First side: every word is written, and checked in the answer.
    fn call(&mut self, count: u64) -> Result {
        let client = self.lines.client()?;
        for number in 0..count {
            let answer = client.call(&[number; LINE])?;
            assert!(answer.iter().all(|&word| word == number), "an answer that was not asked for");
        }
        Ok(())
    }

    /// The same with bytes.
    fn call_with_bytes(&mut self, count: u64) -> Result {
        let client = self.bytes.client()?;
        for number in 0..count {
            let text = [number.to_le_bytes()[0]; 8 * LINE];
            assert_eq!(*client.call(&text)?, text, "an answer that was not asked for");
        }
        Ok(())
    }

    /// One call, and all parts of its answer.
    fn listen(&mut self, count: u64) -> Result {
        let client = self.parts.client()?;
        let mut request = client.request()?;
        *request = count;
        let mut replies = request.send().replies();
        let mut number = 0;
        while let Some(part) = replies.next()? {
            assert!(part.iter().all(|&word| word == number), "another part");
            number += 1;
        }
        assert_eq!(number, count, "parts were lost");
        Ok(())
    }

    /// Second side.
    pub(crate) fn serve(&mut self, what: u64, count: u64) -> Result {
        match what {
            task::SERVICE_PARTS => {
                let mut stream = self.parts.server()?.receive()?.stream();
                for number in 0..count {
                    stream.send([number; LINE])?;
                }
                stream.finish();
            }
            task::SERVICE_BYTES => {
                let server = self.bytes.server()?;
                for _ in 0..count {
                    let call = server.receive()?;
                    let mut text = [0; 8 * LINE];
                    text.copy_from_slice(&call);
                    call.reply(&text).map_err(|error| error.to_string())?;
                }
            }
            _ => {
                let server = self.lines.server()?;
                for _ in 0..count {
                    let call = server.receive()?;
                    let request = *call;
                    call.reply(request);
                }
            }
        }
        Ok(())
    }
}

pub(crate) static FIGURES: [Figure; 3] = [
    Figure {
        name: "service, 64 B there and back, spin",
        ours: |sides| sides.trips(task::SERVICE, TRIPS, |rings| rings.service.call(TRIPS)),
        theirs: None,
        against: "floor",
        limit: 2.50,
    },
    Figure {
        name: "service, 64 B of bytes there and back, spin",
        ours: |sides| sides.trips(task::SERVICE_BYTES, TRIPS, |rings| rings.service.call_with_bytes(TRIPS)),
        theirs: None,
        against: "floor",
        limit: 2.50,
    },
    // For each part of an answer that streams.
    Figure {
        name: "service, a part of 64 B, spin",
        ours: |sides| sides.trips(task::SERVICE_PARTS, STREAM, |rings| rings.service.listen(STREAM)),
        theirs: None,
        against: "floor",
        limit: 0.50,
    },
];
