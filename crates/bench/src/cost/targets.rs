// SPDX-License-Identifier: GPL-2.0-only
//! The targets (issue 3, items 2 to 4), and whether a report meets them.

use crate::cost::names;
use crate::cost::report::BenchReport;
use crate::cost::target::{Target, Unit};

/// A target before it is measured.
struct Goal {
    what: &'static str,
    unit: Unit,
    bound: f64,
    stretch: Option<f64>,
    measured: fn(&BenchReport) -> Option<f64>,
}

const fn goal(
    what: &'static str,
    unit: Unit,
    bound: f64,
    measured: fn(&BenchReport) -> Option<f64>,
) -> Goal {
    Goal { what, unit, bound, stretch: None, measured }
}

const GOALS: [Goal; 12] = [
    Goal {
        stretch: Some(0.85),
        ..goal("live mix: ours / textbook pair", Unit::Times, 1.0, |report| {
            ratio(report, names::LIVE_MIX, names::OURS, "textbook")
        })
    },
    goal("live mix: ours / predecessor-shaped", Unit::Times, 0.4, |report| {
        ratio(report, names::LIVE_MIX, names::OURS, "predecessor-shaped")
    }),
    goal("live mix: RTT on / RTT off", Unit::Times, 1.8, |report| {
        ratio(report, names::LIVE_MIX, names::OURS, names::RTT_OFF)
    }),
    goal("1 000 000 mappings / 1000 mappings", Unit::Times, 1.1, |report| {
        ratio(report, names::MAPPINGS, names::MOST, names::FEWEST)
    }),
    goal("ours: cold / live mix", Unit::Times, 2.0, |report| {
        ratio(report, names::COLD, names::OURS, names::OURS_LIVE_MIX)
    }),
    goal("live mix: samples kept of those possible", Unit::Share, 0.92, |report| {
        report.comparison(names::LIVE_MIX)?.row(names::OURS)?.kept
    }),
    goal("live mix: flows with traffic that are reported", Unit::Share, 0.99, |report| {
        let accuracy = report.accuracy.as_ref()?;
        Some(accuracy.reported as f64 / accuracy.flows as f64)
    }),
    goal("memory of a flow, RTT records included", Unit::Bytes, 192.0, |report| {
        Some(report.memory.as_ref()?.all_bytes_a_flow())
    }),
    goal(names::ADD_65K, Unit::Ms, 300.0, |report| best(report, names::ADD_65K)),
    goal(names::ADD_1M, Unit::Ms, 6000.0, |report| best(report, names::ADD_1M)),
    goal(names::LIST, Unit::Ms, 150.0, |report| best(report, names::LIST)),
    goal(names::SNAPSHOT, Unit::Ms, 100.0, |report| best(report, names::SNAPSHOT)),
];

fn ratio(report: &BenchReport, part: &str, of: &str, to: &str) -> Option<f64> {
    report.comparison(part)?.ratio(of, to).map(|ratio| ratio.median)
}

fn best(report: &BenchReport, what: &str) -> Option<f64> {
    report.bulk.iter().find(|row| row.what == what).map(|row| row.best_ms)
}

/// Returns those targets whose figures the report holds.
pub fn judge(report: &BenchReport) -> Vec<Target> {
    let judged = GOALS.iter().filter_map(|goal| {
        let measured = (goal.measured)(report).filter(|figure| figure.is_finite())?;
        let Goal { what, unit, bound, stretch, .. } = *goal;
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
    use crate::cost::comparison::{Comparison, Ratio, SystemRow};
    use crate::cost::parts::bulk_commands::BulkRow;
    use crate::cost::rtt_accuracy::RttAccuracy;

    fn live_mix(median: f64, kept: f64) -> BenchReport {
        let ratio = Ratio { of: "ours".into(), to: "textbook".into(), median, ..Ratio::default() };
        let row = SystemRow { system: "ours".into(), kept: Some(kept), ..SystemRow::default() };
        let comparison = Comparison {
            name: "live-mix".into(),
            ratios: vec![ratio],
            rows: vec![row],
            ..Comparison::default()
        };
        BenchReport { comparisons: vec![comparison], ..BenchReport::default() }
    }

    #[test]
    fn figures_that_were_not_measured_are_not_judged() {
        assert_eq!(judge(&BenchReport::default()), []);
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
        let accuracy = RttAccuracy {
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
        let report = BenchReport {
            accuracy: Some(accuracy),
            bulk: vec![row(names::LIST, 149.0), row(names::SNAPSHOT, 101.0)],
            ..BenchReport::default()
        };
        let met: Vec<_> = judge(&report).iter().map(|target| target.met).collect();
        assert_eq!(met, [false, true, false]);
    }
}
