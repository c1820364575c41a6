// SPDX-License-Identifier: GPL-2.0-only
//! A target and how a report meets it.

use serde::Serialize;

/// One target and the figure measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Target {
    /// The figure in words.
    pub what: &'static str,
    /// How the figure is written, and whether more or less is better.
    pub unit: Unit,
    /// The bound.
    pub bound: f64,
    /// A stricter bound, the stretch goal.
    pub stretch: Option<f64>,
    /// The figure of the report.
    pub measured: f64,
    /// Whether the figure is within the bound.
    pub met: bool,
    /// Whether the figure is within the stricter bound.
    pub stretch_met: Option<bool>,
}

/// The kinds of figures. Less is better, except for shares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// A ratio.
    Times,
    /// A share of a whole.
    Share,
    /// Bytes of memory.
    Bytes,
    /// Milliseconds.
    Ms,
}

impl Unit {
    /// Returns whether a figure is within a bound.
    pub fn holds(self, measured: f64, bound: f64) -> bool {
        match self {
            Self::Share => measured >= bound,
            _ => measured <= bound,
        }
    }
}
