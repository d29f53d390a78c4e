//! `async` receiving and sending: many at once, cancelled at every await, with peers that are killed.

// Tests may be blunt.
#![allow(clippy::pedantic)]

mod common;
#[path = "tokio/service.rs"]
mod service;

use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use allmende::ring::error::{TryPopError, TryPushError};
use allmende::tokio::{Async, AsyncError};
use allmende::{Event, Lanes, Queue, Region, Topic, bytes, spsc};
use common::{Journal, Process, count, say, until};

fn main() -> ExitCode {
    common::main(
        &[
            ("both_ends_wait", both_ends_wait),
            ("every_kind_of_end", every_kind_of_end),
            ("topics_wait_at_both_ends", topics_wait_at_both_ends),
            ("a_claim_that_is_dropped_is_given_up", a_claim_that_is_dropped_is_given_up),
            ("many_at_once", many_at_once),
            ("a_dropped_future_takes_nothing", a_dropped_future_takes_nothing),
            ("one_that_never_waits_lets_others_run", one_that_never_waits_lets_others_run),
            ("one_who_dies_ends_the_waiting", one_who_dies_ends_the_waiting),
            ("a_sender_learns_that_its_receiver_died", a_sender_learns_that_its_receiver_died),
            ("calls_and_answers", service::calls_and_answers),
            ("answers_in_parts", service::answers_in_parts),
            ("a_dropped_call_is_given_up", service::a_dropped_call_is_given_up),
            ("a_client_waits_until_a_call_is_free", service::a_client_waits_until_a_call_is_free),
            ("futures_of_a_service_go_to_other_threads", service::futures_go_to_other_threads),
            ("a_server_that_dies_is_told", service::a_server_that_dies_is_told),
            ("a_client_that_dies_is_told", service::a_client_that_dies_is_told),
        ],
        &[
            ("sender", sender),
            ("receiver", receiver),
            ("idle_server", service::idle_server),
            ("idle_client", service::idle_client),
        ],
    )
}

fn run(test: impl Future<Output = ()>) {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_io().enable_time().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(common::FOREVER, test).await.expect("it hangs") });
}

/// A ring of two slots: each of them has to wait for the other again and again.
fn both_ends_wait() {
    run(async {
        let region = Region::create().memfd("both").unwrap();
        let ring = spsc::Ring::<u64>::create(&region, "ring", 2).unwrap();
        let mut tx = Async::new(ring.producer().unwrap()).unwrap();
        let mut rx = Async::new(ring.consumer().unwrap()).unwrap();
        let sending = async {
            for number in 0..1000 {
                tx.send(number).await.unwrap();
            }
        };
        let receiving = async {
            for number in 0..1000 {
                assert_eq!(rx.recv().await.unwrap(), number);
            }
        };
        tokio::join!(sending, receiving);
    });
}

/// Three messages through a channel on which only one fits, or so.
macro_rules! through {
    ($tx:expr, $rx:expr, $three:expr) => {{
        let (mut tx, mut rx) = (Async::new($tx.unwrap()).unwrap(), Async::new($rx.unwrap()).unwrap());
        let sending = async {
            for message in $three {
                tx.send(message).await.unwrap();
            }
        };
        let receiving = async {
            for message in $three {
                assert_eq!(rx.next().await, message);
            }
        };
        tokio::join!(sending, receiving);
    }};
}

/// Receiving alike, for the macro.
trait Next<M> {
    async fn next(&mut self) -> M;
}

impl Next<u64> for Async<spsc::Consumer<u64>> {
    async fn next(&mut self) -> u64 {
        self.recv().await.unwrap()
    }
}

impl Next<u64> for Async<allmende::channel::queue::Consumer<u64>> {
    async fn next(&mut self) -> u64 {
        self.recv().await.unwrap()
    }
}

impl Next<Vec<u8>> for Async<bytes::Consumer> {
    async fn next(&mut self) -> Vec<u8> {
        let mut message = Vec::new();
        self.recv(&mut message).await.unwrap();
        message
    }
}

