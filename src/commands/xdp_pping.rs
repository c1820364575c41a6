// SPDX-License-Identifier: GPL-2.0-only
//! `xdp_pping`: prints the RTTs of the last 60 seconds, or follows the events of every flow.

use std::time::Duration;

use clap::{Parser, ValueEnum};

use super::events::{EventArgs, EventOptions};
use super::{exclusive, parse_interval};
use crate::error::{exit, Error, Result};
use crate::output::{Format, Side};
use crate::stream::format::Format as StreamFormat;

const EXAMPLES: &str = "
  What shapers read:
    xdp_pping
  Who suffers most, and on which side, renewed every 5 seconds:
    xdp_pping --format table --watch 5
  xdp_pping --format jsonl --side subscriber | jq -c 'select(.p95 > 100)'
  Every RTT of every flow as it is measured, with its class and side:
    xdp_pping --follow --rate-limit 0 --format jsonl --write /var/log/rtt.jsonl

The hook sits before the queueing discipline: the shaper's own queue is inside the RTT of the
direction that it delays. In the JSON formats a class is written in decimal, in the table in
hexadecimal as tc writes it.";

const CODES: [u8; 4] = [exit::MAP, exit::MAP_FILE, exit::BPFFS, exit::BPF_LOAD];

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
    /// first) [default: json]; with --follow standard, ppviz, json or jsonl [default: standard]
    #[arg(long, value_name = "FORMAT", value_enum, hide_possible_values = true)]
    format: Option<AnyFormat>,

    /// Print again every so many seconds until interrupted: 0.1 to 86400
    #[arg(long, value_name = "SECONDS", allow_hyphen_values = true)]
    watch: Option<String>,

    /// Print the events of every flow, as pping does, until interrupted
    #[arg(long)]
    follow: bool,

    #[command(flatten)]
    events: EventArgs,
}

/// The formats of the snapshot and of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum AnyFormat {
    /// One array
    Json,
    /// One object a line
    Jsonl,
    /// Snapshot only: for people
    Table,
    /// Stream only: for people
    Standard,
    /// Stream only: for ppviz
    Ppviz,
}

/// A checked command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// The RTTs of the last 60 seconds.
    Snapshot(Snapshot),
    /// The events of every flow.
    Follow(Follow),
}

/// What to print of the last 60 seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Which samples.
    pub side: Side,
    /// How to print.
    pub format: Format,
    /// Print again after this long, 0.1 s to one day; `None`: once.
    pub watch: Option<Duration>,
}

/// Which events to print.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Follow {
    /// Of which side.
    pub side: Side,
    /// How to print.
    pub format: StreamFormat,
    /// Which RTTs become events, and where they are written.
    pub events: EventOptions,
}

impl super::Request for Request {
    type Args = Args;
}

impl TryFrom<Args> for Request {
    type Error = Error;

    fn try_from(args: Args) -> Result<Self> {
        exclusive(("--follow", args.follow), ("--watch", args.watch.is_some()))?;
        if args.follow {
            return args.follow().map(Self::Follow);
        }
        args.snapshot().map(Self::Snapshot)
    }
}

impl Args {
    fn snapshot(self) -> Result<Snapshot> {
        let only = |option: &str| {
            Err(Error::usage(option, "means nothing without --follow", "give --follow"))
        };
        if let Some(option) = self.events.given() {
            return only(option);
        }
        let format = match self.format {
            None | Some(AnyFormat::Json) => Format::Json,
            Some(AnyFormat::Jsonl) => Format::Jsonl,
            Some(AnyFormat::Table) => Format::Table,
            Some(AnyFormat::Standard) => return only("--format standard"),
            Some(AnyFormat::Ppviz) => return only("--format ppviz"),
        };
        let read = |text: &str| parse_interval("--watch", text);
        let watch = self.watch.as_deref().map(read).transpose()?;
        Ok(Snapshot { side: self.side, format, watch })
    }

    fn follow(self) -> Result<Follow> {
        let format = match self.format {
            None | Some(AnyFormat::Standard) => StreamFormat::Standard,
            Some(AnyFormat::Ppviz) => StreamFormat::Ppviz,
            Some(AnyFormat::Json) => StreamFormat::Json,
            Some(AnyFormat::Jsonl) => StreamFormat::Jsonl,
            Some(AnyFormat::Table) => {
                let remedy = "give standard, ppviz, json or jsonl";
                let what = "--follow with --format table";
                return Err(Error::usage(what, "a stream has no table", remedy));
            }
        };
        Ok(Follow { side: self.side, format, events: self.events.try_into()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::words;
    use crate::cli::Request as _;

    #[test]
    fn what_is_asked_for() {
        let plain = Snapshot { side: Side::Both, format: Format::Json, watch: None };
        let seconds = |s| Some(Duration::from_secs_f64(s));
        let table = [
            ("", plain),
            ("--side both --format json", plain),
            ("--side subscriber", Snapshot { side: Side::Subscriber, ..plain }),
            (
                "--si=internet --form=jsonl",
                Snapshot { side: Side::Internet, format: Format::Jsonl, ..plain },
            ),
            (
                "--format table --watch 5",
                Snapshot { format: Format::Table, watch: seconds(5.0), ..plain },
            ),
            ("--watch 9 --watch 0.5", Snapshot { watch: seconds(0.5), ..plain }),
        ];
        for (line, request) in table {
            assert_eq!(Request::parse(words(line)).unwrap(), Request::Snapshot(request), "{line}");
        }
    }

    #[test]
    fn following() {
        let plain = Follow {
            side: Side::Both,
            format: StreamFormat::Standard,
            events: EventOptions::default(),
        };
        let events = EventOptions {
            rate_limit: Duration::ZERO,
            write: Some("a.jsonl".into()),
            ..EventOptions::default()
        };
        let table = [
            ("--follow", plain.clone()),
            ("--foll --format ppviz", Follow { format: StreamFormat::Ppviz, ..plain.clone() }),
            (
                "--follow --side internet --format=json",
                Follow { side: Side::Internet, format: StreamFormat::Json, ..plain.clone() },
            ),
            (
                "--format jsonl --rate-limit 0 --follow --write a.jsonl",
                Follow { format: StreamFormat::Jsonl, events, ..plain },
            ),
        ];
        for (line, request) in table {
            assert_eq!(Request::parse(words(line)).unwrap(), Request::Follow(request), "{line}");
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
            ("--format standard", "--format standard: means nothing without --follow"),
            ("--format ppviz", "--format ppviz"),
            ("--rate-limit 0", "--rate-limit: means nothing without --follow"),
            ("--rtt-rate 1", "--rtt-rate"),
            ("--rtt-type min", "--rtt-type"),
            ("--write x", "--write"),
            ("--follow --watch 1", "--follow with --watch"),
            ("--follow --format table", "--follow with --format table"),
            ("--follow --rate-limit x", "--rate-limit 'x'"),
        ];
        for (line, names) in table {
            let exit = Request::parse(words(line)).unwrap_err();
            assert_eq!(exit.code, 2, "{line}");
            let first = exit.text.lines().next().unwrap();
            assert!(first.starts_with("ERR: ") && first.contains(names), "{line}: {first}");
        }
    }
}
