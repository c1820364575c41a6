// SPDX-License-Identifier: GPL-2.0-only
//! A comparison of systems under one load, as the report holds it.

use std::sync::atomic::Ordering::Relaxed;

use serde::Serialize;

use crate::cost::compare::{CostWindow, Schedule, Series};
use crate::cost::generator::FrameGenerator;
use crate::quantile::quantile;

/// Several systems under one load.
#[derive(Debug, Default, Serialize)]
pub struct Comparison {
    /// Name of the part.
    pub name: String,
    /// The load in words.
    pub about: String,
    /// Number of rounds.
    pub rounds: usize,
    /// How long a system was measured in each round.
    pub window_ms: u64,
    /// The system that [`SystemRow::times`] refers to.
    pub beside: String,
    /// One row for each system.
    pub rows: Vec<SystemRow>,
    /// The ratios that the report shows.
    pub ratios: Vec<Ratio>,
    /// Counts of the generator.
    pub generator: GeneratorTotals,
}

impl Comparison {
    /// Sums up all rounds.
    pub fn new(
        subject: &Subject<'_>,
        schedule: &Schedule,
        series: &[Series],
        generator: GeneratorTotals,
    ) -> Self {
        let find = |name: &str| series.iter().find(|each| each.name == name);
        let none = Series { name: String::new(), windows: Vec::new() };
        let base = find(subject.beside).unwrap_or(&none);
        let ratio = |(of, to): &(&str, &str)| Some(Ratio::new(find(of)?, find(to)?));
        Self {
            name: subject.name.clone(),
            about: subject.about.clone(),
            rounds: schedule.rounds,
            window_ms: schedule.window.as_millis() as u64,
            beside: subject.beside.to_owned(),
            rows: series.iter().map(|each| SystemRow::new(each, base)).collect(),
            ratios: subject.pairs.iter().filter_map(ratio).collect(),
            generator,
        }
    }

    /// Returns the ratio of two systems.
    pub fn ratio(&self, of: &str, to: &str) -> Option<&Ratio> {
        self.ratios.iter().find(|ratio| ratio.of == of && ratio.to == to)
    }

    /// Returns the row of a system.
    pub fn row(&self, system: &str) -> Option<&SystemRow> {
        self.rows.iter().find(|row| row.system == system)
    }
}

/// The figures of a system: medians of its rounds. Costs are nanoseconds per run of a program, by
/// `kernel.bpf_stats_enabled`.
#[derive(Debug, Default, Serialize)]
pub struct SystemRow {
    /// Name of the system.
    pub system: String,
    /// XDP, both interfaces.
    pub xdp_ns: f64,
    /// TC, both interfaces.
    pub tc_ns: f64,
    /// One run of each: the cost of a forwarded packet.
    pub packet_ns: f64,
    /// The cost of a packet that a tenth of the rounds, the quietest, stays below.
    pub quiet_ns: f64,
    /// The cost of a packet as a multiple of that of [`Comparison::beside`]: median of the rounds' ratios.
    pub times: f64,
    /// XDP on lan, where the ACKs come in.
    pub xdp_ack_ns: f64,
    /// XDP on wan, where the data comes in.
    pub xdp_data_ns: f64,
    /// TC on lan, where the data leaves.
    pub tc_data_ns: f64,
    /// TC on wan, where the ACKs leave.
    pub tc_ack_ns: f64,
    /// RTT samples taken as a share of those possible. None if no sample was possible or the system takes
    /// none.
    pub kept: Option<f64>,
    /// TC runs as a share of the frames sent.
    pub forwarded: f64,
}

impl SystemRow {
    fn new(series: &Series, beside: &Series) -> Self {
        let part = |index: usize| series.median(|window| window.parts[index].ns_per_run());
        let kept = series.median(|window| window.kept().unwrap_or(f64::NAN));
        Self {
            system: series.name.clone(),
            xdp_ns: series.median(|window| window.xdp.ns_per_run()),
            tc_ns: series.median(|window| window.tc.ns_per_run()),
            packet_ns: series.median(CostWindow::per_packet),
            quiet_ns: series.quiet(),
            times: quantile(series.ratios(beside), 0.5),
            xdp_ack_ns: part(0),
            xdp_data_ns: part(1),
            tc_data_ns: part(2),
            tc_ack_ns: part(3),
            kept: kept.is_finite().then_some(kept),
            forwarded: series.median(|window| window.tc.count as f64 / window.sent.max(1) as f64),
        }
    }
}

