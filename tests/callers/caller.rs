// SPDX-License-Identifier: GPL-2.0-only

//! A caller: a working directory as `make compat` stages it, and shell lines run in it.

use crate::common::command::{program, programs, Said};
use lab::Sandbox;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

const REPOSITORY: &str = env!("CARGO_MANIFEST_DIR");

/// Stages the tree below a caller's working directory with `make compat`.
pub fn compat_tree() -> TempDir {
    let dir = TempDir::new().unwrap();
    let built = dir.path().join("target");
    fs::create_dir_all(built.join("release")).unwrap();
    for name in programs() {
        symlink(program(name), built.join("release").join(name)).unwrap();
    }
    let mut make = Command::new("make");
    // The binaries of this test run are where `cargo build --release` would put them.
    make.args(["--no-print-directory", "-C", REPOSITORY, "compat", "CARGO=true"]);
    make.arg(format!("CARGO_TARGET_DIR={}", built.display()));
    make.arg(format!("DESTDIR={}", dir.path().join("cpumap-pping").display()));
    let said = Said::by(make.env_remove("MAKEFLAGS").env_remove("MAKELEVEL"));
    assert_eq!(said.code, 0, "{said:?}");
    dir
}

/// Runs shell lines in a working directory, as the shapers' Python does.
pub struct Caller<'a> {
    pub shaper: &'a Sandbox,
    pub cwd: &'a Path,
    pub children: Vec<Child>,
}

impl<'a> Caller<'a> {
    pub fn new(shaper: &'a Sandbox, cwd: &'a Path) -> Self {
        Self { shaper, cwd, children: Vec::new() }
    }

    pub fn command(&self, line: &str) -> Command {
        let mut command = self.shaper.command("sh");
        command.args(["-c", line]).current_dir(self.cwd);
        command
    }

    /// Runs a line and returns its stdout. LibreQoS's `shell()` ignores everything else.
    pub fn shell(&self, line: &str) -> String {
        let said = Said::by(&mut self.command(line));
        assert!(!line.starts_with("./") || said.code == 0, "{line}: {said:?}");
        said.out
    }

    /// Starts a process without waiting for it.
    pub fn leave(&mut self, line: &str) {
        let mut command = self.command(line);
        self.children.push(command.stdout(Stdio::null()).spawn().unwrap());
    }
}

impl Drop for Caller<'_> {
    fn drop(&mut self) {
        for mut child in self.children.drain(..) {
            let _ = child.wait();
        }
    }
}
