// SPDX-License-Identifier: GPL-2.0-only
//! Turns the words of a command line into a checked request, and the outcome of the command into an
//! exit code. Nothing here touches a map or a device.
//!
//! Options are read as GNU getopt_long(3) reads them: `--dev X`, `--dev=X`, unambiguous prefixes,
//! `-deth0`, in any order. Of repeated options the last wins. An option with a value takes the next
//! word, also if that begins with `-`.

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::{ExitCode, Termination};

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches, Parser};

use crate::domain::error::{exit, Error, Result, EXIT_CODES};

/// A checked command line, made from the arguments that clap has read.
pub trait CommandLine: TryFrom<Self::Args, Error = Error> {
    /// The arguments that clap reads.
    type Args: Parser;

    /// Reads and checks a command line, whose first word is the program's name.
    ///
    /// # Errors
    /// A [`CliExit`] with the text to print and the exit code: help (0), bad option (2), bad IP
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

    /// Returns the command's definition.
    fn command() -> clap::Command {
        Self::Args::command()
    }
}

/// The stream that a text belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StdStream {
    /// Results and help.
    Stdout,
    /// Errors and usage.
    Stderr,
}

/// The end of a command that does nothing: it prints help, or an error of its command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CliExit {
    /// The text to print; ends with a newline.
    pub text: String,
    /// The stream to print it to.
    pub stream: StdStream,
    /// The process exit code.
    pub code: u8,
}

/// The end of clap's error messages.
const HINT: &str = "\nFor more information, try '--help'.\n";

impl CliExit {
    /// Converts an error of clap, or its request for help or version.
    pub(crate) fn from_clap(err: &clap::Error, command: clap::Command) -> Self {
        let text = err.render().to_string();
        if matches!(err.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
            return Self { text, stream: StdStream::Stdout, code: exit::SUCCESS };
        }
        let mut text = match text.strip_prefix("error: ") {
            Some(message) => format!("ERR: {message}"),
            // If a subcommand is missing, clap prints only the help.
            None => format!("ERR: no command given\n\n{text}"),
        };
        if !text.contains("Usage:") {
            text = format!("{}{}", text.trim_end_matches(HINT), usage(command));
        }
        Self { text, stream: StdStream::Stderr, code: exit::USAGE }
    }

    /// Converts an error of a command. Adds the usage if the error is about the command line.
    fn from_error(err: &Error, command: clap::Command) -> Self {
        let mut text = format!("ERR: {err}\n");
        if matches!(err, Error::Usage(_)) {
            text.push_str(&usage(command));
        }
        Self { text, stream: StdStream::Stderr, code: err.exit_code() }
    }

    /// Prints the text and returns the code. It is no error if the reader has closed its end.
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

/// Runs a command as its `main` does: reads the process's arguments, calls `run`, prints the error.
///
/// `run` returns `()`, or an [`ExitCode`] of its own. An error is printed to stderr as `ERR: …`,
/// with the usage if it is about the command line. If the reader of stdout has closed its end, the
/// command ends without a message and with success, as `… | head` expects.
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

/// Splits a line into the words of a command line, for tests.
#[cfg(test)]
pub(crate) fn words(line: &str) -> Vec<&str> {
    std::iter::once("prog").chain(line.split_whitespace()).collect()
}