impl Next<Vec<u8>> for Async<allmende::channel::lanes::Consumer> {
    async fn next(&mut self) -> Vec<u8> {
        let mut message = Vec::new();
        self.recv(&mut message).await.unwrap();
        message
    }
}

fn every_kind_of_end() {
    run(async {
        let region = Region::create().size(8 << 20).memfd("kinds").unwrap();
        let ring = spsc::Ring::<u64>::create(&region, "ring", 1).unwrap();
        through!(ring.producer(), ring.consumer(), [1, 2, 3]);
        let queue = Queue::<u64>::create(&region, "queue", 1).unwrap();
        through!(queue.producer(), queue.consumer(), [1, 2, 3]);
        let long = [vec![1_u8; 1000], vec![2; 900], vec![3; 10]];
        let bytes = bytes::Ring::create(&region, "bytes", 2048).unwrap();
        through!(bytes.producer(), bytes.consumer(), long.iter().map(|message| &message[..]));
        let lanes = Lanes::create(&region, "lanes", 2, 2048).unwrap();
        through!(lanes.producer(), lanes.consumer(), long.iter().map(|message| &message[..]));

        let topic = Topic::<u64>::create(&region, "topic", 8).unwrap();
        let mut subscriber = Async::new(topic.subscriber().unwrap()).unwrap();
        let cell = allmende::Cell::<u64>::create(&region, "cell").unwrap();
        let mut reader = Async::new(cell.reader().unwrap()).unwrap();
        let mut event = Async::new(Event::open_or_create(&region, "event").unwrap()).unwrap();
        let publishing = async {
            tokio::time::sleep(Duration::from_millis(5)).await;
            topic.publisher().unwrap().try_send(7).unwrap();
            tokio::time::sleep(Duration::from_millis(5)).await;
            cell.writer().unwrap().write(8).unwrap();
            tokio::time::sleep(Duration::from_millis(5)).await;
            Event::open_or_create(&region, "event").unwrap().set().unwrap();
        };
        let receiving = async {
            assert_eq!(subscriber.recv().await.unwrap(), 7);
            assert_eq!(reader.recv().await.unwrap(), 8);
            event.wait().await.unwrap();
        };
        tokio::join!(publishing, receiving);
        // The writer has left.
        assert!(matches!(reader.recv().await, Err(AsyncError::End(_))));
    });
}

/// Room for two and blocks for two: the publishers wait for either, the subscribers for messages.
fn topics_wait_at_both_ends() {
    run(async {
        use allmende::topic::ByteTopic;
        let region = Region::create().size(1 << 20).memfd("topics").unwrap();
        let shorts = Topic::<u64>::create(&region, "short", 2).unwrap();
        let blocks = Topic::<[u64; 40]>::options().blocks(2).create(&region, "blocks", 8).unwrap();
        let texts = ByteTopic::options().class(400, 3).create(&region, "texts", 2).unwrap();
        let mut short_in = Async::new(shorts.publisher().unwrap()).unwrap();
        let mut short_out = Async::new(shorts.subscriber().unwrap()).unwrap();
        let mut block_in = Async::new(blocks.publisher().unwrap()).unwrap();
        let mut block_out = Async::new(blocks.subscriber().unwrap()).unwrap();
        let mut text_in = Async::new(texts.publisher().unwrap()).unwrap();
        let mut text_out = Async::new(texts.subscriber().unwrap()).unwrap();
        let publishing = async {
            for number in 0..500 {
                short_in.send(number).await.unwrap();
                block_in.send([number; 40]).await.unwrap();
                let mut claim = block_in.loan().await.unwrap();
                claim[39] = number + 1;
                claim.publish().await.unwrap();
                text_in.send(&number.to_ne_bytes()).await.unwrap();
                let mut claim = text_in.loan(300).await.unwrap();
                claim.truncate(200);
                claim.fill(number as u8);
                claim.publish().await.unwrap();
            }
        };
        let shorts_out = async {
            for number in 0..500 {
                assert_eq!(short_out.recv().await.unwrap(), number);
            }
        };
        let blocks_out = async {
            for number in 0..500 {
                assert_eq!(block_out.recv().await.unwrap(), [number; 40]);
                assert_eq!(block_out.recv().await.unwrap()[39], number + 1);
            }
        };
        let texts_out = async {
            for number in 0..500_u64 {
                assert_eq!(text_out.recv().await.unwrap(), number.to_ne_bytes());
                assert_eq!(text_out.recv().await.unwrap(), [number as u8; 200]);
            }
        };
        tokio::join!(publishing, shorts_out, blocks_out, texts_out);
        assert_eq!((shorts.counts().messages, blocks.counts().messages), (500, 1000));
        assert_eq!(region.late_wakes(), 0);
    });
}

