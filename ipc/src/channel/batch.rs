//! Several values in one call. Each is put and taken by itself, as values have sizes of their own.

use super::queue::Queue;
use crate::arena::{RecvValueError, SendValueError};
use crate::message::Message;
use std::collections::VecDeque;

impl<T: Message> Queue<T> {
    /// Puts all of `values` in order, taking each off the front, and waits for room as often as it takes. Other producers' values may come in between. Returns how many.
    ///
    /// # Errors
    /// As [`put`](Self::put), of the first value that cannot be put, which comes back; those behind it are still in `values`.
    ///
    /// ```
    /// let mut queue = skep_ipc::Queue::<String>::new(4)?;
    /// queue.put_batch(&mut ["one", "two"].map(String::from).into()).unwrap();
    /// let mut got = Vec::new();
    /// queue.get_batch(&mut got, 10).unwrap();
    /// assert_eq!(got, ["one", "two"]);
    /// # Ok::<(), skep_ipc::Error>(())
    /// ```
    pub fn put_batch(&mut self, values: &mut VecDeque<T>) -> Result<usize, SendValueError<T>> {
        let mut put = 0;
        while let Some(value) = values.pop_front() {
            self.put(value)?;
            put += 1;
        }
        Ok(put)
    }

    /// Puts as many of `values` as there is room for now, taking each off the front. Returns how many; none only if there are none.
    ///
    /// # Errors
    /// [`SendValueError::Full`] if there is room for none, and as [`put_batch`](Self::put_batch).
    pub fn try_put_batch(&mut self, values: &mut VecDeque<T>) -> Result<usize, SendValueError<T>> {
        let mut put = 0;
        while let Some(value) = values.pop_front() {
            match self.try_put(value) {
                Err(SendValueError::Full(value)) if put > 0 => {
                    values.push_front(value);
                    break;
                }
                outcome => outcome?,
            }
            put += 1;
        }
        Ok(put)
    }

    /// Takes between one value and `most`, those that are there, to the end of `into`, as soon as there is one. Returns how many; none only if `most` is zero.
    ///
    /// # Errors
    /// As [`get`](Self::get); what was taken before it is in `into`.
    pub fn get_batch(&mut self, into: &mut Vec<T>, most: usize) -> Result<usize, RecvValueError> {
        if most == 0 {
            return Ok(0);
        }
        into.push(self.get()?);
        Ok(1 + self.take_others(into, most - 1)?)
    }

    /// Takes up to `most` values that are there now, to the end of `into`. Returns how many; none only if `most` is zero.
    ///
    /// # Errors
    /// [`RecvValueError::Empty`], and as [`get_batch`](Self::get_batch).
    pub fn try_get_batch(&mut self, into: &mut Vec<T>, most: usize) -> Result<usize, RecvValueError> {
        if most == 0 {
            return Ok(0);
        }
        into.push(self.try_get()?);
        Ok(1 + self.take_others(into, most - 1)?)
    }

    fn take_others(&mut self, into: &mut Vec<T>, most: usize) -> Result<usize, RecvValueError> {
        for taken in 0..most {
            match self.try_get() {
                Err(RecvValueError::Empty | RecvValueError::Closed) => return Ok(taken),
                value => into.push(value?),
            }
        }
        Ok(most)
    }
}
