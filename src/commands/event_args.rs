// SPDX-License-Identifier: GPL-2.0-only
//! The options of event streams, which `pping` and `xdp_pping --follow` share.

use std::path::PathBuf;
use std::time::Duration;

use crate::commands::options::{one_of, parse_real, Choice, WEEK};
use crate::domain::error::{Error, Result};
use crate::stream::event_options::{fixed_point, EventOptions, RttType};

const HEADING: &str = "Event options";

const RTT_TYPES: [Choice<RttType>; 2] = [
    ("min", "The least of the flow so far", RttType::Min),
    ("smoothed", "The smoothed one, as TCP calculates it", RttType::Smoothed),
];

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
    #[arg(long, short = 't', value_name = "TYPE", hide_possible_values = true)]
    #[arg(value_parser = one_of(&RTT_TYPES))]
    #[arg(help_heading = HEADING)]
    rtt_type: Option<RttType>,

    /// Write to FILE, not to standard output: appended to, but begun anew with --format json;
    /// SIGHUP opens it again
    #[arg(long, short = 'w', value_name = "FILE", allow_hyphen_values = true)]
    #[arg(help_heading = HEADING)]
    write: Option<PathBuf>,
}

impl EventArgs {
    /// The first option that was given.
    pub fn given(&self) -> Option<&'static str> {
        let group = [
            ("--rate-limit", self.rate_limit.is_some()),
            ("--rtt-rate", self.rtt_rate.is_some()),
            ("--rtt-type", self.rtt_type.is_some()),
            ("--write", self.write.is_some()),
        ];
        group.into_iter().find(|(_, given)| *given).map(|(name, _)| name)
    }
}

impl EventArgs {
    /// Returns the file to write; `None` is standard output.
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
