// SPDX-License-Identifier: GPL-2.0-only

//! `pping --read` on a capture, and the RTTs that it printed.

use super::capture_file::MS;
use super::command::{json, program, Said};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::{fmt, fs};
use tempfile::TempDir;

/// The output of a replay: each RTT in nanoseconds, and stderr.
pub struct Replayed {
    pub events: Vec<Value>,
    pub summary: String,
    pub err: String,
    pub code: i32,
}

impl fmt::Debug for Replayed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} exit {} {} {}", self.counts(), self.code, self.summary, self.err)
    }
}

impl Replayed {
    pub fn of_file(path: &Path, options: &str) -> Self {
        let mut command = Command::new(program("pping"));
        command.arg("--read").arg(path).args(["-r", "0", "-F", "jsonl"]);
        Self::by(command.args(options.split_whitespace()))
    }

    pub fn by(command: &mut Command) -> Self {
        let (said, summary) = Said::by(command).of_replay();
        let events = said.out.lines().map(json).collect();
        Self { events, summary, err: said.err, code: said.code }
    }

    pub fn of(bytes: &[u8]) -> Self {
        Self::with(bytes, "")
    }

    pub fn with(bytes: &[u8], options: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("capture");
        fs::write(&path, bytes).unwrap();
        Self::of_file(&path, options)
    }

    pub fn rtts(&self) -> impl Iterator<Item = u64> + '_ {
        self.events.iter().filter_map(|event| event["rtt"].as_u64())
    }

    /// Returns how often each RTT occurs, in milliseconds.
    pub fn counts(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for rtt in self.rtts() {
            *counts.entry(format!("{}", rtt as f64 / MS as f64)).or_default() += 1;
        }
        counts
    }

    /// Returns the RTTs of a client's connection, in the order of the events.
    pub fn rtts_of(&self, port: u16) -> Vec<u64> {
        let of_port = |event: &&Value| event["src_port"] == port || event["dest_port"] == port;
        self.events.iter().filter(of_port).filter_map(|event| event["rtt"].as_u64()).collect()
    }

    /// Returns the least of all `min_rtt`.
    pub fn least(&self) -> Option<u64> {
        self.events.iter().filter_map(|event| event["min_rtt"].as_u64()).min()
    }
}
