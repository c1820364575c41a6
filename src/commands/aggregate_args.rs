// SPDX-License-Identifier: GPL-2.0-only
//! The options of aggregates, which `pping` has.

use std::time::Duration;

use crate::commands::options::{first_given, parse_real, WEEK};
use crate::domain::error::{Error, Result};
use crate::stream::aggregate::AggregateOptions;

const AGGREGATES: &str = "Aggregates";

/// Options that ask for aggregates, and their parameters.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
pub struct AggregateArgs {
    /// Print figures of each subnet every S seconds, not single events
    #[arg(long = "aggregate", short = 'a', value_name = "S", allow_hyphen_values = true)]
    #[arg(help_heading = AGGREGATES)]
    interval: Option<String>,

    /// Prefix length of IPv4 subnets, 0 to 32 [default: 24]
    #[arg(long = "aggregate-subnets-v4", short = '4', value_name = "N")]
    #[arg(allow_hyphen_values = true, help_heading = AGGREGATES)]
    subnets_v4: Option<String>,

    /// Prefix length of IPv6 subnets, 0 to 128 [default: 48]
    #[arg(long = "aggregate-subnets-v6", short = '6', value_name = "N")]
    #[arg(allow_hyphen_values = true, help_heading = AGGREGATES)]
    subnets_v6: Option<String>,

    /// Count an RTT for the subnet of the host that was answered, not of the one that answered
    #[arg(long = "aggregate-reverse", help_heading = AGGREGATES)]
    reverse: bool,

    /// Forget subnets without traffic after S seconds; 0: never [default: 30]
    #[arg(long = "aggregate-timeout", value_name = "S", allow_hyphen_values = true)]
    #[arg(help_heading = AGGREGATES)]
    timeout: Option<String>,
}

impl AggregateArgs {
    /// Checks the options. Returns `None` if no aggregates are asked for.
    ///
    /// # Errors
    /// [`Error::Usage`].
    pub fn read(self) -> Result<Option<AggregateOptions>> {
        let Some(interval) = self.interval else {
            return match self.given() {
                Some(option) => {
                    let remedy = "give --aggregate SECONDS";
                    Err(Error::usage(option, "means nothing without --aggregate", remedy))
                }
                None => Ok(None),
            };
        };
        let seconds = |option, text: &str, min| {
            parse_real(option, text, min, WEEK, "seconds").map(Duration::from_secs_f64)
        };
        let default = AggregateOptions::default();
        let length = |option, text: Option<String>, default, max| {
            text.map_or(Ok(default), |text| parse_length(option, &text, max))
        };
        let timeout = match self.timeout {
            Some(text) => seconds("--aggregate-timeout", &text, 0.0)?,
            None => default.timeout,
        };
        Ok(Some(AggregateOptions {
            interval: seconds("--aggregate", &interval, 0.1)?,
            subnet_v4: length("--aggregate-subnets-v4", self.subnets_v4, default.subnet_v4, 32)?,
            subnet_v6: length("--aggregate-subnets-v6", self.subnets_v6, default.subnet_v6, 128)?,
            reverse: self.reverse,
            timeout,
        }))
    }

    /// Returns the first of the parameters that was given.
    fn given(&self) -> Option<&'static str> {
        let group = [
            ("--aggregate-subnets-v4", self.subnets_v4.is_some()),
            ("--aggregate-subnets-v6", self.subnets_v6.is_some()),
            ("--aggregate-reverse", self.reverse),
            ("--aggregate-timeout", self.timeout.is_some()),
        ];
        first_given(&group)
    }
}

/// Reads a prefix length in decimal.
fn parse_length(option: &str, text: &str, max: u8) -> Result<u8> {
    let plain = text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|length| plain && *length <= max).ok_or_else(|| {
        let what = format!("{option} '{text}'");
        Error::usage(what, "not a prefix length", format!("give a number from 0 to {max}"))
    })
}
