//! The subscribing end, whatever the messages are.

// The compiler thinks these too large to inline; out of line they cost copies of the message.
#![allow(clippy::inline_always)]

use std::cell::{Cell, UnsafeCell};
use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::error::{ReceiveError, RoleError, TryReceiveError};
use super::publisher::SHORT;
use super::shared::Shared;
use crate::atomic::{AtomicU32, AtomicU64, Ordering, spin_hint};
use crate::layout::counters::Counter;
use crate::layout::owner::Owner;
use crate::region::AccessError;
use crate::ring::cache;
use crate::ring::role_words::Peer;
use crate::ring::topic::subscriptions::{self, Policy, Taken, Taking};
use crate::ring::topic::{Backing, Descriptor, INLINE, pool, turn};
use crate::sync::eventcount::AfterSlice;
use crate::sync::wait::Wait;

/// How long a subscriber that comes waits for its turn.
const PATIENCE: Duration = Duration::from_secs(5);
/// Looks at the message alone before anything else is asked, the clock included.
const FIRST_LOOKS: u32 = 256;

/// What a subscriber and its loans share.
#[derive(Debug)]
pub(super) struct Common {
    pub(super) shared: Arc<Shared>,
    me: Owner,
    index: usize,
    /// Loans of blocks that were ever given back.
    returned: AtomicU32,
}

#[derive(Debug)]
pub(super) struct RawSubscriber {
    common: Common,
    /// Used in place by one call at a time: a `Cell` would copy it out and in, which costs more than the rest.
    taking: UnsafeCell<Taking>,
    /// Loans of blocks that were ever lent.
    lent: Cell<u32>,
    pub(super) wait: Wait,
}

impl RawSubscriber {
    pub(super) fn new(shared: &Arc<Shared>, policy: Policy, replay: u64) -> Result<Self, RoleError> {
        let me = shared.me()?;
        let mapped = &shared.mapped;
        let deadline = Instant::now() + PATIENCE;
        let mut swept = false;
        loop {
            if turn::take_soon(mapped.turn(), me, 1000) {
                if subscriptions::unclean(mapped) {
                    subscriptions::clean(mapped);
                }
                let joined = subscriptions::join(mapped, me, policy, replay);
                turn::give_back(mapped.turn());
                shared.notify_publishers();
                if let Some(taking) = joined {
                    let common = Common {
                        shared: shared.clone(),
                        me,
                        index: taking.index,
                        returned: AtomicU32::new(0),
                    };
                    return Ok(Self {
                        common,
                        taking: UnsafeCell::new(taking),
                        lent: Cell::new(0),
                        wait: Wait::default(),
                    });
                }
                if swept {
                    return Err(RoleError::TooMany { role: "subscriber", most: mapped.subscribers() });
                }
                swept = true;
            }
            // Its holder, or some subscribers, may be dead and not swept yet.
            shared.examine();
            if Instant::now() > deadline {
                return Err(RoleError::Busy { role: "publisher" });
            }
            std::thread::yield_now();
        }
    }

    pub(super) fn common(&self) -> &Common {
        &self.common
    }

    /// Whether a message is there.
    #[inline]
    pub(super) fn ready(&self) -> bool {
        // SAFETY: this handle is used by one thread at a time (it is not `Sync`), and `next`, the only one to change
        // what is in there, calls nobody that would come back to this handle.
        unsafe { &*self.taking.get() }.ready(&self.common.shared.mapped)
    }

    /// What has become of the publishers, if all are gone.
    fn gone(&self) -> Option<TryReceiveError> {
        match self.common.shared.mapped.members().peers() {
            Peer::Expected => None,
            Peer::Left => Some(TryReceiveError::Disconnected),
            Peer::Died => Some(TryReceiveError::PeerDied),
        }
    }

    /// Whether the next `try_receive` would say something else than "empty".
    pub(super) fn would_say(&self) -> bool {
        self.common.shared.forked() || self.ready() || self.gone().is_some()
    }

    /// Takes the next message, if there is one; one of `exactly` so many bytes, if that is given. A short one is
    /// copied into `words`; a block is held from now on.
    #[inline(always)]
    pub(super) fn try_take(&self, words: &mut Words, exactly: Option<usize>) -> Result<Got, TryReceiveError> {
        match self.next(words, exactly)? {
            Some(taken) => Ok(taken),
            None => self.why_none(words, exactly),
        }
    }

