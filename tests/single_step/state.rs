//! The cell, the broadcast and the array: whoever writes, reads, lends or leaves, killed at every instruction.

use std::any::Any;

use allmende::channel::array::{LeaseError, WriteLease};
use allmende::channel::broadcast::{self, TryReceiveError};
use allmende::channel::cell::{self, CellError};
use allmende::layout::{array, broadcast as broadcast_layout, cell as cell_layout};
use allmende::{Array, Broadcast, Cell, Region};

use crate::common;
use crate::harness::Operation;
use crate::locks::{either, leak, put_to_sleep};
use crate::world::{Message, alone, attach_above_the_dead, message, number_of, small_region};

/// What the victim does with what it prepares in a region; at its end this may be dropped.
fn step<W>(name: &str, prepare: &dyn Fn() -> W, victim: &dyn Fn(&W) -> Box<dyn FnOnce()>, check: &dyn Fn(W)) {
    Operation {
        name,
        prepare,
        victim: &|world| {
            let act = victim(world);
            Box::new(move || {
                act();
                Box::new(())
            })
        },
        check,
    }
    .at_every_instruction();
}

fn own<T: 'static>(region: &Region, open: fn(&Region) -> T) -> &'static T {
    leak(open(&Region::attach(region.descriptor()).unwrap()))
}

// ---------------------------------------------------------------------------------------------
// The cell
// ---------------------------------------------------------------------------------------------

const READERS: u32 = 2;

/// A cell that was written twice, with the survivor's reader.
struct Written {
    reader: cell::Reader<Message>,
    writer: Option<cell::Writer<Message>>,
    cell: Cell<Message>,
    region: Region,
}

fn written() -> Written {
    let region = small_region();
    let cell = Cell::options().readers(READERS).create(&region, "cell").unwrap();
    let (mut writer, mut reader) = (cell.writer().unwrap(), cell.reader().unwrap());
    writer.write(message(1)).unwrap();
    assert_eq!(number_of(&reader.read().unwrap()), 1);
    writer.write(message(2)).unwrap();
    put_to_sleep(&region, "cell", cell_layout::READERS_EVENT);
    put_to_sleep(&region, "cell", cell_layout::WRITER_EVENT);
    Written { reader, writer: Some(writer), cell, region }
}

fn without_a_writer() -> Written {
    let mut world = written();
    world.writer = None;
    world
}

fn open_cell(region: &Region) -> Cell<Message> {
    Cell::open(region, "cell").unwrap()
}

/// The last whole value is there, of number `most` at the most; a successor goes on, and all places come back.
fn check_cell(Written { mut reader, writer, cell, region }: Written, most: u64) {
    let version = cell.version();
    assert!((2..=most).contains(&version), "{version}");
    assert_eq!(reader.borrow().map(|loan| (number_of(&loan), loan.version())), Ok((version, version)));
    if either() {
        region.sweep().unwrap();
    }
    let mut writer = writer.unwrap_or_else(|| cell.writer().unwrap());
    let mut other = cell.reader().unwrap();
    assert!(matches!(cell.reader(), Err(CellError::TooManyReaders { readers: READERS })));
    for number in version + 1..version + 6 {
        let held = reader.borrow().unwrap();
        writer.write(message(number)).unwrap();
        assert_eq!(number_of(&held), number - 1, "written while it was borrowed");
        assert_eq!(number_of(&other.read().unwrap()), number);
    }
    assert_eq!(cell.version(), version + 5);
    drop((reader, other, writer));
    alone(&region);
}

pub fn writing_a_cell() {
    let write = |name: &str, act: fn(&mut cell::Writer<Message>)| {
        step(
            &format!("cell: {name}"),
            &without_a_writer,
            &|world| {
                let writer = Box::leak(Box::new(own(&world.region, open_cell).writer().unwrap()));
                Box::new(move || act(writer))
            },
            &|world| check_cell(world, 4),
        );
    };
    write("write twice", |writer| (3..5).for_each(|number| writer.write(message(number)).unwrap()));
    write("write in place, and give up", |writer| {
        let mut loan = writer.loan().unwrap();
        *loan = message(3);
        loan.publish();
        *writer.loan().unwrap() = [7; 4];
    });
    step(
        "cell: a writer comes and leaves",
        &without_a_writer,
        &|world| {
            let cell = own(&world.region, open_cell);
            Box::new(|| drop(cell.writer().unwrap()))
        },
        &|world| check_cell(world, 2),
    );
}

