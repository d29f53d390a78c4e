//! Who waits shortly, again and again, is told of a death as well as one who waits long: nobody else sweeps here.

use std::time::Duration;

use allmende::channel::service::{CallError, NotAnswered, SendError};

use crate::common::{self, until};
use crate::stage::{ASKED, Stage, hold, in_hand, message, of_child, options};

/// Far shorter than a slice.
const SHORTLY: Duration = Duration::from_millis(2);

pub fn the_impatient_are_told_of_a_death() {
    let stage = Stage::new(options().parts(2));
    {
        let client = stage.service.client().unwrap();
        let server = stage.start("server", 0);
        stage.journal.set(hold(0), 1);
        let mut request = client.request().unwrap();
        request.write(&message(1, ASKED));
        let mut pending = Some(request.send());
        until("the server has it", || stage.journal.get(in_hand(0)) == 1);
        server.kill();
        until("the client is told", || match pending.take().unwrap().wait_timeout(SHORTLY) {
            Err(NotAnswered::Yet(again)) => {
                pending = Some(again);
                false
            }
            told => {
                assert!(matches!(told, Err(NotAnswered::Never(CallError::ServerDied))), "{told:?}");
                true
            }
        });
    }
    let server = stage.service.server().unwrap();
    let listener = stage.start("listener", 1);
    let mut stream = server.receive_timeout(common::FOREVER).unwrap().stream();
    listener.kill();
    let mut sent = 0;
    until("the server is told", || match stream.claim_timeout(SHORTLY) {
        Ok(claim) => {
            claim.send();
            sent += 1;
            assert!(sent <= 1000, "nobody reads them");
            false
        }
        Err(SendError::NoRoom(())) => false,
        Err(told) => {
            assert_eq!(told, SendError::Cancelled(()));
            true
        }
    });
    drop(stream);
    assert_eq!(stage.journal.get(of_child(1)), 1, "it was in its first call");
    drop(server);
    let counts = stage.counts();
    assert_eq!((counts.messages, counts.received, counts.lost), (2, 1, 1));
    stage.all_is_back();
}