/// The ratio of two systems' costs of a packet, paired by round.
#[derive(Debug, Default, Serialize)]
pub struct Ratio {
    /// The system whose cost is divided.
    pub of: String,
    /// The system whose cost is the divisor.
    pub to: String,
    /// Median of the rounds' ratios.
    pub median: f64,
    /// Lower quartile of the rounds' ratios.
    pub low: f64,
    /// Upper quartile of the rounds' ratios.
    pub high: f64,
}

impl Ratio {
    fn new(of: &Series, to: &Series) -> Self {
        let at = |q| quantile(of.ratios(to), q);
        Self {
            of: of.name.clone(),
            to: to.name.clone(),
            median: at(0.5),
            low: at(0.25),
            high: at(0.75),
        }
    }
}

/// Counts of the generator.
#[derive(Debug, Default, Serialize)]
pub struct GeneratorTotals {
    /// Frames down.
    pub segments: u64,
    /// Frames up.
    pub acks: u64,
    /// Frames that the device refused.
    pub refused: u64,
    /// Milliseconds in which the generator sent nothing because the machine had no time.
    pub ticks_skipped: u64,
}

impl GeneratorTotals {
    /// Reads the counts of a generator.
    pub fn of(generator: &FrameGenerator) -> Self {
        let counts = &generator.counts;
        Self {
            segments: counts.segments.load(Relaxed),
            acks: counts.acks.load(Relaxed),
            refused: counts.refused.load(Relaxed),
            ticks_skipped: counts.skipped.load(Relaxed),
        }
    }
}

/// The subject of a comparison.
#[derive(Clone, Debug)]
pub struct Subject<'a> {
    /// Name of the part.
    pub name: String,
    /// The load in words.
    pub about: String,
    /// The system that [`SystemRow::times`] refers to.
    pub beside: &'a str,
    /// The ratios that the report shows: of which system to which other.
    pub pairs: &'a [(&'a str, &'a str)],
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::program_stats::Runs;
    use std::time::Duration;

    fn series(name: &str, costs: &[u64], samples: Option<u64>) -> Series {
        let window = |ns: &u64| CostWindow {
            xdp: Runs { ns: *ns, count: 1 },
            tc: Runs { ns: 3 * *ns, count: 1 },
            sent: 2,
            possible: 100,
            samples,
            ..CostWindow::default()
        };
        Series { name: name.into(), windows: costs.iter().map(window).collect() }
    }

    #[test]
    fn rounds_are_summed_up() {
        let all =
            [series("textbook", &[100, 400, 200], None), series("ours", &[50, 100, 300], Some(95))];
        let zero = Duration::ZERO;
        let schedule = Schedule {
            rounds: 3,
            window: Duration::from_millis(5),
            settle: zero,
            warm_up: zero,
            warm_up_segments: 0,
        };
        let pairs = [("ours", "textbook"), ("ours", "absent")];
        let subject = Subject {
            name: "live-mix".into(),
            about: String::new(),
            beside: "textbook",
            pairs: &pairs,
        };
        let found = Comparison::new(&subject, &schedule, &all, GeneratorTotals::default());
        let row = found.row("ours").unwrap();
        assert_eq!((row.xdp_ns, row.tc_ns, row.packet_ns), (100.0, 300.0, 400.0));
        assert_eq!((row.times, row.kept, row.forwarded), (0.5, Some(0.95), 0.5));
        assert_eq!(found.rows[0].kept, None);
        assert_eq!(found.ratios.len(), 1);
        let ratio = found.ratio("ours", "textbook").unwrap();
        assert_eq!((ratio.low, ratio.median, ratio.high), (0.375, 0.5, 1.0));
    }
}
