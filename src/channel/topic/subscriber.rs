//! The subscribing end, whatever the messages are.

use std::cell::Cell;
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::error::{JoinError, ReceiveError, TryReceiveError};
use super::publisher::SHORT;
use super::shared::Shared;
use crate::atomic::{AtomicU32, Ordering, spin_hint};
use crate::layout::counters::Counter;
use crate::layout::owner::Owner;
use crate::region::AccessError;
use crate::ring::cache;
use crate::ring::role_words::Peer;
use crate::ring::topic::subscriptions::{self, Policy, Taken, Taking};
use crate::ring::topic::{Backing, pool, turn};
use crate::sync::eventcount::AfterSlice;
use crate::sync::wait::Wait;

/// How long a subscriber that comes waits for its turn.
const PATIENCE: Duration = Duration::from_secs(5);
/// Looks at the message alone before anything else is asked, the clock included.
const FIRST_LOOKS: u32 = 256;
/// A message whose descriptor says what cannot be.
const CORRUPT: AccessError = AccessError::Corrupt;

/// What a subscriber and its loans share.
#[derive(Debug)]
pub(super) struct Common {
    pub(super) shared: Arc<Shared>,
    me: Owner,
    index: usize,
    /// Loans of blocks that are out.
    loans: AtomicU32,
}

#[derive(Debug)]
pub(super) struct RawSubscriber {
    common: Common,
    taking: Cell<Taking>,
    pub(super) wait: Wait,
}

impl RawSubscriber {
    pub(super) fn new(shared: &Arc<Shared>, policy: Policy, replay: u64) -> Result<Self, JoinError> {
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
                    let common =
                        Common { shared: shared.clone(), me, index: taking.index, loans: AtomicU32::new(0) };
                    return Ok(Self { common, taking: Cell::new(taking), wait: Wait::default() });
                }
                if swept {
                    return Err(JoinError::TooManySubscribers { max: mapped.subscribers() });
                }
                swept = true;
            }
            // Its holder, or some subscribers, may be dead and not swept yet.
            shared.examine();
            if Instant::now() > deadline {
                return Err(JoinError::Busy);
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
        self.taking.get().ready(&self.common.shared.mapped)
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

    /// The next message, if there is one.
    #[inline]
    pub(super) fn try_receive(&self) -> Result<RawLoan<'_>, TryReceiveError> {
        if let Some(loan) = self.next()? {
            return Ok(loan);
        }
        self.why_none()
    }

    #[cold]
    fn why_none(&self) -> Result<RawLoan<'_>, TryReceiveError> {
        let gone = self.gone();
        // Looked again after the roles: all that was published before they were given up comes first.
        if gone.is_some()
            && let Some(loan) = self.next()?
        {
            return Ok(loan);
        }
        self.common.shared.counters().count(Counter::Empty);
        Err(gone.unwrap_or(TryReceiveError::Empty))
    }

    #[inline]
    fn next(&self) -> Result<Option<RawLoan<'_>>, TryReceiveError> {
        let Common { shared, loans, .. } = &self.common;
        if shared.forked() {
            return Err(AccessError::Forked.into());
        }
        // Relaxed: only this handle's owner adds to it.
        if loans.load(Ordering::Relaxed) >= shared.mapped.loans {
            return Err(TryReceiveError::TooManyLoans { max: shared.mapped.loans });
        }
        let mut taking = self.taking.get();
        let mut words = [0; SHORT];
        let taken = taking.take(&shared.mapped, &mut words);
        self.taking.set(taking);
        let Some(taken) = taken else { return Ok(None) };
        shared.notify_publishers();
        let content = if taken.descriptor.block.is_some() {
            // Relaxed: a figure of this process.
            loans.fetch_add(1, Ordering::Relaxed);
            let held = Held { common: &self.common, taken };
            let payload = shared.mapped.payload(taken.descriptor).ok_or(CORRUPT)?;
            Content::Block { payload, _held: held }
        } else if taken.descriptor.length as usize <= shared.mapped.inline {
            Content::Short(words)
        } else {
            return Err(CORRUPT.into());
        };
        Ok(Some(RawLoan { content, taken }))
    }

    /// The next message, waiting for it.
    #[inline]
    pub(super) fn receive(&self, deadline: Option<Instant>) -> Result<RawLoan<'_>, ReceiveError> {
        if let Some(loan) = self.next()? {
            return Ok(loan);
        }
        self.wait_for_message(deadline)
    }

    #[inline(never)]
    fn wait_for_message(&self, deadline: Option<Instant>) -> Result<RawLoan<'_>, ReceiveError> {
        let shared = &self.common.shared;
        let taking = self.taking.get();
        let entry = shared.mapped.entry_address(taking.index, taking.position());
        for _ in 0..FIRST_LOOKS {
            if shared.mapped.inline > 40 {
                // Both lines of the entry travel at once.
                cache::will_read(entry.wrapping_add(64));
            }
            if self.ready()
                && let Some(loan) = self.next()?
            {
                return Ok(loan);
            }
            spin_hint();
        }
        shared.counters().count(Counter::ReceivesWaited);
        let condition = || {
            if self.ready() {
                return match self.next() {
                    Ok(Some(loan)) => Some(Ok(loan)),
                    Ok(None) => None,
                    Err(error) => Some(Err(error.into())),
                };
            }
            let gone = self.gone()?;
            // Looked again after the roles, as above.
            Some(self.next().and_then(|loan| loan.ok_or(gone)).map_err(ReceiveError::from))
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

impl Drop for RawSubscriber {
    fn drop(&mut self) {
        let Common { shared, me, index, .. } = &self.common;
        if !shared.forked() {
            subscriptions::leave(&shared.mapped, *index, *me);
            shared.notify_publishers();
        }
    }
}

/// A hold on a block, given back when dropped.
#[derive(Debug)]
struct Held<'a> {
    common: &'a Common,
    taken: Taken,
}

impl Drop for Held<'_> {
    #[inline]
    fn drop(&mut self) {
        let Common { shared, index, loans, .. } = self.common;
        if shared.forked() {
            return;
        }
        if let Some(block) = self.taken.descriptor.block {
            pool::give_back(&shared.mapped, block, *index);
        }
        // Release: a loan that is dropped on another thread is given back before another is lent.
        // One less, in the façade's operations.
        loans.fetch_add(u32::MAX, Ordering::Release);
        shared.notify_publishers();
    }
}

#[derive(Debug)]
enum Content<'a> {
    Short([u64; SHORT]),
    Block { payload: NonNull<u8>, _held: Held<'a> },
}

/// A message that was received.
#[derive(Debug)]
pub(super) struct RawLoan<'a> {
    content: Content<'a>,
    taken: Taken,
}

// SAFETY: the pointer is to a block that nobody writes to as long as the loan holds it, and the count of loans is
// atomic: so it may be read, and given back, on whatever thread.
unsafe impl Send for RawLoan<'_> {}
// SAFETY: as above; through a shared reference it can only be read.
unsafe impl Sync for RawLoan<'_> {}

impl RawLoan<'_> {
    /// Where the message is; [`Self::length`] bytes of it.
    #[inline]
    pub(super) fn pointer(&self) -> *const u8 {
        match &self.content {
            Content::Short(words) => words.as_ptr().cast(),
            Content::Block { payload, .. } => payload.as_ptr(),
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
