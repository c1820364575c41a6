// SPDX-License-Identifier: GPL-2.0-only
//! Runs `ip`, `tc` and other commands, as an operator would type them.

use std::io::{self, Write};
use std::process::{Command, Stdio};

/// Feeds `lines` to `PROGRAM -batch -`, where `command` is PROGRAM (`ip` or `tc`) in its namespace.
/// The error holds the program's stderr and the lines.
pub fn batch(mut command: Command, lines: &[String]) -> io::Result<()> {
    let mut child = command
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all((lines.join("\n") + "\n").as_bytes())?;
    }
    let output = child.wait_with_output()?;
    if output.status.success() {
        return Ok(());
    }
    let program = command.get_program().to_string_lossy();
    let stderr = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("{program} -batch: {}\n{}", stderr.trim(), lines.join("\n"))))
}

/// Runs a command to its end and returns its stdout. The error holds the command and its stderr.
pub fn output(command: &mut Command) -> io::Result<String> {
    let output = command.output()?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("{command:?}: {}", stderr.trim())))
}
