//! Services whose requests or responses are bytes of any length.

// Tests may be blunt.
#![allow(clippy::pedantic)]

use std::thread;
use std::time::Duration;

use allmende::Region;
use allmende::channel::service::{
    Bytes, CallError, NotAnswered, SendError, Service, ServiceOptions, TryReceiveError,
};
use allmende::layout::service::Geometry;
use allmende::region::{AccessError, ObjectError};
use proptest::prelude::*;

type Texts = Service<Bytes, Bytes>;

fn region() -> Region {
    Region::create().size(1 << 20).memfd("bytes").unwrap()
}

fn options(request: usize, response: usize) -> ServiceOptions<Bytes, Bytes> {
    Texts::options().clients(2).depth(2).longest_request(request).longest_response(response)
}

fn text(length: usize, salt: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 7 + salt) as u8).collect()
}

#[test]
fn both_have_any_length_up_to_what_was_chosen() {
    for (request, response, parts) in
        [(0, 0, 1), (1, 1, 1), (40, 48, 2), (41, 49, 3), (1000, 5000, 1), (5000, 3, 16)]
    {
        let region = region();
        let service = options(request, response).clients(1).parts(parts).create(&region, "texts").unwrap();
        let (client, server) = (service.client().unwrap(), service.server().unwrap());
        let most = client.longest_request();
        assert!(most >= request && most < request + 128, "{most} of {request}");
        let mut longest_response = 0;
        for length in [0, 1, request, most] {
            let mut place = client.request(length).unwrap();
            place.copy_from_slice(&text(length, 1));
            let pending = place.send();
            let call = server.try_receive().unwrap();
            assert_eq!(*call, text(length, 1));
            longest_response = call.longest_response();
            assert!(longest_response >= response && longest_response < response + 192, "{longest_response}");
            let mut stream = call.stream();
            for part in 0..parts as usize {
                stream.try_send(&text(longest_response - part.min(longest_response), part)).unwrap();
            }
            assert!(matches!(stream.try_send(b""), Err(SendError::NoRoom(()))));
            stream.finish();
            let mut replies = pending.replies();
            for part in 0..parts as usize {
                let expected = text(longest_response - part.min(longest_response), part);
                assert_eq!(*replies.try_next().unwrap().unwrap(), *expected);
            }
            assert!(replies.try_next().unwrap().is_none());
        }
        // One more than the longest.
        let refused = client.request(most + 1).map(|_| ());
        assert_eq!(refused, Err(CallError::TooLarge { length: most + 1, max: most }));
        assert!(matches!(client.call(&vec![0; most + 1]), Err(CallError::TooLarge { .. })));
        let pending = client.request(0).unwrap().send();
        let call = server.try_receive().unwrap();
        let refused = call.reply(&vec![0; longest_response + 1]).unwrap_err();
        assert_eq!((refused.length, refused.max), (longest_response + 1, longest_response));
        assert!(refused.to_string().contains(&longest_response.to_string()));
        let refused = refused.call.response(usize::MAX).unwrap_err();
        let mut stream = refused.call.stream();
        let too_long = stream.claim(usize::MAX).map(|_| ()).unwrap_err();
        let max = longest_response;
        assert_eq!(too_long, SendError::TooLarge { length: usize::MAX, max, value: () });
        assert!(matches!(stream.try_send(&vec![0; max + 1]), Err(SendError::TooLarge { .. })));
        stream.send(&vec![9; max]).unwrap();
        stream.finish();
        assert_eq!(*pending.wait().unwrap(), vec![9; max]);
    }
}

