// SPDX-License-Identifier: GPL-2.0-only
//! `xdp_pping`: prints the RTTs of the last 60 seconds, or streams the events of every flow.

use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

use clap::builder::{PossibleValue, PossibleValuesParser};
use clap::Parser;

use crate::abi::StreamConfig;
use crate::commands::command_line::{after_help, CommandLine};
use crate::commands::event_args::EventArgs;
use crate::commands::options::{exclusive, one_of, parse_interval, Choice};
use crate::commands::print::{print, print_record, warn};
use crate::domain::error::{exit, Error, Result};
use crate::domain::format::NamedFormat;
use crate::domain::summary::{HandleReport, Snapshot};
use crate::domain::{Side, Sides};
use crate::format::{snapshot_formats, stream_formats};
use crate::kernel::pin::PinDir;
use crate::rtt::records::{Collected, Records};
use crate::stream::clock::Clock;
use crate::stream::event_options::EventOptions;
use crate::stream::output::{Output, StreamFormat};
use crate::stream::session::{self, Product};
use crate::stream::signals::ProcessSignals;
use crate::stream::source::following::{self, Following};
use crate::stream::source::live::Live;
use crate::stream::source::stream_programs::{StreamProgram, StreamPrograms, StreamSetup};

const EXAMPLES: &str = "
  For a program that shapes traffic:
    xdp_pping
  The classes with the highest RTT, and the side it comes from, every 5 seconds:
    xdp_pping --format table --watch 5
  xdp_pping --format jsonl --side subscriber | jq -c 'select(.p95 > 100)'
  Every RTT of every flow as it is measured, with its class and side:
    xdp_pping --follow --rate-limit 0 --format jsonl --write /var/log/rtt.jsonl

RTTs are measured before the queueing discipline, so the shaper's own queue is part of the RTT of
the direction that it delays. Classes are in hexadecimal, as tc writes them, in the table, and in
decimal in the other formats.";

const SIDES: [Choice<Sides>; 3] = [
    ("subscriber", "From the shaper to the subscriber and back", Sides::One(Side::Subscriber)),
    (
        "internet",
        "From the shaper to the host on the internet and back",
        Sides::One(Side::Internet),
    ),
    ("both", "The samples of both sides taken together", Sides::Both),
];

const CODES: [u8; 4] = [exit::MAP, exit::MAP_FILE, exit::BPFFS, exit::BPF_LOAD];

/// Print the RTT of each traffic class
///
/// One entry for each class that had a sample in the last 60 seconds; RTTs in milliseconds. Reading
/// changes nothing.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "xdp_pping",
    version,
    after_help = after_help(EXAMPLES, &CODES),
    infer_long_args = true,
    args_override_self = true
)]
pub struct XdpPpingArgs {
    /// Samples to report: subscriber, internet, or both taken together [default: both]
    #[arg(long, value_name = "SIDE", default_value = "both", value_parser = one_of(&SIDES))]
    #[arg(hide_possible_values = true, hide_default_value = true)]
    side: Sides,

    /// How to print [default: json; with --follow: standard]
    #[arg(long, value_name = "FORMAT", value_parser = formats())]
    format: Option<String>,

    /// Print again every SECONDS, 0.1 to 86400, until interrupted
    #[arg(long, value_name = "SECONDS", allow_hyphen_values = true)]
    watch: Option<String>,

    /// Print the events of every flow, as pping does, until interrupted
    #[arg(long)]
    follow: bool,

    #[command(flatten)]
    events: EventArgs,
}

/// Returns a parser that takes the names of the snapshot's and the stream's formats, each once, with
/// the help of both.
fn formats() -> PossibleValuesParser {
    let mut all: Vec<(&str, String)> =
        snapshot_formats::FORMATS.iter().map(|format| (format.name, format.help.into())).collect();
    for format in stream_formats::FORMATS {
        match all.iter_mut().find(|(name, _)| *name == format.name) {
            Some((_, help)) => help.push_str("; also with --follow"),
            None => all.push((format.name, format!("With --follow. {}", format.help))),
        }
    }
    let values = all.into_iter().map(|(name, help)| PossibleValue::new(name).help(help));
    PossibleValuesParser::new(values.collect::<Vec<_>>())
}

