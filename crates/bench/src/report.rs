//! What a run found: the report's content, as it goes into JSON.

use std::sync::atomic::Ordering::Relaxed;

use serde::Serialize;

use crate::accuracy::Accuracy;
use crate::bulk::BulkRow;
use crate::compare::{Schedule, Series, Window};
use crate::flows::FlowRow;
use crate::generator::Generator;
use crate::machine::Machine;
use crate::memory::Memory;
use crate::quantile::quantile;
use crate::stream::StreamRow;
use crate::targets::Target;

/// Everything.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// Where and when.
    pub machine: Machine,
    /// Systems beside each other, a load each; and the scaling of mappings.
    pub comparisons: Vec<Comparison>,
    /// RTTs beside the truth, in the live mix.
    pub accuracy: Option<Accuracy>,
    /// Memory in the live mix.
    pub memory: Option<Memory>,
    /// Scaling of flows.
    pub flows: Vec<FlowRow>,
    /// Events on their way into a file.
    pub stream: Vec<StreamRow>,
    /// Many entries at once.
    pub bulk: Vec<BulkRow>,
    /// What was wanted of all this.
    pub targets: Vec<Target>,
}

impl Report {
    /// A comparison by its name.
    pub fn comparison(&self, name: &str) -> Option<&Comparison> {
        self.comparisons.iter().find(|comparison| comparison.name == name)
    }
}

/// Several systems in turn, round after round.
#[derive(Debug, Default, Serialize)]
pub struct Comparison {
    /// The part's name.
    pub name: String,
    /// What the load is.
    pub about: String,
    /// Times that every system had its turn.
    pub rounds: usize,
    /// How long a turn was measured.
    pub window_ms: u64,
    /// What the rows stand beside.
    pub beside: String,
    /// One a system.
    pub rows: Vec<Row>,
    /// The ratios that matter.
    pub ratios: Vec<Ratio>,
    /// What the generator did meanwhile.
    pub generator: Sent,
}

impl Comparison {
    /// A ratio by its two systems.
    pub fn ratio(&self, of: &str, to: &str) -> Option<&Ratio> {
        self.ratios.iter().find(|ratio| ratio.of == of && ratio.to == to)
    }

    /// A system's row.
    pub fn row(&self, system: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.system == system)
    }
}

/// A system: medians of its rounds. Costs are nanoseconds a run of a program, by `kernel.bpf_stats_enabled`.
#[derive(Debug, Default, Serialize)]
pub struct Row {
    /// Its name.
    pub system: String,
    /// XDP, both interfaces.
    pub xdp_ns: f64,
    /// TC, both interfaces.
    pub tc_ns: f64,
    /// One of each: a forwarded packet.
    pub packet_ns: f64,
    /// The same in the quietest tenth of the rounds.
    pub quiet_ns: f64,
    /// A packet's cost as a multiple of [`Comparison::beside`]: median of the rounds' ratios.
    pub times: f64,
    /// XDP where the ACKs come in (lan).
    pub xdp_ack_ns: f64,
    /// XDP where the data comes in (wan).
    pub xdp_data_ns: f64,
    /// TC where the data leaves (lan).
    pub tc_data_ns: f64,
    /// TC where the ACKs leave (wan).
    pub tc_ack_ns: f64,
    /// Share of the possible RTT samples that was taken; of none possible or none wanted: nothing.
    pub kept: Option<f64>,
    /// TC runs of the frames sent.
    pub forwarded: f64,
}

impl Row {
    fn new(series: &Series, beside: &Series) -> Self {
        let part = |index: usize| series.median(|window| window.parts[index].ns_per_run());
        let kept = series.median(|window| window.kept().unwrap_or(f64::NAN));
        Self {
            system: series.name.clone(),
            xdp_ns: series.median(|window| window.xdp.ns_per_run()),
            tc_ns: series.median(|window| window.tc.ns_per_run()),
            packet_ns: series.median(Window::per_packet),
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

/// One system's cost of a packet beside another's, paired by round.
#[derive(Debug, Default, Serialize)]
pub struct Ratio {
    /// Whose.
    pub of: String,
    /// Beside whose.
    pub to: String,
    /// Median of the rounds' ratios.
    pub median: f64,
    /// A quarter of the rounds is below.
    pub low: f64,
    /// A quarter of the rounds is above.
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

/// What the generator did.
#[derive(Debug, Default, Serialize)]
pub struct Sent {
    /// Frames down.
    pub segments: u64,
    /// Frames up.
    pub acks: u64,
    /// Frames that the device did not take.
    pub refused: u64,
    /// Milliseconds in which nothing was sent, because the machine had no time.
    pub ticks_skipped: u64,
}

impl Sent {
    /// So far.
    pub fn by(generator: &Generator) -> Self {
        let progress = &generator.progress;
        Self {
            segments: progress.segments.load(Relaxed),
            acks: progress.acks.load(Relaxed),
            refused: progress.refused.load(Relaxed),
            ticks_skipped: progress.skipped.load(Relaxed),
        }
    }
}

/// What is compared.
#[derive(Clone, Debug)]
pub struct Subject<'a> {
    /// The part's name.
    pub name: String,
    /// What the load is.
    pub about: String,
    /// The system that the rows stand beside.
    pub beside: &'a str,
    /// The ratios that matter: of which system to which.
    pub pairs: &'a [(&'a str, &'a str)],
}

impl Comparison {
    /// Sums the rounds up.
    pub fn new(
        subject: &Subject<'_>,
        schedule: &Schedule,
        series: &[Series],
        generator: Sent,
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
            rows: series.iter().map(|each| Row::new(each, base)).collect(),
            ratios: subject.pairs.iter().filter_map(ratio).collect(),
            generator,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Runs;
    use std::time::Duration;

    fn series(name: &str, costs: &[u64], samples: Option<u64>) -> Series {
        let window = |ns: &u64| Window {
            xdp: Runs { ns: *ns, count: 1 },
            tc: Runs { ns: 3 * *ns, count: 1 },
            sent: 2,
            possible: 100,
            samples,
            ..Window::default()
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
        let found = Comparison::new(&subject, &schedule, &all, Sent::default());
        let row = found.row("ours").unwrap();
        assert_eq!((row.xdp_ns, row.tc_ns, row.packet_ns), (100.0, 300.0, 400.0));
        assert_eq!((row.times, row.kept, row.forwarded), (0.5, Some(0.95), 0.5));
        assert_eq!(found.rows[0].kept, None);
        assert_eq!(found.ratios.len(), 1);
        let ratio = found.ratio("ours", "textbook").unwrap();
        assert_eq!((ratio.low, ratio.median, ratio.high), (0.375, 0.5, 1.0));
    }
}
