// SPDX-License-Identifier: GPL-2.0-only
//! `cpumap-pping`: the command for people. Shows the state of the set-up and finds its faults.

use std::ffi::OsString;

use clap::{CommandFactory, Parser, Subcommand};

use super::CliExit;
use crate::error::{exit, Error, Result};

const EXAMPLES: &str = "
  cpumap-pping status
  cpumap-pping status --json | jq .
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
        #[arg(long)]
        json: bool,
    },
    /// Look for faults and say how to mend each; exits 1 if traffic is being mis-shaped
    Check,
}

/// A checked command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Show the state of the set-up.
    Status {
        /// As one JSON object.
        json: bool,
    },
    /// Look for faults.
    Check,
}

impl super::Request for Request {
    type Args = Args;
}

impl From<Command> for Request {
    fn from(command: Command) -> Self {
        match command {
            Command::Status { json } => Self::Status { json },
            Command::Check => Self::Check,
        }
    }
}

impl TryFrom<Args> for Request {
    type Error = Error;

    fn try_from(args: Args) -> Result<Self> {
        Ok(args.command.into())
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
    use crate::cli::{words, Stream};

    #[test]
    fn what_is_asked_for() {
        let table = [
            ("status", Request::Status { json: false }),
            ("status --json", Request::Status { json: true }),
            ("status --js --json", Request::Status { json: true }),
            ("check", Request::Check),
        ];
        for (line, request) in table {
            assert_eq!(parse(words(line)).unwrap(), request, "{line}");
        }
    }

    #[test]
    fn refusals() {
        for line in ["", "bogus", "--bogus", "check --json", "status extra"] {
            let exit = parse(words(line)).unwrap_err();
            assert_eq!((exit.code, exit.stream), (2, Stream::Stderr), "{line}");
            assert!(exit.text.starts_with("ERR: "), "{line}: {}", exit.text);
            assert!(exit.text.contains("Usage:"), "{line}: {}", exit.text);
        }
    }

    #[test]
    fn each_subcommand_has_help() {
        for line in ["--help", "status --help", "check -h"] {
            let exit = parse(words(line)).unwrap_err();
            assert_eq!((exit.code, exit.stream), (0, Stream::Stdout), "{line}");
        }
    }
}
