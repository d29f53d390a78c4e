//! What lanes are to be.

use super::{Lanes, initialise};
use crate::Region;
use crate::layout::lanes::{MAX_LANES, length};
use crate::layout::spsc::MAX_CAPACITY;
use crate::region::{NamedError, ObjectError, ObjectKind, ObjectSpec, Parameter, region_of_its_own};
use crate::ring::chains::longest_chain;

/// What lanes are to be, apart from their name, number and capacity.
#[derive(Debug, Clone, Default)]
pub struct LanesOptions {
    chained: usize,
}

impl LanesOptions {
    /// Messages of up to `max` bytes can be pushed: those that are too long for one record (half a lane, less 8) go in
    /// parts of a quarter of a lane, and the consumer puts them together again. It keeps as many bytes for each lane as
    /// the longest that came by it, at most `max`.
    #[must_use]
    pub fn chained(mut self, max: usize) -> Self {
        self.chained = max;
        self
    }

    /// As [`Lanes::open_or_create`].
    ///
    /// # Errors
    /// See [`ObjectError`].
    pub fn open_or_create(
        &self,
        region: &Region,
        name: &str,
        lanes: usize,
        capacity: usize,
    ) -> Result<Lanes, ObjectError> {
        let spec = self.spec(name, lanes, capacity)?;
        Lanes::at(region, region.inner.open_or_create_object(&spec, initialise)?)
    }

    /// As [`Lanes::create`].
    ///
    /// # Errors
    /// See [`ObjectError`].
    pub fn create(
        &self,
        region: &Region,
        name: &str,
        lanes: usize,
        capacity: usize,
    ) -> Result<Lanes, ObjectError> {
        let spec = self.spec(name, lanes, capacity)?;
        Lanes::at(region, region.inner.create_object(&spec, initialise)?)
    }

    /// As [`Lanes::named`].
    ///
    /// # Errors
    /// See [`NamedError`].
    pub fn named(&self, name: &str, lanes: usize, capacity: usize) -> Result<Lanes, NamedError> {
        let region = region_of_its_own(&self.spec(name, lanes, capacity)?)?;
        Ok(self.open_or_create(&region, name, lanes, capacity)?)
    }

    pub(super) fn spec<'a>(
        &self,
        name: &'a str,
        lanes: usize,
        capacity: usize,
    ) -> Result<ObjectSpec<'a>, ObjectError> {
        let problem =
            |problem| ObjectError::InvalidSize { count: lanes as u64, size: capacity as u64, problem };
        let count = u32::try_from(lanes)
            .ok()
            .filter(|_| (1..=MAX_LANES).contains(&lanes))
            .ok_or_else(|| problem("choose between 1 and 64 lanes"))?;
        let bytes = (capacity as u64)
            .checked_next_power_of_two()
            .filter(|&bytes| capacity > 0 && bytes <= MAX_CAPACITY)
            .ok_or_else(|| problem("choose a lane of 1 to 2^40 bytes"))?
            .max(64);
        let chained = u32::try_from(self.chained)
            .ok()
            .filter(|&chained| u64::from(chained) <= longest_chain(bytes))
            .ok_or_else(|| {
                let (count, size) = (1, self.chained as u64);
                let problem = "choose chained messages of less than 4 GiB, or larger lanes";
                ObjectError::InvalidSize { count, size, problem }
            })?;
        let none = Parameter("", 0);
        Ok(ObjectSpec {
            name,
            kind: ObjectKind::Lanes,
            length: length(count.into(), bytes).ok_or_else(|| problem("it is too large"))?,
            fingerprint: 0,
            type_name: "byte lanes",
            item_size: 1,
            item_count: bytes,
            parameters: [
                Parameter("number of lanes", count),
                Parameter("bytes of the longest message in parts:", chained),
                none,
                none,
            ],
        })
    }
}
