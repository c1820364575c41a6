// SPDX-License-Identifier: GPL-2.0-only

//! Commands: the binaries under test, what they print, and waiting for what they do.

use cpumap_pping::commands::COMMANDS;
use serde_json::Value;
use std::fs::Permissions;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};
use tempfile::TempDir;

pub const MS: Duration = Duration::from_millis(1);
/// Text on stdout that callers take for an error.
const ALARMS: [&str; 2] = ["RTNETLINK answers", "We have an error talking to the kernel"];

/// Returns the names of the binaries under test: every command of the package.
pub fn programs() -> impl Iterator<Item = &'static str> {
    COMMANDS.into_iter().map(|command| command.name)
}

/// Returns the path of a binary under test; any other name is a program of the system.
pub fn program(name: &str) -> String {
    if !programs().any(|known| known == name) {
        return name.to_owned();
    }
    // Cargo puts all binaries of the package into one folder.
    let folder = Path::new(env!("CARGO_BIN_EXE_cpumap-pping")).parent().expect("a folder");
    folder.join(name).to_str().expect("a path in UTF-8").to_owned()
}

/// The exit code and the output of a command that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Said {
    /// Runs a command to its end.
    pub fn by(command: &mut Command) -> Self {
        Self::from(command.output().unwrap_or_else(|error| panic!("{command:?}: {error}")))
    }

    /// Runs a command to its end with `input` as its standard input.
    pub fn by_with_input(command: &mut Command, input: &str) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut stdin = child.stdin.take().expect("a pipe");
        let output = thread::scope(|scope| {
            // A command that refuses its options does not read its input: ignore the broken pipe.
            scope.spawn(move || drop(stdin.write_all(input.as_bytes())));
            child.wait_with_output().expect("wait for a child")
        });
        Self::from(output)
    }

    /// Takes the line that ends a replay off stderr; returns it, too.
    pub fn of_replay(mut self) -> (Self, String) {
        let is_summary = |line: &&str| line.contains(" read, ") && line.contains(" measured");
        let summary = self.err.lines().find(is_summary).unwrap_or_default().to_owned();
        self.err = self
            .err
            .lines()
            .filter(|line| *line != summary)
            .map(|line| line.to_owned() + "\n")
            .collect();
        (self, summary)
    }

    /// Returns exit code, stdout and stderr, to compare all three at once.
    pub fn parts(&self) -> (i32, &str, &str) {
        (self.code, &self.out, &self.err)
    }
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("a command prints UTF-8");
        let said = Self {
            code: output.status.code().unwrap_or(-1), // -1: ended by a signal
            out: text(output.stdout),
            err: text(output.stderr),
        };
        for alarm in ALARMS {
            assert!(!said.out.contains(alarm), "stdout raises the callers' alarm: {said:?}");
        }
        said
    }
}

/// Parses strictly valid JSON.
pub fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("not JSON: {error}\n{text}"))
}

/// Waits until `done` returns true; panics with `what` after ten seconds.
pub fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(10), "did not happen: {what}");
        sleep(20 * MS);
    }
}

/// Copies binaries under test into a folder of their own, where a user other than root may run them: the build
/// directory may be closed to others.
pub fn binaries_for_everybody(names: &[&str]) -> TempDir {
    let open = Permissions::from_mode(0o755);
    let folder = tempfile::Builder::new().permissions(open).tempdir().expect("a temporary folder");
    for name in names {
        std::fs::copy(program(name), folder.path().join(name)).expect("copy a binary");
    }
    folder
}

/// Asserts that a command was refused: one line on stderr that starts with `ERR: ` and contains `part`, nothing on stdout.
/// The usage follows with exit 2, and only then.
pub fn refused(said: &Said, code: i32, part: &str) {
    assert_eq!((said.code, said.out.as_str()), (code, ""), "{said:?}");
    let first = said.err.lines().next().unwrap_or_default();
    assert!(first.starts_with("ERR: ") && first.contains(part), "{part}: {said:?}");
    let usage = said.err.contains("\nUsage: ");
    assert_eq!(usage, code == 2, "usage goes with exit 2 only: {said:?}");
    assert!(code == 2 || said.err.lines().count() == 1, "{said:?}");
}
