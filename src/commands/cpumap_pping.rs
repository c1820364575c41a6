// SPDX-License-Identifier: GPL-2.0-only
//! `cpumap-pping`: shows the status of the set-up, and finds its faults.

use std::fmt::Write;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

use crate::commands::command_line::{after_help, CommandLine};
use crate::commands::options::parse_interval;
use crate::commands::print::{print, print_line, print_record};
use crate::domain::error::{exit, Error, Result};
use crate::format::status_formats;
use crate::kernel::capability::{missing_capabilities, LOAD_CAPABILITIES};
use crate::kernel::pin::PinDir;
use crate::kernel::{device, libbpf, netlink};
use crate::shaper::counters::Counters;
use crate::shaper::doctor::{diagnose, Facts, Severity};
use crate::shaper::inventory::{self, Inventory};
use crate::shaper::queueing::Device;
use crate::shaper::status::StatusSnapshot;

const EXAMPLES: &str = "
  cpumap-pping status
  cpumap-pping status --json | jq '.counters.tc_wrong_cpu.per_second'
  cpumap-pping check || echo 'traffic is shaped wrongly'";

const CODES: [u8; 3] = [exit::MAP, exit::MAP_FILE, exit::BPFFS];

/// Show the status of the set-up; find its faults
#[derive(Clone, Debug, Parser)]
#[command(
    name = "cpumap-pping",
    version,
    after_help = after_help(EXAMPLES, &CODES),
    infer_long_args = true,
    args_override_self = true,
    disable_help_subcommand = true
)]
pub struct CpumapPpingArgs {
    #[command(subcommand)]
    command: Subcommands,
}

#[derive(Clone, Debug, Subcommand)]
enum Subcommands {
    /// Show the attached programs and their mode, how full the maps are, counters and rates
    Status {
        /// Print one JSON object instead of text
        ///
        /// Keys: "loaded" (false, and nothing else, when nothing is loaded); "interfaces", a list
        /// of "name" (null: gone), "ifindex", "direction" ("lan", "wan" or null), "xdp" and
        /// "classifier" ("id", "name", for XDP "mode"; or null), "pinned_maps" (false: its programs
        /// use other maps than the pinned ones); "cpus", a list of "cpu", "available", "queue_size"
        /// (null: not in cpu_map), "tx_queue", "htb_major", "mappings"; "maps", by name, "used" and
        /// "limit"; "interval" in seconds; "counters", by name, "count", "per_second" and "help".
        #[arg(long)]
        json: bool,

        /// Also show the counters that are 0 (JSON always has them)
        #[arg(long)]
        all: bool,

        /// Time over which rates are measured, in seconds: 0.1 to 86400 [default: 1]
        #[arg(long, value_name = "SECONDS", allow_hyphen_values = true)]
        interval: Option<String>,
    },
    /// Find faults and say how to mend each; exits 1 if traffic is shaped wrongly
    ///
    /// Prints one line for each fault: ERROR if packets are not steered or shaped as the mapping
    /// says, WARN if they are but the set-up should be changed; what is wrong; how to mend it.
    /// Exits 0 if there are only warnings.
    Check,
}

/// A checked command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CpumapPpingRequest {
    /// Show the status.
    Status(StatusRequest),
    /// Look for faults.
    Check,
}

/// How to show the status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusRequest {
    /// Whether to print JSON, not tables.
    pub json: bool,
    /// Whether the tables have the counters that are 0.
    pub all: bool,
    /// Time between the two readings of the counters.
    pub interval: Duration,
}

impl Default for StatusRequest {
    fn default() -> Self {
        Self { json: false, all: false, interval: Duration::from_secs(1) }
    }
}

impl CommandLine for CpumapPpingRequest {
    type Args = CpumapPpingArgs;
}

impl TryFrom<CpumapPpingArgs> for CpumapPpingRequest {
    type Error = Error;

    fn try_from(args: CpumapPpingArgs) -> Result<Self> {
        match args.command {
            Subcommands::Check => Ok(Self::Check),
            Subcommands::Status { json, all, interval } => {
                let read = |text: &str| parse_interval("--interval", text);
                let interval = interval.as_deref().map(read).transpose()?;
                let interval = interval.unwrap_or(StatusRequest::default().interval);
                Ok(Self::Status(StatusRequest { json, all, interval }))
            }
        }
    }
}

/// Runs the command.
///
/// # Errors
/// See [`crate::domain::error::EXIT_CODES`].
pub fn run(request: CpumapPpingRequest) -> Result<ExitCode> {
    libbpf::silence();
    let dir = PinDir::default();
    let inventory = Inventory::read(&dir).map_err(|err| explain_missing_maps(&dir, err));
    match request {
        CpumapPpingRequest::Status(how) => show(&dir, &how, inventory),
        CpumapPpingRequest::Check => check(&dir, &inventory?),
    }
}

