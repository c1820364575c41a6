// SPDX-License-Identifier: GPL-2.0-only
//! The options that say which RTTs become events.

use std::time::Duration;

use crate::abi::{StreamConfig, RTT_RATE_ONE};

/// The RTT of a flow in which [`EventOptions::rtt_rate`] measures time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RttType {
    /// The smallest RTT of the flow so far.
    #[default]
    Min,
    /// The smoothed RTT, as TCP calculates it (RFC 6298, 2.3).
    Smoothed,
}

/// Limits on how often the RTTs of one flow become events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventOptions {
    /// Shortest time between two RTT events of a flow. Zero: every RTT becomes an event.
    pub rate_limit: Duration,
    /// Shortest time between two RTT events of a flow, as a multiple of its RTT in 16.16 fixed
    /// point. It replaces `rate_limit` once the flow has an RTT. 0: `rate_limit` applies.
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
    /// Writes these options into the programs' configuration.
    pub fn apply(&self, config: &mut StreamConfig) {
        config.rate_limit_ns = self.rate_limit.as_nanos() as u64;
        config.rtt_rate = self.rtt_rate;
        config.smoothed = u8::from(self.rtt_type == RttType::Smoothed);
    }
}

/// Converts a rate to 16.16 fixed point. Rounds up, so that a tiny rate does not become 0, which
/// would switch the rate off.
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
    fn options_are_written_into_the_configuration() {
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
