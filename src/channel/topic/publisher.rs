//! The publishing end, whatever the messages are.

// The compiler thinks these too large to inline; out of line they cost copies of the message.
#![allow(clippy::inline_always)]

use std::cell::UnsafeCell;
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Instant;

use super::error::{LoanError, PublishError, RoleError, TryLoanError, TryPublishError};
use super::mapped::Mapped;
use super::shared::{Shared, leave_publisher};
use crate::atomic::{Ordering, spin_hint};
use crate::layout::counters::Counter;
use crate::layout::owner::Owner;
use crate::layout::topic::MAX_CLASSES;
use crate::region::AccessError;
use crate::ring::cache;
use crate::ring::topic::deliver::{self, Delivering, NoRoom};
use crate::ring::topic::{Backing, Descriptor, pool, subscriptions, turn};
use crate::sync::eventcount::AfterSlice;
use crate::sync::wait::Wait;

/// Words of a short payload, at the most.
pub(super) const SHORT: usize = 13;
/// Looks at the turn before one waits for it otherwise.
const TURN_LOOKS: u32 = 200;
/// Looks at a subscriber that has just made room, until it has made more: see [`let_it_get_ahead`].
const ROOM_LOOKS: u32 = 16;

/// Why a message is not out yet.
#[derive(Debug, Clone, Copy)]
pub(super) enum NotYet {
    /// This subscription is full, its cursor having this value.
    Full(usize, u64),
    /// Another has the turn.
    Turn,
    Access(AccessError),
}

/// What the last call that did not wait could not get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refused {
    /// Room with a lossless subscriber; or nothing yet, and then a message needs that.
    Room,
    /// The turn.
    Turn,
    /// A block of this class or a larger one.
    Block(usize),
}

#[derive(Debug, Clone, Copy)]
struct Spare {
    class: usize,
    block: u32,
    payload: NonNull<u8>,
}

// SAFETY: as for `Place`.
unsafe impl Send for Spare {}
// SAFETY: as for `Place`.
unsafe impl Sync for Spare {}

#[derive(Debug)]
pub(super) struct RawPublisher {
    shared: Arc<Shared>,
    me: Owner,
    index: usize,
    pub(super) wait: Wait,
    delivering: Delivering,
    /// Where to look for a free block of each class.
    next: [u32; MAX_CLASSES],
    refused: Refused,
    /// A block that was claimed ahead for the next message, and its class: behind a message there is time, as a rule.
    spare: Option<Spare>,
    /// Where a short message is written, before it is copied into the entries.
    words: Box<UnsafeCell<[u64; SHORT]>>,
}

/// Where a message is written: a block, or the publisher's own words.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    block: Option<u32>,
    pub(super) payload: NonNull<u8>,
}

// SAFETY: the pointer is to a block, or to the publisher's words, which the claim that has this has to itself; whoever
// has the claim may write there, on whatever thread.
unsafe impl Send for Place {}
// SAFETY: only who has the claim goes where the pointer leads.
unsafe impl Sync for Place {}

