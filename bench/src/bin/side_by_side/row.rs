//! What a row is: a figure, who is measured, and what is aimed at.

use crate::part::Part;

/// What goes wrong in a run, in words.
pub type Outcome = Result<(), Box<dyn std::error::Error>>;

/// Something that is measured.
pub struct Row {
    /// What it is asked for by.
    pub name: &'static str,
    /// What its figure is.
    pub title: &'static str,
    pub unit: Unit,
    /// The first one is skep.
    pub contenders: Vec<Contender>,
    pub goals: Vec<Goal>,
    pub growth: Option<Growth>,
}

/// A row that is one point of a curve.
pub struct Growth {
    /// What the rows of one curve share.
    pub curve: &'static str,
    /// What grows, and its unit.
    pub along: &'static str,
    pub at: f64,
}

/// What a figure counts.
#[derive(Clone, Copy, PartialEq)]
pub enum Unit {
    Nanoseconds,
    Microseconds,
    Milliseconds,
    /// Millions a second.
    Rate,
    Percent,
    Fraction,
    Kibibytes,
}

/// One way of doing what the row measures.
pub struct Contender {
    pub name: &'static str,
    /// How it is used, where there is a choice.
    pub how: &'static str,
    pub play: Play,
}

/// How a contender runs.
pub enum Play {
    /// Fresh processes of this program, each with its number.
    Parts(u32, fn(&Part) -> Outcome),
    /// `bench/python/peers.py` with these arguments.
    Python(&'static str),
    /// Not in this build; it says why.
    Absent(&'static str),
}

/// What a row is to reach.
pub enum Goal {
    /// At most so many times what that contender takes.
    AtMost(f64, &'static str),
    /// At least so many times what that contender does.
    AtLeast(f64, &'static str),
    /// A figure of at most this.
    Below(f64),
    /// A figure of at least this.
    Above(f64),
}

impl Row {
    pub fn new(name: &'static str, title: &'static str, unit: Unit) -> Row {
        Row { name, title, unit, contenders: vec![], goals: vec![], growth: None }
    }

    /// Adds a contender that plays in so many processes.
    pub fn parts(
        mut self,
        name: &'static str,
        how: &'static str,
        parts: u32,
        play: fn(&Part) -> Outcome,
    ) -> Row {
        self.contenders.push(Contender { name, how, play: Play::Parts(parts, play) });
        self
    }

    /// Adds a contender in Python.
    pub fn python(mut self, name: &'static str, how: &'static str, play: &'static str) -> Row {
        self.contenders.push(Contender { name, how, play: Play::Python(play) });
        self
    }

    /// Adds a contender that cannot be measured, and why.
    pub fn absent(mut self, name: &'static str, why: &'static str) -> Row {
        self.contenders.push(Contender { name, how: "", play: Play::Absent(why) });
        self
    }

    /// Adds boost as a contender, which this build may lack.
    pub fn boost(mut self, how: &'static str, parts: u32, play: fn(&Part) -> Outcome) -> Row {
        let play = if cfg!(feature = "boost") {
            Play::Parts(parts, play)
        } else {
            Play::Absent("built without boost's headers (--features boost)")
        };
        self.contenders.push(Contender { name: "boost", how, play });
        self
    }

    /// Makes it a point of a curve.
    pub fn at(mut self, curve: &'static str, along: &'static str, at: f64) -> Row {
        self.growth = Some(Growth { curve, along, at });
        self
    }

    pub fn goal(mut self, goal: Goal) -> Row {
        self.goals.push(goal);
        self
    }
}

impl Unit {
    pub fn word(self) -> &'static str {
        match self {
            Unit::Nanoseconds => "ns",
            Unit::Microseconds => "µs",
            Unit::Milliseconds => "ms",
            Unit::Rate => "M/s",
            Unit::Percent => "%",
            Unit::Fraction => "",
            Unit::Kibibytes => "KiB",
        }
    }
}

impl Goal {
    /// The contender that it is measured against.
    pub fn against(&self) -> Option<&'static str> {
        match self {
            Goal::AtMost(_, other) | Goal::AtLeast(_, other) => Some(other),
            Goal::Below(_) | Goal::Above(_) => None,
        }
    }

    pub fn is_met_by(&self, measured: f64) -> bool {
        match *self {
            Goal::AtMost(bound, _) | Goal::Below(bound) => measured <= bound,
            Goal::AtLeast(bound, _) | Goal::Above(bound) => measured >= bound,
        }
    }

    /// In words.
    pub fn target(&self, unit: Unit) -> String {
        match self {
            Goal::AtMost(times, other) => format!("≤ {times} × {other}"),
            Goal::AtLeast(times, other) => format!("≥ {times} × {other}"),
            Goal::Below(bound) => format!("≤ {bound} {}", unit.word()).trim_end().into(),
            Goal::Above(bound) => format!("≥ {bound} {}", unit.word()).trim_end().into(),
        }
    }
}
