// SPDX-License-Identifier: GPL-2.0-only
//! From the words of a command line to a checked request, and from the outcome to the exit code.
//! Nothing here touches a map or a device.
//!
//! Options are read as GNU getopt_long reads them: `--dev X`, `--dev=X`, unambiguous prefixes,
//! `-deth0`, any order, the last one wins, and an option that takes a value takes the next word
//! whatever it looks like.

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::{ExitCode, Termination};

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches, Parser};

use crate::domain::error::{exit, Error, Result, EXIT_CODES};

/// A checked command line, made from what clap read.
pub trait CommandLine: TryFrom<Self::Args, Error = Error> {
    /// What clap reads.
    type Args: Parser;

    /// Reads the command line, program name included.
    ///
    /// # Errors
    /// A [`CliExit`] that says what to print and how to exit: help (0), bad option (2), bad IP
    /// (30), bad CPU (31).
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
pub enum StdStream {
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
    pub stream: StdStream,
    /// The process exit code.
    pub code: u8,
}

/// How clap ends an error message.
const HINT: &str = "\nFor more information, try '--help'.\n";

impl CliExit {
    pub(crate) fn from_clap(err: &clap::Error, command: clap::Command) -> Self {
        let text = err.render().to_string();
        if matches!(err.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
            return Self { text, stream: StdStream::Stdout, code: exit::SUCCESS };
        }
        let mut text = match text.strip_prefix("error: ") {
            Some(message) => format!("ERR: {message}"),
            // All that clap prints when a subcommand is missing is the help.
            None => format!("ERR: no command given\n\n{text}"),
        };
        if !text.contains("Usage:") {
            text = format!("{}{}", text.trim_end_matches(HINT), usage(command));
        }
        Self { text, stream: StdStream::Stderr, code: exit::USAGE }
    }

    fn from_error(err: &Error, command: clap::Command) -> Self {
        let mut text = format!("ERR: {err}\n");
        if matches!(err, Error::Usage(_)) {
            text.push_str(&usage(command));
        }
        Self { text, stream: StdStream::Stderr, code: err.exit_code() }
    }

    /// Prints the text and hands back the code. A reader that went away is no error.
    pub fn emit(&self) -> ExitCode {
        let written = match self.stream {
            StdStream::Stdout => io::stdout().write_all(self.text.as_bytes()),
            StdStream::Stderr => io::stderr().write_all(self.text.as_bytes()),
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
    R: CommandLine,
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

/// Returns the text below the options: example calls, and the exit codes among [`EXIT_CODES`] that
/// the command can end with besides 0, 1 and 2.
pub fn after_help(examples: &str, codes: &[u8]) -> String {
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
pub(crate) fn words(line: &str) -> Vec<&str> {
    std::iter::once("prog").chain(line.split_whitespace()).collect()
}
