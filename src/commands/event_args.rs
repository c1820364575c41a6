// SPDX-License-Identifier: GPL-2.0-only
//! The options of event streams, which `pping` and `xdp_pping --follow` share.

use std::path::PathBuf;
use std::time::Duration;

use crate::commands::options::{first_given, one_of, parse_real, Choice, WEEK};
use crate::domain::error::{Error, Result};
use crate::stream::event_options::{fixed_point, EventOptions, RttType};

const HEADING: &str = "Event options";

const RTT_TYPES: [Choice<RttType>; 2] = [
    ("min", "The smallest RTT of the flow so far", RttType::Min),
    ("smoothed", "The smoothed RTT, as TCP calculates it", RttType::Smoothed),
];

/// Options that say which RTTs become events, and where they are written.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
pub struct EventArgs {
    /// Shortest time between two RTT events of a flow, in milliseconds; 0: every RTT [default: 100]
    #[arg(long, short = 'r', value_name = "MS", allow_hyphen_values = true)]
    #[arg(help_heading = HEADING)]
    rate_limit: Option<String>,

    /// Shortest time between two RTT events of a flow, as a multiple of its RTT: 0.5 allows two
    /// events each RTT. Replaces --rate-limit once the flow has an RTT; 0: off [default: 0]
    #[arg(long, short = 'R', value_name = "F", allow_hyphen_values = true)]
    #[arg(help_heading = HEADING)]
    rtt_rate: Option<String>,

    /// RTT of the flow that --rtt-rate multiplies: min or smoothed [default: min]
    #[arg(long, short = 't', value_name = "TYPE", hide_possible_values = true)]
    #[arg(value_parser = one_of(&RTT_TYPES))]
    #[arg(help_heading = HEADING)]
    rtt_type: Option<RttType>,

    /// Write to FILE, not to standard output. Appends to FILE; --format json overwrites it. SIGHUP
    /// opens FILE again
    #[arg(long, short = 'w', value_name = "FILE", allow_hyphen_values = true)]
    #[arg(help_heading = HEADING)]
    write: Option<PathBuf>,
}

impl EventArgs {
    /// Returns the first of these options that was given.
    pub fn given(&self) -> Option<&'static str> {
        let group = [
            ("--rate-limit", self.rate_limit.is_some()),
            ("--rtt-rate", self.rtt_rate.is_some()),
            ("--rtt-type", self.rtt_type.is_some()),
            ("--write", self.write.is_some()),
        ];
        first_given(&group)
    }

    /// Returns the file to write; `None` is standard output, which `-` names too.
    pub fn file(&self) -> Option<PathBuf> {
        self.write.clone().filter(|path| path.as_os_str() != "-")
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
        })
    }
}
