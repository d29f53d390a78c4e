//! The publishing end, whatever the messages are.

use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Instant;

use super::error::{JoinError, LoanError, PublishError, TryLoanError, TryPublishError};
use super::shared::{Shared, leave_publisher};
use crate::atomic::Ordering;
use crate::layout::counters::Counter;
use crate::layout::owner::Owner;
use crate::layout::topic::MAX_CLASSES;
use crate::region::AccessError;
use crate::ring::topic::deliver::{Delivering, NoRoom};
use crate::ring::topic::{Backing, Descriptor, Head, pool, subscriptions, turn};
use crate::sync::eventcount::AfterSlice;
use crate::sync::wait::Wait;

/// Words of a short payload, at the most.
pub(super) const SHORT: usize = 13;
/// A short message goes into the entries of so many subscriptions; for more, one block is cheaper than a copy each.
const SHORT_SUBSCRIBERS: u32 = 2;
/// Looks at the turn before one waits for it otherwise.
const TURN_LOOKS: u32 = 200;

/// Why a message is not out yet.
#[derive(Debug, Clone, Copy)]
pub(super) enum NotYet {
    /// This subscription is full, its cursor having this value.
    Full(usize, u64),
    /// Another has the turn.
    Turn,
    Access(AccessError),
}

#[derive(Debug)]
pub(super) struct RawPublisher {
    shared: Arc<Shared>,
    me: Owner,
    index: usize,
    pub(super) wait: Wait,
    delivering: Delivering,
    /// Where to look for a free block of each class.
    next: [u32; MAX_CLASSES],
}

/// Where a message is written.
#[derive(Debug)]
pub(super) enum Place {
    /// Here, to be copied into the entries.
    Short([u64; SHORT]),
    /// In a block.
    Block(u32, NonNull<u8>),
}

