//! Forked handles, and words that nobody writes.

use allmende::channel::service::{
    CallError, Client, NotAnswered, ReceiveError, SendError, Server, TryReceiveError,
};
use allmende::inspect::{ObjectState, state};
use allmende::layout::service::{ACTIVE, Geometry};
use allmende::region::AccessError;
use allmende::ring::error::RoleError;

use crate::common::{self, in_a_fork};
use crate::parts::part;
use crate::stage::{ANSWERED, ASKED, Numbers, Stage, message, number_of, options};

/// A forked child has the handles, and neither asks, answers nor leaves by them.
pub fn forked_handles_answer_so() {
    let stage = Stage::new(options());
    let client: Client<_, _> = stage.service.client().unwrap();
    let server: Server<_, _> = stage.service.server().unwrap();
    let mut request = client.request().unwrap();
    request.write(&message(1, ASKED));
    let mut pending = Some(request.send());
    let unsent = client.request().unwrap();
    let mut parts = Some((unsent, server.receive().unwrap()));
    in_a_fork(|| {
        let (unsent, call) = parts.take().unwrap();
        assert!(matches!(unsent.send().wait(), Err(CallError::Access(AccessError::Forked))));
        assert!(matches!(client.request().map(|_| ()), Err(CallError::Access(AccessError::Forked))));
        assert!(matches!(
            server.try_receive().map(|_| ()),
            Err(TryReceiveError::Access(AccessError::Forked))
        ));
        assert!(matches!(server.receive().map(|_| ()), Err(ReceiveError::Access(AccessError::Forked))));
        assert!(matches!(stage.service.client(), Err(RoleError::Access(AccessError::Forked))));
        call.reply(message(2, ANSWERED));
        drop(pending.take());
    });
    forked_streams_answer_so(&stage.service);
    let (unsent, call) = parts.take().unwrap();
    assert!(!call.cancelled(), "the child gave up what is its parent's");
    drop(unsent);
    call.reply(message(1, ANSWERED));
    let reply = pending.take().unwrap().wait().unwrap();
    assert_eq!(number_of(&reply, ANSWERED), 1);
    drop(reply);
    drop((pending, parts));
    drop((client, server));
    stage.all_is_back();
}

/// The same amid an answer in parts.
fn forked_streams_answer_so(service: &Numbers) {
    let (client, server) = (service.client().unwrap(), service.server().unwrap());
    let mut request = client.request().unwrap();
    request.write(&message(7, ASKED));
    let mut replies = Some(request.send().replies());
    let mut stream = loop {
        let call = server.receive_timeout(common::FOREVER).unwrap();
        if call[0] == 7 {
            break Some(call.stream());
        }
    };
    stream.as_mut().unwrap().send(part(7, 0)).unwrap();
    let forked = |result| assert!(matches!(result, Err(CallError::Access(AccessError::Forked))));
    in_a_fork(|| {
        let (mut replies, mut stream) = (replies.take().unwrap(), stream.take().unwrap());
        forked(replies.next().map(|_| ()));
        assert!(matches!(stream.try_claim(), Err(SendError::Access(AccessError::Forked, ()))));
        assert!(matches!(stream.send(part(7, 1)), Err(SendError::Access(AccessError::Forked, _))));
        assert!(!replies.cancel());
        stream.finish();
    });
    // One that is lent out, or claimed, at the fork.
    let (mut replies, mut stream) = (replies.unwrap(), stream.unwrap());
    {
        let mut lent = Some(replies.next().unwrap().unwrap());
        in_a_fork(|| drop(lent.take()));
        assert!(matches!(stream.try_claim(), Err(SendError::NoRoom(()))), "the child gave it back");
    }
    {
        let mut claim = Some(stream.try_claim().unwrap());
        in_a_fork(|| claim.take().unwrap().send());
    }
    assert!(matches!(replies.try_next(), Err(CallError::TimedOut)), "the child sent it");
    stream.finish();
    assert!(replies.next().unwrap().is_none());
}

/// What nobody writes is an error, no panic and no endless loop.
pub fn nonsense_is_corrupt() {
    let stage = Stage::new(options());
    let client = stage.service.client().unwrap();
    let server = stage.service.server().unwrap();
    let object = stage.region.objects().remove(0);
    let geometry = Geometry::of(object.length, object.item_count, object.parameters).unwrap();
    let at = |offset: u64| object.offset + offset;
    // Lanes that there are not.
    common::poke(&stage.region, at(ACTIVE), u64::MAX);
    assert_eq!(server.try_receive().map(|_| ()), Err(TryReceiveError::Empty));
    let call = geometry.call(0, 0);
    let pending = client.request().unwrap().send();
    common::poke(&stage.region, at(call + geometry.request_half), u64::MAX);
    assert_eq!(server.try_receive().map(|_| ()), Err(TryReceiveError::Empty), "its ticket is no good");
    let said = pending.wait_timeout(common::FOREVER).map(|_| ());
    assert!(matches!(said, Err(NotAnswered::Never(CallError::Access(AccessError::Corrupt)))), "{said:?}");
    // In the hands of one that there is not: this slot is lost, the other is good.
    common::poke(&stage.region, at(call + geometry.request_half), u64::MAX >> 26 << 26 | 1 << 18 | 0x3fff);
    let pending = client.request().unwrap();
    assert!(matches!(client.request().map(|_| ()), Err(CallError::Busy { .. })));
    let pending = pending.send();
    server.receive_timeout(common::FOREVER).unwrap().reply(message(1, ANSWERED));
    assert_eq!(number_of(&pending.wait().unwrap(), ANSWERED), 1);
    // More parts than there can be, and of a stream, done with more than were sent.
    let mut replies = client.request().unwrap().send().replies();
    let mut stream = server.receive_timeout(common::FOREVER).unwrap().stream();
    stream.send(message(1, ANSWERED)).unwrap();
    let word = at(geometry.call(0, 1) + geometry.request_half);
    let sent = common::peek(&stage.region, word);
    common::poke(&stage.region, word, sent + (8 << 21));
    assert_eq!(replies.next().map(|_| ()), Err(CallError::Access(AccessError::Corrupt)));
    common::poke(&stage.region, word, sent);
    common::poke(&stage.region, at(geometry.call_line(0, 1)), sent >> 26 << 26 | 5);
    let said = stream.send(message(2, ANSWERED)).map_err(|error| error.to_string());
    assert_eq!(said, Err(AccessError::Corrupt.to_string()));
    stream.finish();
    drop(replies);
    // Numbers of a sweep and of tools that look.
    stage.region.sweep().unwrap();
    assert!(matches!(state(&stage.region, &object), ObjectState::Shared(_)));
}