pub fn reading_a_cell() {
    step(
        "cell: read, borrow",
        &written,
        &|world| {
            let reader = Box::leak(Box::new(own(&world.region, open_cell).reader().unwrap()));
            Box::new(move || {
                assert_eq!(number_of(&reader.read().unwrap()), 2);
                assert_eq!(number_of(&reader.borrow().unwrap()), 2);
            })
        },
        &|world| check_cell(world, 2),
    );
    step(
        "cell: a reader comes, reads and leaves",
        &written,
        &|world| {
            let cell = own(&world.region, open_cell);
            Box::new(|| assert_eq!(number_of(&cell.reader().unwrap().read().unwrap()), 2))
        },
        &|world| check_cell(world, 2),
    );
}

// ---------------------------------------------------------------------------------------------
// The broadcast
// ---------------------------------------------------------------------------------------------

const CAPACITY: u64 = 8;

/// Of ten messages the survivor has received eight.
struct Sent {
    reader: broadcast::Reader<Message>,
    broadcast: Broadcast<Message>,
    region: Region,
}

const SENT: u64 = 10;

fn sent() -> Sent {
    let region = small_region();
    let broadcast = Broadcast::create(&region, "cast", CAPACITY as usize).unwrap();
    let (mut producer, mut reader) = (broadcast.producer().unwrap(), broadcast.reader().unwrap());
    for number in 0..SENT {
        producer.push(message(number)).unwrap();
        if number < SENT - 2 {
            assert_eq!(number_of(&reader.receive().unwrap()), number);
        }
    }
    drop(producer);
    put_to_sleep(&region, "cast", broadcast_layout::READERS_EVENT);
    Sent { reader, broadcast, region }
}

fn open_broadcast(region: &Region) -> Broadcast<Message> {
    Broadcast::open(region, "cast").unwrap()
}

/// All that was sent comes out, whole and once, then the news that the producer is gone; a successor goes on.
fn check_broadcast(Sent { mut reader, broadcast, region }: Sent, more: u64) {
    let sent = broadcast.sent();
    assert!((SENT..=SENT + more).contains(&sent), "{sent}");
    for number in SENT - 2..sent {
        assert_eq!(number_of(&reader.try_receive().unwrap()), number);
    }
    region.sweep().unwrap();
    let gone = reader.try_receive();
    assert!(matches!(gone, Err(TryReceiveError::Disconnected | TryReceiveError::PeerDied)), "{gone:?}");
    let mut producer = broadcast.producer().unwrap();
    for number in sent..sent + 3 * CAPACITY {
        producer.push(message(number)).unwrap();
        assert_eq!(number_of(&reader.try_receive().unwrap()), number);
        assert_eq!(reader.try_receive(), Err(TryReceiveError::Empty));
    }
    assert_eq!(reader.missed(), 0);
    drop((producer, reader));
    alone(&region);
}

pub fn broadcasting() {
    let send = |name: &str, more: u64, act: fn(&'static Broadcast<Message>)| {
        step(
            &format!("broadcast: {name}"),
            &sent,
            &|world| {
                let broadcast = own(&world.region, open_broadcast);
                Box::new(move || act(broadcast))
            },
            &|world| check_broadcast(world, more),
        );
    };
    send("come, push, leave", 1, |broadcast| broadcast.producer().unwrap().push(message(SENT)).unwrap());
    send("push several", 3, |broadcast| {
        let mut producer = broadcast.producer().unwrap();
        producer.push_slice(&[message(SENT), message(SENT + 1), message(SENT + 2)]).unwrap();
        std::mem::forget(producer);
    });
    send("receive", 0, |broadcast| {
        let mut reader = broadcast.reader_from(broadcast::Start::Oldest).unwrap();
        let number = number_of(&reader.try_receive().unwrap());
        assert_eq!(number_of(&reader.try_receive().unwrap()), number + 1);
    });
}

// ---------------------------------------------------------------------------------------------
// The array
// ---------------------------------------------------------------------------------------------

const LENGTH: usize = 16;
/// Enough for what is left suspect, in parts, by two who died one after the other.
const LEASES: usize = 8;

struct Lent {
    held: Option<Box<dyn Any>>,
    array: Array<u64>,
    region: Region,
}

fn lent() -> Lent {
    let region = small_region();
    let array = Array::<u64>::options().leases(LEASES as u32).create(&region, "array", &[LENGTH]).unwrap();
    array.lend(..).unwrap().fill(1);
    put_to_sleep(&region, "array", array::EVENT);
    Lent { held: None, array, region }
}

fn open_array(region: &Region) -> Array<u64> {
    Array::open(region, "array").unwrap()
}

fn mend(mut lease: WriteLease<u64>) {
    lease.fill(9);
    lease.mark_consistent();
}

