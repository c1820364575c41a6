//! What is wanted (issue 3, items 2 to 4), and whether a report shows it.

use serde::Serialize;

use crate::report::{Comparison, Report};

/// One target.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Target {
    /// What is measured.
    pub what: &'static str,
    /// How a figure is written, and which way is good.
    pub unit: Unit,
    /// The bound.
    pub bound: f64,
    /// A better one that is hoped for.
    pub stretch: Option<f64>,
    /// What the report shows.
    pub measured: f64,
    /// Within the bound.
    pub met: bool,
    /// Within the better one.
    pub stretch_met: Option<bool>,
}

/// The kinds of figures; fewer is better but for shares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// A multiple of something.
    Times,
    /// A share of all there is.
    Share,
    /// Memory.
    Bytes,
    /// Time.
    Ms,
}

impl Unit {
    fn holds(self, measured: f64, bound: f64) -> bool {
        match self {
            Self::Share => measured >= bound,
            _ => measured <= bound,
        }
    }
}

/// Names that reports and targets share.
pub mod name {
    /// Everything on.
    pub const OURS: &str = "ours";
    /// Ours with the measurement switched off.
    pub const RTT_OFF: &str = "ours, RTT off";
    /// Ours under the live mix, beside another load in the same rounds.
    pub const OURS_LIVE_MIX: &str = "ours, live mix";
    /// The parts with targets of their own.
    pub const LIVE_MIX: &str = "live-mix";
    /// See [`LIVE_MIX`].
    pub const COLD: &str = "cold";
    /// See [`LIVE_MIX`].
    pub const MAPPINGS: &str = "mappings";
    /// The smallest mapping.
    pub const FEWEST: &str = "ours, 1000 mappings";
    /// The largest.
    pub const MOST: &str = "ours, 1 000 000 mappings";
    /// Bulk: a mapping made anew.
    pub const ADD_65K: &str = "--replace: 65 000 mappings added";
    /// Bulk: a large one.
    pub const ADD_1M: &str = "--replace: 1 000 000 mappings added";
    /// Bulk: it is listed.
    pub const LIST: &str = "--list of 65 000 mappings";
    /// Bulk: the snapshot.
    pub const SNAPSHOT: &str = "xdp_pping over 65 000 active handles";
}

/// A target before it is measured.
struct Wanted {
    what: &'static str,
    unit: Unit,
    bound: f64,
    stretch: Option<f64>,
    measured: fn(&Report) -> Option<f64>,
}

const fn want(
    what: &'static str,
    unit: Unit,
    bound: f64,
    measured: fn(&Report) -> Option<f64>,
) -> Wanted {
    Wanted { what, unit, bound, stretch: None, measured }
}

const WANTED: [Wanted; 12] = [
    Wanted {
        stretch: Some(0.85),
        ..want("live mix: ours / textbook pair", Unit::Times, 1.0, |report| {
            ratio(report, name::LIVE_MIX, name::OURS, "textbook")
        })
    },
    want("live mix: ours / predecessor-shaped", Unit::Times, 0.4, |report| {
        ratio(report, name::LIVE_MIX, name::OURS, "predecessor-shaped")
    }),
    want("live mix: RTT on / RTT off", Unit::Times, 1.8, |report| {
        ratio(report, name::LIVE_MIX, name::OURS, name::RTT_OFF)
    }),
    want("1 000 000 mappings / 1000 mappings", Unit::Times, 1.1, |report| {
        ratio(report, name::MAPPINGS, name::MOST, name::FEWEST)
    }),
    want("ours: cold / live mix", Unit::Times, 2.0, |report| {
        ratio(report, name::COLD, name::OURS, name::OURS_LIVE_MIX)
    }),
    want("live mix: samples kept of those possible", Unit::Share, 0.92, |report| {
        report.comparison(name::LIVE_MIX)?.row(name::OURS)?.kept
    }),
    want("live mix: flows with traffic that are reported", Unit::Share, 0.99, |report| {
        let accuracy = report.accuracy.as_ref()?;
        Some(accuracy.reported as f64 / accuracy.flows as f64)
    }),
    want("memory of a flow, RTT records included", Unit::Bytes, 192.0, |report| {
        Some(report.memory.as_ref()?.all_bytes_a_flow())
    }),
    want(name::ADD_65K, Unit::Ms, 300.0, |report| best(report, name::ADD_65K)),
    want(name::ADD_1M, Unit::Ms, 6000.0, |report| best(report, name::ADD_1M)),
    want(name::LIST, Unit::Ms, 150.0, |report| best(report, name::LIST)),
    want(name::SNAPSHOT, Unit::Ms, 100.0, |report| best(report, name::SNAPSHOT)),
];

