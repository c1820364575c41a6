// SPDX-License-Identifier: GPL-2.0-only
//! The programs that cargo put into the same folder as the running program.

use crate::sandbox::Sandbox;
use std::io;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The folder of the running program, and the programs in it.
#[derive(Clone, Debug)]
pub struct Programs {
    folder: PathBuf,
}

impl Programs {
    /// Finds the folder. Fails if one of the `wanted` programs is missing there.
    pub fn beside_this_one(wanted: &[&str]) -> io::Result<Self> {
        let own = std::env::current_exe()?;
        let folder = own.parent().ok_or_else(|| io::Error::other("this program has no folder"))?;
        for program in wanted {
            let path = folder.join(program);
            if !path.exists() {
                let message = format!("{} is missing: run make build", path.display());
                return Err(io::Error::new(io::ErrorKind::NotFound, message));
            }
        }
        Ok(Self { folder: folder.to_owned() })
    }

    /// Returns a command that runs one of the programs in the sandbox.
    pub fn command(&self, sandbox: &Sandbox, program: &str, args: &[&str]) -> Command {
        let mut command = sandbox.command(&self.folder.join(program).to_string_lossy());
        command.args(args);
        command
    }

    /// Runs one of the programs in the sandbox, its output into a pipe. Fails with its stderr if it
    /// fails.
    pub fn run(&self, sandbox: &Sandbox, program: &str, args: &[&str]) -> io::Result<()> {
        let output = self.command(sandbox, program, args).stdin(Stdio::null()).output();
        let output = output.map_err(|error| named(program, &error))?;
        if output.status.success() {
            return Ok(());
        }
        let stderr = String::from_utf8_lossy(&output.stderr);
        let line = format!("{program} {}: {}", args.join(" "), stderr.trim());
        Err(io::Error::other(line))
    }
}

fn named(program: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{program}: {error}"))
}
