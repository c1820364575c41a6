// SPDX-License-Identifier: GPL-2.0-only
//! `pping`: streams the RTTs of the flows that pass one interface, or that a capture holds.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Parser;

use crate::abi::{StreamConfig, DEFAULT_FLOWS};
use crate::commands::command_line::{after_help, CommandLine};
use crate::commands::event_args::EventArgs;
use crate::commands::options::{
    exactly_one, format_of, one_of, parse_real, required, Choice, WEEK,
};
use crate::commands::print::warn;
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
use crate::stream::source::Source;

const EXAMPLES: &str = "
  Every flow's RTT, at most ten times a second:
    pping -i eth0
  All of them, for a program to read:
    pping -i eth0 -r 0 -F jsonl -w /var/log/pping.jsonl
  What a capture holds:
    pping --read capture.pcapng.gz -r 0
  A histogram of each /24 and /48 every ten seconds:
    pping -i eth0 -a 10 -F jsonl

An RTT event names the host that answered first, then the host whose packet it answered: the RTT is
that from here to the first and back. JSON holds times in nanoseconds. With --write, SIGHUP opens
FILE again: move the old one first. A capture does not always say which packets left: then each
direction of a connection counts as one, and match_on_egress means nothing.";

const INGRESS_HOOKS: [Choice<Hook>; 2] = [
    ("tc", "After the kernel made a socket buffer of them", Hook::Ingress),
    ("xdp", "In the driver, or right after it", Hook::Xdp),
];

/// The names that the eBPF pping has for the modes.
const XDP_MODES: [Choice<XdpMode>; 3] = [
    ("unspecified", "Native where the driver can, else generic", XdpMode::Auto),
    ("native", "In the driver", XdpMode::Native),
    ("generic", "On socket buffers", XdpMode::Skb),
];

const CODES: [u8; 4] = [exit::XDP_ATTACH, exit::MAP, exit::MAP_KEY, exit::BPF_LOAD];

/// Stream the RTT of every flow
///
/// Measures passively, by TCP timestamps and ICMP echoes: nothing is sent, nothing is delayed.
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

    /// Replay a capture with its own clock: pcap or pcapng, also gzipped; -: standard input
    #[arg(long, value_name = "FILE", allow_hyphen_values = true)]
    read: Option<PathBuf>,

    /// How to print: standard, ppviz (RTTs only), json (one array) or jsonl (an object a line)
    /// [default: standard]
    #[arg(long, short = 'F', value_name = "FORMAT", default_value = stream_formats::FORMATS[0].name)]
    #[arg(value_parser = format_of(&stream_formats::FORMATS))]
    #[arg(hide_possible_values = true, hide_default_value = true)]
    format: StreamFormat,

    /// Measure TCP by its timestamps [default, unless --icmp is given]
    #[arg(long, short = 'T')]
    tcp: bool,

    /// Measure ICMP echoes, IPv4 and IPv6
    #[arg(long, short = 'C')]
    icmp: bool,

    /// Include the RTTs of this host's own answers
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

    /// Mode of --ingress-hook xdp: unspecified (native where the driver can), native or generic
    /// [default: unspecified]
    #[arg(long, short = 'x', value_name = "MODE", default_value = "unspecified")]
    #[arg(value_parser = one_of(&XDP_MODES))]
    #[arg(hide_possible_values = true, hide_default_value = true)]
    xdp_mode: XdpMode,

    #[command(flatten)]
    events: EventArgs,

    #[command(flatten)]
    aggregate: AggregateArgs,

    /// Accepted for eBPF pping's callers: nothing needs cleaning
    #[arg(long, short = 'c', value_name = "S", allow_hyphen_values = true)]
    cleanup_interval: Option<String>,

    /// Accepted for eBPF pping's callers: other programs are always left alone
    #[arg(long, short = 'f')]
    force: bool,
}

const AGGREGATES: &str = "Aggregates";

#[derive(Clone, Debug, clap::Args)]
struct AggregateArgs {
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

/// Where the packets come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PacketSource {
    /// An interface; whether it exists is not known yet.
    Interface(IfName),
    /// A capture; `-` is standard input.
    Capture(PathBuf),
}