impl RawPublisher {
    pub(super) fn new(shared: &Arc<Shared>) -> Result<Self, RoleError> {
        let me = shared.me()?;
        let members = shared.mapped.members();
        let mut index = members.join(me);
        if index.is_none() {
            // Some may be dead, and not swept yet.
            shared.examine();
            index = members.join(me);
        }
        let index = index.ok_or(RoleError::TooMany { role: "publisher", most: members.words.len() })?;
        let delivering = Delivering::new();
        Ok(Self {
            shared: shared.clone(),
            me,
            index,
            wait: Wait::default(),
            delivering,
            next: [0; MAX_CLASSES],
            refused: Refused::Room,
            spare: None,
            words: Box::new(UnsafeCell::new([0; SHORT])),
        })
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Whether the next call that does not wait would get what the last one could not, or fail otherwise.
    pub(super) fn would_say(&self) -> bool {
        let mapped = &self.shared.mapped;
        let free_turn = turn::holder(mapped.turn()).is_none();
        if self.shared.forked() {
            return true;
        }
        // While a dead one has the turn nothing can be cleaned, nor grow: the sweep wakes us.
        match self.refused {
            Refused::Turn => free_turn,
            Refused::Room => deliver::has_room(mapped) || (free_turn && subscriptions::unclean(mapped)),
            Refused::Block(smallest) => {
                let mut classes = smallest..mapped.classes().len();
                (free_turn && subscriptions::unclean(mapped))
                    || classes.any(|class| {
                        pool::committed(mapped, class).any(|block| pool::is_free(mapped, block))
                            || (free_turn && pool::can_grow(mapped, class))
                    })
            }
        }
    }

    /// Whether a message so short is to stand in the entries.
    #[inline(always)]
    pub(super) fn is_short(&self, length: usize) -> bool {
        length <= self.shared.mapped.inline
    }

    /// A place for a message of `length` bytes.
    #[inline]
    pub(super) fn place(&mut self, length: usize) -> Result<Place, TryLoanError> {
        if self.shared.forked() {
            return Err(AccessError::Forked.into());
        }
        if self.is_short(length) {
            return Ok(self.own());
        }
        self.block(length)
    }

    /// The publisher's own words.
    fn own(&mut self) -> Place {
        let words = NonNull::new(self.words.get()).expect("a box is somewhere");
        Place { block: None, payload: words.cast() }
    }

    /// A block for so many bytes.
    #[inline]
    fn block(&mut self, length: usize) -> Result<Place, TryLoanError> {
        let mapped = &self.shared.mapped;
        let Some(smallest) = mapped.smallest_for(length) else {
            return Err(TryLoanError::TooLarge { length, max: mapped.longest() });
        };
        if let Some(Spare { class, block, payload }) = self.spare
            && class == smallest
        {
            self.spare = None;
            pool::use_spare(mapped, block);
            return Ok(Place { block: Some(block), payload });
        }
        let block = match pool::claim(mapped, smallest, self.me, &mut self.next[smallest]) {
            Some(block) => block,
            None => self.another_block(smallest)?,
        };
        let mapped = &self.shared.mapped;
        // What fits into a block has at most `MAX_MESSAGE` bytes.
        #[allow(clippy::cast_possible_truncation)]
        let payload = mapped.payload(Descriptor { block: Some(block), length: length as u32 });
        Ok(Place { block: Some(block), payload: payload.ok_or(AccessError::Corrupt)? })
    }

    /// One of a class that grows, else a larger one.
    #[cold]
    fn another_block(&mut self, smallest: usize) -> Result<u32, TryLoanError> {
        self.let_spare_go();
        let mapped = &self.shared.mapped;
        let mut classes = smallest..mapped.classes().len();
        let grown = classes.clone().find(|&class| Self::grow(&self.shared, self.me, class));
        let mut claim = |class| pool::claim(mapped, class, self.me, &mut self.next[class]);
        let block = grown.and_then(&mut claim).or_else(|| classes.find_map(claim));
        if block.is_none() {
            self.refused = Refused::Block(smallest);
        }
        block.ok_or(TryLoanError::NoBlock)
    }

    /// Commits more blocks of a class if there are any; and whoever is gone shall hold none.
    #[cold]
    fn grow(shared: &Shared, me: Owner, class: usize) -> bool {
        let mapped = &shared.mapped;
        let more = pool::can_grow(mapped, class) || subscriptions::unclean(mapped);
        if !more || !turn::take_soon(mapped.turn(), me, TURN_LOOKS) {
            return false;
        }
        let cleaned = subscriptions::unclean(mapped);
        subscriptions::clean(mapped);
        let grown = !cleaned && pool::grow(mapped, class, mapped.classes()[class].part);
        turn::give_back(mapped.turn());
        shared.notify_publishers();
        grown || cleaned
    }

    /// The same, waiting for a block.
    pub(super) fn place_until(
        &mut self,
        length: usize,
        deadline: Option<Instant>,
    ) -> Result<Place, LoanError> {
        match self.place(length) {
            Ok(place) => Ok(place),
            Err(TryLoanError::NoBlock) => self.wait_for_block(length, deadline),
            Err(TryLoanError::TooLarge { length, max }) => Err(LoanError::TooLarge { length, max }),
            Err(TryLoanError::Access(error)) => Err(error.into()),
        }
    }

    #[cold]
    fn wait_for_block(&mut self, length: usize, deadline: Option<Instant>) -> Result<Place, LoanError> {
        let (shared, wait) = (self.shared.clone(), self.wait);
        shared.counters().count(Counter::SendsWaited);
        let condition = || match self.place(length) {
            Err(TryLoanError::NoBlock) => None,
            Err(TryLoanError::TooLarge { length, max }) => Some(Err(LoanError::TooLarge { length, max })),
            Err(TryLoanError::Access(error)) => Some(Err(error.into())),
            Ok(place) => Some(Ok(place)),
        };
        let after_slice = || {
            shared.examine();
            AfterSlice::GoOn
        };
        let event = shared.mapped.publishers_event();
        let found = event.wait_until(&*shared.inner, wait, deadline, condition, after_slice);
        found.unwrap_or(Err(LoanError::TimedOut))
    }

    /// Gives a place up.
    pub(super) fn abandon(&self, place: &Place) {
        if let (Some(block), false) = (place.block, self.shared.forked()) {
            pool::abandon(&self.shared.mapped, block);
            self.shared.notify_publishers();
        }
    }

    /// Publishes what was written at `place`, if there is room.
    #[inline]
    pub(super) fn try_deliver(&mut self, place: &Place, length: usize) -> Result<(), NotYet> {
        // Lengths were checked by `place`.
        #[allow(clippy::cast_possible_truncation)]
        let descriptor = Descriptor { block: place.block, length: length as u32 };
        if place.block.is_some() {
            return self.enter(descriptor, &[]);
        }
        // SAFETY: who may write there has the claim, which is in this call now.
        let words = unsafe { self.short(length) };
        self.enter(descriptor, words)
    }

    /// The publisher's own words, as many as `length` bytes take.
    ///
    /// # Safety
    /// Nobody writes to them as long as `'a`, which ends before the publisher does.
    #[inline]
    unsafe fn short<'a>(&self, length: usize) -> &'a [u64] {
        let words = length.div_ceil(8).min(SHORT);
        // SAFETY: they lie in a box of the publisher's, `SHORT` of them; the rest is the caller's.
        unsafe { std::slice::from_raw_parts(self.words.get().cast(), words) }
    }

    /// Enters a message, if there is room.
    #[inline(always)]
    fn enter(&mut self, descriptor: Descriptor, inline: &[u64]) -> Result<(), NotYet> {
        let shared = &*self.shared;
        let mapped = &shared.mapped;
        if shared.forked() {
            return Err(NotYet::Access(AccessError::Forked));
        }
        if !turn::try_take(mapped.turn(), self.me) && !turn::take_soon(mapped.turn(), self.me, TURN_LOOKS) {
            self.refused = Refused::Turn;
            return Err(NotYet::Turn);
        }
        if subscriptions::unclean(mapped) {
            subscriptions::clean(mapped);
        }
        let result = self.delivering.publish(mapped, descriptor, inline);
        turn::give_back(mapped.turn());
        shared.barrier();
        if result.is_ok() {
            shared.wake(mapped.subscribers_event());
        }
        // Those who wait for the turn.
        shared.wake(mapped.publishers_event());
        let outcome = match result {
            Ok(()) => Ok(()),
            Err(NoRoom::Full { subscription, cursor }) => {
                shared.counters().queued(mapped.depth());
                Err(NotYet::Full(subscription, cursor))
            }
            Err(NoRoom::Corrupt) => Err(NotYet::Access(AccessError::Corrupt)),
        };
        // Whatever was refused before: that was long ago.
        self.refused = Refused::Room;
        if let Some(block) = descriptor.block {
            self.claim_ahead(block, outcome.is_ok());
        }
        outcome
    }

    /// `block` is delivered, if that `went_well`: claims one for the next message, where there are enough, and asks for the
    /// one that will most likely be claimed after that.
    #[inline]
    fn claim_ahead(&mut self, block: u32, went_well: bool) {
        let mapped = &self.shared.mapped;
        let class = mapped.class_of(block);
        if went_well && self.spare.is_none() && mapped.spares(class) {
            let claimed = pool::claim_ahead(mapped, class, self.me, &mut self.next[class]);
            self.spare = claimed.and_then(|block| {
                let payload = mapped.payload(Descriptor { block: Some(block), length: 0 })?;
                cache::take_line(payload.as_ptr());
                Some(Spare { class, block, payload })
            });
        }
        self.ask_for_next(block);
    }

    /// Somebody lacks a block, or nobody needs one any more.
    fn let_spare_go(&mut self) {
        if let Some(Spare { block, .. }) = self.spare.take() {
            pool::let_spare_go(&self.shared.mapped, block);
            self.shared.notify_publishers();
        }
    }

    /// Asks for the lines of the block that will most likely be claimed next.
    #[inline]
    fn ask_for_next(&self, block: u32) {
        let mapped = &self.shared.mapped;
        let class = mapped.class_of(block);
        let blocks = mapped.blocks_of(class);
        let next =
            blocks.start + if blocks.start + self.next[class] < blocks.end { self.next[class] } else { 0 };
        if let Some(payload) = mapped.payload(Descriptor { block: Some(next), length: 0 }) {
            cache::take_line(payload.as_ptr().wrapping_sub(64));
            cache::take_line(payload.as_ptr());
        }
    }

    /// Publishes a short message, waiting for room.
    #[inline(always)]
    pub(super) fn enter_until(
        &mut self,
        length: usize,
        words: &[u64],
        deadline: Option<Instant>,
    ) -> Result<(), NotYet> {
        // At most `SHORT` words.
        #[allow(clippy::cast_possible_truncation)]
        let descriptor = Descriptor { block: None, length: length as u32 };
        match self.enter(descriptor, words) {
            Ok(()) => Ok(()),
            Err(not_yet) => self.wait_for_room(descriptor, words, deadline, not_yet),
        }
    }

    /// Publishes what was written at `place`, waiting for room.
    #[inline]
    pub(super) fn deliver_until(
        &mut self,
        place: &Place,
        length: usize,
        deadline: Option<Instant>,
    ) -> Result<(), NotYet> {
        match self.try_deliver(place, length) {
            Ok(()) => Ok(()),
            Err(not_yet) => {
                // As in `try_deliver`.
                #[allow(clippy::cast_possible_truncation)]
                let descriptor = Descriptor { block: place.block, length: length as u32 };
                // SAFETY: as in `try_deliver`.
                let words = if place.block.is_some() { &[] } else { unsafe { self.short(length) } };
                self.wait_for_room(descriptor, words, deadline, not_yet)
            }
        }
    }

    #[cold]
    #[inline(never)]
    fn wait_for_room(
        &mut self,
        descriptor: Descriptor,
        words: &[u64],
        deadline: Option<Instant>,
        mut why: NotYet,
    ) -> Result<(), NotYet> {
        if let NotYet::Access(_) = why {
            return Err(why);
        }
        let (shared, wait) = (self.shared.clone(), self.wait);
        let mapped = &shared.mapped;
        shared.counters().count(Counter::SendsWaited);
        let condition = || {
            let blocked = match why {
                // Acquire: as in `Delivering::look`, which looks again. One that is gone moves its cursor no more, and may
                // have been cleaned up after already.
                NotYet::Full(index, cursor) => {
                    subscriptions::is_live(mapped, index)
                        && mapped.cursor(index).load(Ordering::Acquire) == cursor
                }
                NotYet::Turn => mapped.turn().load(Ordering::Relaxed) != 0,
                NotYet::Access(_) => false,
            };
            if blocked && !subscriptions::unclean(mapped) {
                return None;
            }
            if let NotYet::Full(index, cursor) = why {
                let_it_get_ahead(mapped, index, cursor);
            }
            match self.enter(descriptor, words) {
                Ok(()) => Some(Ok(())),
                Err(NotYet::Access(error)) => Some(Err(NotYet::Access(error))),
                Err(not_yet) => {
                    why = not_yet;
                    None
                }
            }
        };
        let after_slice = || {
            shared.examine();
            AfterSlice::GoOn
        };
        let event = mapped.publishers_event();
        let found = event.wait_until(&*shared.inner, wait, deadline, condition, after_slice);
        found.unwrap_or(Err(NotYet::Turn))
    }
}

/// Waits a moment until the subscription whose cursor was `before` has room for some messages, not only for one: to look
/// at a cursor costs its subscriber a line transfer, too, and one look shall do for several messages.
fn let_it_get_ahead(mapped: &Mapped, subscription: usize, before: u64) {
    let enough = mapped.depth() / 2;
    for _ in 0..ROOM_LOOKS {
        // Relaxed: a guess.
        let now = mapped.cursor(subscription).load(Ordering::Relaxed);
        if (now >> 1).wrapping_sub(before >> 1) >= enough {
            return;
        }
        (0..16).for_each(|_| spin_hint());
    }
}

impl Drop for RawPublisher {
    fn drop(&mut self) {
        if !self.shared.forked() {
            self.let_spare_go();
            leave_publisher(&self.shared, self.index);
        }
    }
}

/// A message that is being written.
#[derive(Debug)]
pub(super) struct RawClaim<'a> {
    publisher: &'a mut RawPublisher,
    place: Place,
    pub(super) length: usize,
    published: bool,
}

