// SPDX-License-Identifier: GPL-2.0-only
//! The options of event streams, which `pping` and `xdp_pping --follow` share.

use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;

use crate::abi::StreamConfig;
use crate::error::{Error, Result};

const HEADING: &str = "Event options";

/// `RTT_RATE_ONE` of include/stream_config.h: an RTT rate of one, in 16.16 fixed point.
const RATE_ONE: f64 = 65_536.0;

/// Seconds of the longest period that eBPF pping takes: seven days.
pub(super) const WEEK: f64 = 604_800.0;

/// Options that say which RTTs become events, and where they are written.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
pub struct EventArgs {
    /// Milliseconds between two RTT events of a flow, at least; 0: every RTT [default: 100]
    #[arg(long, short = 'r', value_name = "MS", allow_hyphen_values = true)]
    #[arg(help_heading = HEADING)]
    rate_limit: Option<String>,

    /// RTTs of a flow between two of its RTT events, at least, in the place of --rate-limit once
    /// the flow has one: 0.5 is two events each RTT; 0: off [default: 0]
    #[arg(long, short = 'R', value_name = "F", allow_hyphen_values = true)]
    #[arg(help_heading = HEADING)]
    rtt_rate: Option<String>,

    /// The RTT that --rtt-rate counts in: min or smoothed [default: min]
    #[arg(long, short = 't', value_name = "TYPE", value_enum, hide_possible_values = true)]
    #[arg(help_heading = HEADING)]
    rtt_type: Option<RttType>,

    /// Write to FILE, not to standard output: appended to, but begun anew with --format json;
    /// SIGHUP opens it again
    #[arg(long, short = 'w', value_name = "FILE", allow_hyphen_values = true)]
    #[arg(help_heading = HEADING)]
    write: Option<PathBuf>,
}

/// Which RTT of a flow `--rtt-rate` counts in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum RttType {
    /// The least of the flow so far
    #[default]
    Min,
    /// The smoothed one, as TCP calculates it
    Smoothed,
}

/// Which RTTs become events, and where they are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventOptions {
    /// Least time between two RTT events of a flow; zero: every RTT.
    pub rate_limit: Duration,
    /// Least RTTs between two RTT events of a flow, in 16.16 fixed point; 0: `rate_limit` counts.
    pub rtt_rate: u32,
    /// The RTT that `rtt_rate` counts in.
    pub rtt_type: RttType,
    /// The file to write; `None`: standard output.
    pub write: Option<PathBuf>,
}

impl Default for EventOptions {
    fn default() -> Self {
        Self {
            rate_limit: Duration::from_millis(100),
            rtt_rate: 0,
            rtt_type: RttType::Min,
            write: None,
        }
    }
}

impl EventArgs {
    /// The first option that was given.
    pub(super) fn given(&self) -> Option<&'static str> {
        let group = [
            ("--rate-limit", self.rate_limit.is_some()),
            ("--rtt-rate", self.rtt_rate.is_some()),
            ("--rtt-type", self.rtt_type.is_some()),
            ("--write", self.write.is_some()),
        ];
        group.into_iter().find(|(_, given)| *given).map(|(name, _)| name)
    }
}

impl TryFrom<EventArgs> for EventOptions {
    type Error = Error;

    fn try_from(args: EventArgs) -> Result<Self> {
        let default = Self::default();
        let limit = args.rate_limit.map(|text| {
            parse_real("--rate-limit", &text, 0.0, WEEK * 1000.0, "milliseconds")
                .map(|ms| Duration::from_secs_f64(ms / 1000.0))
        });
        let rate = args.rtt_rate.map(|text| {
            parse_real("--rtt-rate", &text, 0.0, 10_000.0, "a number").map(fixed_point)
        });
        Ok(Self {
            rate_limit: limit.transpose()?.unwrap_or(default.rate_limit),
            rtt_rate: rate.transpose()?.unwrap_or(default.rtt_rate),
            rtt_type: args.rtt_type.unwrap_or_default(),
            write: args.write.filter(|path| path.as_os_str() != "-"),
        })
    }
}

impl EventOptions {
    /// Sets what these options decide in the programs' configuration.
    pub fn apply(&self, config: &mut StreamConfig) {
        config.rate_limit_ns = self.rate_limit.as_nanos() as u64;
        config.rtt_rate = self.rtt_rate;
        config.smoothed = u8::from(self.rtt_type == RttType::Smoothed);
    }
}

/// A rate that is not 0 stays so, however small.
fn fixed_point(rate: f64) -> u32 {
    (rate * RATE_ONE).ceil() as u32
}

/// Reads a decimal number, with or without a fraction, that must lie within `min..=max`; `option`
/// and `unit` name it in the error.
pub(super) fn parse_real(option: &str, text: &str, min: f64, max: f64, unit: &str) -> Result<f64> {
    let plain = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let bad = |why: &str| {
        let remedy = format!("give {unit} from {min} to {max}");
        Error::usage(format!("{option} '{text}'"), why, remedy)
    };
    match text.parse().ok().filter(|_| plain) {
        Some(number) if (min..=max).contains(&number) => Ok(number),
        Some(_) => Err(bad("out of range")),
        None => Err(bad("not a number")),
    }
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
    fn real_numbers_keep_to_their_range() {
        for (text, value) in [("0", 0.0), ("0.5", 0.5), (".5", 0.5), ("010", 10.0), ("100", 100.0)]
        {
            assert_eq!(parse_real("-r", text, 0.0, 100.0, "it").unwrap(), value, "{text}");
        }
        for text in ["", ".", "-1", "+1", "1e1", "inf", "nan", "0x10", "1,5", " 1", "100.1"] {
            let err = parse_real("-r", text, 0.0, 100.0, "it").unwrap_err();
            assert_eq!(err.exit_code(), 2, "{text:?}");
        }
    }

    #[test]
    fn the_programs_get_what_was_asked_for() {
        let mut config = StreamConfig::default();
        let options = EventOptions {
            rate_limit: Duration::from_millis(7),
            rtt_rate: 9,
            rtt_type: RttType::Smoothed,
            write: None,
        };
        options.apply(&mut config);
        assert_eq!((config.rate_limit_ns, config.rtt_rate, config.smoothed), (7_000_000, 9, 1));
    }
}