/// What waits for room has a claim, which goes with it.
fn a_claim_that_is_dropped_is_given_up() {
    run(async {
        let region = Region::create().size(1 << 20).memfd("given up").unwrap();
        let options = Topic::<[u64; 40]>::options().blocks(4);
        let topic = options.create(&region, "topic", 2).unwrap();
        let mut publisher = Async::new(topic.publisher().unwrap()).unwrap();
        let mut subscriber = Async::new(topic.subscriber().unwrap()).unwrap();
        publisher.send([0; 40]).await.unwrap();
        publisher.send([1; 40]).await.unwrap();
        for number in 0..20 {
            let waiting = async {
                if number % 2 == 0 {
                    publisher.send([9; 40]).await.unwrap();
                } else {
                    publisher.loan().await.unwrap().publish().await.unwrap();
                }
            };
            let short = Duration::from_millis(1);
            assert!(tokio::time::timeout(short, waiting).await.is_err(), "there is no room");
        }
        let counts = topic.counts();
        assert_eq!((counts.messages, counts.aborted), (2, 20));
        for number in 0..2 {
            assert_eq!(subscriber.recv().await.unwrap(), [number; 40]);
        }
        publisher.send([2; 40]).await.unwrap();
        assert_eq!(subscriber.recv().await.unwrap(), [2; 40]);
        // There is nobody left who could send.
        drop(publisher);
        assert!(matches!(subscriber.recv().await, Err(AsyncError::End(_))));
    });
}

fn many_at_once() {
    const ENDS: usize = 40;
    run(async {
        let region = Region::create().objects(2 * ENDS as u32).memfd("many").unwrap();
        let rings: Vec<_> =
            (0..ENDS).map(|i| spsc::Ring::<u64>::create(&region, &i.to_string(), 4).unwrap()).collect();
        let local = tokio::task::LocalSet::new();
        for ring in &rings {
            let mut rx = Async::new(ring.consumer().unwrap()).unwrap();
            local.spawn_local(async move {
                for number in 0..20 {
                    assert_eq!(rx.recv().await.unwrap(), number);
                }
            });
        }
        let sending = async {
            let mut all: Vec<_> =
                rings.iter().map(|ring| Async::new(ring.producer().unwrap()).unwrap()).collect();
            for number in 0..20 {
                for tx in &mut all {
                    tx.send(number).await.unwrap();
                }
            }
            all
        };
        let (all, ()) = tokio::join!(local.run_until(sending), async {});
        local.await;
        drop(all);
    });
}

fn a_dropped_future_takes_nothing() {
    run(async {
        let region = Region::create().memfd("dropped").unwrap();
        let ring = spsc::Ring::<u64>::create(&region, "ring", 4).unwrap();
        let (mut tx, mut rx) = (ring.producer().unwrap(), Async::new(ring.consumer().unwrap()).unwrap());
        let messages = count(2_000, 100_000);
        let sender = std::thread::spawn(move || {
            let mut random = common::Random(7);
            for number in 0..messages {
                tx.push(number).unwrap();
                common::linger(Duration::from_micros(random.below(40)));
            }
            tx
        });
        let (mut next, mut dropped) = (0, 0);
        while next < messages {
            tokio::select! {
                biased;
                number = rx.recv() => {
                    assert_eq!(number.unwrap(), next);
                    next += 1;
                }
                () = tokio::task::yield_now() => dropped += 1,
            }
        }
        say(&format!("  {messages} messages in order; {dropped} futures were dropped in between"));
        assert!(dropped > 10);
        drop(sender.join().unwrap());
        assert!(matches!(rx.recv().await, Err(AsyncError::End(TryPopError::Disconnected))));
    });
}

