// SPDX-License-Identifier: GPL-2.0-only
//! A line on stderr that shows how far a replay has come, if stderr is a terminal.

use std::cell::RefCell;
use std::io::{self, IsTerminal, Write};
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::stream::output::Output;
use crate::stream::source::replay::{ReplayPosition, ShowPosition};

/// Shortest time between two outputs: they look alive, and their cost does not matter.
const PAUSE: Duration = Duration::from_millis(100);

/// The line, shared with the replay that it shows.
#[derive(Clone, Debug, Default)]
pub struct ReplayProgress(Rc<RefCell<Line>>);

#[derive(Debug, Default)]
struct Line {
    /// Time of the begin; `None` if nothing is shown.
    begun: Option<Instant>,
    /// Time of the last output.
    shown: Option<Instant>,
}

impl ReplayProgress {
    /// Returns the function that the replay calls.
    pub fn shower(&self) -> Option<ShowPosition> {
        let line = Rc::clone(&self.0);
        io::stderr()
            .is_terminal()
            .then(|| -> ShowPosition { Box::new(move |position| line.borrow_mut().show(position)) })
    }

    /// Shows the line from now on, unless the output goes to a terminal: there it shows the progress
    /// itself.
    pub fn begin(&self, output: &Output) {
        self.0.borrow_mut().begun = (!output.is_terminal()).then(Instant::now);
    }

    /// Clears the line.
    pub fn end(&self) {
        let mut line = self.0.borrow_mut();
        line.begun = None;
        if line.shown.take().is_some() {
            // A closed stderr is no reason to fail.
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

impl Line {
    fn show(&mut self, position: ReplayPosition) {
        let Some(begun) = self.begun else { return };
        if self.shown.is_some_and(|shown| shown.elapsed() < PAUSE) {
            return;
        }
        self.shown = Some(Instant::now());
        let text = text(position, begun.elapsed());
        // A closed stderr is no reason to fail.
        let _ = write!(io::stderr(), "\r{text}\x1b[K");
    }
}

/// Returns the text: `37 % of 1.4 GB, 2345678 packets, 1:23 left`. A pipe has no percentage.
fn text(position: ReplayPosition, elapsed: Duration) -> String {
    let packets = position.packets;
    match position.size.filter(|size| *size > 0) {
        None => format!("{}, {packets} packets", bytes_text(position.bytes)),
        Some(size) => {
            let done = position.bytes.min(size);
            let percent = u128::from(done) * 100 / u128::from(size);
            let left = left(done, size, elapsed);
            format!("{percent} % of {}, {packets} packets{left}", bytes_text(size))
        }
    }
}

/// Returns the time that the rest takes if it goes on as before: `, 1:23 left`. Empty in the first
/// second, when nobody can know.
fn left(done: u64, size: u64, elapsed: Duration) -> String {
    if done == 0 || elapsed < Duration::from_secs(1) {
        return String::new();
    }
    let rest = elapsed.as_millis() * u128::from(size - done) / u128::from(done);
    let seconds = rest.div_ceil(1000);
    format!(", {}:{:02} left", seconds / 60, seconds % 60)
}

fn bytes_text(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["bytes", "kB", "MB", "GB", "TB"];
    let (mut number, mut unit) = (bytes as f64, 0);
    while number >= 999.5 && unit + 1 < UNITS.len() {
        number /= 1000.0;
        unit += 1;
    }
    let decimals = usize::from(unit > 0 && number < 9.95);
    format!("{number:.decimals$} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(packets: u64, bytes: u64, size: Option<u64>) -> ReplayPosition {
        ReplayPosition { packets, bytes, size }
    }

    #[test]
    fn texts() {
        let second = Duration::from_secs(1);
        let table = [
            (position(0, 0, Some(1_400_000_000)), 0, "0 % of 1.4 GB, 0 packets"),
            (position(7, 500, Some(1000)), 0, "50 % of 1.0 kB, 7 packets"),
            (position(7, 250, Some(1000)), 30, "25 % of 1.0 kB, 7 packets, 1:30 left"),
            (position(7, 2000, Some(1000)), 30, "100 % of 1.0 kB, 7 packets, 0:00 left"),
            (position(9, 123_456_789, None), 30, "123 MB, 9 packets"),
            (position(9, 42, Some(0)), 30, "42 bytes, 9 packets"),
        ];
        for (position, seconds, expected) in table {
            assert_eq!(text(position, second * seconds), expected);
        }
        assert_eq!(bytes_text(999), "999 bytes");
        assert_eq!(bytes_text(999_600), "1.0 MB");
        assert_eq!(bytes_text(u64::MAX), "18446744 TB");
    }
}
