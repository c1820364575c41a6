// SPDX-License-Identifier: GPL-2.0-only
//! The figures of a set of RTT samples.

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
    /// 50th percentile, within 4.4 % from 0.244 ms to 2 s.
    pub median_ns: u64,
    /// 95th percentile, within 4.4 % from 0.244 ms to 2 s.
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
