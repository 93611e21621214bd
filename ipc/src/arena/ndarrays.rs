//! Feature `ndarray`: memory of an arena as arrays of any number of dimensions, in place.

use super::boxed::ShmBox;
use super::counted::ShmArc;
use super::vec::ShmVec;
use bytemuck::Pod;
use ndarray::{ArrayView, ArrayViewMut, Dimension, ShapeError, StrideShape};

/// Views of shared memory as `ndarray` arrays (feature `ndarray`).
///
/// ```
/// use skep_ipc::{Arena, NdView, NdViewMut};
/// let arena = Arena::new(1 << 20)?;
/// let mut numbers = arena.slice_with(6, |n| n as f64)?;
/// numbers.nd_view_mut((2, 3))?.row_mut(1).fill(1.0);
/// assert_eq!(numbers.nd_view((3, 2))?.sum(), 6.0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait NdView<T: Pod>: AsRef<[T]> {
    /// The values in that shape.
    ///
    /// # Errors
    /// `ShapeError` if the shape needs more values than there are, or others.
    fn nd_view<D: Dimension>(
        &self,
        shape: impl Into<StrideShape<D>>,
    ) -> Result<ArrayView<'_, T, D>, ShapeError> {
        ArrayView::from_shape(shape, self.as_ref())
    }
}

/// The same for whoever owns the memory.
pub trait NdViewMut<T: Pod>: NdView<T> + std::ops::DerefMut<Target = [T]> {
    /// The values in that shape, to be changed.
    ///
    /// # Errors
    /// As [`NdView::nd_view`].
    fn nd_view_mut<D: Dimension>(
        &mut self,
        shape: impl Into<StrideShape<D>>,
    ) -> Result<ArrayViewMut<'_, T, D>, ShapeError> {
        ArrayViewMut::from_shape(shape, self)
    }
}

impl<T: Pod> NdView<T> for ShmBox<[T]> {}
impl<T: Pod> NdView<T> for ShmVec<T> {}
impl<T: Pod> NdView<T> for ShmArc<[T]> {}
impl<T: Pod> NdViewMut<T> for ShmBox<[T]> {}
impl<T: Pod> NdViewMut<T> for ShmVec<T> {}
