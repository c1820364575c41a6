// SPDX-License-Identifier: GPL-2.0-only
//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use crate::cost::compare::Schedule;
use crate::cost::workload::Load;

/// Measure what a packet costs: the packet path beside reference programs, attached in turn under one load. Needs root.
///
/// Without --only and --quick, all parts run, in about six minutes, and the report is written to docs/reports/.
/// The report shows missed targets; the exit code does not, because timing is noisy.
#[derive(Debug, Parser)]
#[command(version)]
pub struct BenchOptions {
    /// Run only these parts; write no report to docs/reports/
    #[arg(long, value_enum, value_delimiter = ',', value_name = "NAME[,NAME...]")]
    pub only: Vec<ReportPart>,
    /// Write the report as JSON to this file
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Run fewer and shorter rounds, for a quick look; write no report to docs/reports/
    #[arg(long)]
    pub quick: bool,
    /// Number of rounds; every system has one turn in each
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub rounds: Option<u16>,
    /// Milliseconds that a system is measured in each round
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..))]
    pub window: Option<u64>,
    /// Live mix: also compare variants of our programs with pieces switched off
    #[arg(long)]
    pub pieces: bool,
    /// Live mix: also compare another build of our object (cpumap_pping.bpf.o)
    #[arg(long, value_name = "NAME=FILE", value_parser = object)]
    pub object: Vec<(String, PathBuf)>,
    /// Poll the devices from threads, a batch at a time, instead of for each frame
    #[arg(long)]
    pub threaded: bool,
}

/// A part of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ReportPart {
    /// 20 000 flows of 4000 subscribers, half of the packets on a sixteenth of the flows
    LiveMix,
    /// All packets of one flow, full segments
    HotFlow,
    /// 200 000 flows of 50 000 subscribers, each packet of another flow
    Cold,
    /// The live mix in IPv6
    Ipv6,
    /// The live mix in two VLAN tags, bridged
    TwoTags,
    /// The live mix without the TCP timestamps option
    TimestampsOff,
    /// The live mix in UDP
    Udp,
    /// Scaling: our programs with 1000 to 1 000 000 mappings loaded
    Mappings,
    /// Scaling: samples kept of 10 000 to 1 000 000 flows
    Flows,
    /// The live mix with a follower (xdp_pping --follow), and the events per second that reach a file
    Stream,
    /// --replace, --list and xdp_pping with many entries (the release programs)
    Bulk,
}

impl ReportPart {
    /// Returns the name on the command line.
    pub fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

fn object(text: &str) -> Result<(String, PathBuf), String> {
    let (name, file) = text.split_once('=').ok_or("expected NAME=FILE")?;
    Ok((name.to_owned(), file.into()))
}

impl BenchOptions {
    /// Returns the parts to run, in the order of the report, each once.
    pub fn parts(&self) -> Vec<ReportPart> {
        let wanted = |part: &ReportPart| self.only.is_empty() || self.only.contains(part);
        ReportPart::value_variants().iter().copied().filter(wanted).collect()
    }

    /// Returns whether the run makes a report: all parts, at full length.
    pub fn is_report(&self) -> bool {
        self.only.is_empty() && !self.quick
    }

    /// Returns how long and how often a part measures each system.
    pub fn schedule(&self, part: ReportPart) -> Schedule {
        let ms = Duration::from_millis;
        let (rounds, window, settle) = match (self.quick, part) {
            (true, _) => (3, 300, 200),
            (_, ReportPart::LiveMix) => (10, 700, 250),
            _ => (5, 400, 200),
        };
        Schedule {
            rounds: self.rounds.map_or(rounds, usize::from),
            window: ms(self.window.unwrap_or(window)),
            settle: ms(settle),
            warm_up: ms(if part == ReportPart::LiveMix { 2000 } else { 1000 }),
            // A whole cycle, so that the flow table knows every flow.
            warm_up_segments: if part == ReportPart::Cold { Load::cold().flows.into() } else { 0 },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(args: &str) -> Result<BenchOptions, clap::Error> {
        BenchOptions::try_parse_from(std::iter::once("bench").chain(args.split_whitespace()))
    }

    #[test]
    fn the_definition_is_sound() {
        BenchOptions::command().debug_assert();
    }

    #[test]
    fn parts_come_in_the_report_s_order() {
        let options = parse("--only udp,live-mix --only cold,udp").unwrap();
        assert_eq!(options.parts(), [ReportPart::LiveMix, ReportPart::Cold, ReportPart::Udp]);
        assert!(!options.is_report());
        assert_eq!(parse("").unwrap().parts().len(), ReportPart::value_variants().len());
        assert!(parse("").unwrap().is_report() && !parse("--quick").unwrap().is_report());
        assert_eq!(ReportPart::TwoTags.name(), "two-tags");
    }

    #[test]
    fn nonsense_is_refused() {
        for args in ["--only cld", "--rounds 0", "--window 0", "--object x.o", "--window"] {
            assert!(parse(args).is_err(), "{args}");
        }
    }

    #[test]
    fn options_override_the_schedule() {
        let schedule = parse("--quick --rounds 7 --window 50").unwrap().schedule(ReportPart::Cold);
        assert_eq!((schedule.rounds, schedule.window), (7, Duration::from_millis(50)));
    }
}
