//! What publishers and subscribers of a process share, and how a topic is made and found.

use std::sync::Arc;

use super::mapped::{Class, Mapped, lay_out};
use super::options::{Content, Plan};
use crate::Region;
use crate::atomic::{AtomicU32, Ordering, fence};
use crate::layout::owner::Owner;
use crate::layout::topic::{CLASS_COUNT, CLASSES, COMMITTED, COUNTERS, CURSORS, LOANS, pool_offset};
use crate::os::fork_guard::ForkGuard;
use crate::region::{
    AccessError, Inner, Liveness, Memory, NamedError, Object, ObjectError, ObjectKind, ObjectSpec, Parameter,
    region_of_its_own,
};
use crate::ring::counters::Counters;
use crate::ring::topic::{Backing, pool, subscriptions, turn};
use crate::sync::eventcount::{EventCount, SLEEPERS};
use crate::sync::platform::light_barrier;

/// Whether a topic may be made, and must not be there yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    OpenOrCreate,
    Create,
}

/// A topic, as one attachment sees it.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) inner: Arc<Inner>,
    object: Object,
    pub(super) mapped: Mapped,
    // Found once: the hot paths use them at every message.
    guard: ForkGuard,
    fenced: bool,
}

/// What a topic holds, for its directory entry.
#[derive(Debug, Clone)]
pub struct Kind {
    pub(super) fingerprint: u64,
    pub(super) type_name: String,
    pub(super) content: Content,
}

impl Kind {
    fn item_size(&self) -> u64 {
        match self.content {
            Content::Typed { size, .. } => size as u64,
            Content::Bytes => 0,
        }
    }

    pub(super) fn problem(&self, problem: &'static str) -> ObjectError {
        ObjectError::InvalidSize { count: 0, size: self.item_size(), problem }
    }

    fn spec<'a>(&'a self, name: &'a str, plan: &Plan) -> Result<ObjectSpec<'a>, ObjectError> {
        let mut laid_out = plan.classes.clone();
        let pool = pool_offset(plan.subscribers.into(), plan.depth, plan.history, plan.inline);
        let length = pool.and_then(|pool| lay_out(&mut laid_out, pool));
        let number = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        Ok(ObjectSpec {
            length: length.ok_or_else(|| self.problem("it is too large, or a block is above 4 GiB"))?,
            item_count: plan.depth,
            parameters: [
                Parameter("subscribers", plan.subscribers),
                Parameter("publishers", plan.publishers),
                Parameter("history", number(plan.history)),
                Parameter("inline bytes", number(plan.inline)),
            ],
            ..self.any(name)
        })
    }

    /// For one whatever its options.
    fn any<'a>(&'a self, name: &'a str) -> ObjectSpec<'a> {
        ObjectSpec {
            name,
            kind: ObjectKind::Topic,
            length: 0,
            fingerprint: self.fingerprint,
            type_name: &self.type_name,
            item_size: self.item_size(),
            item_count: 0,
            parameters: crate::region::NO_PARAMETERS,
        }
    }
}

impl Shared {
    pub(super) fn make(
        region: &Region,
        name: &str,
        kind: &Kind,
        plan: &Plan,
        how: How,
    ) -> Result<Arc<Self>, ObjectError> {
        let spec = kind.spec(name, plan)?;
        let initialise = |memory: &Memory, object: &Object| initialise(memory, object, plan);
        let object = match how {
            How::OpenOrCreate => region.inner.open_or_create_object(&spec, initialise)?,
            How::Create => region.inner.create_object(&spec, initialise)?,
        };
        let shared = Self::at(region, object)?;
        shared.check(name, plan)?;
        Ok(shared)
    }

    pub(super) fn named(name: &str, kind: &Kind, plan: &Plan) -> Result<Arc<Self>, NamedError> {
        let region = region_of_its_own(&kind.spec(name, plan)?)?;
        Ok(Self::make(&region, name, kind, plan, How::OpenOrCreate)?)
    }

    pub(super) fn open(region: &Region, name: &str, kind: &Kind) -> Result<Arc<Self>, ObjectError> {
        let object = region.inner.open_object(&kind.any(name))?;
        Self::at(region, object)
    }

    fn at(region: &Region, object: Object) -> Result<Arc<Self>, ObjectError> {
        let inner = region.inner.clone();
        let mapped = Mapped::new(&inner.memory, &object).ok_or(AccessError::Corrupt)?;
        let (guard, fenced) = (inner.fork_guard(), inner.fenced());
        Ok(Arc::new(Self { inner, object, mapped, guard, fenced }))
    }

