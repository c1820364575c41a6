// SPDX-License-Identifier: GPL-2.0-only
//! Which RTTs become events.

use std::time::Duration;

use crate::abi::{StreamConfig, RTT_RATE_ONE};

/// Which RTT of a flow the rate of its events refers to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RttType {
    /// The least of the flow so far.
    #[default]
    Min,
    /// The smoothed one, as TCP calculates it (RFC 6298, 2.3).
    Smoothed,
}

/// Which RTTs become events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventOptions {
    /// Least time between two RTT events of a flow; zero: every RTT.
    pub rate_limit: Duration,
    /// Least RTTs between two RTT events of a flow, in 16.16 fixed point; 0: `rate_limit` counts.
    pub rtt_rate: u32,
    /// The RTT that `rtt_rate` refers to.
    pub rtt_type: RttType,
}

impl Default for EventOptions {
    fn default() -> Self {
        Self { rate_limit: Duration::from_millis(100), rtt_rate: 0, rtt_type: RttType::Min }
    }
}

impl EventOptions {
    /// Sets these options in the programs' configuration.
    pub fn apply(&self, config: &mut StreamConfig) {
        config.rate_limit_ns = self.rate_limit.as_nanos() as u64;
        config.rtt_rate = self.rtt_rate;
        config.smoothed = u8::from(self.rtt_type == RttType::Smoothed);
    }
}

/// Converts a rate to fixed point. A rate that is not 0 stays so, however small.
pub fn fixed_point(rate: f64) -> u32 {
    (rate * RTT_RATE_ONE as f64).ceil() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_fixed_point() {
        assert_eq!(fixed_point(0.0), 0);
        assert_eq!(fixed_point(1.0), 65_536);
        assert_eq!(fixed_point(0.5), 32_768);
        assert_eq!(fixed_point(1e-9), 1);
        assert_eq!(fixed_point(10_000.0), 655_360_000);
    }

    #[test]
    fn the_programs_get_what_was_asked_for() {
        let mut config = StreamConfig::default();
        let options = EventOptions {
            rate_limit: Duration::from_millis(7),
            rtt_rate: 9,
            rtt_type: RttType::Smoothed,
        };
        options.apply(&mut config);
        assert_eq!((config.rate_limit_ns, config.rtt_rate, config.smoothed), (7_000_000, 9, 1));
    }
}
