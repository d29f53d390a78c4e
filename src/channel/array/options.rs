//! What an array is to be.

use std::marker::PhantomData;

use super::error::ArrayError;
use super::shape::{Order, Shape};
use super::{Array, DEFAULT_LEASES, initialise, spec};
use crate::Region;
use crate::payload::Payload;
use crate::region::{Memory, Object, ObjectError, region_of_its_own};

/// What an array is to be, apart from its name and shape: see [`Array::options`].
#[derive(Debug, Clone)]
pub struct ArrayOptions<T> {
    pub(super) order: Order,
    pub(super) leases: Option<u32>,
    pub(super) element: PhantomData<fn() -> T>,
}

impl<T: Payload> ArrayOptions<T> {
    /// In which order the elements lie (default: [`Order::C`]).
    #[must_use]
    pub fn order(mut self, order: Order) -> Self {
        self.order = order;
        self
    }

    /// How many leases there can be at a time, 1 to 4096 (default: [`DEFAULT_LEASES`]). Parts that the dead left
    /// half-written take room, too. An array that is there must have been made with as many.
    #[must_use]
    pub fn leases(mut self, leases: u32) -> Self {
        self.leases = Some(leases);
        self
    }

    /// The array of that name in `region`, made (zero everywhere) where there is none.
    ///
    /// # Errors
    /// See [`ArrayError`].
    pub fn open_or_create(
        &self,
        region: &Region,
        name: &str,
        shape: &[usize],
    ) -> Result<Array<T>, ArrayError> {
        match self.open(region, name, shape) {
            Err(ArrayError::Object(ObjectError::NotFound { .. })) => {}
            other => return other,
        }
        match self.create(region, name, shape) {
            Err(ArrayError::Object(ObjectError::NameTaken { .. })) => self.open(region, name, shape),
            other => other,
        }
    }

    /// A new array, zero everywhere; there must be none of that name.
    ///
    /// # Errors
    /// See [`ArrayError`].
    pub fn create(&self, region: &Region, name: &str, shape: &[usize]) -> Result<Array<T>, ArrayError> {
        let shape = self.shape(shape)?;
        let type_name = T::SCHEMA.to_string();
        let spec = spec::<T>(name, &type_name, &shape, self.leases.unwrap_or(DEFAULT_LEASES))?;
        let made = |memory: &Memory, object: &Object| initialise(memory, object, &shape);
        Array::at(region, region.inner.create_object(&spec, made)?)
    }

    /// The array of that name in the user's namespace, with these options: see [`Array::named`].
    ///
    /// # Errors
    /// See [`ArrayError`].
    pub fn named(&self, name: &str, shape: &[usize]) -> Result<Array<T>, ArrayError> {
        let type_name = T::SCHEMA.to_string();
        let leases = self.leases.unwrap_or(DEFAULT_LEASES);
        let spec = spec::<T>(name, &type_name, &self.shape(shape)?, leases)?;
        let region = region_of_its_own(&spec)?;
        self.open_or_create(&region, name, shape)
    }

    fn open(&self, region: &Region, name: &str, shape: &[usize]) -> Result<Array<T>, ArrayError> {
        let expected = self.shape(shape)?;
        let array = Array::<T>::open(region, name)?;
        if array.shape != expected {
            let (found, expected) = (array.shape.to_string(), expected.to_string());
            return Err(ArrayError::WrongShape { name: name.to_owned(), found, expected });
        }
        match self.leases {
            Some(expected) if expected != array.object.parameters[0] => {
                let (what, found) = ("room for leases", array.object.parameters[0]);
                Err(ObjectError::WrongParameter { name: name.to_owned(), what, found, expected }.into())
            }
            _ => Ok(array),
        }
    }

    fn shape(&self, given: &[usize]) -> Result<Shape, ArrayError> {
        Shape::new(given, self.order)
            .map_err(|problem| ArrayError::BadShape { shape: given.to_vec(), problem })
    }
}