    /// Whether what the directory entry does not say is as `plan` has it, too.
    fn check(&self, name: &str, plan: &Plan) -> Result<(), ObjectError> {
        let wrong = |what, found: u64, expected: u64| {
            let number = |number| u32::try_from(number).unwrap_or(u32::MAX);
            let (found, expected) = (number(found), number(expected));
            Err(ObjectError::WrongParameter { name: name.to_owned(), what, found, expected })
        };
        let classes = self.mapped.classes();
        if self.mapped.loans != plan.loans {
            return wrong("loans a subscriber", self.mapped.loans.into(), plan.loans.into());
        }
        if classes.len() != plan.classes.len() {
            return wrong("size classes", classes.len() as u64, plan.classes.len() as u64);
        }
        for (found, expected) in classes.iter().zip(&plan.classes) {
            for (what, found, expected) in [
                ("blocks of bytes", found.size, expected.size),
                ("blocks of a size", found.count.into(), expected.count.into()),
                ("blocks at first", found.part.into(), expected.part.into()),
            ] {
                if found != expected {
                    return wrong(what, found, expected);
                }
            }
        }
        Ok(())
    }

    /// Who we are, if we may change something.
    pub(super) fn me(&self) -> Result<Owner, AccessError> {
        self.inner.check_access()?;
        self.inner.me()
    }

    /// Whether this is a forked child, which must touch nothing shared.
    #[inline]
    pub(super) fn forked(&self) -> bool {
        self.guard.forked()
    }

    pub(super) fn counters(&self) -> Counters<'_> {
        self.inner.memory.counters(self.object.offset + COUNTERS)
    }

    /// To be said between a store and a look for those who sleep until it.
    #[inline]
    pub(super) fn barrier(&self) {
        light_barrier(self.fenced);
    }

    /// Wakes the publishers that sleep; to be called after the store that they wait for.
    #[inline]
    pub(super) fn notify_publishers(&self) {
        self.barrier();
        self.wake(self.mapped.publishers_event());
    }

    #[inline]
    pub(super) fn wake(&self, event: EventCount<'_>) {
        if event.sleepers() {
            event.notify_sleepers(&*self.inner);
        }
    }

    /// Asks the kernel whether all who are known here live, and sweeps the dead.
    pub(super) fn examine(&self) {
        let mapped = &self.mapped;
        let subscribers = (0..mapped.subscribers())
            .filter_map(|index| Owner::from_word(mapped.role(index).load(Ordering::Acquire)));
        let members = mapped.members();
        let mut owners = members.holders().chain(subscribers).chain(turn::holder(mapped.turn()));
        if owners.any(|owner| self.inner.liveness(owner) == Liveness::Dead) {
            self.inner.sweep_the_dead();
        }
    }
}

fn initialise(memory: &Memory, object: &Object, plan: &Plan) {
    let pool = pool_offset(plan.subscribers.into(), plan.depth, plan.history, plan.inline);
    // The head, the cursors and all entries: nobody there, nothing published.
    for offset in (0..pool.unwrap_or(CURSORS)).step_by(8) {
        // Relaxed, all: nobody else can reach the object before it is READY.
        memory.word64(object.offset + offset).store(0, Ordering::Relaxed);
    }
    let word32 = |offset: u64| memory.word32(object.offset + offset);
    for (Class { size, count, part, .. }, offset) in plan.classes.iter().zip((CLASSES..).step_by(16)) {
        memory.word64(object.offset + offset).store(*size, Ordering::Relaxed);
        word32(offset + 8).store(*count, Ordering::Relaxed);
        word32(offset + 12).store(*part, Ordering::Relaxed);
    }
    let count = u32::try_from(plan.classes.len()).expect("at most eight");
    word32(CLASS_COUNT).store(count, Ordering::Relaxed);
    word32(LOANS).store(plan.loans, Ordering::Relaxed);
    debug_assert_eq!(word32(COMMITTED).load(Ordering::Relaxed), 0);
    let mapped = Mapped::new(memory, object).expect("the object was made long enough");
    for (class, Class { part, .. }) in plan.classes.iter().enumerate() {
        pool::grow(&mapped, class, *part);
    }
}

fn wake_all(event: &AtomicU32) {
    crate::os::futex::wake(event, u32::MAX);
}

/// Gives back what `dead` held of a topic.
pub(crate) fn sweep(memory: &Memory, object: &Object, dead: Owner) {
    let Some(mapped) = Mapped::new(memory, object) else { return };
    subscriptions::sweep(&mapped, dead);
    // After all that it published is delivered: see `Members::peers`.
    mapped.members().sweep(dead, wake_all);
    // Whether the region is fenced is not known here, and a sweep may cost.
    fence(Ordering::SeqCst);
    for event in [mapped.publishers_event(), mapped.subscribers_event()] {
        if event.0.load(Ordering::Relaxed) & SLEEPERS != 0 {
            // As `Members::announce` does it.
            event.0.fetch_add(2, Ordering::Release);
            wake_all(event.0);
        }
    }
}

/// Gives up a publisher's place.
pub(super) fn leave_publisher(shared: &Shared, index: usize) {
    shared.mapped.members().leave(index, wake_all);
}
