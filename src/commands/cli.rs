// SPDX-License-Identifier: GPL-2.0-only
//! The command lines of all commands: options in, a checked request out. Nothing here touches a map
//! or a device.
//!
//! Options are read as GNU getopt_long reads them: `--dev X`, `--dev=X`, unambiguous prefixes,
//! `-deth0`, any order, the last one wins, and an option that takes a value takes the next word
//! whatever it looks like.
//!
//! Each module holds one command: its `Args` (what clap reads, and what help, man page and
//! completions are made of), its `Request` (what remains to be done once everything is checked),
//! `parse` and `command`.

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::{ExitCode, Termination};
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches, Parser};

use crate::error::{exit, Error, Result, EXIT_CODES};
use crate::values::parse_number;

pub mod cpumap_pping;
pub mod edits;
pub mod events;
pub mod pping;
pub mod tc_classify;
pub mod xdp_iphash_to_cpu;
pub mod xdp_iphash_to_cpu_cmdline;
pub mod xdp_pass;
pub mod xdp_pping;

/// A command's name and its definition.
pub type NamedCommand = (&'static str, fn() -> clap::Command);

/// Every command of the package. Man pages and completions are generated from this table.
pub const COMMANDS: [NamedCommand; 7] = [
    ("cpumap-pping", cpumap_pping::Request::command),
    ("pping", pping::Request::command),
    ("tc_classify", tc_classify::Request::command),
    ("xdp_iphash_to_cpu", xdp_iphash_to_cpu::Request::command),
    ("xdp_iphash_to_cpu_cmdline", xdp_iphash_to_cpu_cmdline::Request::command),
    ("xdp_pass", xdp_pass::Request::command),
    ("xdp_pping", xdp_pping::Request::command),
];

/// A checked command line, made from what clap read.
pub trait Request: TryFrom<Self::Args, Error = Error> {
    /// What clap reads.
    type Args: Parser;

    /// Reads the command line, program name included.
    ///
    /// # Errors
    /// A [`CliExit`] that says what to print and how to exit: help (0), bad option (2), bad IP (30),
    /// bad CPU (31).
    fn parse<T>(args: impl IntoIterator<Item = T>) -> std::result::Result<Self, CliExit>
    where
        T: Into<OsString> + Clone,
    {
        let read = Self::command()
            .try_get_matches_from(args)
            .and_then(|matches| Self::Args::from_arg_matches(&matches))
            .map_err(|err| CliExit::from_clap(&err, Self::command()))?;
        Self::try_from(read).map_err(|err| CliExit::from_error(&err, Self::command()))
    }

    /// The command's definition.
    fn command() -> clap::Command {
        Self::Args::command()
    }
}

/// Where a text belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Results and help.
    Stdout,
    /// Errors and usage.
    Stderr,
}

/// Why a command ends without doing anything: help was asked for, or the command line is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CliExit {
    /// What to print; ends with a newline.
    pub text: String,
    /// Where to print it.
    pub stream: Stream,
    /// The process exit code.
    pub code: u8,
}

/// How clap ends an error message.
const HINT: &str = "\nFor more information, try '--help'.\n";

impl CliExit {
    fn from_clap(err: &clap::Error, command: clap::Command) -> Self {
        let text = err.render().to_string();
        if matches!(err.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
            return Self { text, stream: Stream::Stdout, code: exit::SUCCESS };
        }
        let mut text = match text.strip_prefix("error: ") {
            Some(message) => format!("ERR: {message}"),
            // All that clap prints when a subcommand is missing is the help.
            None => format!("ERR: no command given\n\n{text}"),
        };
        if !text.contains("Usage:") {
            text = format!("{}{}", text.trim_end_matches(HINT), usage(command));
        }
        Self { text, stream: Stream::Stderr, code: exit::USAGE }
    }

    fn from_error(err: &Error, command: clap::Command) -> Self {
        let mut text = format!("ERR: {err}\n");
        if matches!(err, Error::Usage(_)) {
            text.push_str(&usage(command));
        }
        Self { text, stream: Stream::Stderr, code: err.exit_code() }
    }