#[test]
fn they_are_written_where_they_lie_and_cut_short() {
    let region = region();
    let service = options(100, 100).create(&region, "texts").unwrap();
    let (client, server) = (service.client().unwrap(), service.server().unwrap());
    let mut request = client.request(10).unwrap();
    request.fill(1);
    request.truncate(4);
    request.truncate(8);
    assert_eq!(request.len(), 4);
    let pending = request.send();
    let call = server.receive().unwrap();
    assert_eq!(*call, [1; 4]);
    let mut response = call.response(20).unwrap();
    response.fill(2);
    response.truncate(7);
    response.send();
    let reply = pending.wait().unwrap();
    assert_eq!(*reply, [2; 7]);
    assert_eq!(format!("{reply:?}"), "[2, 2, 2, 2, 2, 2, 2]");
    drop(reply);
    let mut replies = client.request(0).unwrap().send().replies();
    let mut stream = server.receive().unwrap().stream();
    let mut part = stream.claim(50).unwrap();
    part.fill(3);
    part.truncate(2);
    part.send();
    assert_eq!(*replies.next().unwrap().unwrap(), [3; 2]);
    assert!(matches!(stream.claim_timeout(1, Duration::ZERO).map(drop), Ok(())));
    stream.send_timeout(b"x", Duration::from_secs(9)).unwrap();
    assert!(matches!(stream.send_timeout(b"y", Duration::ZERO), Err(SendError::NoRoom(()))));
    drop(replies);
    assert!(matches!(stream.send(b"z"), Err(SendError::Cancelled(()))));
}

#[test]
fn one_side_of_a_type_the_other_of_bytes() {
    let region = region();
    let zeros = Service::<u64, Bytes>::options().longest_response(300).create(&region, "zeros").unwrap();
    let lengths = Service::<Bytes, u64>::options().longest_request(300).create(&region, "lengths").unwrap();
    let (zeros_of, lengths_of) = (zeros.client().unwrap(), lengths.client().unwrap());
    let (zero, length) = (zeros.server().unwrap(), lengths.server().unwrap());
    let worker = thread::spawn(move || {
        while let Ok(call) = zero.receive() {
            let zeros = vec![0; *call as usize];
            call.reply(&zeros).unwrap();
            let call = length.receive().unwrap();
            let length = call.len() as u64;
            call.reply(length);
        }
    });
    let long = Duration::from_secs(20);
    for length in 0..300 {
        let zeros =
            if length % 2 == 0 { zeros_of.call(&length) } else { zeros_of.call_timeout(&length, long) };
        let zeros = zeros.unwrap();
        assert_eq!(*zeros, vec![0; length as usize]);
        let told =
            if length % 2 == 0 { lengths_of.call(&zeros) } else { lengths_of.call_timeout(&zeros, long) };
        assert_eq!(*told.unwrap(), length);
    }
    drop(zeros_of);
    worker.join().unwrap();
    let late = lengths_of.call_timeout(b"late", Duration::from_millis(1)).map(|_| ());
    assert!(matches!(late, Err(CallError::NoServer | CallError::TimedOut)), "{late:?}");
}

#[test]
fn both_sides_must_mean_the_same() {
    let region = region();
    options(100, 200).create(&region, "texts").unwrap();
    Texts::open(&region, "texts").unwrap();
    options(100, 200).open_or_create(&region, "texts").unwrap();
    // What is rounded up alike is alike.
    options(101, 200).open_or_create(&region, "texts").unwrap();
    let other = |options: ServiceOptions<Bytes, Bytes>| options.open_or_create(&region, "texts").unwrap_err();
    assert!(matches!(other(options(1000, 200)), ObjectError::WrongParameter { .. }));
    let error = other(options(100, 1000));
    assert!(
        matches!(error, ObjectError::WrongParameter { .. }) && error.to_string().contains("response"),
        "{error}"
    );
    let mixed = Service::<u64, Bytes>::open(&region, "texts").map(|_| ());
    assert!(matches!(mixed, Err(ObjectError::WrongType { .. })), "{mixed:?}");
    for bad in [options(usize::MAX, 1), options(1, usize::MAX), options(usize::MAX - 100, 1)] {
        assert!(matches!(bad.create(&region, "bad"), Err(ObjectError::InvalidSize { .. })));
    }
    let name = format!("service-bytes-{}", std::process::id());
    let named = options(10, 10).named(&name).unwrap();
    let (client, server) = (named.client().unwrap(), named.server().unwrap());
    let pending = client.request(3).unwrap().send();
    server.receive().unwrap().reply(b"four").unwrap();
    assert_eq!(*pending.wait().unwrap(), *b"four");
}

/// A word of the region, written behind the library's back.
fn poke(region: &Region, offset: u64, value: u64) {
    let map = memmap2::MmapRaw::map_raw(&region.descriptor()).unwrap();
    // SAFETY: within the mapping, aligned by 8, and reached as an atomic by all.
    unsafe { std::sync::atomic::AtomicU64::from_ptr(map.as_mut_ptr().add(offset as usize).cast()) }
        .store(value, std::sync::atomic::Ordering::Release);
}