/// A checked command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum XdpPpingRequest {
    /// The RTTs of the last 60 seconds.
    Snapshot(SnapshotRequest),
    /// The events of every flow.
    Follow(FollowRequest),
}

/// How to print the RTTs of the last 60 seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotRequest {
    /// The samples to show.
    pub sides: Sides,
    /// The format to print in.
    pub format: &'static NamedFormat<Snapshot>,
    /// Time between two snapshots, 0.1 s to one day; `None`: print one.
    pub watch: Option<Duration>,
}

/// The events to print, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FollowRequest {
    /// The side whose events to print, or both.
    pub sides: Sides,
    /// The format to print in.
    pub format: StreamFormat,
    /// Which RTTs become events.
    pub events: EventOptions,
    /// The file to write; `None`: standard output.
    pub file: Option<PathBuf>,
}

impl CommandLine for XdpPpingRequest {
    type Args = XdpPpingArgs;
}

impl TryFrom<XdpPpingArgs> for XdpPpingRequest {
    type Error = Error;

    fn try_from(args: XdpPpingArgs) -> Result<Self> {
        exclusive(("--follow", args.follow), ("--watch", args.watch.is_some()))?;
        if args.follow {
            return args.follow().map(Self::Follow);
        }
        args.snapshot().map(Self::Snapshot)
    }
}

impl XdpPpingArgs {
    fn snapshot(self) -> Result<SnapshotRequest> {
        let only = |option: &str| {
            Err(Error::usage(option, "means nothing without --follow", "give --follow"))
        };
        if let Some(option) = self.events.given() {
            return only(option);
        }
        let name = self.format.as_deref().unwrap_or(snapshot_formats::FORMATS[0].name);
        let Some(format) = snapshot_formats::FORMATS.into_iter().find(|format| format.name == name)
        else {
            return only(&format!("--format {name}"));
        };
        let read = |text: &str| parse_interval("--watch", text);
        let watch = self.watch.as_deref().map(read).transpose()?;
        Ok(SnapshotRequest { sides: self.side, format, watch })
    }

    fn follow(self) -> Result<FollowRequest> {
        let name = self.format.as_deref().unwrap_or(stream_formats::FORMATS[0].name);
        let Some(format) = stream_formats::FORMATS.into_iter().find(|format| format.name == name)
        else {
            let [first @ .., last] = stream_formats::FORMATS.map(|format| format.name);
            let what = format!("--follow with --format {name}");
            let remedy = format!("give {} or {last}", first.join(", "));
            return Err(Error::usage(what, format!("a stream has no {name}"), remedy));
        };
        let file = self.events.file();
        Ok(FollowRequest { sides: self.side, format, events: self.events.try_into()?, file })
    }
}

/// Runs the command.
///
/// # Errors
/// See [`crate::domain::error::EXIT_CODES`].
pub fn run(request: XdpPpingRequest) -> Result<()> {
    match request {
        XdpPpingRequest::Snapshot(request) => watch(&request),
        XdpPpingRequest::Follow(request) => follow(&request),
    }
}

/// Prints one snapshot, or one after another.
fn watch(request: &SnapshotRequest) -> Result<()> {
    loop {
        show(request, reports(&PinDir::default(), needs_sides(request)))?;
        let Some(interval) = request.watch else { break };
        sleep(interval);
        print(b"\n")?;
    }
    Ok(())
}

/// Tells whether the figures of each side are needed. The contract's JSON does not need them, and
/// it must be quick.
fn needs_sides(request: &SnapshotRequest) -> bool {
    request.sides != Sides::Both || request.format != &snapshot_formats::JSON
}

/// Reads the figures of every class, and warns of classes that could not be read.
fn reports(dir: &PinDir, sides_apart: bool) -> Result<Vec<HandleReport>> {
    let Collected { found, left_out } = Records::open(dir)?.reports(sides_apart)?;
    if left_out > 0 {
        warn(format_args!(
            "{left_out} of {} classes are left out: a CPU stopped while it added their samples to \
             their records; run the command again",
            found.len() + left_out
        ));
    }
    Ok(found)
}

