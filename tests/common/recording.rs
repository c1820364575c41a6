// SPDX-License-Identifier: GPL-2.0-only

//! Recording the packets of an interface with tcpdump.

use super::command::MS;
use super::listener::Place;
use nix::sys::signal::{kill, Signal};
use nix::unistd::Pid;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread::sleep;

/// A running tcpdump. Dropping it kills the process.
pub struct Recording(Child);

impl Recording {
    /// Starts tcpdump, which keeps `bytes` bytes of each packet, and waits until it listens.
    pub fn start(place: &Place, file: &Path, bytes: u32) -> Self {
        let mut command = place.netns.command("tcpdump");
        // tcpdump started as root drops to a user who may not write here, unless -Z says root.
        command.args(["-U", "--immediate-mode", "-Z", "root", "-i", &place.dev]);
        command.args(["-s", &bytes.to_string(), "-w"]).arg(file);
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
        assert!(said.any(|line| line.unwrap().contains("listening on")), "tcpdump does not listen");
        std::thread::spawn(move || said.for_each(drop));
        Self(child)
    }

    /// Ends the recording after the last packets have reached the file.
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