    /// Prints the text and hands back the code. A reader that went away is no error.
    pub fn emit(&self) -> ExitCode {
        let written = match self.stream {
            Stream::Stdout => io::stdout().write_all(self.text.as_bytes()),
            Stream::Stderr => io::stderr().write_all(self.text.as_bytes()),
        };
        match written {
            Err(err) if self.code == exit::SUCCESS && err.kind() != io::ErrorKind::BrokenPipe => {
                ExitCode::from(exit::FAILURE)
            }
            _ => ExitCode::from(self.code),
        }
    }
}

fn usage(mut command: clap::Command) -> String {
    format!("\n{}\n{HINT}", command.render_usage())
}

/// The whole of a command's `main`: reads the process's arguments, calls `run`, reports the result.
///
/// `run` returns `()`, or an [`ExitCode`] of its own. An error is printed on stderr as `ERR: …`,
/// with the usage if it is about the command line. When the reader of stdout went away the command
/// ends silently and with success, as `… | head` expects.
pub fn main_exit<R, O>(run: impl FnOnce(R) -> Result<O>) -> ExitCode
where
    R: Request,
    O: Termination,
{
    let request = match R::parse(std::env::args_os()) {
        Ok(request) => request,
        Err(exit) => return exit.emit(),
    };
    match run(request) {
        Ok(outcome) => outcome.report(),
        Err(Error::Output(err)) if err.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(err) => CliExit::from_error(&err, R::command()).emit(),
    }
}

/// Options that switch the RTT measurement.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
pub struct RttArgs {
    /// Flows whose RTT can be followed at once, 1024 to 16777216, rounded up to a power of two
    /// [default: 262144, or what the running set-up has]
    #[arg(long, value_name = "N", allow_hyphen_values = true, help_heading = RTT_HEADING)]
    flows: Option<String>,

    /// Count the RTT of SYN and SYN-ACK as well [default: only of segments that carry data]
    #[arg(long, help_heading = RTT_HEADING)]
    handshake: bool,

    /// Do not measure RTTs: steer and classify only
    #[arg(long, help_heading = RTT_HEADING)]
    no_rtt: bool,
}

const RTT_HEADING: &str = "RTT options (in force from this load on)";

impl TryFrom<RttArgs> for RttOptions {
    type Error = Error;

    fn try_from(args: RttArgs) -> Result<Self> {
        exclusive(("--no-rtt", args.no_rtt), ("--handshake", args.handshake))?;
        let read = |text: String| parse_number("--flows", &text, Self::MIN_FLOWS, Self::MAX_FLOWS);
        let flows = args.flows.map(read).transpose()?;
        Ok(Self {
            enabled: !args.no_rtt,
            handshake: args.handshake,
            flows: flows.map(u32::next_power_of_two),
        })
    }
}

/// Refuses two options that exclude each other, naming both.
fn exclusive(a: (&str, bool), b: (&str, bool)) -> Result<()> {
    if a.1 && b.1 {
        let what = format!("{} with {}", a.0, b.0);
        return Err(Error::usage(what, "they exclude each other", "give one of them"));
    }
    Ok(())
}

/// The one option of `group` that was given; refuses none and the first two of several.
fn exactly_one<'a>(group: &[(&'a str, bool)]) -> Result<&'a str> {
    let mut given = group.iter().filter(|(_, given)| *given);
    match (given.next(), given.next()) {
        (Some((only, _)), None) => Ok(only),
        (Some(&a), Some(&b)) => exclusive(a, b).map(|()| a.0),
        (None, _) => {
            let names: Vec<_> = group.iter().map(|(name, _)| *name).collect();
            Err(missing(&names.join(", "), "one of them is required"))
        }
    }
}

/// The value of an option that must be there.
fn required<T>(option: &str, value: Option<T>) -> Result<T> {
    value.ok_or_else(|| missing(option, "required option"))
}

fn missing(option: &str, why: &str) -> Error {
    Error::usage(format!("missing {option}"), why, "see --help for examples")
}

/// Reads a time in seconds, 0.1 to one day; `option` names it in the error.
fn parse_interval(option: &str, text: &str) -> Result<Duration> {
    let plain = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let seconds = text.parse().ok().filter(|s| plain && (0.1..=86_400.0).contains(s));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| {
        let what = format!("{option} '{text}'");
        Error::usage(what, "not an interval", "give seconds from 0.1 to 86400")
    })
}

