//! A row: what one kind of traffic gave at one pair of delays. Pure.

use std::time::Duration;

use lab::TcpInfo;

use crate::figures::{Figures, Verdict};
use crate::plan::{Case, Side, Traffic, SIDES};

/// The kernel's view of the connections whose data went towards one side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kernel {
    /// Median of the connections' smoothed RTTs: of the whole path.
    pub rtt: Duration,
    /// Smallest of their lowest RTTs.
    pub min_rtt: Duration,
}

impl Kernel {
    /// None without a connection.
    pub fn of(connections: impl Iterator<Item = TcpInfo>) -> Option<Self> {
        let mut rtts: Vec<[Duration; 2]> = connections.map(|tcp| [tcp.rtt, tcp.min_rtt]).collect();
        rtts.sort();
        let [rtt, _] = *rtts.get(rtts.len() / 2)?;
        let min_rtt = rtts.iter().map(|[_, min_rtt]| *min_rtt).min()?;
        Some(Self { rtt, min_rtt })
    }
}

/// Share of the machine's time stolen from which on a row is disturbed.
const DISTURBED: f64 = 0.01;

/// One measurement.
#[derive(Clone, Debug)]
pub struct Row {
    pub case: Case,
    pub traffic: Traffic,
    /// From the first connection to the end of the last.
    pub time: Duration,
    /// By [`Side`].
    pub figures: [Figures; 2],
    pub kernel: [Option<Kernel>; 2],
    /// Share of the machine's time that its host gave to others meanwhile.
    pub stolen: f64,
    /// Measurements until this one, this one included.
    pub tries: u32,
}

impl Row {
    pub fn held(&self) -> bool {
        self.figures.iter().all(|figures| figures.verdict() == Verdict::Held)
    }

    /// Whether the machine's host took more time meanwhile than a measurement bears.
    pub fn disturbed(&self) -> bool {
        self.stolen > DISTURBED
    }

    /// No repetition makes up for a sample that cannot be.
    pub fn has_false_samples(&self) -> bool {
        self.figures.iter().any(|figures| figures.false_samples > 0)
    }

    /// Whether the kernel saw at least half of what our median is above the truth: then it was really
    /// there. (Not all: a smoothed RTT holds the last exchanges only, and closing is acknowledged at once.)
    pub fn kernel_sees_it(&self, side: Side) -> bool {
        let figures = &self.figures[side as usize];
        let (Some(kernel), Some(summary)) = (self.kernel[side as usize], figures.summary) else {
            return false;
        };
        let above = |measured: Duration, truth| measured.saturating_sub(truth);
        let ours = above(Duration::from_nanos(summary.median_ns), figures.truth);
        let kernels = above(kernel.rtt, self.case.path());
        !ours.is_zero() && kernels * 2 >= ours
    }

    /// Samples in all.
    pub fn samples(&self) -> u64 {
        SIDES.iter().filter_map(|side| self.figures[*side as usize].summary).map(|s| s.count).sum()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::plan::Acks;
    use cpumap_pping::domain::Summary;

    const MS: Duration = Duration::from_millis(1);

    /// 42 ms and 5 ms, with these medians.
    pub fn row(traffic: Traffic, medians: [Duration; 2], kernel: Duration) -> Row {
        let case = Case::all(Acks::Prompt)[3];
        let figures = SIDES.map(|side| {
            let ns = medians[side as usize].as_nanos() as u64;
            let summary = Summary {
                count: 1200,
                median_ns: ns,
                p95_ns: ns,
                min_ns: ns,
                ..Summary::default()
            };
            Figures { truth: case.delay(side), summary: Some(summary), false_samples: 0 }
        });
        let kernel = [Some(Kernel { rtt: kernel, min_rtt: 47 * MS }); 2];
        let (time, stolen) = (12_000 * MS, 0.0);
        Row { case, traffic, time, figures, kernel, stolen, tries: 1 }
    }

    #[test]
    fn both_sides_must_hold() {
        assert!(row(Traffic::Bulk, [42 * MS, 5 * MS], 47 * MS).held());
        assert!(!row(Traffic::Bulk, [42 * MS, 25 * MS], 47 * MS).held());
        assert!(!row(Traffic::Bulk, [62 * MS, 5 * MS], 47 * MS).held());
        let mut row = row(Traffic::Bulk, [42 * MS, 5 * MS], 47 * MS);
        row.figures[1].false_samples = 1;
        assert!(row.has_false_samples() && !row.held());
    }

    #[test]
    fn the_kernel_is_a_witness() {
        let waits = |kernel| row(Traffic::Paced, [62 * MS, 5 * MS], kernel);
        assert!(waits(67 * MS).kernel_sees_it(Side::Subscriber));
        assert!(waits(57 * MS).kernel_sees_it(Side::Subscriber), "half of it");
        assert!(!waits(56 * MS).kernel_sees_it(Side::Subscriber));
        assert!(!waits(47 * MS).kernel_sees_it(Side::Subscriber));
        assert!(!waits(67 * MS).kernel_sees_it(Side::Internet), "nothing to see");
        let low = row(Traffic::Paced, [30 * MS, 5 * MS], 67 * MS);
        assert!(!low.kernel_sees_it(Side::Subscriber), "too low is no wait");
    }

    #[test]
    fn the_kernels_median_and_minimum() {
        let tcp = |rtt, min_rtt| TcpInfo { rtt, min_rtt, ..TcpInfo::default() };
        assert_eq!(Kernel::of(std::iter::empty()), None);
        let connections = [tcp(9 * MS, 8 * MS), tcp(7 * MS, 7 * MS), tcp(30 * MS, 6 * MS)];
        let kernel = Kernel::of(connections.into_iter());
        assert_eq!(kernel, Some(Kernel { rtt: 9 * MS, min_rtt: 6 * MS }));
    }
}