// SAFETY: through a shared reference a claim can only be read: the pointer is to a block, or to the publisher's words,
// which the claim has to itself.
unsafe impl Sync for RawClaim<'_> {}

impl<'a> RawClaim<'a> {
    pub(super) fn new(publisher: &'a mut RawPublisher, place: Place, length: usize) -> Self {
        Self { publisher, place, length, published: false }
    }

    /// Where the message is; `length` bytes of it.
    #[inline]
    pub(super) fn pointer(&self) -> *const u8 {
        self.place.payload.as_ptr()
    }

    #[inline]
    pub(super) fn pointer_mut(&mut self) -> *mut u8 {
        self.place.payload.as_ptr()
    }

    pub(super) fn try_publish(&mut self) -> Result<(), TryPublishError<()>> {
        self.publisher.try_deliver(&self.place, self.length).map_err(not_at_once)?;
        self.published = true;
        Ok(())
    }

    #[inline]
    pub(super) fn publish(&mut self, deadline: Option<Instant>) -> Result<(), PublishError<()>> {
        self.publisher.deliver_until(&self.place, self.length, deadline).map_err(not_in_time)?;
        self.published = true;
        Ok(())
    }
}

impl Drop for RawClaim<'_> {
    fn drop(&mut self) {
        if !self.published {
            self.publisher.abandon(&self.place);
        }
    }
}

pub(super) fn not_at_once(why: NotYet) -> TryPublishError<()> {
    match why {
        NotYet::Full(..) | NotYet::Turn => TryPublishError::Full(()),
        NotYet::Access(error) => TryPublishError::Access(error, ()),
    }
}

pub(super) fn not_in_time(why: NotYet) -> PublishError<()> {
    match why {
        NotYet::Full(..) | NotYet::Turn => PublishError::TimedOut(()),
        NotYet::Access(error) => PublishError::Access(error, ()),
    }
}
