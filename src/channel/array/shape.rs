//! How many elements there are in each dimension, how they lie, and which part of them is meant.

#![forbid(unsafe_code)]

use std::fmt;
use std::ops::{Bound, Range, RangeBounds};

use super::error::LeaseError;
use crate::layout::array::MAX_DIMENSIONS;

/// In which order the elements lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum Order {
    /// The last axis varies fastest, as in C, Rust, and Python's `NumPy` by default.
    #[default]
    C,
    /// The first axis varies fastest, as in Fortran, Julia and MATLAB.
    Fortran,
}

/// Lengths of all axes, and the order; checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    lengths: [usize; MAX_DIMENSIONS],
    dimensions: usize,
    pub(crate) order: Order,
}

impl Shape {
    /// What is wrong with it, if it is no shape.
    pub(crate) fn new(given: &[usize], order: Order) -> Result<Self, &'static str> {
        if given.is_empty() || given.len() > MAX_DIMENSIONS {
            return Err("an array has one to eight dimensions");
        }
        if given.contains(&0) {
            return Err("every axis has a length of one at the least");
        }
        let elements = given.iter().try_fold(1_usize, |product, &length| product.checked_mul(length));
        if elements.is_none_or(|elements| elements > isize::MAX.cast_unsigned()) {
            return Err("it has more elements than can be counted");
        }
        let mut lengths = [1; MAX_DIMENSIONS];
        lengths[..given.len()].copy_from_slice(given);
        Ok(Self { lengths, dimensions: given.len(), order })
    }

    /// One element.
    pub(crate) const fn single() -> Self {
        Self { lengths: [1; MAX_DIMENSIONS], dimensions: 1, order: Order::C }
    }

    pub(crate) fn lengths(&self) -> &[usize] {
        &self.lengths[..self.dimensions]
    }

    /// Those beyond the dimensions, too.
    pub(crate) fn all_lengths(&self) -> [usize; MAX_DIMENSIONS] {
        self.lengths
    }

    pub(crate) fn elements(&self) -> usize {
        // `new` has checked the product.
        self.lengths.iter().product()
    }

    /// From one element to the next along each axis, in elements; beyond the dimensions 1.
    pub(crate) fn strides(&self) -> [usize; MAX_DIMENSIONS] {
        let (mut strides, mut step) = ([1; MAX_DIMENSIONS], 1);
        for index in 0..self.dimensions {
            let axis = match self.order {
                Order::C => self.dimensions - 1 - index,
                Order::Fortran => index,
            };
            strides[axis] = step;
            step *= self.lengths[axis];
        }
        strides
    }

    /// The axis along which the elements lie farthest apart.
    fn outer_axis(&self) -> usize {
        match self.order {
            Order::C => 0,
            Order::Fortran => self.dimensions - 1,
        }
    }

    /// Where an element lies, counted in elements.
    pub(crate) fn position(&self, index: &[usize]) -> Option<usize> {
        let within = index.len() == self.dimensions
            && index.iter().zip(self.lengths()).all(|(at, length)| at < length);
        within.then(|| index.iter().zip(self.strides()).map(|(at, stride)| at * stride).sum())
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} in {:?} order", self.lengths(), self.order)
    }
}

/// A part of an array that lies in a row: a range of the outer axis (the first one in C order, the last one in
/// Fortran order), or, as [`Flat`], a range of all elements in the order in which they lie.
///
/// Implemented by the ranges of `usize`.
pub trait Part: private::Sealed {
    /// The elements in a row, and their shape.
    #[doc(hidden)]
    #[allow(private_interfaces)]
    fn of(self, shape: &Shape) -> Result<(Range<u64>, Shape), LeaseError>;
}

/// A range of elements in the order in which they lie, whatever the shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flat<R>(pub R);

mod private {
    pub trait Sealed {}
}

macro_rules! part {
    ($($range:ty)*) => {$(
        impl private::Sealed for $range {}

        #[allow(private_interfaces)]
        impl Part for $range {
            fn of(self, shape: &Shape) -> Result<(Range<u64>, Shape), LeaseError> {
                let axis = shape.outer_axis();
                let length = shape.lengths[axis];
                let range = checked(&self, length)?;
                let row = shape.elements() / length;
                let mut part = *shape;
                part.lengths[axis] = range.len();
                Ok(((range.start * row) as u64..(range.end * row) as u64, part))
            }
        }
    )*};
}

part! {
    Range<usize> std::ops::RangeInclusive<usize> std::ops::RangeFrom<usize> std::ops::RangeTo<usize>
    std::ops::RangeToInclusive<usize> std::ops::RangeFull
}

impl<R: RangeBounds<usize>> private::Sealed for Flat<R> {}

#[allow(private_interfaces)]
impl<R: RangeBounds<usize>> Part for Flat<R> {
    fn of(self, shape: &Shape) -> Result<(Range<u64>, Shape), LeaseError> {
        let range = checked(&self.0, shape.elements())?;
        let part = Shape::new(&[range.len()], shape.order).expect("a part of what can be counted");
        Ok((range.start as u64..range.end as u64, part))
    }
}

/// The range, if it has something in it and lies within `0..length`.
fn checked(range: &impl RangeBounds<usize>, length: usize) -> Result<Range<usize>, LeaseError> {
    let start = match range.start_bound() {
        Bound::Included(&start) => start,
        Bound::Excluded(&before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(&last) => last.saturating_add(1),
        Bound::Excluded(&end) => end,
        Bound::Unbounded => length,
    };
    if start < end && end <= length {
        Ok(start..end)
    } else {
        Err(LeaseError::BadRange { start, end, length })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_lie_where_they_ought_to() {
        let c = Shape::new(&[2, 3, 4], Order::C).unwrap();
        assert_eq!((c.elements(), &c.strides()[..3]), (24, &[12, 4, 1][..]));
        assert_eq!(c.position(&[1, 2, 3]), Some(23));
        let fortran = Shape::new(&[2, 3, 4], Order::Fortran).unwrap();
        assert_eq!(&fortran.strides()[..3], &[1, 2, 6]);
        assert_eq!(fortran.position(&[1, 0, 2]), Some(13));
        for outside in [&[2, 0, 0][..], &[0, 0], &[0, 0, 4], &[0, 0, 0, 0]] {
            assert_eq!(c.position(outside), None);
        }
        for bad in [&[][..], &[1; 9], &[3, 0], &[1 << 40, 1 << 40], &[usize::MAX, 2]] {
            assert!(Shape::new(bad, Order::C).is_err());
        }
    }

    #[test]
    fn parts_lie_in_a_row() {
        let c = Shape::new(&[4, 5], Order::C).unwrap();
        let (range, part) = (1..3).of(&c).unwrap();
        assert_eq!((range, part.lengths()), (5..15, &[2, 5][..]));
        let fortran = Shape::new(&[4, 5], Order::Fortran).unwrap();
        let (range, part) = (..=1).of(&fortran).unwrap();
        assert_eq!((range, part.lengths()), (0..8, &[4, 2][..]));
        let (range, part) = Flat(7..).of(&c).unwrap();
        assert_eq!((range, part.lengths()), (7..20, &[13][..]));
        assert_eq!((..).of(&c).unwrap().0, 0..20);
        assert!((2..2).of(&c).is_err() && (0..=4).of(&c).is_err() && Flat(0..21).of(&c).is_err());
        assert!((0..=usize::MAX).of(&c).is_err());
    }
}
