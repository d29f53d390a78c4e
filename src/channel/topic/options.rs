//! How a topic is made.

use std::marker::PhantomData;

use super::handle::Topic;
use super::mapped::{Class, enough_blocks};
use super::message::Message;
use super::shared::{How, Kind, Shared};
use crate::Region;
use crate::layout::topic::{MAX_CLASSES, MAX_DEPTH, MAX_INLINE, MAX_PUBLISHERS, MAX_SUBSCRIBERS, MIN_DEPTH};
use crate::region::{NamedError, ObjectError};

/// What a topic is to be, apart from its name and depth: see [`Topic::options`].
#[derive(Debug)]
pub struct TopicOptions<T: ?Sized> {
    wishes: Wishes,
    message: PhantomData<fn() -> Box<T>>,
}

impl<T: ?Sized> Clone for TopicOptions<T> {
    fn clone(&self) -> Self {
        Self { wishes: self.wishes.clone(), message: PhantomData }
    }
}

#[derive(Debug, Clone)]
struct Wishes {
    subscribers: u32,
    publishers: u32,
    history: usize,
    loans: u32,
    inline: Option<usize>,
    blocks: Option<u32>,
    at_first: Option<u32>,
    classes: Vec<(usize, u32)>,
}

impl<T: Message + ?Sized> TopicOptions<T> {
    pub(super) fn new() -> Self {
        let wishes = Wishes {
            subscribers: 8,
            publishers: 4,
            history: 0,
            loans: 2,
            inline: None,
            blocks: None,
            at_first: None,
            classes: Vec::new(),
        };
        Self { wishes, message: PhantomData }
    }

    /// How many subscribers there can be at a time: up to 64 (default: 8).
    #[must_use]
    pub fn subscribers(mut self, most: u32) -> Self {
        self.wishes.subscribers = most;
        self
    }

    /// How many publishers there can be at a time: up to 64 (default: 4).
    #[must_use]
    pub fn publishers(mut self, most: u32) -> Self {
        self.wishes.publishers = most;
        self
    }

    /// How many of the last messages are kept for subscribers that come late (default: none).
    #[must_use]
    pub fn history(mut self, messages: usize) -> Self {
        self.wishes.history = messages;
        self
    }

    /// How many loans of blocks a subscriber may hold at a time (default: 2).
    #[must_use]
    pub fn loans(mut self, most: u32) -> Self {
        self.wishes.loans = most;
        self
    }

    /// How many bytes a message may have to stand in the log itself rather than in a block, up to 104
    /// (default: 104 for a topic of bytes; for a typed one the type's size if that is so small, else 0).
    #[must_use]
    pub fn inline(mut self, bytes: usize) -> Self {
        self.wishes.inline = Some(bytes);
        self
    }

    /// How many blocks there can be of a typed topic's size, and of each of the default sizes of a topic of bytes.
    ///
    /// The default, `max(depth, history) + subscribers × loans + 2 × publishers + 1`, is what it takes for no publisher
    /// ever to lack one as long as all subscribers are lossless or overwriting, and publishers hold one loan each. A
    /// subscriber that drops the newest may keep `depth` blocks more from being free. With as many as that (of a size),
    /// each publisher claims the block for its next message behind the one before, while nobody waits for it; with
    /// fewer, when it is asked for one.
    #[must_use]
    pub fn blocks(mut self, most: u32) -> Self {
        self.wishes.blocks = Some(most);
        self
    }

    /// How many of them are in use at first, and how many more each time that none is free (default: all at once).
    ///
    /// The room for all of them is reserved with the region, whose memory is in hand when it is made: so growth cannot
    /// fail, moves nothing, and gives none of that memory to others either. What it saves are touched lines and pages:
    /// blocks that are not in use yet are not looked at, and in a region that is not
    /// [prefaulted](crate::region::CreateOptions::prefault) they are not mapped either.
    #[must_use]
    pub fn at_first(mut self, blocks: u32) -> Self {
        self.wishes.at_first = Some(blocks);
        self
    }

    /// Adds a size class to a topic of bytes: `blocks` of them, for messages of up to `size` bytes. Instead of the
    /// defaults, which are 256 B, 4 KiB and 64 KiB. At most eight.
    #[must_use]
    pub fn class(mut self, size: usize, blocks: u32) -> Self {
        self.wishes.classes.push((size, blocks));
        self
    }

    /// The topic of that name in `region`, made where there is none; one that is there must have been made with these
    /// options.
    ///
    /// # Errors
    /// See [`ObjectError`]: what differs is named, with both values.
    pub fn open_or_create(&self, region: &Region, name: &str, depth: usize) -> Result<Topic<T>, ObjectError> {
        self.make(region, name, depth, How::OpenOrCreate)
    }

