//! The algorithm of the cell, over any backing: one value, the latest wins, nobody waits for anybody.
//!
//! ```text
//!   reader                                        writer
//!   latest as when last read? ─► read on          fence (our last `latest` before what follows)
//!   claim = ASKING  (gives the old buffer up)     for each claim:
//!   fence                                            ASKING?  answer: claim = latest, HELD (CAS)
//!   look at `latest`                                 HELD?    that buffer is taken
//!   claim: ASKING → latest, HELD (CAS)            choose a buffer that is neither taken nor the latest
//!     failed? the writer has answered             fill it
//!   read the buffer that the claim names          latest = [writes + 1][that buffer]
//! ```
//!
//! Why no buffer is written while it is read: a reader reads the buffer that its claim names. If the
//! writer saw that claim, it left the buffer alone. If it saw ASKING, it answered with the buffer that
//! is the latest, which it does not write. If it saw neither, its fence came before the reader's: so
//! the reader's look at `latest` saw the writer's last store, and the buffer is the latest again; the
//! writer looks at the claims once more before it ceases to be that.
//!
//! A claim stays when the value was read, until the next: so a reader that finds nothing new needs one
//! load. It costs nothing, since there is a buffer for each reader anyway.
//!
//! The answers are given before a buffer is chosen, not after `latest` was stored: so a writer killed
//! anywhere leaves nothing that its successor does not do in any case. The buffer that it was filling is
//! neither claimed nor the latest; the latest is the last whole value, before and after its one store.
//! A dead reader's claim is cleared by the sweep, and until then costs one of the buffers that are
//! counted for it.
//!
//! After Chen and Burns, "Asynchronous Data Sharing in Multiprocessor Real-Time Systems Using Process
//! Consensus" (1997), with the buffers of Peterson's readers.

#![forbid(unsafe_code)]

use crate::atomic::{AtomicU32, AtomicU64, Ordering, fence};
use crate::layout::cell::{ASKING, BUFFER, HELD, WRITES_SHIFT};

/// The words of a cell, wherever they lie.
pub(crate) trait Backing {
    /// How many readers there can be: fixed and private.
    fn readers(&self) -> usize;
    /// `[writes:56][0:1][buffer:7]`.
    fn latest(&self) -> &AtomicU64;
    /// Claims at or beyond this were never used.
    fn bound(&self) -> &AtomicU32;
    /// The claim of a reader, below [`Self::readers`].
    fn claim(&self, reader: usize) -> &AtomicU64;
}

/// How many buffers there are.
fn buffers(backing: &impl Backing) -> usize {
    backing.readers() + 2
}

/// The buffer that a word names.
#[inline]
fn buffer_of(word: u64) -> usize {
    // At most 127.
    (word & BUFFER) as usize
}

/// How many writes a word counts.
#[inline]
pub(crate) const fn writes_of(word: u64) -> u64 {
    word >> WRITES_SHIFT
}

/// Somebody wrote a word that nobody writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Corrupt;

/// Why there is nothing to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Nothing {
    /// Nothing has been written yet.
    Empty,
    Corrupt,
}

/// The writer's private half.
#[derive(Debug)]
pub(crate) struct Writing {
    /// What `latest` holds.
    latest: u64,
}

impl Writing {
    /// Takes over where the last writer stopped.
    pub(crate) fn resume(backing: &impl Backing) -> Result<Self, Corrupt> {
        // Acquire: pairs with the predecessor's Release in `publish`: who is answered by us reads what
        // it wrote.
        let latest = backing.latest().load(Ordering::Acquire);
        if latest & HELD != 0 || buffer_of(latest) >= buffers(backing) {
            Err(Corrupt)
        } else {
            Ok(Self { latest })
        }
    }

    /// How often was written, predecessors included.
    pub(crate) fn writes(&self) -> u64 {
        writes_of(self.latest)
    }

    /// A buffer that nobody reads and nobody will before it is published.
    ///
    /// Claims that nobody makes hold nothing: a reader that writes nonsense harms nobody but itself.
    #[inline]
    pub(crate) fn choose(&mut self, backing: &impl Backing) -> usize {
        // SeqCst: our last store of `latest` comes before our look at the claims; pairs with the fence in
        // `claim_latest`.
        fence(Ordering::SeqCst);
        let mut taken = 1_u128 << buffer_of(self.latest);
        // Relaxed: a reader raises it before its first fence, as it does with its claim.
        let bound = (backing.bound().load(Ordering::Relaxed) as usize).min(backing.readers());
        for reader in 0..bound {
            let claim = backing.claim(reader);
            // Acquire: pairs with the Release of ASKING, or of giving up: the reader has finished with the
            // buffer that it held before.
            let mut word = claim.load(Ordering::Acquire);
            if word == ASKING {
                word = self.answer(claim);
            }
            if word & HELD != 0 {
                taken |= 1 << buffer_of(word);
            }
        }
        // Never more are taken, whatever the claims say, than there are readers, and one: so this is below
        // readers + 2.
        (!taken).trailing_zeros() as usize
    }

    /// Gives a reader that asks the latest, unless it has just found it; what the claim says then.
    #[cold]
    fn answer(&self, claim: &AtomicU64) -> u64 {
        let answer = self.latest | HELD;
        // Release: pairs with the Acquire in `claim_latest`: the reader sees what is in the buffer, which a
        // predecessor may have written (the fence in `choose` alone would do). Acquire: the reader may have asked anew since we looked, and has
        // finished with yet another buffer; as in `choose`.
        match claim.compare_exchange(ASKING, answer, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => answer,
            Err(word) => word,
        }
    }

