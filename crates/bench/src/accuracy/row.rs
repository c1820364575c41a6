// SPDX-License-Identifier: GPL-2.0-only
//! A row: the figures of one kind of traffic at one pair of delays. No I/O.

use std::time::Duration;

use lab::TcpInfo;

use crate::accuracy::cases::{Case, ShaperSide, SIDES};
use crate::accuracy::figures::{BoundVerdict, SideFigures};
use crate::accuracy::traffic_kind::TrafficKind;

/// The kernel's figures of the connections whose data went towards one side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KernelRtt {
    /// Median of the connections' smoothed RTTs, which are those of the whole path.
    pub rtt: Duration,
    /// Smallest of the connections' lowest RTTs.
    pub min_rtt: Duration,
}

impl KernelRtt {
    /// Sums up the connections; None without one.
    pub fn of(connections: impl Iterator<Item = TcpInfo>) -> Option<Self> {
        let mut rtts: Vec<[Duration; 2]> = connections.map(|tcp| [tcp.rtt, tcp.min_rtt]).collect();
        rtts.sort();
        let [rtt, _] = *rtts.get(rtts.len() / 2)?;
        let min_rtt = rtts.iter().map(|[_, min_rtt]| *min_rtt).min()?;
        Some(Self { rtt, min_rtt })
    }
}

/// A row is disturbed if the hypervisor took more than this share of the CPU time.
const DISTURBED: f64 = 0.01;

/// One measurement.
#[derive(Clone, Debug)]
pub struct AccuracyRow {
    pub case: Case,
    pub traffic: TrafficKind,
    /// From the first connection to the end of the last.
    pub time: Duration,
    /// Our figures, by [`ShaperSide`].
    pub figures: [SideFigures; 2],
    /// The kernel's figures, by [`ShaperSide`].
    pub kernel: [Option<KernelRtt>; 2],
    /// Share of the CPU time that the hypervisor gave to other machines meanwhile.
    pub stolen: f64,
    /// Number of measurements of this row, including this one.
    pub tries: u32,
}

impl AccuracyRow {
    /// Returns whether the bound held for both sides.
    pub fn held(&self) -> bool {
        self.figures.iter().all(|figures| figures.verdict() == BoundVerdict::Held)
    }

    /// Returns whether the hypervisor took so much time that the measurement may be wrong.
    pub fn disturbed(&self) -> bool {
        self.stolen > DISTURBED
    }

    /// Returns whether a sample is impossible. Such a row is not measured again.
    pub fn has_false_samples(&self) -> bool {
        self.figures.iter().any(|figures| figures.false_samples > 0)
    }

    /// Returns whether the kernel's RTT is above the path's by at least half of the time by which our median
    /// is above the truth: then the RTT was really longer. (The kernel need not see all of it: a smoothed
    /// RTT covers the last exchanges only, and the close of a connection is acknowledged at once.)
    pub fn kernel_sees_it(&self, side: ShaperSide) -> bool {
        let figures = &self.figures[side as usize];
        let (Some(kernel), Some(summary)) = (self.kernel[side as usize], figures.summary) else {
            return false;
        };
        let above = |measured: Duration, truth| measured.saturating_sub(truth);
        let ours = above(Duration::from_nanos(summary.median_ns), figures.truth);
        let kernels = above(kernel.rtt, self.case.path());
        !ours.is_zero() && kernels * 2 >= ours
    }

    /// Returns the number of samples of both sides.
    pub fn samples(&self) -> u64 {
        SIDES.iter().filter_map(|side| self.figures[*side as usize].summary).map(|s| s.count).sum()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::accuracy::cases::Acks;
    use cpumap_pping::domain::Summary;

    const MS: Duration = Duration::from_millis(1);

    /// Returns a row of 42 ms and 5 ms with these medians.
    pub fn row(traffic: TrafficKind, medians: [Duration; 2], kernel: Duration) -> AccuracyRow {
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
            SideFigures { truth: case.delay(side), summary: Some(summary), false_samples: 0 }
        });
        let kernel = [Some(KernelRtt { rtt: kernel, min_rtt: 47 * MS }); 2];
        let (time, stolen) = (12_000 * MS, 0.0);
        AccuracyRow { case, traffic, time, figures, kernel, stolen, tries: 1 }
    }

    #[test]
    fn both_sides_must_hold() {
        assert!(row(TrafficKind::Bulk, [42 * MS, 5 * MS], 47 * MS).held());
        assert!(!row(TrafficKind::Bulk, [42 * MS, 25 * MS], 47 * MS).held());
        assert!(!row(TrafficKind::Bulk, [62 * MS, 5 * MS], 47 * MS).held());
        let mut row = row(TrafficKind::Bulk, [42 * MS, 5 * MS], 47 * MS);
        row.figures[1].false_samples = 1;
        assert!(row.has_false_samples() && !row.held());
    }

    #[test]
    fn the_kernel_is_a_witness() {
        let waits = |kernel| row(TrafficKind::Paced, [62 * MS, 5 * MS], kernel);
        assert!(waits(67 * MS).kernel_sees_it(ShaperSide::Subscriber));
        assert!(waits(57 * MS).kernel_sees_it(ShaperSide::Subscriber), "half of it");
        assert!(!waits(56 * MS).kernel_sees_it(ShaperSide::Subscriber));
        assert!(!waits(47 * MS).kernel_sees_it(ShaperSide::Subscriber));
        assert!(!waits(67 * MS).kernel_sees_it(ShaperSide::Internet), "nothing to see");
        let low = row(TrafficKind::Paced, [30 * MS, 5 * MS], 67 * MS);
        assert!(!low.kernel_sees_it(ShaperSide::Subscriber), "too low is no wait");
    }

    #[test]
    fn the_kernels_median_and_minimum() {
        let tcp = |rtt, min_rtt| TcpInfo { rtt, min_rtt, ..TcpInfo::default() };
        assert_eq!(KernelRtt::of(std::iter::empty()), None);
        let connections = [tcp(9 * MS, 8 * MS), tcp(7 * MS, 7 * MS), tcp(30 * MS, 6 * MS)];
        let kernel = KernelRtt::of(connections.into_iter());
        assert_eq!(kernel, Some(KernelRtt { rtt: 9 * MS, min_rtt: 6 * MS }));
    }
}
