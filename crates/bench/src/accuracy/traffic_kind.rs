// SPDX-License-Identifier: GPL-2.0-only
//! The kinds of traffic.

use std::time::Duration;

use lab::{Amount, Flow, HostLink, Pattern};

const fn ms(value: u64) -> Duration {
    Duration::from_millis(value)
}

/// A kind of traffic, both ways at once: downloads over IPv4, uploads over IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrafficKind {
    Bulk,
    Paced,
    RequestResponse,
    ShortFlows,
    Loss,
    Reorder,
    Duplicate,
}

pub const TRAFFIC_KINDS: [TrafficKind; 7] = [
    TrafficKind::Bulk,
    TrafficKind::Paced,
    TrafficKind::RequestResponse,
    TrafficKind::ShortFlows,
    TrafficKind::Loss,
    TrafficKind::Reorder,
    TrafficKind::Duplicate,
];

/// Bytes per second each way. This is well below the rate of the class, so that no queue of the shaper adds
/// to the RTT.
const BULK_RATE: u64 = 250_000;
/// Time between an answer and the next request. It is shorter than a delayed ACK (40 ms), so that the ACK
/// travels with the next request.
const THINK: Duration = ms(20);
/// Time from a request to the answer. An answer in the same millisecond as the prompt ACK would have the
/// TSval of the ACK, and only the first packet of a TSval opens a sample.
const SERVICE: Duration = ms(2);
/// How long the link holds a frame back. In that time, the next two pairs of frames of a bulk flow overtake
/// it.
const HELD_BACK: Duration = ms(12);
/// Bytes of a short flow.
const SHORT_BYTES: u64 = 20_000;

impl TrafficKind {
    /// Returns the name in the report.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bulk => "bulk",
            Self::Paced => "paced",
            Self::RequestResponse => "request/response",
            Self::ShortFlows => "many short flows",
            Self::Loss => "loss 1 %",
            Self::Reorder => "reorder 5 %",
            Self::Duplicate => "duplicate 1 %",
        }
    }

    /// Describes the traffic for the report.
    pub fn description(self) -> &'static str {
        match self {
            Self::Bulk => "a download and an upload of 250 kB/s each",
            Self::Paced => "one segment of 1200 bytes every 10 ms, down and up",
            Self::RequestResponse => {
                "two connections: 20 ms of think time, 100 bytes up, 200 down 2 ms later"
            }
            Self::ShortFlows => "downloads and uploads of 20 kB, a connection each, four at a time",
            Self::Loss => "bulk; the links of the varied side lose 1 % of the frames each way",
            Self::Reorder => {
                "bulk; the links of the varied side hold back 5 % of the frames for 12 ms each way"
            }
            Self::Duplicate => {
                "bulk; the links of the varied side send 1 % of the frames twice each way"
            }
        }
    }

    /// Sets the impairments of a link to those of the traffic; most kinds have none.
    pub fn impair(self, link: &HostLink) {
        for direction in [&link.to_shaper, &link.from_shaper] {
            direction.set_loss(if self == Self::Loss { 0.01 } else { 0.0 });
            direction.set_reorder(if self == Self::Reorder { 0.05 } else { 0.0 }, HELD_BACK);
            direction.set_duplicate(if self == Self::Duplicate { 0.01 } else { 0.0 });
        }
    }

    /// Returns two connections that fill the time: one with data towards the subscriber, one with data
    /// towards the internet. A connection of [`TrafficKind::ShortFlows`] is short and must be repeated.
    pub fn flows(self, time: Duration, path: Duration) -> [Flow; 2] {
        let amount = Amount::For(time);
        match self {
            Self::Paced => {
                let (segment, interval) = (1200, ms(10));
                let count = times(time, interval);
                [
                    Flow::new(Pattern::PacedDownload { segment, interval, count }),
                    Flow::new(Pattern::PacedUpload { segment, interval, count }),
                ]
            }
            Self::RequestResponse => {
                let (request, response, think, service) = (100, 200, THINK, SERVICE);
                let count = times(time, think + service + path);
                [Flow::new(Pattern::RequestResponse { request, response, think, service, count });
                    2]
            }
            Self::ShortFlows => {
                let bytes = Amount::Bytes(SHORT_BYTES);
                [Flow::download(bytes), Flow::upload(bytes)]
            }
            _ => [Flow::download(amount), Flow::upload(amount)].map(|flow| flow.rate(BULK_RATE)),
        }
    }
}

fn times(time: Duration, each: Duration) -> u32 {
    (time.as_nanos() / each.as_nanos().max(1)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_impaired_and_clean_again() {
        let link = HostLink::new(ms(10));
        TrafficKind::Loss.impair(&link);
        assert!(format!("{:?}", link.to_shaper).contains("loss: 42949672"));
        TrafficKind::Bulk.impair(&link);
        assert!(format!("{:?}", link.to_shaper).contains("loss: 0"));
        assert_eq!(link.rtt(), ms(10));
    }

    #[test]
    fn request_response_fills_the_time() {
        let [flow, _] = TrafficKind::RequestResponse.flows(ms(12_200), ms(100));
        assert!(matches!(flow.pattern, Pattern::RequestResponse { count: 100, .. }));
    }
}
