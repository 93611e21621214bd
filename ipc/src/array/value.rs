//! `Value`: one value and its lock, and the calls that take the lock for as long as they need it.

use crate::error::LockError;
use crate::lock::Mutex;
use bytemuck::Pod;
use std::convert::Infallible;

/// A value in shared memory with a lock, like Python's `multiprocessing.Value`: a [`Mutex`].
///
/// That is all that it is: a mutex has its value inside, so there is nothing to add but the calls that Python's users look for,
/// [`get`](Mutex::get), [`set`](Mutex::set) and [`update`](Mutex::update). Whatever takes a mutex takes a value: a [`Condvar`](crate::Condvar)
/// waits for it, and a [struct](crate::shared_struct) has it as a field. For a single integer an [`AtomicValue`](crate::AtomicValue) is cheaper, which
/// nobody can hold.
///
/// ```
/// use skep_ipc::Value;
/// let balance = Value::new(100_i64)?;
/// balance.update(|balance| *balance -= 1)?; // one step for all processes
/// assert_eq!(balance.get()?, 99);
/// balance.set(0)?;
/// let mut guard = balance.lock().expect("nobody dies"); // for more than one step
/// *guard = 5;
/// # drop(guard);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub type Value<T> = Mutex<T>;

/// # As a value: one step under the lock
/// These calls wait for the lock as [`lock`](Self::lock) does, and give it back before they return.
impl<T: Pod> Mutex<T> {
    /// A copy of the value.
    ///
    /// # Errors
    /// [`LockError::OwnerDied`] with a copy of what the dead holder left; it is told again until somebody has [set](Self::set) the value, or
    /// [marked](crate::MutexGuard::mark_consistent) it. The others are those of [`lock`](Self::lock).
    pub fn get(&self) -> Result<T, LockError<T>> {
        self.lock().map(|guard| *guard).map_err(|error| error.map(|guard| *guard))
    }

    /// Replaces the value, whole. What a dead holder left is replaced too, so the value is in order then, and nobody is told of that death any more.
    ///
    /// # Errors
    /// Those of [`lock`](Self::lock) but for [`OwnerDied`](LockError::OwnerDied).
    pub fn set(&self, value: T) -> Result<(), LockError<Infallible>> {
        let mut guard = self.lock().or_else(LockError::into_guard)?;
        *guard = value;
        guard.mark_consistent();
        Ok(())
    }

    /// Has `change` work on a copy of the value, and puts that in its place: `update(|n| *n += 1)`. Nobody else has the lock meanwhile.
    ///
    /// Whoever dies or panics in `change` leaves the value as it was; the next one is told of it nevertheless.
    ///
    /// # Errors
    /// As [`get`](Self::get); `change` has not been called then.
    pub fn update<R>(&self, change: impl FnOnce(&mut T) -> R) -> Result<R, LockError<T>> {
        let mut guard = self.lock().map_err(|error| error.map(|guard| *guard))?;
        let mut value = *guard;
        let result = change(&mut value);
        *guard = value;
        Ok(result)
    }
}
