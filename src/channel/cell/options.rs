//! What a cell is to be.

use std::marker::PhantomData;

use super::{Cell, DEFAULT_READERS, initialise, spec};
use crate::Region;
use crate::payload::Payload;
use crate::region::{NamedError, ObjectError, ObjectSpec, region_of_its_own};

/// What a cell is to be, apart from its name: see [`Cell::options`].
#[derive(Debug, Clone)]
pub struct CellOptions<T> {
    pub(super) readers: Option<u32>,
    pub(super) value: PhantomData<fn() -> T>,
}

impl<T: Payload> CellOptions<T> {
    /// How many readers there can be at a time, 1 to 126 (default: [`DEFAULT_READERS`]). Each costs the memory of one value.
    /// A cell that is there must have been made with as many.
    #[must_use]
    pub fn readers(mut self, most: u32) -> Self {
        self.readers = Some(most);
        self
    }

    /// The cell of that name in `region`, made where there is none.
    ///
    /// # Errors
    /// See [`ObjectError`]: one with room for another number of readers than was asked for is a
    /// [`WrongCapacity`](ObjectError::WrongCapacity).
    pub fn open_or_create(&self, region: &Region, name: &str) -> Result<Cell<T>, ObjectError> {
        if self.readers.is_some() {
            let type_name = T::SCHEMA.to_string();
            let spec = self.spec(name, &type_name)?;
            return Cell::at(region, region.inner.open_or_create_object(&spec, initialise)?);
        }
        match Cell::open(region, name) {
            Err(ObjectError::NotFound { .. }) => {}
            other => return other,
        }
        match self.create(region, name) {
            Err(ObjectError::NameTaken { .. }) => Cell::open(region, name),
            other => other,
        }
    }

    /// A new cell; there must be none of that name.
    ///
    /// # Errors
    /// See [`ObjectError`].
    pub fn create(&self, region: &Region, name: &str) -> Result<Cell<T>, ObjectError> {
        let type_name = T::SCHEMA.to_string();
        let spec = self.spec(name, &type_name)?;
        Cell::at(region, region.inner.create_object(&spec, initialise)?)
    }

    /// The cell of that name in the user's namespace, with these options: see [`Cell::named`].
    ///
    /// # Errors
    /// See [`NamedError`].
    pub fn named(&self, name: &str) -> Result<Cell<T>, NamedError> {
        let type_name = T::SCHEMA.to_string();
        let region = region_of_its_own(&self.spec(name, &type_name)?)?;
        Ok(self.open_or_create(&region, name)?)
    }

    fn spec<'a>(&self, name: &'a str, type_name: &'a str) -> Result<ObjectSpec<'a>, ObjectError> {
        spec::<T>(name, type_name, self.readers.unwrap_or(DEFAULT_READERS))
    }
}
