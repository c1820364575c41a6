// SPDX-License-Identifier: GPL-2.0-only
//! The cases: how the hosts acknowledge, and the pairs of delays.

use std::time::Duration;

/// A side of the shaper; also the index into arrays with one element for each side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShaperSide {
    Subscriber,
    Internet,
}

pub const SIDES: [ShaperSide; 2] = [ShaperSide::Subscriber, ShaperSide::Internet];

impl ShaperSide {
    /// Returns the side's name in the report.
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
    /// Each segment at once, so that the RTT is that of the path, which is known.
    Prompt,
    /// As Linux does by default. The RTT may include a wait of the receiver.
    Delayed,
}

/// The delays of both sides (by [`ShaperSide`]), and the side whose delay varies and whose links are
/// impaired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Case {
    pub varied: ShaperSide,
    pub delays: [Duration; 2],
}

const fn ms(value: u64) -> Duration {
    Duration::from_millis(value)
}

const DELAYS: [Duration; 6] = [ms(0), ms(1), ms(5), ms(42), ms(100), ms(600)];
/// Delay of the side that does not vary.
const FIXED: Duration = ms(5);

impl Case {
    fn new(varied: ShaperSide, delay: Duration) -> Self {
        let delays = match varied {
            ShaperSide::Subscriber => [delay, FIXED],
            ShaperSide::Internet => [FIXED, delay],
        };
        Self { varied, delays }
    }

    /// Returns the cases of every delay on one side, then on the other.
    pub fn all(acks: Acks) -> Vec<Self> {
        let delays: &[Duration] = match acks {
            Acks::Prompt => &DELAYS,
            Acks::Delayed => &DELAYS[2..4],
        };
        let case = |varied| delays.iter().map(move |delay| Self::new(varied, *delay));
        let rest = case(ShaperSide::Internet).filter(|case| case.delays != [FIXED; 2]);
        case(ShaperSide::Subscriber).chain(rest).collect()
    }

    /// Returns the delay of a side.
    pub fn delay(&self, side: ShaperSide) -> Duration {
        self.delays[side as usize]
    }

    /// Returns the delay of the whole path.
    pub fn path(&self) -> Duration {
        self.delays.iter().sum()
    }

    /// Returns the time of traffic: `usual`, or more for a long RTT, which gives fewer samples per second.
    pub fn time(&self, usual: Duration) -> Duration {
        if self.path() > ms(500) {
            usual * 3
        } else {
            usual
        }
    }
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
}
