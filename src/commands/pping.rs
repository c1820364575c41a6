// SPDX-License-Identifier: GPL-2.0-only
//! `pping`: streams the RTTs of the flows on one interface or in a capture.

use std::path::{Path, PathBuf};

use clap::Parser;

use crate::abi::{StreamConfig, DEFAULT_FLOWS};
use crate::commands::aggregate_args::AggregateArgs;
use crate::commands::command_line::{after_help, CommandLine};
use crate::commands::event_args::EventArgs;
use crate::commands::options::{
    exactly_one, format_of, one_of, parse_real, required, Choice, WEEK,
};
use crate::commands::print::{print_note, warn};
use crate::commands::replay_progress::ReplayProgress;
use crate::domain::error::{exit, Error, Result};
use crate::domain::{IfName, Sides};
use crate::format::stream_formats;
use crate::kernel::device;
use crate::kernel::hook::Hook;
use crate::kernel::xdp::XdpMode;
use crate::stream::aggregate::AggregateOptions;
use crate::stream::capture::Capture;
use crate::stream::clock::Clock;
use crate::stream::event_options::EventOptions;
use crate::stream::output::{Output, StreamFormat};
use crate::stream::session::{self, Product};
use crate::stream::signals::ProcessSignals;
use crate::stream::source::live::Live;
use crate::stream::source::replay::Replay;
use crate::stream::source::stream_programs::{StreamProgram, StreamPrograms, StreamSetup};
use crate::stream::source::watching::Watching;
use crate::stream::source::{EndedSource, Source};

const EXAMPLES: &str = "
  The RTT of every flow, at most ten times a second each:
    pping -i eth0
  Every RTT, for a program to read:
    pping -i eth0 -r 0 -F jsonl -w /var/log/pping.jsonl
  Every RTT in a capture:
    pping --read capture.pcapng.gz -r 0
  A histogram of each /24 and /48 every ten seconds:
    pping -i eth0 -a 10 -F jsonl

An RTT event names the host that answered, then the host whose packet was answered. The RTT is the
time from here to the host that answered and back. Times in JSON are in nanoseconds. With --write,
move FILE and send SIGHUP to start a new one.

A replay ends with a line on stderr: the packets read and measured, and what was left out, by
reason. The two directions of a connection are told apart by the addresses, whatever the capture
says of them, and match_on_egress means nothing. Each RTT is the difference between the times of
its two packets; where time runs backwards there is none.";

const INGRESS_HOOKS: [Choice<Hook>; 2] = [
    ("tc", "At TC, after the kernel has made a socket buffer", Hook::Ingress),
    ("xdp", "At XDP, in the driver or directly after it", Hook::Xdp),
];

/// The XDP modes by their names in the eBPF pping.
const XDP_MODES: [Choice<XdpMode>; 3] = [
    ("unspecified", "Native if the driver supports it, else generic", XdpMode::Auto),
    ("native", "In the driver", XdpMode::Native),
    ("generic", "On socket buffers", XdpMode::Skb),
];

const CODES: [u8; 4] = [exit::XDP_ATTACH, exit::MAP, exit::MAP_KEY, exit::BPF_LOAD];

/// Stream the RTT of every flow
///
/// Measures passively, by TCP timestamps and ICMP echoes: it sends and delays no packets.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "pping",
    version,
    override_usage = "pping {--interface IF|--read FILE} [options]",
    after_help = after_help(EXAMPLES, &CODES),
    infer_long_args = true,
    args_override_self = true
)]
pub struct PpingArgs {
    /// Interface to listen on
    #[arg(long, short, value_name = "IF", allow_hyphen_values = true)]
    interface: Option<String>,

    /// Read a capture instead, on its own clock: pcap or pcapng, plain or gzipped; - is standard
    /// input
    #[arg(long, value_name = "FILE", allow_hyphen_values = true)]
    read: Option<PathBuf>,

    /// How to print [default: standard]
    #[arg(long, short = 'F', value_name = "FORMAT", default_value = stream_formats::FORMATS[0].name)]
    #[arg(value_parser = format_of(&stream_formats::FORMATS), hide_default_value = true)]
    format: StreamFormat,