    /// A new topic; there must be none of that name.
    ///
    /// # Errors
    /// See [`ObjectError`].
    pub fn create(&self, region: &Region, name: &str, depth: usize) -> Result<Topic<T>, ObjectError> {
        self.make(region, name, depth, How::Create)
    }

    /// The topic of that name in the user's namespace, with these options: see [`Topic::named`].
    ///
    /// # Errors
    /// See [`NamedError`].
    pub fn named(&self, name: &str, depth: usize) -> Result<Topic<T>, NamedError> {
        let kind = T::kind()?;
        Ok(Topic::of(Shared::named(name, &kind, &self.plan(&kind, depth)?)?))
    }

    fn make(&self, region: &Region, name: &str, depth: usize, how: How) -> Result<Topic<T>, ObjectError> {
        let kind = T::kind()?;
        Ok(Topic::of(Shared::make(region, name, &kind, &self.plan(&kind, depth)?, how)?))
    }

    fn plan(&self, kind: &Kind, depth: usize) -> Result<Plan, ObjectError> {
        self.wishes.plan(depth, kind.content).map_err(|problem| kind.problem(problem))
    }
}

impl Wishes {
    fn plan(&self, depth: usize, of: Content) -> Result<Plan, &'static str> {
        let asked = depth;
        let depth = (asked as u64).checked_next_power_of_two().unwrap_or(u64::MAX).max(MIN_DEPTH);
        let history = self.history as u64;
        if asked == 0 || depth > MAX_DEPTH || history > MAX_DEPTH {
            return Err("choose a depth between 1 and 2^24, and no more history");
        }
        if !(1..=MAX_SUBSCRIBERS).contains(&self.subscribers.into()) {
            return Err("choose between 1 and 64 subscribers");
        }
        if !(1..=MAX_PUBLISHERS).contains(&self.publishers.into()) {
            return Err("choose between 1 and 64 publishers");
        }
        if self.loans == 0 || self.loans > 1 << 20 {
            return Err("choose between 1 and 2^20 loans a subscriber");
        }
        let inline = match (self.inline, of) {
            (Some(bytes), _) if bytes as u64 > MAX_INLINE => {
                return Err("messages of up to 104 bytes can be inline");
            }
            // Entries are aligned by eight.
            (_, Content::Typed { align, .. }) if align > 8 => 0,
            (Some(bytes), Content::Typed { size, .. }) => {
                if size > bytes {
                    0
                } else {
                    size
                }
            }
            (None, Content::Typed { size, .. }) => {
                if size as u64 > MAX_INLINE {
                    0
                } else {
                    size
                }
            }
            (Some(bytes), Content::Bytes) => bytes,
            (None, Content::Bytes) => 104,
        };
        let (subscribers, publishers) = (self.subscribers.into(), self.publishers.into());
        let needed = enough_blocks(depth, history, subscribers, self.loans.into(), publishers);
        let blocks = self.blocks.unwrap_or(u32::try_from(needed).unwrap_or(u32::MAX));
        let sizes = match of {
            Content::Typed { .. } if !self.classes.is_empty() => {
                return Err("a typed topic has one size of blocks: say how many by `blocks`");
            }
            Content::Typed { size, .. } => vec![(size, blocks)],
            Content::Bytes if self.classes.is_empty() => vec![(256, blocks), (4096, blocks), (65536, blocks)],
            Content::Bytes => {
                let mut sizes = self.classes.clone();
                sizes.sort_unstable();
                sizes
            }
        };
        if sizes.len() > MAX_CLASSES {
            return Err("choose at most eight size classes");
        }
        if sizes.iter().map(|&(_, blocks)| u64::from(blocks)).sum::<u64>() <= history {
            return Err("there must be more blocks than the history keeps");
        }
        let class = |(size, blocks): (usize, u32)| {
            Class::new(size as u64, blocks, self.at_first.unwrap_or(blocks).clamp(1, blocks.max(1)))
        };
        Ok(Plan {
            depth,
            subscribers: self.subscribers,
            publishers: self.publishers,
            history,
            // At most 104, so rounded up to the entry's words.
            inline: (inline as u64).next_multiple_of(8),
            loans: self.loans,
            classes: sizes.into_iter().map(class).collect(),
        })
    }
}

/// What a topic's messages are.
#[derive(Debug, Clone, Copy)]
pub enum Content {
    Typed { size: usize, align: usize },
    Bytes,
}

/// A topic in numbers.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) depth: u64,
    pub(super) subscribers: u32,
    pub(super) publishers: u32,
    pub(super) history: u64,
    pub(super) inline: u64,
    pub(super) loans: u32,
    pub(super) classes: Vec<Class>,
}
