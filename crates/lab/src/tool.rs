//! Runs `ip` and `tc`, the commands an operator would type.

use crate::ns::Netns;
use std::io::{self, Write};
use std::process::{Command, Stdio};

/// Feeds `lines` to `PROGRAM -batch -` inside `netns`; the error carries what the program said.
pub(crate) fn batch(netns: &Netns, program: &str, lines: &[String]) -> io::Result<()> {
    let mut command = netns.command(program);
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
    let said = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("{program} -batch: {}\n{}", said.trim(), lines.join("\n"))))
}

/// Runs a command to its end and returns its stdout; a failure carries its stderr.
pub(crate) fn output(command: &mut Command) -> io::Result<String> {
    let output = command.output()?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("{command:?}: {}", said.trim())))
}