/// What stands under the options: calls that work, and the exit codes among [`EXIT_CODES`] that
/// this command can end with (besides 0, 1 and 2).
fn after_help(examples: &str, codes: &[u8]) -> String {
    let applies = |code: u8| code <= exit::USAGE || codes.contains(&code);
    let list: String = EXIT_CODES
        .iter()
        .filter(|(code, _)| applies(*code))
        .map(|(code, meaning)| format!("\n  {code:<2}  {meaning}"))
        .collect();
    format!("Examples:\n{}\n\nExit codes:{list}", examples.trim_matches('\n'))
}

/// A command line for tests, from words with spaces between them.
#[cfg(test)]
fn words(line: &str) -> Vec<&str> {
    std::iter::once("prog").chain(line.split_whitespace()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn definitions_are_consistent() {
        for (name, command) in COMMANDS {
            let command = command();
            assert_eq!(command.get_name(), name);
            command.debug_assert();
        }
    }

    #[test]
    fn help_serves_an_operator() {
        for (name, command) in COMMANDS {
            let help = command().render_long_help().to_string();
            for part in ["Usage:", "Examples:", "Exit codes:", "  0   success"] {
                assert!(help.contains(part), "{name}: {part} in\n{help}");
            }
            let longest = help.lines().map(|line| line.chars().count()).max();
            assert!(longest <= Some(100), "{name}: a help line is too long for a terminal");
            let mut todo = vec![command()];
            while let Some(command) = todo.pop() {
                for arg in command.get_arguments() {
                    assert!(arg.get_help().is_some(), "{name}: {} has no help", arg.get_id());
                }
                todo.extend(command.get_subcommands().cloned());
            }
        }
    }

    #[test]
    fn every_command_has_help_and_refuses_unknown_options() {
        for (name, command) in COMMANDS {
            for option in ["--help", "-h", "--hel"] {
                let err = command().try_get_matches_from([name, option]).unwrap_err();
                let exit = CliExit::from_clap(&err, command());
                assert_eq!((exit.code, exit.stream), (0, Stream::Stdout), "{name} {option}");
                assert!(exit.text.contains("Usage:"), "{name} {option}");
            }
            for option in ["--bogus", "-Z", "stray"] {
                let err = command().try_get_matches_from([name, option]).unwrap_err();
                let exit = CliExit::from_clap(&err, command());
                assert_eq!((exit.code, exit.stream), (2, Stream::Stderr), "{name} {option}");
                assert!(exit.text.starts_with("ERR: "), "{name} {option}: {}", exit.text);
                assert!(exit.text.contains("Usage:"), "{name} {option}: {}", exit.text);
            }
        }
    }

    #[test]
    fn options_that_exclude_each_other_are_both_named() {
        let group = [("--add", true), ("--del", false), ("--list", true)];
        let err = exactly_one(&group).unwrap_err();
        assert_eq!(err.to_string(), "--add with --list: they exclude each other; give one of them");
        assert_eq!(exactly_one(&group[..2]).unwrap(), "--add");
        let err = exactly_one(&[("--wan", false), ("--lan", false)]).unwrap_err();
        assert_eq!(
            err.to_string(),
            "missing --wan, --lan: one of them is required; see --help for examples"
        );
    }

    #[test]
    fn rtt_options() {
        let args = |flows: Option<&str>, handshake, no_rtt| RttArgs {
            flows: flows.map(str::to_owned),
            handshake,
            no_rtt,
        };
        assert_eq!(RttOptions::try_from(RttArgs::default()).unwrap(), RttOptions::default());
        let table = [("1024", 1024), ("1025", 2048), ("262144", 262_144), ("0x1000000", 1 << 24)];
        for (text, flows) in table {
            let options = RttOptions::try_from(args(Some(text), true, false)).unwrap();
            assert_eq!(options.flows, Some(flows), "{text}");
            assert!(options.enabled && options.handshake);
        }
        for text in ["", "0", "1023", "16777217", "-1", "1k"] {
            let err = RttOptions::try_from(args(Some(text), false, false)).unwrap_err();
            assert_eq!(err.exit_code(), exit::USAGE, "{text:?}");
        }
        let err = RttOptions::try_from(args(None, true, true)).unwrap_err();
        assert!(err.to_string().contains("--no-rtt with --handshake"), "{err}");
        assert!(!RttOptions::try_from(args(None, false, true)).unwrap().enabled);
    }
}
