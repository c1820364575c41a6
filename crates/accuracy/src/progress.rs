//! Where the run is: a bar on a terminal, a line for each step elsewhere.

use std::io::{self, IsTerminal, Write};
use std::thread::sleep;
use std::time::{Duration, Instant};

const WIDTH: usize = 30;

pub struct Progress {
    name: &'static str,
    step: String,
    /// Time of traffic that is behind us, and in all.
    behind: Duration,
    total: Duration,
    since: Instant,
    terminal: bool,
}

impl Progress {
    pub fn start(name: &'static str, total: Duration) -> Self {
        let terminal = io::stderr().is_terminal();
        let (behind, since) = (Duration::ZERO, Instant::now());
        Self { name, step: String::new(), behind, total, since, terminal }
    }

    /// Begins a step.
    pub fn say(&mut self, step: &str) {
        step.clone_into(&mut self.step);
        self.since = Instant::now();
        if self.terminal {
            self.draw(Duration::ZERO);
        } else {
            eprintln!("{}: {step}", self.name);
        }
    }

    /// Draws until `finished` says so.
    pub fn watch(&self, mut finished: impl FnMut() -> bool) {
        while !finished() {
            if self.terminal {
                self.draw(self.since.elapsed());
            }
            sleep(Duration::from_millis(100));
        }
    }

    /// Ends a step of so much traffic.
    pub fn done(&mut self, time: Duration) {
        self.behind += time;
        if self.terminal {
            self.draw(Duration::ZERO);
        }
    }

    fn draw(&self, now: Duration) {
        let share = (self.behind + now).as_secs_f64() / self.total.as_secs_f64().max(1.0);
        let bar = "#".repeat((share.min(1.0) * WIDTH as f64) as usize);
        let percent = share.min(1.0) * 100.0;
        let mut stderr = io::stderr();
        // A terminal that has gone away is no reason to stop.
        let _ =
            write!(stderr, "\r\x1b[K{} [{bar:<WIDTH$}] {percent:3.0} %  {}", self.name, self.step);
        let _ = stderr.flush();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.terminal {
            eprint!("\r\x1b[K");
        }
    }
}
