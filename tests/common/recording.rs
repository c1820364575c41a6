// SPDX-License-Identifier: GPL-2.0-only

//! tcpdump on an interface.

use super::command::MS;
use super::listener::Place;
use nix::sys::signal::{kill, Signal};
use nix::unistd::Pid;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread::sleep;

/// A recording under way; killed when dropped.
pub struct Recording(Child);

impl Recording {
    /// Begins; packets are cut after so many bytes.
    pub fn start(place: &Place, file: &Path, bytes: u32) -> Self {
        let mut command = place.netns.command("tcpdump");
        // As root it would become a user who may not write here.
        command.args(["-U", "--immediate-mode", "-Z", "root", "-i", &place.dev]);
        command.args(["-s", &bytes.to_string(), "-w"]).arg(file);
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
        assert!(said.any(|line| line.unwrap().contains("listening on")), "tcpdump does not listen");
        std::thread::spawn(move || said.for_each(drop));
        Self(child)
    }

    /// Ends, with the last packets in the file.
    pub fn end(mut self) {
        sleep(100 * MS);
        kill(Pid::from_raw(self.0.id() as i32), Signal::SIGINT).unwrap();
        assert!(self.0.wait().unwrap().success());
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