impl RawPublisher {
    pub(super) fn new(shared: &Arc<Shared>) -> Result<Self, JoinError> {
        let me = shared.me()?;
        let members = shared.mapped.members();
        let mut index = members.join(me);
        if index.is_none() {
            // Some may be dead, and not swept yet.
            shared.examine();
            index = members.join(me);
        }
        let index = index.ok_or(JoinError::TooManyPublishers { max: members.words.len() })?;
        let delivering = Delivering::new();
        Ok(Self {
            shared: shared.clone(),
            me,
            index,
            wait: Wait::default(),
            delivering,
            next: [0; MAX_CLASSES],
        })
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Whether a message so short is to stand in the entries.
    #[inline]
    fn is_short(&self, length: usize) -> bool {
        let mapped = &self.shared.mapped;
        // Relaxed: a rule of thumb.
        length <= mapped.inline
            && (length == 0
                || mapped.head(Head::Live).load(Ordering::Relaxed).count_ones() <= SHORT_SUBSCRIBERS)
    }

    /// A place for a message of `length` bytes.
    #[inline]
    pub(super) fn place(&mut self, length: usize) -> Result<Place, TryLoanError> {
        if self.shared.forked() {
            return Err(AccessError::Forked.into());
        }
        if self.is_short(length) {
            return Ok(Place::Short([0; SHORT]));
        }
        match self.block(length) {
            Err(TryLoanError::TooLarge { .. }) if length <= self.shared.mapped.inline => {
                Ok(Place::Short([0; SHORT]))
            }
            other => other,
        }
    }

    fn block(&mut self, length: usize) -> Result<Place, TryLoanError> {
        let mapped = &self.shared.mapped;
        let max = mapped.longest();
        let descriptor_length = u32::try_from(length).unwrap_or(u32::MAX);
        let fits = |class: &usize| length as u64 <= mapped.classes()[*class].size;
        let classes = || (0..mapped.classes().len()).filter(fits);
        if length > u32::MAX as usize || classes().next().is_none() {
            return Err(TryLoanError::TooLarge { length, max });
        }
        // The smallest that fits, else one that grows, else a larger one.
        let smallest = classes().next();
        let found = smallest
            .and_then(|class| pool::claim(mapped, class, self.me, &mut self.next[class]))
            .or_else(|| {
                let class = classes().find(|&class| Self::grow(&self.shared, self.me, class))?;
                pool::claim(mapped, class, self.me, &mut self.next[class])
            })
            .or_else(|| {
                classes().find_map(|class| pool::claim(mapped, class, self.me, &mut self.next[class]))
            });
        let block = found.ok_or(TryLoanError::NoBlock)?;
        let payload = mapped.payload(Descriptor { block: Some(block), length: descriptor_length });
        Ok(Place::Block(block, payload.ok_or(AccessError::Corrupt)?))
    }

    /// Commits more blocks of a class if there are any; and whoever is gone shall hold none.
    #[cold]
    fn grow(shared: &Shared, me: Owner, class: usize) -> bool {
        let mapped = &shared.mapped;
        let all = pool::committed(mapped, class).len() == mapped.blocks_of(class).len();
        if (all && !subscriptions::unclean(mapped)) || !turn::take_soon(mapped.turn(), me, TURN_LOOKS) {
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
        if let (Place::Block(block, _), false) = (place, self.shared.forked()) {
            pool::abandon(&self.shared.mapped, *block);
            self.shared.counters().count(Counter::Aborted);
            self.shared.notify_publishers();
        }
    }

    /// Publishes what was written at `place`, if there is room.
    #[inline]
    pub(super) fn try_deliver(&mut self, place: &Place, length: usize) -> Result<(), NotYet> {
        // Lengths were checked by `place`.
        #[allow(clippy::cast_possible_truncation)]
        let length = length as u32;
        match place {
            Place::Short(words) => {
                let words = &words[..(length as usize).div_ceil(8)];
                self.enter(Descriptor { block: None, length }, words)
            }
            Place::Block(block, _) => self.enter(Descriptor { block: Some(*block), length }, &[]),
        }
    }

    #[inline]
    fn enter(&mut self, descriptor: Descriptor, inline: &[u64]) -> Result<(), NotYet> {
        let shared = &*self.shared;
        let mapped = &shared.mapped;
        if shared.forked() {
            return Err(NotYet::Access(AccessError::Forked));
        }
        if !turn::try_take(mapped.turn(), self.me) && !turn::take_soon(mapped.turn(), self.me, TURN_LOOKS) {
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
        match result {
            Ok(delivered) => {
                if delivered.lost != 0 {
                    shared.counters().add(Counter::Lost, delivered.lost.count_ones().into());
                }
                Ok(())
            }
            Err(NoRoom::Full { subscription, cursor }) => {
                shared.counters().queued(mapped.depth());
                Err(NotYet::Full(subscription, cursor))
            }
            Err(NoRoom::Corrupt) => Err(NotYet::Access(AccessError::Corrupt)),
        }
    }

    /// The same, waiting for room.
    #[inline]
    pub(super) fn deliver_until(
        &mut self,
        place: &Place,
        length: usize,
        deadline: Option<Instant>,
    ) -> Result<(), NotYet> {
        match self.try_deliver(place, length) {
            Ok(()) => Ok(()),
            Err(NotYet::Access(error)) => Err(NotYet::Access(error)),
            Err(not_yet) => self.wait_for_room(place, length, deadline, not_yet),
        }
    }

    #[cold]
    fn wait_for_room(
        &mut self,
        place: &Place,
        length: usize,
        deadline: Option<Instant>,
        mut why: NotYet,
    ) -> Result<(), NotYet> {
        let (shared, wait) = (self.shared.clone(), self.wait);
        let mapped = &shared.mapped;
        shared.counters().count(Counter::SendsWaited);
        let condition = || {
            let blocked = match why {
                // Acquire: as in `Delivering::look`, which looks again.
                NotYet::Full(index, cursor) => mapped.cursor(index).load(Ordering::Acquire) == cursor,
                NotYet::Turn => mapped.turn().load(Ordering::Relaxed) != 0,
                NotYet::Access(_) => false,
            };
            if blocked && !subscriptions::unclean(mapped) {
                return None;
            }
            match self.try_deliver(place, length) {
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

impl Drop for RawPublisher {
    fn drop(&mut self) {
        if !self.shared.forked() {
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

// SAFETY: the pointer is to a block that the claim has to itself; whoever has the claim may write there.
unsafe impl Send for RawClaim<'_> {}
// SAFETY: through a shared reference it can only be read.
unsafe impl Sync for RawClaim<'_> {}

impl<'a> RawClaim<'a> {
    pub(super) fn new(publisher: &'a mut RawPublisher, place: Place, length: usize) -> Self {
        Self { publisher, place, length, published: false }
    }

    /// Where the message is; `length` bytes of it.
    #[inline]
    pub(super) fn pointer(&self) -> *const u8 {
        match &self.place {
            Place::Short(words) => words.as_ptr().cast(),
            Place::Block(_, payload) => payload.as_ptr(),
        }
    }

    #[inline]
    pub(super) fn pointer_mut(&mut self) -> *mut u8 {
        match &mut self.place {
            Place::Short(words) => words.as_mut_ptr().cast(),
            Place::Block(_, payload) => payload.as_ptr(),
        }
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