fn ratio(report: &Report, part: &str, of: &str, to: &str) -> Option<f64> {
    report.comparison(part).and_then(|found: &Comparison| found.ratio(of, to)).map(|it| it.median)
}

fn best(report: &Report, what: &str) -> Option<f64> {
    report.bulk.iter().find(|row| row.what == what).map(|row| row.best_ms)
}

/// The targets that a report says something about.
pub fn judge(report: &Report) -> Vec<Target> {
    let judged = WANTED.iter().filter_map(|wanted| {
        let measured = (wanted.measured)(report).filter(|figure| figure.is_finite())?;
        let Wanted { what, unit, bound, stretch, .. } = *wanted;
        Some(Target {
            what,
            unit,
            bound,
            stretch,
            measured,
            met: unit.holds(measured, bound),
            stretch_met: stretch.map(|bound| unit.holds(measured, bound)),
        })
    });
    judged.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accuracy::Accuracy;
    use crate::bulk::BulkRow;
    use crate::report::{Ratio, Row};

    fn live_mix(median: f64, kept: f64) -> Report {
        let ratio = Ratio { of: "ours".into(), to: "textbook".into(), median, ..Ratio::default() };
        let row = Row { system: "ours".into(), kept: Some(kept), ..Row::default() };
        let comparison = Comparison {
            name: "live-mix".into(),
            ratios: vec![ratio],
            rows: vec![row],
            ..Comparison::default()
        };
        Report { comparisons: vec![comparison], ..Report::default() }
    }

    #[test]
    fn what_was_not_measured_is_not_judged() {
        assert_eq!(judge(&Report::default()), []);
        let judged = judge(&live_mix(f64::NAN, 0.95));
        assert_eq!(judged.iter().map(|target| target.bound).collect::<Vec<_>>(), [0.92]);
    }

    #[test]
    fn ratios_at_most_and_shares_at_least() {
        for (median, met, stretch_met) in
            [(0.8, true, true), (1.0, true, false), (1.001, false, false)]
        {
            let target = &judge(&live_mix(median, 0.95))[0];
            assert_eq!((target.met, target.stretch_met), (met, Some(stretch_met)), "{median}");
        }
        for (kept, met) in [(0.92, true), (0.919, false)] {
            assert_eq!(judge(&live_mix(1.0, kept))[1].met, met, "{kept}");
        }
    }

    #[test]
    fn flows_and_milliseconds() {
        let accuracy = Accuracy {
            flows: 1000,
            reported: 989,
            median_error_us: 1.0,
            p95_error_us: 2.0,
            true_rtt_ms: 20.0,
        };
        let row = |what: &str, best_ms| BulkRow {
            what: what.into(),
            best_ms,
            median_ms: 1e9,
            cpu_ms: 0.0,
            runs: 3,
        };
        let report = Report {
            accuracy: Some(accuracy),
            bulk: vec![row(name::LIST, 149.0), row(name::SNAPSHOT, 101.0)],
            ..Report::default()
        };
        let met: Vec<_> = judge(&report).iter().map(|target| target.met).collect();
        assert_eq!(met, [false, true, false]);
    }
}