    #[cold]
    fn why_none(&self, words: &mut Words, exactly: Option<usize>) -> Result<Got, TryReceiveError> {
        let gone = self.gone();
        // Looked again after the roles: all that was published before they were given up comes first.
        if gone.is_some()
            && let Some(taken) = self.next(words, exactly)?
        {
            return Ok(taken);
        }
        self.common.shared.counters().count(Counter::Empty);
        Err(gone.unwrap_or(TryReceiveError::Empty))
    }

    #[inline(always)]
    fn next(&self, words: &mut Words, exactly: Option<usize>) -> Result<Option<Got>, TryReceiveError> {
        let Common { shared, returned, .. } = &self.common;
        if shared.forked() {
            return Err(AccessError::Forked.into());
        }
        // Acquire: pairs with the Release in `give_back`, on whatever thread that was.
        if self.lent.get().wrapping_sub(returned.load(Ordering::Acquire)) >= shared.mapped.loans {
            return Err(TryReceiveError::TooManyLoans { max: shared.mapped.loans });
        }
        // SAFETY: as in `ready`; no other reference lives meanwhile.
        let taking = unsafe { &mut *self.taking.get() };
        let overwriting = taking.overwriting();
        let fits = |length: usize| exactly.unwrap_or(length) == length;
        let taken = taking.take(&shared.mapped, |entry, descriptor| {
            let length = descriptor.length as usize;
            if fits(length) && length <= shared.mapped.inline {
                copy(&entry[INLINE..], words, exactly.unwrap_or(length), overwriting);
            }
        });
        let Some(taken) = taken else { return Ok(None) };
        shared.notify_publishers();
        let length = taken.descriptor.length as usize;
        let payload = match taken.descriptor.block {
            Some(_) => {
                self.lent.set(self.lent.get().wrapping_add(1));
                shared.mapped.payload(taken.descriptor)
            }
            None => None,
        };
        let good = payload.is_some() || (taken.descriptor.block.is_none() && length <= shared.mapped.inline);
        if good && fits(length) {
            return Ok(Some(Got { taken, payload }));
        }
        self.common.give_back(taken);
        Err(AccessError::Corrupt.into())
    }

    /// Takes the next message, waiting for it.
    #[inline(always)]
    pub(super) fn take(
        &self,
        words: &mut Words,
        exactly: Option<usize>,
        deadline: Option<Instant>,
    ) -> Result<Got, ReceiveError> {
        loop {
            if let Some(got) = self.next(words, exactly)? {
                return Ok(got);
            }
            self.wait_for_message(deadline)?;
        }
    }

    #[cold]
    #[inline(never)]
    fn wait_for_message(&self, deadline: Option<Instant>) -> Result<(), ReceiveError> {
        let shared = &self.common.shared;
        // SAFETY: as in `ready`; copied, since this is a loop.
        let taking = unsafe { *self.taking.get() };
        let entry = shared.mapped.entry_address(taking.entries, taking.position());
        let two_lines = shared.mapped.inline > 40;
        for _ in 0..FIRST_LOOKS {
            if two_lines {
                // Both lines of the entry travel at once.
                cache::will_read(entry.wrapping_add(64));
            }
            if taking.ready(&shared.mapped) {
                return Ok(());
            }
            spin_hint();
        }
        shared.counters().count(Counter::ReceivesWaited);
        let condition = || {
            if taking.ready(&shared.mapped) {
                return Some(Ok(()));
            }
            let gone = self.gone()?;
            // Looked again after the roles: all that was published before they were given up comes first.
            Some(if taking.ready(&shared.mapped) { Ok(()) } else { Err(gone.into()) })
        };
        let after_slice = || {
            shared.examine();
            AfterSlice::GoOn
        };
        let event = shared.mapped.subscribers_event();
        let found = event.wait_until(&*shared.inner, self.wait, deadline, condition, after_slice);
        found.unwrap_or(Err(ReceiveError::TimedOut))
    }
}

/// Room for a short message.
pub(super) type Words = MaybeUninit<[u64; SHORT]>;