/// Nobody who died is in the way. What is half-written is suspect; and mended, it is as new.
fn check_array(Lent { held, array, region }: Lent, writes: bool) {
    if either() {
        region.sweep().unwrap();
    }
    // What the survivor has stays its own.
    if held.is_some() {
        assert!(matches!(array.lend(..), Err(LeaseError::Overlaps { .. })));
    }
    drop(held);
    // Some of it first: the rest stays as it is.
    let middle = array.lend(5..7).unwrap();
    let suspect = middle.suspect();
    assert!(writes || !suspect, "suspect, though nobody wrote");
    assert!(suspect || middle.iter().all(|word| *word == middle[0]), "half-written: {:?}", &*middle);
    mend(middle);
    let whole = array.lend(..).unwrap();
    assert!(writes || !whole.suspect());
    assert!(whole.suspect() || !suspect, "what surrounds it is no longer suspect");
    mend(whole);
    let parts: Vec<_> = (0..LEASES).map(|part| array.lend(2 * part..2 * part + 2).unwrap()).collect();
    assert!(parts.iter().all(|part| !part.suspect() && **part == [9; 2]));
    assert!(matches!(array.share(..), Err(LeaseError::Overlaps { .. })));
    drop(parts);
    drop(array.share(..).unwrap());
    alone(&region);
}

pub fn lending() {
    let lend = |name: &str, prepare: fn() -> Lent, writes: bool, act: fn(&'static Array<u64>)| {
        Operation {
            name: &format!("array: {name}"),
            prepare: &prepare,
            victim: &|world: &Lent| {
                let array = own(&world.region, open_array);
                Box::new(move || {
                    act(array);
                    Box::new(())
                })
            },
            check: &|world| check_array(world, writes),
        }
        // Most of it is looking through the table.
        .at_every_trace();
    };
    lend("lend, write, give back", lent, true, |array| {
        let mut lease = array.lend(4..8).unwrap();
        for word in &mut *lease {
            // SAFETY: a live `&mut u64`. Volatile, so that the writes stay apart.
            unsafe { std::ptr::from_mut(word).write_volatile(2) };
        }
    });
    lend("share, give back", lent, false, |array| assert_eq!(*array.share(4..8).unwrap(), [1; 4]));
    let shared = || {
        let mut world = lent();
        world.held = Some(Box::new(world.array.share(..).unwrap()));
        world
    };
    lend("lend, in vain", shared, false, |array| {
        assert!(matches!(array.lend(4..8), Err(LeaseError::Overlaps { .. })));
    });
    lend("share beside another one", shared, false, |array| drop(array.share(4..8).unwrap()));
    // Lent from the middle of what the dead left: one suspect part becomes two.
    let half_written = || {
        let world = lent();
        common::in_a_fork(|| std::mem::forget(own(&world.region, open_array).lend(2..10).unwrap()));
        world.region.sweep().unwrap();
        world
    };
    lend("lend what is suspect, mend it", half_written, true, |array| mend(array.lend(5..7).unwrap()));
    lend("lend what is suspect, give it up", half_written, true, |array| {
        assert!(array.lend(4..8).unwrap().suspect());
    });
}

// ---------------------------------------------------------------------------------------------
// Sweeping
// ---------------------------------------------------------------------------------------------

fn sweep<W>(name: &str, prepare: &dyn Fn() -> W, region: fn(&W) -> &Region, check: &dyn Fn(W)) {
    Operation {
        name,
        prepare,
        victim: &|world| {
            let own = attach_above_the_dead(region(world));
            Box::new(move || {
                assert_eq!(own.sweep().unwrap(), 1);
                Box::new(own)
            })
        },
        check,
    }
    .at_every_trace();
}

pub fn sweeping() {
    let dead_at_the_cell = || {
        let world = without_a_writer();
        common::in_a_fork(|| {
            let cell = own(&world.region, open_cell);
            let (writer, mut reader) = (cell.writer().unwrap(), cell.reader().unwrap());
            reader.read().unwrap();
            std::mem::forget((writer, reader));
        });
        world
    };
    sweep("cell: sweep", &dead_at_the_cell, |world| &world.region, &|world| check_cell(world, 2));
    let dead_producer = || {
        let world = sent();
        common::in_a_fork(|| std::mem::forget(own(&world.region, open_broadcast).producer().unwrap()));
        world
    };
    sweep("broadcast: sweep", &dead_producer, |world| &world.region, &|world| check_broadcast(world, 0));
    let dead_with_leases = || {
        let world = lent();
        common::in_a_fork(|| {
            let array = own(&world.region, open_array);
            std::mem::forget((array.lend(2..10).unwrap(), array.share(10..).unwrap()));
        });
        world
    };
    sweep("array: sweep", &dead_with_leases, |world| &world.region, &|world| check_array(world, true));
}
