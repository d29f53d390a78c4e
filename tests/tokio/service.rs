//! A service.

use std::os::fd::AsFd;
use std::time::Duration;

use allmende::Region;
use allmende::channel::service::{
    Bytes, CallError, Replies, SendError, Server, Service, ServiceOptions, TryReceiveError,
};
use allmende::tokio::{Async, AsyncError};
use tokio::time::timeout;

use crate::common::{self, Journal, Process, count, until};
use crate::run;

type Squares = Service<u64, u64>;

const SHORT: Duration = Duration::from_millis(20);

fn squares(options: ServiceOptions<u64, u64>) -> Squares {
    options.create(&Region::create().memfd("service").unwrap(), "squares").unwrap()
}

/// One asks, the other answers: each waits for the other again and again. Of a type, and of bytes.
pub fn calls_and_answers() {
    let calls = count(300, 20_000);
    run(async {
        let service = squares(Squares::options());
        let mut client = Async::new(service.client().unwrap()).unwrap();
        let mut server = Async::new(service.server().unwrap()).unwrap();
        let asking = async move {
            for number in 0..calls {
                assert_eq!(client.call(&number).await.unwrap(), number * number);
            }
        };
        let answering = async {
            loop {
                match server.recv().await {
                    Ok(call) => {
                        let number = *call;
                        if number % 3 == 0 {
                            tokio::task::yield_now().await;
                        }
                        call.reply(number * number);
                    }
                    Err(AsyncError::End(TryReceiveError::Disconnected)) => break,
                    Err(other) => panic!("{other}"),
                }
            }
        };
        tokio::join!(asking, answering);

        let region = Region::create().memfd("bytes").unwrap();
        let both = Service::<Bytes, Bytes>::create(&region, "both").unwrap();
        let mut client = Async::new(both.client().unwrap()).unwrap();
        let mut server = Async::new(both.server().unwrap()).unwrap();
        let asking = async {
            for text in ["a", "bc", "", "def"] {
                assert_eq!(*client.call(text.as_bytes()).await.unwrap(), *text.to_uppercase().as_bytes());
            }
            let long = vec![0; 5000];
            let refused = client.call(&long).await.map(|_| ());
            assert!(matches!(refused, Err(AsyncError::End(CallError::TooLarge { length: 5000, .. }))));
        };
        let answering = async {
            for _ in 0..4 {
                let call = server.recv().await.unwrap();
                let loud = call.to_ascii_uppercase();
                call.reply(&loud).unwrap();
            }
        };
        tokio::join!(asking, answering);

        let long = Service::<u64, Bytes>::create(&region, "long").unwrap();
        let mut client = Async::new(long.client().unwrap()).unwrap();
        let server = long.server().unwrap();
        let answering = async {
            tokio::task::yield_now().await;
            server.try_receive().unwrap().reply(b"seven").unwrap();
        };
        let (answer, ()) = tokio::join!(client.call(&7), answering);
        assert_eq!(*answer.unwrap(), *b"seven");
    });
}

/// Room for two parts: both sides wait. Several answers of one client at once.
pub fn answers_in_parts() {
    run(async {
        let service = squares(Squares::options().parts(2));
        let client = service.client().unwrap();
        let mut servers = [(); 2].map(|()| Async::new(service.server().unwrap()).unwrap());
        let ask = |number| {
            let mut request = client.request().unwrap();
            request.write(&number);
            Async::new(request.send().replies()).unwrap()
        };
        let mut answers = [ask(100), ask(50)];
        let [first, second] = &mut answers;
        let [one, other] = &mut servers;
        let listen = async |replies: &mut Async<Replies<'_, u64, u64>>, parts: u64| {
            for part in 0..parts {
                assert_eq!(replies.recv().await.unwrap().map(|there| *there), Some(part));
            }
            assert!(replies.recv().await.unwrap().is_none());
            assert!(replies.recv().await.unwrap().is_none(), "and again");
        };
        let serve = async |server: &mut Async<Server<u64, u64>>| {
            let call = server.recv().await.unwrap();
            let parts = *call;
            let mut stream = Async::new(call.stream()).unwrap();
            for part in 0..parts {
                stream.send(part).await.unwrap();
            }
            stream.finish();
        };
        tokio::join!(listen(first, 100), listen(second, 50), serve(one), serve(other));
        drop(answers);

        // Given up: the server, which waits for room, is told.
        let replies = ask(9);
        let call = one.recv().await.unwrap();
        let mut stream = Async::new(call.stream()).unwrap();
        stream.send(0).await.unwrap();
        stream.send(1).await.unwrap();
        assert!(timeout(SHORT, stream.send(2)).await.is_err(), "there is no room");
        let give_up = async {
            tokio::task::yield_now().await;
            drop(replies);
        };
        let (told, ()) = tokio::join!(stream.send(2), give_up);
        assert!(matches!(told, Err(AsyncError::End(SendError::Cancelled(2)))), "{told:?}");
        drop(stream);

        // Dropped amid it: the client is told after what was sent.
        let mut replies = ask(9);
        let mut stream = Async::new(one.recv().await.unwrap().stream()).unwrap();
        stream.send(0).await.unwrap();
        drop(stream);
        assert_eq!(replies.recv().await.unwrap().map(|part| *part), Some(0));
        assert!(matches!(replies.recv().await, Err(AsyncError::End(CallError::Dropped))));
    });
}