/// Explains a missing pin if programs are attached: then bpffs is mounted over, or it is not the
/// one in which the programs were loaded. `ip netns exec` mounts a new one.
fn explain_missing_maps(dir: &PinDir, err: Error) -> Error {
    let Error::MapFile(detail) = err else { return err };
    let devices = inventory::attached(dir).unwrap_or_default();
    if devices.is_empty() {
        return Error::MapFile(detail);
    }
    let names: Vec<_> = devices.iter().map(ToString::to_string).collect();
    let why = format!("programs are attached to {}, but their maps are not here", names.join(", "));
    let remedy = "`ip netns exec` hides them: use nsenter --net; else load again on each interface";
    Error::map_file(detail.what, why, remedy)
}

/// Shows the status. If nothing is loaded, returns that error; with `--json` it first prints
/// `{"loaded":false}`, so that a caller's JSON parser does not fail.
fn show(dir: &PinDir, how: &StatusRequest, inventory: Result<Inventory>) -> Result<ExitCode> {
    let inventory = match inventory {
        Err(err @ Error::MapFile(_)) if how.json => {
            print_line(format_args!(r#"{{"loaded":false}}"#))?;
            return Err(err);
        }
        result => result?,
    };
    let state = StatusSnapshot::read(dir, inventory, how.interval, how.all)?;
    print_record(if how.json { &status_formats::JSON } else { &status_formats::TEXT }, &state)?;
    Ok(ExitCode::SUCCESS)
}

/// Finds and prints faults. Returns the failure code if one of them is an error.
fn check(dir: &PinDir, inventory: &Inventory) -> Result<ExitCode> {
    let findings = diagnose(&Facts {
        inventory,
        devices: devices(inventory)?,
        counters: Counters::read(dir)?,
        forward_sets_priority: device::forward_sets_priority(),
        missing_capabilities: missing_capabilities(&LOAD_CAPABILITIES),
    });
    let count = |severity| findings.iter().filter(|f| f.severity == severity).count();
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    let mut text = String::new();
    for finding in &findings {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{finding}");
    }
    let (interfaces, mappings) = (inventory.present().count(), inventory.mappings.len());
    let _ = writeln!(
        text,
        "{errors} errors, {warnings} warnings; {interfaces} interfaces, {mappings} mappings checked"
    );
    print(text.as_bytes())?;
    Ok(ExitCode::from(if errors > 0 { exit::FAILURE } else { exit::SUCCESS }))
}

/// Reads the devices of the set-up, in the order of the interfaces.
fn devices(inventory: &Inventory) -> Result<Vec<(u32, Device)>> {
    let qdiscs = netlink::qdiscs()?;
    let read = |(name, interface): (&_, &inventory::Interface)| {
        Ok((interface.ifindex, Device::read(name, interface.ifindex, &qdiscs)?))
    };
    inventory.present().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::command_line::{words, StdStream};

    #[test]
    fn options_become_requests() {
        let plain = StatusRequest::default();
        let json = StatusRequest { json: true, ..plain };
        let half = StatusRequest { all: true, interval: Duration::from_millis(500), ..plain };
        let table = [
            ("status", CpumapPpingRequest::Status(plain)),
            ("status --json", CpumapPpingRequest::Status(json)),
            ("status --js --json", CpumapPpingRequest::Status(json)),
            ("status --interval=0.5 --all", CpumapPpingRequest::Status(half)),
            ("check", CpumapPpingRequest::Check),
        ];
        for (line, request) in table {
            assert_eq!(CpumapPpingRequest::parse(words(line)).unwrap(), request, "{line}");
        }
    }

    #[test]
    fn bad_command_lines_are_refused() {
        for line in ["", "bogus", "--bogus", "check --json", "status extra", "status --interval -1"]
        {
            let exit = CpumapPpingRequest::parse(words(line)).unwrap_err();
            assert_eq!((exit.code, exit.stream), (2, StdStream::Stderr), "{line}");
            assert!(exit.text.starts_with("ERR: "), "{line}: {}", exit.text);
            assert!(exit.text.contains("Usage:"), "{line}: {}", exit.text);
        }
    }

    #[test]
    fn each_subcommand_has_help() {
        for line in ["--help", "status --help", "check -h"] {
            let exit = CpumapPpingRequest::parse(words(line)).unwrap_err();
            assert_eq!((exit.code, exit.stream), (0, StdStream::Stdout), "{line}");
        }
    }
}
