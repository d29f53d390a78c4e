//! Each channel by itself: one thread sends 64 bytes and receives them.
//!
//! There is no other core in it, so this is what the code costs; what the hardware adds between two processes is
//! measured by `cargo bench --bench two_processes`.

use std::hint::black_box;
use std::time::Duration;

use allmende::channel::broadcast::Broadcast;
use allmende::channel::cell::Cell;
use allmende::channel::lanes::Lanes;
use allmende::channel::queue::Queue;
use allmende::channel::service::Service;
use allmende::topic::Topic;
use allmende::{Region, bytes, spsc};
use criterion::Criterion;

/// 64 bytes.
type Message = [u64; 8];

const SLOTS: usize = 64;
const BYTES: usize = 64 * 128;

fn main() {
    let region = Region::create().size(1 << 20).memfd("bench").expect("a region");
    let message: Message = [7; 8];
    let raw: Vec<u8> = message.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let mut criterion = Criterion::default().configure_from_args().measurement_time(Duration::from_secs(2));
    let mut group = criterion.benchmark_group("channels");

    let ring = spsc::Ring::<Message>::create(&region, "ring", SLOTS).expect("a ring");
    let mut tx = ring.producer().expect("the producer");
    let mut rx = ring.consumer().expect("the consumer");
    group.bench_function("ring of slots: push+pop", |bencher| {
        bencher.iter(|| {
            tx.push(black_box(message)).expect("there is space");
            rx.pop().expect("there is one")
        });
    });

    let ring = bytes::Ring::create(&region, "ring of bytes", BYTES).expect("a ring");
    let mut tx = ring.producer().expect("the producer");
    let mut rx = ring.consumer().expect("the consumer");
    group.bench_function("ring of bytes: push+receive", |bencher| {
        bencher.iter(|| {
            tx.push(black_box(&raw)).expect("there is space");
            black_box(&*rx.receive().expect("there is one"))[0]
        });
    });

    let queue = Queue::<Message>::create(&region, "queue", SLOTS).expect("a queue");
    let (tx, rx) = (queue.producer().expect("a producer"), queue.consumer().expect("a consumer"));
    group.bench_function("queue: push+pop", |bencher| {
        bencher.iter(|| {
            tx.push(black_box(message)).expect("there is space");
            rx.pop().expect("there is one")
        });
    });

    let lanes = Lanes::create(&region, "lanes", 4, BYTES).expect("lanes");
    let mut tx = lanes.producer().expect("a producer");
    let mut rx = lanes.consumer().expect("the consumer");
    group.bench_function("lanes: push+receive", |bencher| {
        bencher.iter(|| {
            tx.push(black_box(&raw)).expect("there is space");
            black_box(&*rx.receive().expect("there is one"))[0]
        });
    });

    let topic = Topic::<Message>::open_or_create(&region, "topic", SLOTS).expect("a topic");
    let rx = topic.subscriber().expect("a subscriber");
    let mut tx = topic.publisher().expect("a publisher");
    group.bench_function("topic: publish+pop", |bencher| {
        bencher.iter(|| {
            tx.send(black_box(message)).expect("there is space");
            rx.pop().expect("there is one")
        });
    });

    let broadcast = Broadcast::<Message>::create(&region, "broadcast", SLOTS).expect("a broadcast");
    let (mut tx, mut rx) =
        (broadcast.producer().expect("the producer"), broadcast.reader().expect("a reader"));
    group.bench_function("broadcast: push+receive", |bencher| {
        bencher.iter(|| {
            tx.push(black_box(message)).expect("never full");
            rx.receive().expect("there is one")
        });
    });

    let service = Service::<Message, Message>::create(&region, "service").expect("a service");
    let (client, server) = (service.client().expect("a client"), service.server().expect("a server"));
    group.bench_function("service: call+reply", |bencher| {
        bencher.iter(|| {
            let mut request = client.request().expect("none is under way");
            request.write(black_box(&message));
            let pending = request.send();
            let call = server.receive().expect("there is one");
            let answer = *call;
            call.reply(answer);
            *pending.wait().expect("it was answered")
        });
    });

    let cell = Cell::<Message>::create(&region, "cell").expect("a cell");
    let (mut writer, mut reader) = (cell.writer().expect("the writer"), cell.reader().expect("a reader"));
    group.bench_function("cell: write+read", |bencher| {
        bencher.iter(|| {
            writer.write(black_box(message)).expect("never full");
            reader.read().expect("there is one")
        });
    });
    group.bench_function("cell: read, unchanged", |bencher| {
        bencher.iter(|| reader.read().expect("there is one"));
    });

    group.finish();
    criterion.final_summary();
}