/// A checked command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PpingRequest {
    /// Where the packets come from.
    pub input: PacketSource,
    /// Which RTTs become events.
    pub events: EventOptions,
    /// The file to write; `None`: standard output.
    pub file: Option<PathBuf>,
    /// How to print.
    pub format: StreamFormat,
    /// Measure TCP.
    pub tcp: bool,
    /// Measure ICMP echoes.
    pub icmp: bool,
    /// Also the RTTs of this host's own answers.
    pub include_local: bool,
    /// SYN and SYN-ACK count.
    pub include_syn: bool,
    /// Where arriving packets are seen.
    pub ingress: Hook,
    /// The mode of [`Hook::Xdp`].
    pub xdp_mode: XdpMode,
    /// Figures by subnet in the place of single events.
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

fn input(interface: Option<String>, capture: Option<PathBuf>) -> Result<PacketSource> {
    exactly_one(&[("--interface", interface.is_some()), ("--read", capture.is_some())])?;
    let capture = capture.map(PacketSource::Capture);
    let interface =
        interface.map(|name| IfName::parse("--interface", &name).map(PacketSource::Interface));
    required("--interface", interface.transpose()?.or(capture))
}

impl AggregateArgs {
    fn read(self) -> Result<Option<AggregateOptions>> {
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

    fn given(&self) -> Option<&'static str> {
        let group = [
            ("--aggregate-subnets-v4", self.subnets_v4.is_some()),
            ("--aggregate-subnets-v6", self.subnets_v6.is_some()),
            ("--aggregate-reverse", self.reverse),
            ("--aggregate-timeout", self.timeout.is_some()),
        ];
        group.into_iter().find(|(_, given)| *given).map(|(name, _)| name)
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

impl PpingRequest {
    /// What these options decide in the programs' configuration; the rest is as `config` has it.
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

/// Runs the command. The output is opened first, so that what is in its way shows before anything
/// is attached; from then on signals wait, so that nothing stays attached.
///
/// # Errors
/// See [`crate::domain::error::EXIT_CODES`].
pub fn run(request: PpingRequest) -> Result<()> {
    let output = Output::open(request.file.as_deref(), request.format, false)?;
    let mut signals = ProcessSignals::block()?;
    let (mut source, clock) = source(&request)?;
    let product = request.aggregate.map_or(Product::Events(Sides::Both), Product::Aggregates);
    session::run(source.as_mut(), &mut signals, output, clock, product, &warn)
}

/// What the request names, and its clock.
fn source(request: &PpingRequest) -> Result<(Box<dyn Source>, Clock)> {
    match &request.input {
        PacketSource::Interface(dev) => Ok((Box::new(watch(request, dev)?), Clock::live()?)),
        PacketSource::Capture(path) => Ok((Box::new(replay(request, path)?), Clock::fixed(0))),
    }
}

/// The programs, in front of a capture. It does not say which of its answers were this host's own:
/// all count.
fn replay(request: &PpingRequest, path: &Path) -> Result<Replay> {
    let capture = Capture::open(path)?;
    let mut stream = StreamConfig::default();
    request.apply(&mut stream);
    stream.include_local = 1;
    let programs = StreamPrograms::load(&StreamSetup {
        programs: &[StreamProgram::Ingress, StreamProgram::Egress],
        stream,
        handshake: request.include_syn,
        replay: true,
        flows: DEFAULT_FLOWS as u32,
    })?;
    Replay::new(programs, capture)
}

/// The programs, on the interface.
fn watch(request: &PpingRequest, dev: &IfName) -> Result<Live<Watching>> {
    let bare = device::has_ethernet_header(dev) == Some(false);
    let mut stream = StreamConfig { no_link_header: bare.into(), ..StreamConfig::default() };
    request.apply(&mut stream);
    let arriving = match request.ingress {
        Hook::Xdp => StreamProgram::Xdp,
        _ => StreamProgram::Ingress,
    };
    device::ifindex(dev)?;
    let programs = StreamPrograms::load(&StreamSetup {
        programs: &[arriving, StreamProgram::Egress],
        stream,
        handshake: request.include_syn,
        replay: false,
        flows: DEFAULT_FLOWS as u32,
    })?;
    let watching = Watching::begin(dev, &programs, request.ingress, request.xdp_mode)?;
    Ok(Live::new(watching, programs))
}

#[cfg(test)]
mod tests;
