// SPDX-License-Identifier: GPL-2.0-only
//! `cpumap-pping`: the command for people. Shows the state of the set-up and finds its faults.

use std::time::Duration;

use clap::{Parser, Subcommand};

use super::parse_interval;
use crate::error::{exit, Error, Result};

const EXAMPLES: &str = "
  cpumap-pping status
  cpumap-pping status --json | jq '.counters.tc_wrong_cpu.per_second'
  cpumap-pping check || echo 'traffic is being mis-shaped'";

const CODES: [u8; 3] = [exit::MAP, exit::MAP_FILE, exit::BPFFS];

/// Show what is attached and how it does; find what is set up wrongly
#[derive(Clone, Debug, Parser)]
#[command(
    name = "cpumap-pping",
    version,
    after_help = super::after_help(EXAMPLES, &CODES),
    infer_long_args = true,
    args_override_self = true,
    disable_help_subcommand = true
)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, Subcommand)]
enum Command {
    /// Show what is attached where and in which mode, how full the maps are, counters and rates
    Status {
        /// Print one JSON object instead of text
        ///
        /// Keys: "loaded" (false, and nothing else, when nothing is loaded); "interfaces", a list of
        /// "name" (null: gone), "ifindex", "direction" ("lan", "wan" or null), "xdp" and
        /// "classifier" ("id", "name", for XDP "mode"; or null), "pinned_maps" (false: its programs
        /// use other maps than the pinned ones); "cpus", a list of "cpu", "available", "queue_size"
        /// (null: not in cpu_map), "tx_queue", "htb_major", "mappings"; "maps", by name, "used" and
        /// "limit"; "interval" in seconds; "counters", by name, "count", "per_second" and "help".
        #[arg(long)]
        json: bool,

        /// Show the counters that are 0 as well (JSON has them always)
        #[arg(long)]
        all: bool,

        /// Time over which rates are measured: 0.1 to 86400 [default: 1]
        #[arg(long, value_name = "SECONDS", allow_hyphen_values = true)]
        interval: Option<String>,
    },
    /// Look for faults and say how to mend each; exits 1 if traffic is being mis-shaped
    ///
    /// One line a finding: an error where packets are not steered or shaped as the mapping says, a
    /// warning where they are but should not stay so; what is wrong; how to mend it. Warnings alone
    /// exit 0.
    Check,
}

/// A checked command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Show the state of the set-up.
    Status(Status),
    /// Look for faults.
    Check,
}

/// How to show the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// As one JSON object.
    pub json: bool,
    /// With the counters that are 0.
    pub all: bool,
    /// Time between the two readings of the counters.
    pub interval: Duration,
}

impl Default for Status {
    fn default() -> Self {
        Self { json: false, all: false, interval: Duration::from_secs(1) }
    }
}

impl super::Request for Request {
    type Args = Args;
}

impl TryFrom<Args> for Request {
    type Error = Error;

    fn try_from(args: Args) -> Result<Self> {
        match args.command {
            Command::Check => Ok(Self::Check),
            Command::Status { json, all, interval } => {
                let read = |text: &str| parse_interval("--interval", text);
                let interval = interval.as_deref().map(read).transpose()?;
                let interval = interval.unwrap_or(Status::default().interval);
                Ok(Self::Status(Status { json, all, interval }))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Request as _;
    use crate::cli::{words, Stream};

    #[test]
    fn what_is_asked_for() {
        let plain = Status::default();
        let json = Status { json: true, ..plain };
        let half = Status { all: true, interval: Duration::from_millis(500), ..plain };
        let table = [
            ("status", Request::Status(plain)),
            ("status --json", Request::Status(json)),
            ("status --js --json", Request::Status(json)),
            ("status --interval=0.5 --all", Request::Status(half)),
            ("check", Request::Check),
        ];
        for (line, request) in table {
            assert_eq!(Request::parse(words(line)).unwrap(), request, "{line}");
        }
    }

    #[test]
    fn refusals() {
        for line in ["", "bogus", "--bogus", "check --json", "status extra", "status --interval -1"]
        {
            let exit = Request::parse(words(line)).unwrap_err();
            assert_eq!((exit.code, exit.stream), (2, Stream::Stderr), "{line}");
            assert!(exit.text.starts_with("ERR: "), "{line}: {}", exit.text);
            assert!(exit.text.contains("Usage:"), "{line}: {}", exit.text);
        }
    }

    #[test]
    fn each_subcommand_has_help() {
        for line in ["--help", "status --help", "check -h"] {
            let exit = Request::parse(words(line)).unwrap_err();
            assert_eq!((exit.code, exit.stream), (0, Stream::Stdout), "{line}");
        }
    }
}
