//! 64 MiB of numbers, to be added up or to be doubled.

use super::repeat::milliseconds;
use crate::part::Part;
use crate::row::Outcome;
use std::error::Error;

/// How many.
pub const NUMBERS: usize = 8 << 20;

/// The numbers themselves: whole ones, so that their sum is the same in any order.
pub fn number(n: usize) -> f64 {
    n as f64
}

/// The sum of some numbers, eight at a time.
pub fn sum(values: &[f64]) -> f64 {
    let mut lanes = [0.0; 8];
    let eights = values.chunks_exact(8);
    let rest: f64 = eights.remainder().iter().sum();
    for eight in eights {
        lanes.iter_mut().zip(eight).for_each(|(lane, value)| *lane += value);
    }
    rest + lanes.iter().sum::<f64>()
}

/// Twice each number.
pub fn double(values: &[f64], into: &mut [f64]) {
    into.iter_mut().zip(values).for_each(|(place, value)| *place = 2.0 * value);
}

/// Milliseconds until the sum is there.
///
/// # Errors
/// Those of `call`, and another sum.
pub fn sums(part: &Part, mut call: impl FnMut() -> Result<f64, Box<dyn Error>>) -> Outcome {
    let expected = (NUMBERS * (NUMBERS - 1) / 2) as f64;
    let figure = milliseconds(part.time, || {
        let sum = call()?;
        if sum == expected { Ok(()) } else { Err(format!("the sum is {sum}").into()) }
    })?;
    part.stage.set_figure(figure);
    Ok(())
}

/// Milliseconds until the doubled numbers are there; `call` hands them to what it is given.
///
/// # Errors
/// Those of `call`, and other numbers.
pub fn doubles(part: &Part, mut call: impl FnMut(&mut dyn FnMut(&[f64])) -> Outcome) -> Outcome {
    let figure = milliseconds(part.time, || {
        let mut right = false;
        call(&mut |values| {
            let places = [0, 1, NUMBERS / 2, NUMBERS - 1];
            right = values.len() == NUMBERS && places.iter().all(|&n| values[n] == 2.0 * number(n));
        })?;
        if right { Ok(()) } else { Err("the numbers are not those".into()) }
    })?;
    part.stage.set_figure(figure);
    Ok(())
}
