//! Large arguments and results: in the pool's arena, and copied through pipes.

use super::pipe::pipes;
use crate::measure::arrays::{self, NUMBERS};
use crate::measure::repeat::percentile;
use crate::part::{Part, pin};
use crate::row::Outcome;
use skep::{Pool, ShmArc, ShmSlice};
use std::time::Duration;

#[skep::task]
fn sum(values: ShmArc<[f64]>) -> f64 {
    arrays::sum(&values)
}

#[skep::task]
fn double(values: ShmArc<[f64]>) -> Option<ShmSlice<f64>> {
    let mut doubled = skep::arena().ok()?.slice_unfilled(values.len()).ok()?;
    arrays::double(&values, &mut doubled);
    Some(doubled)
}

#[skep::task]
fn first(values: ShmSlice<u64>) -> (u64, ShmSlice<u64>) {
    (values[0], values)
}

/// This process on one core, its worker on the other.
fn pool(part: &Part, arena: u64) -> Result<Pool, skep::PoolError> {
    pin(&part.cores[1..]);
    let pool = Pool::builder().workers(1).arena(arena).build()?;
    part.pin(0);
    Ok(pool)
}

/// Numbers that are in the arena, added up by a worker.
pub fn sums(part: &Part) -> Outcome {
    let pool = pool(part, 1 << 30)?;
    let values = pool.arena().slice_with(NUMBERS, arrays::number)?.share()?;
    arrays::sums(part, || Ok(pool.apply(sum, values.try_clone()?)?))
}

/// Numbers that are put into the arena for each call.
pub fn sums_of_new(part: &Part) -> Outcome {
    let pool = pool(part, 1 << 30)?;
    let values: Vec<f64> = (0..NUMBERS).map(arrays::number).collect();
    arrays::sums(part, || Ok(pool.apply(sum, pool.arena().slice(&values)?.share()?)?))
}

/// Numbers that are in the arena, doubled by a worker into other memory of it.
pub fn doubles(part: &Part) -> Outcome {
    let pool = pool(part, 1 << 30)?;
    let values = pool.arena().slice_with(NUMBERS, arrays::number)?.share()?;
    arrays::doubles(part, |take| {
        let doubled = pool.apply(double, values.try_clone()?)?;
        take(&doubled.ok_or("no room in the arena")?);
        Ok(())
    })
}

/// Bytes of a message.
const CHUNK: usize = 1 << 20;

/// Numbers that go through a pipe, and come back doubled through another one.
pub fn doubles_through_pipes(part: &Part) -> Outcome {
    let (mut sender, mut receiver) = pipes(part, 4 * CHUNK)?;
    if part.number == 1 {
        loop {
            let message = receiver.recv()?;
            if message.len() < CHUNK {
                return Ok(());
            }
            let mut grant = sender.reserve(CHUNK)?;
            // A message begins at a multiple of eight bytes.
            arrays::double(bytemuck::cast_slice(&message), bytemuck::cast_slice_mut(&mut grant));
            grant.commit()?;
        }
    }
    let values: Vec<f64> = (0..NUMBERS).map(arrays::number).collect();
    let mut doubled = vec![0.0_f64; NUMBERS];
    let outcome = arrays::doubles(part, |take| {
        let mut outgoing = bytemuck::cast_slice(&values).chunks_exact(CHUNK);
        let mut next = outgoing.next();
        for place in bytemuck::cast_slice_mut::<_, u8>(&mut doubled).chunks_exact_mut(CHUNK) {
            loop {
                if let Some(chunk) = next
                    && let Ok(mut grant) = sender.try_reserve(CHUNK)
                {
                    grant.copy_from_slice(chunk);
                    grant.commit()?;
                    next = outgoing.next();
                }
                if let Ok(message) = receiver.try_recv() {
                    place.copy_from_slice(&message);
                    break;
                }
                part.stage.check();
            }
        }
        take(&doubled);
        Ok(())
    });
    sender.send(&[0; 8])?;
    outcome
}

/// There and back of a task with an argument of so many bytes, of which it reads the first word; the argument comes back with the result.
pub fn call<const BYTES: usize>(part: &Part) -> Outcome {
    let pool = pool(part, 4 << 30)?;
    let mut values = Some(pool.arena().slice_unfilled::<u64>(BYTES / 8)?);
    values.iter_mut().for_each(|values| values[0] = 7);
    let figure = percentile(part.time, Duration::ZERO, 50, || {
        let result = values.take().and_then(|values| pool.apply(first, values).ok());
        values = result.and_then(|(word, values)| (word == 7).then_some(values));
    });
    if values.is_none() {
        return Err("a call failed".into());
    }
    part.stage.set_figure(figure);
    Ok(())
}