/// Copies `length` bytes, which both have, out of an entry.
#[inline(always)]
fn copy(from: &[AtomicU64], to: &mut Words, length: usize, overwriting: bool) {
    let to: *mut u64 = to.as_mut_ptr().cast();
    if overwriting {
        for (at, word) in from.iter().take(length.div_ceil(8)).enumerate() {
            // SAFETY: an entry has no more words than `Words` (see `MAX_INLINE`).
            unsafe { to.add(at).write(word.load(Ordering::Relaxed)) };
        }
    } else {
        // SAFETY: the stamp (Acquire) says that the payload is there; nobody writes to the entry before the cursor
        // has moved on, which comes after. Both have room for so many bytes, and are different memory.
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr().cast::<u8>(), to.cast(), length) };
    }
}

impl Common {
    /// Ends the hold of what was taken, if it is in a block.
    #[inline]
    pub(super) fn give_back(&self, taken: Taken) {
        if let Some(block) = taken.descriptor.block {
            self.give_block_back(block);
        }
    }

    /// Out of line, so that a loan's end is short where the message was.
    #[inline(never)]
    fn give_block_back(&self, block: u32) {
        let Self { shared, index, returned, .. } = self;
        if shared.forked() {
            return;
        }
        pool::give_back(&shared.mapped, block, *index);
        // Release: pairs with the Acquire in `next`.
        returned.fetch_add(1, Ordering::Release);
        shared.notify_publishers();
    }
}

impl Drop for RawSubscriber {
    fn drop(&mut self) {
        let Common { shared, me, index, .. } = &self.common;
        if !shared.forked() {
            subscriptions::leave(&shared.mapped, *index, *me);
            shared.notify_publishers();
        }
    }
}

/// What was taken, and where its payload is, if that is in a block.
#[derive(Debug, Clone, Copy)]
pub(super) struct Got {
    pub(super) taken: Taken,
    pub(super) payload: Option<NonNull<u8>>,
}

/// A message that was received. A block is given back when it is dropped.
#[derive(Debug)]
pub(super) struct RawLoan<'a> {
    common: &'a Common,
    taken: Taken,
    /// `None`: in `words`.
    payload: Option<NonNull<u8>>,
    words: Words,
}

// SAFETY: the pointer is to a block that nobody writes to as long as the loan holds it, and the count of loans is
// atomic: so it may be read, and given back, on whatever thread.
unsafe impl Send for RawLoan<'_> {}
// SAFETY: as above; through a shared reference it can only be read.
unsafe impl Sync for RawLoan<'_> {}

impl<'a> RawLoan<'a> {
    /// Of nothing yet: to drop it changes nothing.
    #[inline(always)]
    pub(super) fn of_nothing(common: &'a Common) -> Self {
        let nothing = Descriptor { block: None, length: 0 };
        let taken = Taken { descriptor: nothing, number: 0, missed: 0 };
        Self { common, taken, payload: None, words: MaybeUninit::uninit() }
    }

    /// Makes it one of the next message of `subscriber`, whose `common` it has; see [`RawSubscriber::take`].
    #[inline(always)]
    pub(super) fn take(
        &mut self,
        subscriber: &RawSubscriber,
        exactly: Option<usize>,
        deadline: Option<Instant>,
    ) -> Result<(), ReceiveError> {
        let got = subscriber.take(&mut self.words, exactly, deadline)?;
        (self.taken, self.payload) = (got.taken, got.payload);
        Ok(())
    }

    /// The same if there is one; see [`RawSubscriber::try_take`].
    #[inline(always)]
    pub(super) fn try_take(
        &mut self,
        subscriber: &RawSubscriber,
        exactly: Option<usize>,
    ) -> Result<(), TryReceiveError> {
        let got = subscriber.try_take(&mut self.words, exactly)?;
        (self.taken, self.payload) = (got.taken, got.payload);
        Ok(())
    }

    /// Where the message is; [`Self::length`] bytes of it.
    #[inline]
    pub(super) fn pointer(&self) -> *const u8 {
        match self.payload {
            None => self.words.as_ptr().cast(),
            Some(payload) => payload.as_ptr(),
        }
    }

    #[inline]
    pub(super) fn length(&self) -> usize {
        self.taken.descriptor.length as usize
    }

    pub(super) fn number(&self) -> u64 {
        self.taken.number
    }

    pub(super) fn missed(&self) -> u64 {
        self.taken.missed
    }
}

impl Drop for RawLoan<'_> {
    #[inline]
    fn drop(&mut self) {
        if let Some(block) = self.taken.descriptor.block {
            self.common.give_block_back(block);
        }
    }
}
