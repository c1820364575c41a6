// SPDX-License-Identifier: GPL-2.0-only
//! Shows on stderr what a measurement is doing.

use std::io::{stderr, IsTerminal, Write};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// A line on stderr that each text overwrites. Shows nothing if stderr is not a terminal.
pub struct StatusLine {
    shown: bool,
}

impl StatusLine {
    /// Makes an empty line.
    pub fn new() -> Self {
        Self { shown: stderr().is_terminal() }
    }

    /// Replaces the text of the line.
    pub fn say(&self, text: &str) {
        if self.shown {
            let mut out = stderr().lock();
            // If the terminal is gone, the measurement goes on without it.
            let _ = write!(out, "\r\x1b[K{text}").and_then(|()| out.flush());
        }
    }

    /// Removes the text.
    pub fn clear(&self) {
        self.say("");
    }
}

/// Characters of the bar.
const WIDTH: usize = 30;

/// A bar on a terminal; elsewhere one line for each step.
pub struct ProgressBar {
    name: &'static str,
    step: String,
    /// Time of the steps that are done, and of all steps.
    done: Duration,
    total: Duration,
    /// Start of the present step.
    since: Instant,
    line: StatusLine,
}

impl ProgressBar {
    /// Begins a bar for `total` time of traffic.
    pub fn start(name: &'static str, total: Duration) -> Self {
        let (done, since, line) = (Duration::ZERO, Instant::now(), StatusLine::new());
        Self { name, step: String::new(), done, total, since, line }
    }

    /// Begins a step.
    pub fn begin(&mut self, step: &str) {
        step.clone_into(&mut self.step);
        self.since = Instant::now();
        if self.line.shown {
            self.draw(Duration::ZERO);
        } else {
            eprintln!("{}: {step}", self.name);
        }
    }

    /// Draws the bar until `finished` returns true.
    pub fn watch(&self, mut finished: impl FnMut() -> bool) {
        while !finished() {
            self.draw(self.since.elapsed());
            sleep(Duration::from_millis(100));
        }
    }

    /// Ends a step of `time` of traffic.
    pub fn end(&mut self, time: Duration) {
        self.done += time;
        self.draw(Duration::ZERO);
    }

    fn draw(&self, now: Duration) {
        let share = (self.done + now).as_secs_f64() / self.total.as_secs_f64().max(1.0);
        let share = share.min(1.0);
        let bar = "#".repeat((share * WIDTH as f64) as usize);
        let percent = share * 100.0;
        self.line.say(&format!("{} [{bar:<WIDTH$}] {percent:3.0} %  {}", self.name, self.step));
    }
}

impl Drop for ProgressBar {
    fn drop(&mut self) {
        self.line.clear();
    }
}