    /// Measure TCP by its timestamps [default, unless --icmp is given]
    #[arg(long, short = 'T')]
    tcp: bool,

    /// Measure ICMP echoes, IPv4 and IPv6
    #[arg(long, short = 'C')]
    icmp: bool,

    /// Include the RTTs of answers that this host itself sends
    #[arg(long, short = 'l')]
    include_local: bool,

    /// Include the RTTs of handshakes, SYN and SYN-ACK
    #[arg(long = "include-SYN", short = 's')]
    include_syn: bool,

    /// Where arriving packets are seen: tc or xdp [default: tc]
    #[arg(long, short = 'I', value_name = "HOOK", default_value = "tc")]
    #[arg(value_parser = one_of(&INGRESS_HOOKS))]
    #[arg(hide_possible_values = true, hide_default_value = true)]
    ingress_hook: Hook,

    /// Mode of --ingress-hook xdp: unspecified (native if the driver supports it), native, generic
    /// [default: unspecified]
    #[arg(long, short = 'x', value_name = "MODE", default_value = "unspecified")]
    #[arg(value_parser = one_of(&XDP_MODES))]
    #[arg(hide_possible_values = true, hide_default_value = true)]
    xdp_mode: XdpMode,

    #[command(flatten)]
    events: EventArgs,

    #[command(flatten)]
    aggregate: AggregateArgs,

    /// Accepted for callers of the eBPF pping, and ignored: no state needs cleaning up
    #[arg(long, short = 'c', value_name = "S", allow_hyphen_values = true)]
    cleanup_interval: Option<String>,

    /// Accepted for callers of the eBPF pping, and ignored: other programs are never removed
    #[arg(long, short = 'f')]
    force: bool,
}

/// The source of the packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PacketSource {
    /// An interface. Whether it exists is checked when the command runs.
    Interface(IfName),
    /// A capture; `-` is standard input.
    Capture(PathBuf),
}

/// A checked command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PpingRequest {
    /// The source of the packets.
    pub input: PacketSource,
    /// Which RTTs become events.
    pub events: EventOptions,
    /// The file to write; `None`: standard output.
    pub file: Option<PathBuf>,
    /// The format to print in.
    pub format: StreamFormat,
    /// Whether to measure TCP.
    pub tcp: bool,
    /// Whether to measure ICMP echoes.
    pub icmp: bool,
    /// Whether answers that this host sends give RTTs.
    pub include_local: bool,
    /// Whether SYN and SYN-ACK give RTTs.
    pub include_syn: bool,
    /// The hook for arriving packets: [`Hook::Ingress`] or [`Hook::Xdp`].
    pub ingress: Hook,
    /// The mode of [`Hook::Xdp`].
    pub xdp_mode: XdpMode,
    /// The parameters of aggregates; `None`: single events.
    pub aggregate: Option<AggregateOptions>,
}

impl CommandLine for PpingRequest {
    type Args = PpingArgs;
}

impl TryFrom<PpingArgs> for PpingRequest {
    type Error = Error;

    fn try_from(args: PpingArgs) -> Result<Self> {
        let input = input(args.interface, args.read)?;
        if let Some(text) = args.cleanup_interval {
            parse_real("--cleanup-interval", &text, 0.0, WEEK, "seconds")?;
        }
        let aggregate = args.aggregate.read()?;
        if aggregate.is_some() && args.format == &stream_formats::PPVIZ {
            let remedy = "give --format standard, json or jsonl";
            let why = "the format has no aggregates";
            return Err(Error::usage("--aggregate with --format ppviz", why, remedy));
        }
        Ok(Self {
            input,
            file: args.events.file(),
            events: args.events.try_into()?,
            format: args.format,
            tcp: args.tcp || !args.icmp,
            icmp: args.icmp,
            include_local: args.include_local,
            include_syn: args.include_syn,
            ingress: args.ingress_hook,
            xdp_mode: args.xdp_mode,
            aggregate,
        })
    }
}

/// Checks that exactly one source is given.
fn input(interface: Option<String>, capture: Option<PathBuf>) -> Result<PacketSource> {
    exactly_one(&[("--interface", interface.is_some()), ("--read", capture.is_some())])?;
    let capture = capture.map(PacketSource::Capture);
    let interface =
        interface.map(|name| IfName::parse("--interface", &name).map(PacketSource::Interface));
    required("--interface", interface.transpose()?.or(capture))
}

