// SPDX-License-Identifier: GPL-2.0-only
//! `xdp_pping`: prints the RTTs of the last 60 seconds.

use std::ffi::OsString;
use std::time::Duration;

use clap::{CommandFactory, Parser};

use super::{parse_interval, CliExit};
use crate::error::{exit, Error, Result};
use crate::output::{Format, Side};

const EXAMPLES: &str = "
  What shapers read:
    xdp_pping
  Who suffers most, and on which side, renewed every 5 seconds:
    xdp_pping --format table --watch 5
  xdp_pping --format jsonl --side subscriber | jq -c 'select(.p95 > 100)'

The hook sits before the queueing discipline: the shaper's own queue is inside the RTT of the
direction that it delays. In the JSON formats a class is written in decimal, in the table in
hexadecimal as tc writes it.";

const CODES: [u8; 3] = [exit::MAP, exit::MAP_FILE, exit::BPFFS];

/// Print the RTT of each traffic class
///
/// One entry for each class that had a sample in the last 60 seconds; RTTs in milliseconds. Reading
/// changes nothing.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "xdp_pping",
    version,
    after_help = super::after_help(EXAMPLES, &CODES),
    infer_long_args = true,
    args_override_self = true
)]
pub struct Args {
    /// Samples to report: subscriber, internet, or both taken together [default: both]
    #[arg(long, value_name = "SIDE", value_enum, default_value_t)]
    #[arg(hide_possible_values = true, hide_default_value = true)]
    side: Side,

    /// How to print: json, jsonl (a line each, with p95 and both sides) or table (worst median
    /// first) [default: json]
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    #[arg(hide_possible_values = true, hide_default_value = true)]
    format: Format,

    /// Print again every so many seconds until interrupted: 0.1 to 86400
    #[arg(long, value_name = "SECONDS", allow_hyphen_values = true)]
    watch: Option<String>,
}

/// A checked command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Which samples.
    pub side: Side,
    /// How to print.
    pub format: Format,
    /// Print again after this long, 0.1 s to one day; `None`: once.
    pub watch: Option<Duration>,
}

impl super::Request for Request {
    type Args = Args;
}

impl TryFrom<Args> for Request {
    type Error = Error;

    fn try_from(args: Args) -> Result<Self> {
        let read = |text: &str| parse_interval("--watch", text);
        let watch = args.watch.as_deref().map(read).transpose()?;
        Ok(Self { side: args.side, format: args.format, watch })
    }
}

/// Reads the command line, program name included.
///
/// # Errors
/// See [`super::parse`].
pub fn parse<I, T>(args: I) -> std::result::Result<Request, CliExit>
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    super::parse(args)
}

/// The command's definition.
pub fn command() -> clap::Command {
    Args::command()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::words;

    #[test]
    fn what_is_asked_for() {
        let plain = Request { side: Side::Both, format: Format::Json, watch: None };
        let seconds = |s| Some(Duration::from_secs_f64(s));
        let table = [
            ("", plain),
            ("--side both --format json", plain),
            ("--side subscriber", Request { side: Side::Subscriber, ..plain }),
            (
                "--si=internet --fo=jsonl",
                Request { side: Side::Internet, format: Format::Jsonl, ..plain },
            ),
            (
                "--format table --watch 5",
                Request { format: Format::Table, watch: seconds(5.0), ..plain },
            ),
            ("--watch 9 --watch 0.5", Request { watch: seconds(0.5), ..plain }),
        ];
        for (line, request) in table {
            assert_eq!(parse(words(line)).unwrap(), request, "{line}");
        }
    }

    #[test]
    fn refusals() {
        let table = [
            ("--side lan", "'lan'"),
            ("--format xml", "'xml'"),
            ("--watch 0", "--watch '0'"),
            ("--watch -1", "--watch '-1'"),
            ("--watch inf", "--watch 'inf'"),
            ("--watch 1e3", "--watch '1e3'"),
            ("--watch=", "--watch ''"),
            ("--watch 86401", "--watch '86401'"),
            ("json", "'json'"),
        ];
        for (line, names) in table {
            let exit = parse(words(line)).unwrap_err();
            assert_eq!(exit.code, 2, "{line}");
            let first = exit.text.lines().next().unwrap();
            assert!(first.starts_with("ERR: ") && first.contains(names), "{line}: {first}");
        }
    }
}