    /// Makes the chosen buffer, now written, the latest.
    #[inline]
    pub(crate) fn publish(&mut self, backing: &impl Backing, buffer: usize) {
        self.latest = (writes_of(self.latest) + 1) << WRITES_SHIFT | buffer as u64;
        // Release: pairs with the Acquire in `claim_latest` and `peek`; the value comes before.
        backing.latest().store(self.latest, Ordering::Release);
    }
}

/// A reader's private half.
#[derive(Debug)]
pub(crate) struct Reading {
    reader: usize,
    /// What `latest` was when the claimed buffer was the latest; [`NONE`] while nothing is claimed.
    kept: u64,
    buffer: usize,
}

/// No `latest` is this.
const NONE: u64 = u64::MAX;

impl Reading {
    /// Begins to read as `reader`, whose role the caller has taken.
    pub(crate) fn new(backing: &impl Backing, reader: usize) -> Self {
        // Whoever fails here finds it raised by another: at most once for each that there can be.
        for _ in 0..=backing.readers() {
            // Relaxed, all: see `choose`.
            let bound = backing.bound().load(Ordering::Relaxed);
            // At most 126 readers.
            #[allow(clippy::cast_possible_truncation)]
            let raised = reader as u32 + 1;
            if bound >= raised
                || backing
                    .bound()
                    .compare_exchange(bound, raised, Ordering::Relaxed, Ordering::Relaxed)
                    .is_ok()
            {
                break;
            }
        }
        Self { reader, kept: NONE, buffer: 0 }
    }

    /// The number of the value that was read last; 0 if none was.
    #[inline]
    pub(crate) fn version(&self) -> u64 {
        if self.kept == NONE { 0 } else { writes_of(self.kept) }
    }

    /// Whether there is another value than that which was read last.
    #[inline]
    pub(crate) fn changed(&self, backing: &impl Backing) -> bool {
        // Acquire: a hint, but what the writer did before it is to be seen.
        let latest = backing.latest().load(Ordering::Acquire);
        latest != self.kept && writes_of(latest) != 0
    }

    /// The buffer with the latest value, which stays claimed until the next call.
    #[inline]
    pub(crate) fn read(&mut self, backing: &impl Backing) -> Result<usize, Nothing> {
        // Relaxed: if it is what it was, all before it was seen when the buffer was claimed, and nobody has
        // written there since; if not, it is looked at anew.
        let latest = backing.latest().load(Ordering::Relaxed);
        // NONE is what nobody writes, but somebody could.
        if latest != self.kept || latest == NONE {
            self.claim_latest(backing, latest)?;
        }
        Ok(self.buffer)
    }

    #[inline]
    fn claim_latest(&mut self, backing: &impl Backing, latest: u64) -> Result<(), Nothing> {
        if writes_of(latest) == 0 {
            return Err(Nothing::Empty);
        }
        let claim = backing.claim(self.reader);
        self.kept = NONE;
        // Release: pairs with the Acquire in `choose`: we have finished with the buffer that we held.
        claim.store(ASKING, Ordering::Release);
        // SeqCst: we have asked before we look; pairs with the fence in `choose`.
        fence(Ordering::SeqCst);
        // Acquire: pairs with the Release in `publish`: the value comes before.
        let latest = backing.latest().load(Ordering::Acquire);
        // Relaxed: what we read was published by `latest`, and what we had read was given up by ASKING, in
        // whose release sequence this stands. Acquire: pairs with the Release in `answer`.
        let found = match claim.compare_exchange(ASKING, latest | HELD, Ordering::Relaxed, Ordering::Acquire)
        {
            Ok(_) => latest,
            Err(answer) => answer ^ HELD,
        };
        if found & HELD != 0 || buffer_of(found) >= buffers(backing) || writes_of(found) == 0 {
            clear(backing, self.reader);
            return Err(Nothing::Corrupt);
        }
        (self.kept, self.buffer) = (found, buffer_of(found));
        Ok(())
    }

    /// Gives the claim up.
    pub(crate) fn leave(&mut self, backing: &impl Backing) {
        self.kept = NONE;
        clear(backing, self.reader);
    }
}

/// Gives up the claim of a reader that leaves, or is dead.
pub(crate) fn clear(backing: &impl Backing, reader: usize) {
    // Release: pairs with the Acquire in `choose`: it has finished with its buffer.
    backing.claim(reader).store(0, Ordering::Release);
}

/// Why nothing was peeked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoPeek {
    Empty,
    /// Each time the value changed meanwhile.
    Contended,
    Corrupt,
}

/// Reads without a claim: `copy` makes a copy of a buffer, which may be torn; one of which it is sure
/// that it is not is returned, with its number. As a sequence lock reads.
pub(crate) fn peek<T>(
    backing: &impl Backing,
    rounds: u32,
    mut copy: impl FnMut(usize) -> T,
) -> Result<(T, u64), NoPeek> {
    for _ in 0..rounds {
        // Acquire: pairs with the Release in `publish`.
        let before = backing.latest().load(Ordering::Acquire);
        if writes_of(before) == 0 {
            return Err(NoPeek::Empty);
        }
        if before & HELD != 0 || buffer_of(before) >= buffers(backing) {
            return Err(NoPeek::Corrupt);
        }
        let value = copy(buffer_of(before));
        // Acquire: pairs with the fence in `choose`: if the copy has a word of a later value in it, the
        // `latest` that made room for that value is seen below.
        fence(Ordering::Acquire);
        // The latest is not written: so it was whole all the time.
        if backing.latest().load(Ordering::Relaxed) == before {
            return Ok((value, writes_of(before)));
        }
    }
    Err(NoPeek::Contended)
}