/// Whoever drops the future of a call gives it up: nobody takes it, or its server can see it.
pub fn a_dropped_call_is_given_up() {
    run(async {
        let service = squares(Squares::options().depth(2));
        let mut client = Async::new(service.client().unwrap()).unwrap();
        let server = service.server().unwrap();
        assert!(timeout(SHORT, client.call(&1)).await.is_err());
        assert!(server.try_receive().is_err(), "it was given up");
        let in_hand = {
            let calling = client.call(&2);
            tokio::pin!(calling);
            tokio::select! {
                biased;
                _ = &mut calling => panic!("nobody answers"),
                () = tokio::time::sleep(SHORT) => {}
            }
            server.try_receive().unwrap()
        };
        assert!(in_hand.cancelled());
        in_hand.reply(0);
        assert_eq!(service.counts().aborted, 1);
        let (answer, ()) = tokio::join!(client.call(&3), async { server.receive().unwrap().reply(9) });
        assert_eq!(answer.unwrap(), 9);
        // One that is awaited by itself.
        let client = client.into_inner();
        let mut request = client.request().unwrap();
        *request = 4;
        let pending = Async::new(request.send()).unwrap();
        let (answer, ()) = tokio::join!(pending.wait(), async { server.receive().unwrap().refuse() });
        assert!(matches!(answer.map(|_| ()), Err(AsyncError::End(CallError::Refused))));
        drop(client);
        assert!(matches!(
            Async::new(server).unwrap().recv().await.map(|_| ()),
            Err(AsyncError::End(TryReceiveError::Disconnected))
        ));
    });
}

/// All calls were given up and are in the server's hands: the next one waits until one comes back.
pub fn a_client_waits_until_a_call_is_free() {
    run(async {
        let service = squares(Squares::options().depth(1));
        let mut client = Async::new(service.client().unwrap()).unwrap();
        let server = service.server().unwrap();
        let held = {
            let calling = client.call(&1);
            tokio::pin!(calling);
            assert!(timeout(SHORT, &mut calling).await.is_err());
            server.try_receive().unwrap()
        };
        assert!(matches!(client.request().map(|_| ()), Err(CallError::Busy { depth: 1 })));
        let serving = async {
            tokio::time::sleep(SHORT).await;
            drop(held);
            tokio::time::sleep(SHORT).await;
            let call = server.try_receive().unwrap();
            assert_eq!(*call, 2);
            call.reply(4);
        };
        let (answer, ()) = tokio::join!(client.call(&2), serving);
        assert_eq!(answer.unwrap(), 4);
    });
}

/// What is awaited of a client or a server can be sent to another thread, and so can a call in hand.
pub fn futures_go_to_other_threads() {
    fn sent<T: Send>(it: T) -> T {
        it
    }
    run(async {
        let service = squares(Squares::options());
        let mut client = Async::new(service.client().unwrap()).unwrap();
        let mut server = Async::new(service.server().unwrap()).unwrap();
        let serving = sent(async {
            let call = server.recv().await.unwrap();
            tokio::task::yield_now().await;
            std::thread::scope(|scope| scope.spawn(move || call.reply(1)).join().unwrap());
        });
        let (answer, ()) = tokio::join!(sent(client.call(&1)), serving);
        assert_eq!(answer.unwrap(), 1);
    });
}

/// Has a call in hand until it is killed.
pub fn idle_server() {
    let region = Region::attach(common::descriptor(0)).unwrap();
    let journal = Journal::inherited(1);
    let server = Squares::open(&region, "squares").unwrap().server().unwrap();
    journal.set(0, 1);
    let _call = server.receive().unwrap();
    journal.set(0, 2);
    std::thread::sleep(common::FOREVER);
}

pub fn a_server_that_dies_is_told() {
    for _ in 0..count(3, 100) {
        let region = Region::create().memfd("deaths").unwrap();
        let service = Squares::create(&region, "squares").unwrap();
        let journal = Journal::new();
        let victim = Process::start("idle_server", &[], &[region.descriptor(), journal.as_fd()]);
        until("the server is there", || journal.get(0) == 1);
        run(async {
            let mut client = Async::new(service.client().unwrap()).unwrap();
            let killing = async {
                while journal.get(0) != 2 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                tokio::time::sleep(SHORT).await;
                victim.kill();
            };
            let (told, ()) = tokio::join!(client.call(&1), killing);
            assert!(matches!(told, Err(AsyncError::End(CallError::ServerDied))), "{told:?}");
            let told = client.call(&2).await;
            assert!(matches!(told, Err(AsyncError::End(CallError::NoServer))), "{told:?}");
        });
    }
}

/// Has a call under way until it is killed, of whose answer it takes nothing.
pub fn idle_client() {
    let region = Region::attach(common::descriptor(0)).unwrap();
    let journal = Journal::inherited(1);
    let client = Squares::open(&region, "squares").unwrap().client().unwrap();
    let _replies = client.request().unwrap().send().replies();
    journal.set(0, 1);
    std::thread::sleep(common::FOREVER);
}

pub fn a_client_that_dies_is_told() {
    for _ in 0..count(3, 100) {
        let region = Region::create().memfd("deaths").unwrap();
        let service = Squares::create(&region, "squares").unwrap();
        let journal = Journal::new();
        let victim = Process::start("idle_client", &[], &[region.descriptor(), journal.as_fd()]);
        until("the client has asked", || journal.get(0) == 1);
        run(async {
            let mut server = Async::new(service.server().unwrap()).unwrap();
            let mut stream = Async::new(server.recv().await.unwrap().stream()).unwrap();
            stream.send(1).await.unwrap();
            let killing = async {
                tokio::time::sleep(SHORT).await;
                victim.kill();
            };
            let (told, ()) = tokio::join!(stream.send(2), killing);
            assert!(matches!(told, Err(AsyncError::End(SendError::Cancelled(2)))), "{told:?}");
            drop(stream);
            let told = server.recv().await.map(|_| ());
            assert!(matches!(told, Err(AsyncError::End(TryReceiveError::PeerDied))), "{told:?}");
        });
    }
}
