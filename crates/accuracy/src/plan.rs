//! What is measured: pairs of delays, kinds of traffic.

use std::time::Duration;

use lab::{Amount, Flow, Link, Pattern};

/// A side of the shaper; also the index of what there is one of for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Subscriber,
    Internet,
}

pub const SIDES: [Side; 2] = [Side::Subscriber, Side::Internet];

impl Side {
    pub fn name(self) -> &'static str {
        match self {
            Self::Subscriber => "subscriber",
            Self::Internet => "internet",
        }
    }
}

/// How the hosts acknowledge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acks {
    /// Each segment at once: the RTT is the path's, and known.
    Prompt,
    /// As Linux does: the RTT may hold a wait of the receiver's.
    Delayed,
}

/// The delays of both sides (by [`Side`]), and which side's links are moved and impaired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Case {
    pub moved: Side,
    pub delays: [Duration; 2],
}

const fn ms(value: u64) -> Duration {
    Duration::from_millis(value)
}

const DELAYS: [Duration; 6] = [ms(0), ms(1), ms(5), ms(42), ms(100), ms(600)];
/// Of the side that is not moved.
const RESTING: Duration = ms(5);

impl Case {
    fn new(moved: Side, delay: Duration) -> Self {
        let delays = match moved {
            Side::Subscriber => [delay, RESTING],
            Side::Internet => [RESTING, delay],
        };
        Self { moved, delays }
    }

    /// Every delay on one side, then on the other.
    pub fn all(acks: Acks) -> Vec<Self> {
        let delays: &[Duration] = match acks {
            Acks::Prompt => &DELAYS,
            Acks::Delayed => &DELAYS[2..4],
        };
        let case = |moved| delays.iter().map(move |delay| Self::new(moved, *delay));
        let rest = case(Side::Internet).filter(|case| case.delays != [RESTING; 2]);
        case(Side::Subscriber).chain(rest).collect()
    }

    pub fn delay(&self, side: Side) -> Duration {
        self.delays[side as usize]
    }

    /// What the whole path adds.
    pub fn path(&self) -> Duration {
        self.delays.iter().sum()
    }

    /// A long RTT needs time to give samples.
    pub fn time(&self, usual: Duration) -> Duration {
        if self.path() > ms(500) {
            usual * 3
        } else {
            usual
        }
    }
}

/// A kind of traffic, both ways at once: downloads over IPv4, uploads over IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Traffic {
    Bulk,
    Paced,
    RequestResponse,
    ShortFlows,
    Loss,
    Reorder,
    Duplicate,
}

pub const TRAFFICS: [Traffic; 7] = [
    Traffic::Bulk,
    Traffic::Paced,
    Traffic::RequestResponse,
    Traffic::ShortFlows,
    Traffic::Loss,
    Traffic::Reorder,
    Traffic::Duplicate,
];

/// Bytes per second each way: well below the class's rate, so that no queue of the shaper's is in the RTT.
const BULK_RATE: u64 = 250_000;
/// Shorter than a delayed ACK (40 ms), which then waits for the next request.
const THINK: Duration = ms(20);
/// Until the server answers: an answer in the same millisecond as the prompt ACK has that one's TSval, and
/// only the first packet of a TSval opens a sample.
const SERVICE: Duration = ms(2);
/// How long a frame is held back: the next two pairs of a bulk flow overtake it.
const HELD_BACK: Duration = ms(12);
pub const SHORT_BYTES: u64 = 20_000;

impl Traffic {
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

    pub fn description(self) -> &'static str {
        match self {
            Self::Bulk => "a download and an upload of 250 kB/s each",
            Self::Paced => "one segment of 1200 bytes every 10 ms, down and up",
            Self::RequestResponse => {
                "two connections: 20 ms of think time, 100 bytes up, 200 down 2 ms later"
            }
            Self::ShortFlows => "downloads and uploads of 20 kB, a connection each, four at a time",
            Self::Loss => "bulk; the moved side's links lose 1 % of the frames each way",
            Self::Reorder => "bulk; the moved side's links hold back 5 % for 12 ms each way",
            Self::Duplicate => "bulk; the moved side's links send 1 % twice each way",
        }
    }

    /// Spoils a link, or leaves it clean.
    pub fn impair(self, link: &Link) {
        for direction in [&link.to_shaper, &link.from_shaper] {
            direction.set_loss(if self == Self::Loss { 0.01 } else { 0.0 });
            direction.set_reorder(if self == Self::Reorder { 0.05 } else { 0.0 }, HELD_BACK);
            direction.set_duplicate(if self == Self::Duplicate { 0.01 } else { 0.0 });
        }
    }

    /// Connections that fill the time, by what they are for: data towards the subscriber, towards the
    /// internet. None: see [`Traffic::ShortFlows`].
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
    fn each_delay_on_each_side_and_no_pair_twice() {
        let cases = Case::all(Acks::Prompt);
        assert_eq!(cases.len(), 11);
        for side in SIDES {
            for delay in DELAYS {
                let known = |case: &&Case| case.delay(side) == delay;
                assert!(cases.iter().any(|case| known(&case)), "{side:?} {delay:?}");
            }
        }
        let mut delays: Vec<_> = cases.iter().map(|case| case.delays).collect();
        delays.sort();
        delays.dedup();
        assert_eq!(delays.len(), 11);
    }

    #[test]
    fn a_link_is_impaired_and_clean_again() {
        let link = Link::new(ms(10));
        Traffic::Loss.impair(&link);
        assert!(format!("{:?}", link.to_shaper).contains("loss: 42949672"));
        Traffic::Bulk.impair(&link);
        assert!(format!("{:?}", link.to_shaper).contains("loss: 0"));
        assert_eq!(link.rtt(), ms(10));
    }

    #[test]
    fn request_response_fills_the_time() {
        let [flow, _] = Traffic::RequestResponse.flows(ms(12_200), ms(100));
        assert!(matches!(flow.pattern, Pattern::RequestResponse { count: 100, .. }));
    }
}
