// SPDX-License-Identifier: GPL-2.0-only
//! The line that ends a replay: what the capture held, and what was left out, by reason.

use std::fmt;

use crate::stream::capture::{LeftOut, LeftOutCounts};
use crate::stream::counters::{StreamCounter, StreamCounters};

/// What a capture held. Each packet is either measured or left out for one reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplaySummary {
    /// Number of packets read, also of those that were left out.
    pub packets: u64,
    /// Packets that the file itself leaves unreadable.
    pub unreadable: LeftOutCounts,
    /// The programs' counters.
    pub counters: StreamCounters,
    /// Numbers of samples that were given up, in the order of [`MISSED`].
    pub missed: [u64; MISSED.len()],
}

const MEASURED: StreamCounter = StreamCounter::named("seen_measured");
const TRUNCATED: StreamCounter = StreamCounter::named("seen_truncated");

/// The reasons of the programs to leave a packet out, but for [`TRUNCATED`].
const LEFT_OUT: [(StreamCounter, &str); 6] = [
    (StreamCounter::named("seen_not_ip"), "without IP"),
    (StreamCounter::named("seen_other"), "of other protocols"),
    (StreamCounter::named("seen_no_mark"), "of TCP without timestamps"),
    (StreamCounter::named("seen_fragment"), "fragments after the first"),
    (StreamCounter::named("seen_malformed"), "with malformed headers"),
    (StreamCounter::named("flows_unfollowed"), "without room in the flow table"),
];

/// The reasons to give up a sample: the counter in include/counters.def, and the text.
pub const MISSED: [(&str, &str); 4] = [
    ("rtt_clock_back", "because time ran backwards"),
    ("rtt_timed_out", "without an answer within 10 s"),
    ("rtt_no_slot", "while two others of the flow were outstanding"),
    ("rtt_evicted", "because the flow lost its place in the table"),
];

impl fmt::Display for ReplaySummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.packets == 1 { "" } else { "s" };
        let measured = self.counters.get(MEASURED);
        write!(f, "{} packet{plural} read, {measured} measured", self.packets)?;
        let left_out: Vec<_> = self.left_out().collect();
        if !left_out.is_empty() {
            let total: u64 = left_out.iter().map(|(count, _)| count).sum();
            write!(f, ", {total} left out: ")?;
            list(f, &left_out)?;
        }
        let texts = MISSED.iter().map(|(_, text)| (*text).to_owned());
        let missed: Vec<_> = self.missed.into_iter().zip(texts).filter(occurs).collect();
        if !missed.is_empty() {
            f.write_str("; RTTs missed: ")?;
            list(f, &missed)?;
        }
        Ok(())
    }
}

impl ReplaySummary {
    /// Returns how many packets were left out for each reason that has occurred.
    fn left_out(&self) -> impl Iterator<Item = (u64, String)> + '_ {
        let is_cut = |reason: &LeftOut| *reason == LeftOut::CutShort;
        let cut = self.unreadable.iter().find(|(reason, _)| is_cut(reason));
        let unreadable = self.unreadable.iter().filter(move |(reason, _)| !is_cut(reason));
        let unreadable = unreadable.map(|(reason, count)| (count, reason.to_string()));
        let by_programs = LEFT_OUT.iter();
        let by_programs =
            by_programs.map(|(counter, text)| (self.counters.get(*counter), (*text).to_owned()));
        let cut = cut.map_or(0, |(_, count)| count);
        let truncated = cut + self.counters.get(TRUNCATED);
        let truncated = (truncated, LeftOut::CutShort.to_string());
        unreadable.chain(by_programs).chain([truncated]).filter(occurs)
    }
}

fn occurs((count, _): &(u64, String)) -> bool {
    *count > 0
}

fn list(f: &mut fmt::Formatter<'_>, counts: &[(u64, String)]) -> fmt::Result {
    for (index, (count, text)) in counts.iter().enumerate() {
        let comma = if index == 0 { "" } else { ", " };
        write!(f, "{comma}{count} {text}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::COUNTERS;
    use crate::stream::capture::LeftOut;
    use crate::stream::counters::tests::stats;

    #[test]
    fn reasons_that_have_not_occurred_are_not_listed() {
        let counters = StreamCounters::sum(&[stats(&[(MEASURED, 60)])]);
        let summary = ReplaySummary { packets: 60, counters, ..ReplaySummary::default() };
        assert_eq!(summary.to_string(), "60 packets read, 60 measured");
        let nothing = ReplaySummary { packets: 1, ..ReplaySummary::default() };
        assert_eq!(nothing.to_string(), "1 packet read, 0 measured");
    }

    #[test]
    fn every_reason_has_its_text() {
        let values: Vec<_> =
            LEFT_OUT.iter().zip(1..).map(|((counter, _), n)| (*counter, n)).collect();
        let counters = [stats(&values), stats(&[(MEASURED, 5), (TRUNCATED, 7)])];
        let mut unreadable = LeftOutCounts::default();
        for reason in [LeftOut::NoTime, LeftOut::LinkType(227), LeftOut::LinkType(9999)] {
            unreadable.add(reason);
        }
        for reason in [
            LeftOut::TimeOutOfRange,
            LeftOut::UnknownInterface,
            LeftOut::MalformedBlock,
            LeftOut::CutShort,
        ] {
            unreadable.add(reason);
        }
        let summary = ReplaySummary {
            packets: 47,
            unreadable,
            counters: StreamCounters::sum(&counters),
            missed: [1, 2, 3, 4],
        };
        let expected = "47 packets read, 5 measured, 35 left out: 1 of link type 227 (CAN_SOCKETCAN), \
                        1 of link type 9999, 1 without a time, 1 with an impossible time, \
                        1 of an interface that is not described, 1 in a malformed block, \
                        1 without IP, 2 of other protocols, 3 of TCP without timestamps, \
                        4 fragments after the first, 5 with malformed headers, \
                        6 without room in the flow table, 8 cut short within a header; \
                        RTTs missed: 1 because time ran backwards, 2 without an answer within 10 s, \
                        3 while two others of the flow were outstanding, \
                        4 because the flow lost its place in the table";
        assert_eq!(summary.to_string(), expected);
    }

    #[test]
    fn the_counters_exist() {
        for (name, _) in MISSED {
            assert!(COUNTERS.iter().any(|(other, _)| *other == name), "{name}");
        }
    }
}
