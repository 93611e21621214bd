//! From rounds to figures: what is near and what is far, medians, and whether a target is met.

use crate::row::Goal;
use crate::run::{Measured, Sample};
use skep_bench::rounds::spread;

/// Where the two cores were in a run.
#[derive(Clone, Copy, PartialEq)]
pub enum Place {
    Near,
    Far,
}

impl Place {
    pub fn word(self) -> &'static str {
        match self {
            Place::Near => "near",
            Place::Far => "far",
        }
    }
}

/// What tells near from far in this measurement.
#[derive(Clone, Copy)]
pub struct Distance {
    /// The probes' lowest, median and highest, in nanoseconds.
    pub probes: [f64; 3],
    limit: f64,
}

impl Distance {
    /// Near is up to twice the probes' lower quartile: a core in another cache is several times as far.
    pub fn of(measured: &[Measured]) -> Option<Distance> {
        let samples = measured.iter().flat_map(|m| m.rounds.iter().flatten().flatten());
        let mut probes: Vec<f64> = samples.map(|sample| sample.probe).collect();
        probes.sort_by(f64::total_cmp);
        let quartile = *probes.get(probes.len() / 4)?;
        Some(Distance { probes: spread(&probes), limit: 2.0 * quartile })
    }

    pub fn place(&self, sample: &Sample) -> Place {
        if sample.probe <= self.limit { Place::Near } else { Place::Far }
    }
}

/// Lowest, median, highest, and of how many.
#[derive(Clone, Copy)]
pub struct Figures {
    pub low: f64,
    pub median: f64,
    pub high: f64,
    pub rounds: usize,
}

impl Figures {
    pub fn of(figures: &[f64]) -> Option<Figures> {
        if figures.is_empty() {
            return None;
        }
        let [low, median, high] = spread(figures);
        Some(Figures { low, median, high, rounds: figures.len() })
    }
}

/// A contender's figures at one place.
pub fn figures(measured: &Measured, contender: usize, at: Place, distance: &Distance) -> Option<Figures> {
    let samples = measured.rounds.iter().filter_map(|round| round[contender]);
    let there: Vec<f64> = samples.filter(|s| distance.place(s) == at).map(|s| s.figure).collect();
    Figures::of(&there)
}

/// One round of what a goal is about.
pub struct Round {
    pub skep: Sample,
    pub other: Option<Sample>,
    /// The ratio, or skep's figure itself.
    pub value: f64,
    pub place: Place,
}

/// What became of a goal.
pub struct Verdict<'a> {
    pub measured: &'a Measured,
    pub goal: &'a Goal,
    pub rounds: Vec<Round>,
    pub near: Option<Figures>,
    pub far: Option<Figures>,
}

impl<'a> Verdict<'a> {
    pub fn of(measured: &'a Measured, goal: &'a Goal, distance: &Distance) -> Verdict<'a> {
        let name = goal.against();
        let other = name.and_then(|name| measured.row.contenders.iter().position(|c| c.name == name));
        let rounds = measured.rounds.iter().filter_map(|round| {
            let skep = round[0]?;
            let other = match name {
                Some(_) => Some(round[other?]?),
                None => None,
            };
            let value = other.map_or(skep.figure, |other| skep.figure / other.figure);
            let is_near = [Some(skep), other].iter().flatten().all(|s| distance.place(s) == Place::Near);
            Some(Round { skep, other, value, place: if is_near { Place::Near } else { Place::Far } })
        });
        let rounds: Vec<Round> = rounds.collect();
        let at = |place| {
            let there: Vec<f64> = rounds.iter().filter(|r| r.place == place).map(|r| r.value).collect();
            Figures::of(&there)
        };
        let (near, far) = (at(Place::Near), at(Place::Far));
        Verdict { measured, goal, rounds, near, far }
    }

    /// What counts: the rounds with the cores near each other, if there are any.
    pub fn value(&self) -> Option<Figures> {
        self.near.or(self.far)
    }

    /// Whether the target is met; nothing if there was nothing to measure it by.
    pub fn is_met(&self) -> Option<bool> {
        self.value().map(|figures| self.goal.is_met_by(figures.median))
    }
}