#[test]
fn lengths_that_nobody_writes() {
    let region = region();
    let service = options(100, 100).create(&region, "texts").unwrap();
    let (client, server) = (service.client().unwrap(), service.server().unwrap());
    let object = region.objects().remove(0);
    let geometry = Geometry::of(object.length, object.item_count, object.parameters).unwrap();
    let slot = object.offset + geometry.call(0, 0);
    // A request: its server leaves it alone.
    let pending = client.request(5).unwrap().send();
    poke(&region, slot + 16, u64::MAX);
    assert_eq!(server.try_receive().map(|_| ()), Err(TryReceiveError::Empty));
    assert!(matches!(pending.wait(), Err(CallError::Dropped)));
    // A response, and a part.
    for parts in [false, true] {
        let pending = client.request(5).unwrap().send();
        server.receive().unwrap().reply(b"12345").unwrap();
        poke(&region, slot + geometry.request_half + 8, client.longest_request() as u64 + 1000);
        let corrupt = Err(CallError::Access(AccessError::Corrupt));
        if parts {
            let mut replies = pending.replies();
            for _ in 0..2 {
                assert_eq!(replies.next().map(|_| ()), corrupt);
            }
        } else {
            assert_eq!(pending.wait().map(|_| ()), corrupt);
        }
    }
    let pending = client.request(5).unwrap().send();
    server.receive().unwrap().reply(b"12345").unwrap();
    assert_eq!(*pending.wait().unwrap(), *b"12345");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// Whatever the maximums and lengths: what is sent arrives, and nothing beside it is touched.
    #[test]
    fn what_is_sent_arrives(
        request in 0..700_usize,
        response in 0..700_usize,
        parts in 1..17_u32,
        lengths in prop::collection::vec((0..900_usize, prop::collection::vec(0..900_usize, 0..20)), 1..20),
    ) {
        let region = region();
        let options = options(request, response).parts(parts);
        let service = options.create(&region, "texts").unwrap();
        let clients = [service.client().unwrap(), service.client().unwrap()];
        let server = service.server().unwrap();
        let most = clients[0].longest_request();
        for (round, (length, answers)) in lengths.into_iter().enumerate() {
            // A neighbour's request, which stays as it is.
            let mut beside = clients[1].request(most).unwrap();
            beside.copy_from_slice(&text(most, round));
            let place = clients[0].request(length);
            prop_assert_eq!(place.is_ok(), length <= most);
            let Ok(mut place) = place else { continue };
            place.copy_from_slice(&text(length, round));
            let mut replies = place.send().replies();
            let call = server.try_receive().unwrap();
            prop_assert_eq!(&*call, &*text(length, round));
            let longest = call.longest_response();
            let mut stream = call.stream();
            let mut under_way = std::collections::VecDeque::new();
            for answer in answers {
                match stream.try_send(&text(answer, round + 1)) {
                    Ok(()) => under_way.push_back(answer),
                    Err(SendError::TooLarge { length, max, .. }) => prop_assert!(length > max && max == longest),
                    Err(SendError::NoRoom(())) => {
                        prop_assert_eq!(under_way.len(), parts as usize);
                        let part = replies.try_next().unwrap().unwrap();
                        prop_assert_eq!(&*part, &*text(under_way.pop_front().unwrap(), round + 1));
                    }
                    Err(other) => prop_assert!(false, "{other}"),
                }
            }
            stream.finish();
            for answer in under_way {
                prop_assert_eq!(&*replies.try_next().unwrap().unwrap(), &*text(answer, round + 1));
            }
            prop_assert!(replies.try_next().unwrap().is_none());
            prop_assert_eq!(&*beside, &*text(most, round));
        }
    }
}

#[test]
fn not_answered_yet() {
    let region = region();
    let service = options(10, 10).create(&region, "texts").unwrap();
    let client = service.client().unwrap();
    let pending = client.request(1).unwrap().send();
    let Err(NotAnswered::Yet(pending)) = pending.try_wait() else { panic!() };
    assert!(pending.cancel());
}