fn one_that_never_waits_lets_others_run() {
    run(async {
        let region = Region::create().memfd("busy").unwrap();
        let ring = spsc::Ring::<u64>::create(&region, "ring", 1024).unwrap();
        let (mut tx, mut rx) = (ring.producer().unwrap(), Async::new(ring.consumer().unwrap()).unwrap());
        for number in 0..1000 {
            tx.push(number).unwrap();
        }
        let (mut received, others) = (0, std::cell::Cell::new(0));
        let receiving = async {
            while received < 1000 {
                rx.recv().await.unwrap();
                received += 1;
            }
        };
        let other = async {
            loop {
                others.set(others.get() + 1);
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            () = receiving => {}
            () = other => {}
        }
        assert!(others.get() >= 10, "{}", others.get());
    });
}

fn one_who_dies_ends_the_waiting() {
    let mut longest = Duration::ZERO;
    let rounds = count(5, 200);
    for _ in 0..rounds {
        let region = Region::create().memfd("deaths").unwrap();
        let ring = spsc::Ring::<u64>::create(&region, "ring", 8).unwrap();
        let journal = Journal::new();
        let victim = Process::start("sender", &[], &[region.descriptor(), journal.as_fd()]);
        until("the sender has sent", || journal.get(0) == 3);
        run(async {
            let mut rx = Async::new(ring.consumer().unwrap()).unwrap();
            for number in 0..3 {
                assert_eq!(rx.recv().await.unwrap(), number);
            }
            // It waits, and then its peer is killed.
            assert!(tokio::time::timeout(Duration::from_millis(20), rx.recv()).await.is_err());
            let killed = Instant::now();
            victim.kill();
            match rx.recv().await {
                Err(AsyncError::End(TryPopError::PeerDied)) => {}
                other => panic!("{other:?}"),
            }
            longest = longest.max(killed.elapsed());
        });
    }
    say(&format!("  {rounds} deaths, known after {longest:?} at most"));
    assert!(longest < Duration::from_secs(10));
}

fn a_sender_learns_that_its_receiver_died() {
    let region = Region::create().memfd("deaths").unwrap();
    let ring = spsc::Ring::<u64>::create(&region, "ring", 2).unwrap();
    let journal = Journal::new();
    let victim = Process::start("receiver", &[], &[region.descriptor(), journal.as_fd()]);
    until("the receiver is there", || journal.get(0) == 1);
    run(async {
        let mut tx = Async::new(ring.producer().unwrap()).unwrap();
        tx.send(1).await.unwrap();
        tx.send(2).await.unwrap();
        assert!(tokio::time::timeout(Duration::from_millis(20), tx.send(3)).await.is_err());
        victim.kill();
        match tx.send(4).await {
            Err(AsyncError::End(TryPushError::PeerDied(4))) => {}
            other => panic!("{other:?}"),
        }
    });
}

fn sender() {
    let region = Region::attach(common::descriptor(0)).unwrap();
    let journal = Journal::inherited(1);
    let mut tx = spsc::Ring::<u64>::open(&region, "ring").unwrap().producer().unwrap();
    for number in 0..3 {
        tx.push(number).unwrap();
    }
    journal.set(0, 3);
    std::thread::sleep(common::FOREVER);
}

fn receiver() {
    let region = Region::attach(common::descriptor(0)).unwrap();
    let journal = Journal::inherited(1);
    let _rx = spsc::Ring::<u64>::open(&region, "ring").unwrap().consumer().unwrap();
    journal.set(0, 1);
    std::thread::sleep(common::FOREVER);
}
