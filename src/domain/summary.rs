// SPDX-License-Identifier: GPL-2.0-only
//! The figures of a set of RTT samples.

use std::cmp::Reverse;

use crate::domain::{Side, Sides, TcHandle};

/// The figures of a set of RTT samples. All times are in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Number of samples. If it is 0, the other fields have no meaning.
    pub count: u64,
    /// Exact mean.
    pub avg_ns: u64,
    /// Exact minimum.
    pub min_ns: u64,
    /// Exact maximum.
    pub max_ns: u64,
    /// 50th percentile, within 5 %.
    pub median_ns: u64,
    /// 95th percentile, within 5 %.
    pub p95_ns: u64,
}

/// The figures of one tc handle over the window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HandleReport {
    /// The class.
    pub tc_handle: TcHandle,
    /// RTTs between the shaper and the subscriber; `None` if there is no sample.
    pub subscriber: Option<Summary>,
    /// RTTs between the shaper and the hosts on the internet; `None` if there is no sample.
    pub internet: Option<Summary>,
    /// The samples of both sides taken together.
    pub both: Summary,
}

impl HandleReport {
    /// Returns the figures of the chosen samples; `None` if there is no sample.
    pub fn summary(&self, sides: Sides) -> Option<&Summary> {
        let summary = match sides {
            Sides::One(Side::Subscriber) => self.subscriber.as_ref(),
            Sides::One(Side::Internet) => self.internet.as_ref(),
            Sides::Both => Some(&self.both),
        };
        summary.filter(|summary| summary.count > 0)
    }
}

/// The figures of every tc handle with samples, and the choice of samples to show.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// One report for each handle, in the order of the handles.
    pub reports: Vec<HandleReport>,
    /// The samples to show. Handles without such a sample are left out.
    pub sides: Sides,
}

impl Snapshot {
    /// Keeps the `count` handles with the highest median of the chosen samples. Of handles with the same
    /// median, the lower ones are kept.
    pub fn keep_worst(&mut self, count: usize) {
        let sides = self.sides;
        let median = |report: &HandleReport| report.summary(sides).map(|summary| summary.median_ns);
        self.reports.sort_by_key(|report| (Reverse(median(report)), report.tc_handle));
        self.reports.truncate(count);
        self.reports.sort_by_key(|report| report.tc_handle);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(handle: u32, subscriber_ns: u64, both_ns: u64) -> HandleReport {
        let summary = |median_ns| Summary { count: 1, median_ns, ..Summary::default() };
        HandleReport {
            tc_handle: TcHandle(handle),
            subscriber: Some(subscriber_ns).filter(|ns| *ns != 0).map(summary),
            internet: None,
            both: summary(both_ns),
        }
    }

    #[test]
    fn the_worst_medians_are_kept_in_the_order_of_the_handles() {
        let reports = [report(1, 0, 20), report(2, 5, 50), report(3, 9, 10), report(4, 7, 50)];
        let table = [
            (Sides::Both, 1, vec![2]),
            (Sides::Both, 2, vec![2, 4]),
            (Sides::Both, 3, vec![1, 2, 4]),
            (Sides::Both, 9, vec![1, 2, 3, 4]),
            (Sides::One(Side::Subscriber), 2, vec![3, 4]),
        ];
        for (sides, count, kept) in table {
            let mut snapshot = Snapshot { reports: reports.to_vec(), sides };
            snapshot.keep_worst(count);
            let handles: Vec<_> = snapshot.reports.iter().map(|r| r.tc_handle.0).collect();
            assert_eq!(handles, kept, "{count} of {sides:?}");
        }
    }
}