/// Prints the snapshot. If nothing is loaded, or by another version of this package, prints an
/// empty one before it returns the error, so that a caller's JSON parser does not fail.
fn show(request: &SnapshotRequest, found: Result<Vec<HandleReport>>) -> Result<()> {
    let write = |reports| print_record(request.format, &Snapshot { reports, sides: request.sides });
    match found {
        Ok(reports) => write(reports),
        Err(err @ (Error::MapFile(_) | Error::Map(_))) => write(Vec::new()).and(Err(err)),
        Err(err) => Err(err),
    }
}

/// Streams the events of the shaper's flows. Opens the output last: a follower that is refused must
/// not touch the file of the one that is running.
fn follow(request: &FollowRequest) -> Result<()> {
    let mut signals = ProcessSignals::block()?;
    let mut source = follower(request)?;
    let stop = Some(signals.stop_fd());
    let output = Output::open(request.file.as_deref(), request.format, true, stop)?;
    let product = Product::Events(request.sides);
    session::run(&mut source, &mut signals, output, Clock::live()?, product, &warn)
}

/// Loads the follower's program and puts it behind the shaper's classifiers.
fn follower(request: &FollowRequest) -> Result<Live<Following>> {
    let dir = PinDir::default();
    let mut stream = StreamConfig { events: 1, ..StreamConfig::default() };
    request.events.apply(&mut stream);
    let programs = StreamPrograms::load(&StreamSetup {
        programs: &[StreamProgram::Follow],
        stream,
        handshake: false,
        replay: false,
        flows: following::flow_places(&dir)?,
    })?;
    Ok(Live::new(Following::begin(&dir, &programs)?, programs))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::command_line::words;

    #[test]
    fn options_become_snapshot_requests() {
        let plain =
            SnapshotRequest { sides: Sides::Both, format: &snapshot_formats::JSON, watch: None };
        let seconds = |s| Some(Duration::from_secs_f64(s));
        let table = [
            ("", plain),
            ("--side both --format json", plain),
            ("--side subscriber", SnapshotRequest { sides: Sides::One(Side::Subscriber), ..plain }),
            (
                "--si=internet --form=jsonl",
                SnapshotRequest {
                    sides: Sides::One(Side::Internet),
                    format: &snapshot_formats::JSONL,
                    ..plain
                },
            ),
            (
                "--format table --watch 5",
                SnapshotRequest { format: &snapshot_formats::TABLE, watch: seconds(5.0), ..plain },
            ),
            ("--watch 9 --watch 0.5", SnapshotRequest { watch: seconds(0.5), ..plain }),
        ];
        for (line, request) in table {
            assert_eq!(
                XdpPpingRequest::parse(words(line)).unwrap(),
                XdpPpingRequest::Snapshot(request),
                "{line}"
            );
        }
    }

    #[test]
    fn options_become_follow_requests() {
        let plain = FollowRequest {
            sides: Sides::Both,
            format: &stream_formats::STANDARD,
            events: EventOptions::default(),
            file: None,
        };
        let events = EventOptions { rate_limit: Duration::ZERO, ..EventOptions::default() };
        let file = Some("a.jsonl".into());
        let table = [
            ("--follow", plain.clone()),
            (
                "--foll --format ppviz",
                FollowRequest { format: &stream_formats::PPVIZ, ..plain.clone() },
            ),
            (
                "--follow --side internet --format=json",
                FollowRequest {
                    sides: Sides::One(Side::Internet),
                    format: &stream_formats::JSON,
                    ..plain.clone()
                },
            ),
            (
                "--format jsonl --rate-limit 0 --follow --write a.jsonl",
                FollowRequest { format: &stream_formats::JSONL, events, file, ..plain },
            ),
        ];
        for (line, request) in table {
            assert_eq!(
                XdpPpingRequest::parse(words(line)).unwrap(),
                XdpPpingRequest::Follow(request),
                "{line}"
            );
        }
    }

    #[test]
    fn bad_command_lines_are_refused() {
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
            let exit = XdpPpingRequest::parse(words(line)).unwrap_err();
            assert_eq!(exit.code, 2, "{line}");
            let first = exit.text.lines().next().unwrap();
            assert!(first.starts_with("ERR: ") && first.contains(names), "{line}: {first}");
        }
    }
}