impl PpingRequest {
    /// Writes these options into the programs' configuration, and leaves its other fields alone.
    pub fn apply(&self, config: &mut StreamConfig) {
        self.events.apply(config);
        config.events = 1;
        config.tcp = u8::from(self.tcp);
        config.icmp = u8::from(self.icmp);
        config.include_local = u8::from(self.include_local);
        if let Some(aggregate) = &self.aggregate {
            config.aggregate = 1;
            config.subnet_v4 = aggregate.subnet_v4;
            config.subnet_v6 = aggregate.subnet_v6;
        }
    }
}

/// Runs the command. Blocks the signals first, so that none ends the process while programs are
/// attached. Opens the output last: a command that fails must not touch the file.
///
/// # Errors
/// See [`crate::domain::error::EXIT_CODES`].
pub fn run(request: PpingRequest) -> Result<()> {
    let mut signals = ProcessSignals::block()?;
    let progress = ReplayProgress::default();
    let (mut source, clock) = source(&request, &signals, &progress)?;
    let stop = Some(signals.stop_fd());
    let output = Output::open(request.file.as_deref(), request.format, false, stop)?;
    progress.begin(&output);
    let product = request.aggregate.map_or(Product::Events(Sides::Both), Product::Aggregates);
    let ended = session::run(source.as_mut(), &mut signals, output, clock, product, &warn);
    progress.end();
    if let Some(summary) = source.summary() {
        print_note(format_args!("{summary}"));
    }
    ended
}

/// Opens the source of the request, and its clock.
fn source(
    request: &PpingRequest,
    signals: &ProcessSignals,
    progress: &ReplayProgress,
) -> Result<(Box<dyn Source>, Clock)> {
    let path = match &request.input {
        PacketSource::Interface(dev) => {
            return Ok((Box::new(watch(request, dev)?), Clock::live()?));
        }
        PacketSource::Capture(path) => path,
    };
    let source: Box<dyn Source> = match replay(request, path, signals, progress) {
        Ok(replay) => Box::new(replay),
        // A stop ends the wait for a pipe that says nothing: that is no fault of the capture.
        Err(_) if signals.stop_waits() => Box::new(EndedSource),
        Err(err) => return Err(err),
    };
    Ok((source, Clock::fixed(0)))
}

/// Loads the programs for a capture. A capture does not say which answers this host sent itself, so
/// all answers give RTTs.
fn replay(
    request: &PpingRequest,
    path: &Path,
    signals: &ProcessSignals,
    progress: &ReplayProgress,
) -> Result<Replay> {
    let capture = Capture::open(path, Some(signals.stop_fd()))?;
    let mut stream = StreamConfig::default();
    request.apply(&mut stream);
    stream.include_local = 1;
    let programs = StreamPrograms::load(&StreamSetup {
        programs: &[StreamProgram::Xdp],
        stream,
        handshake: request.include_syn,
        replay: true,
        flows: DEFAULT_FLOWS as u32,
    })?;
    Replay::new(programs, capture, progress.shower())
}

/// Loads the programs and attaches them to the interface.
fn watch(request: &PpingRequest, dev: &IfName) -> Result<Live<Watching>> {
    device::ifindex(dev)?;
    let bare = device::has_bare_ip(dev)?;
    let mut stream = StreamConfig { no_link_header: bare.into(), ..StreamConfig::default() };
    request.apply(&mut stream);
    let arriving = match request.ingress {
        Hook::Xdp => StreamProgram::Xdp,
        _ => StreamProgram::Ingress,
    };
    let programs = StreamPrograms::load(&StreamSetup {
        programs: &[arriving, StreamProgram::Egress],
        stream,
        handshake: request.include_syn,
        replay: false,
        flows: DEFAULT_FLOWS as u32,
    })?;
    let watching = Watching::begin(dev, &programs, request.ingress, request.xdp_mode)?;
    if let Some(blind_spot) = watching.blind_spot() {
        warn(format_args!("{blind_spot}"));
    }
    Ok(Live::new(watching, programs))
}

#[cfg(test)]
mod tests;
