// SPDX-License-Identifier: GPL-2.0-only

//! Shortens a sequence that makes a difference, so that a person can read it.

use crate::play::{Difference, SideBySide};
use model::{InitialMaps, Step};
use std::fmt::Write as _;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(20);
/// The number of steps that a report shows.
const SHOWN: usize = 40;

pub struct Failure {
    pub seed: u64,
    pub setup: InitialMaps,
    pub steps: Vec<(u64, Step)>,
    pub difference: Difference,
}

impl Failure {
    /// Returns the difference and the shortest sequence that makes one.
    pub fn report(mut self, stage: &mut SideBySide) -> String {
        let seed = self.seed;
        let mut report = format!(
            "a difference: FUZZ_SEED={seed}, step {}: {}\n",
            self.difference.step, self.difference.what
        );
        self.shrink(stage);
        let _ = writeln!(report, "{} steps are left: {}", self.steps.len(), self.difference.what);
        let _ = writeln!(report, "{:x?}", self.setup);
        for (now_ns, step) in self.steps.iter().rev().take(SHOWN).rev() {
            let _ = writeln!(report, "at {now_ns} ns: {}", described(step));
        }
        report
    }

    /// Removes halves, quarters and so on to single steps, while the rest still makes a difference.
    fn shrink(&mut self, stage: &mut SideBySide) {
        let started = Instant::now();
        self.cut_behind();
        let mut size = self.steps.len() / 2;
        while size > 0 {
            let mut end = self.steps.len();
            while end > 0 {
                if started.elapsed() > PATIENCE {
                    return;
                }
                let begin = end.saturating_sub(size);
                let without =
                    [&self.steps[..begin], &self.steps[end.min(self.steps.len())..]].concat();
                if let Err(difference) = stage.play(self.seed, &self.setup, &without) {
                    (self.steps, self.difference) = (without, difference);
                    self.cut_behind();
                }
                end = begin;
            }
            size /= 2;
        }
    }

    fn cut_behind(&mut self) {
        self.steps.truncate(self.difference.step + 1);
    }
}

fn described(step: &Step) -> String {
    match step {
        Step::Steer { frame, ifindex } => format!("in by {ifindex}: {}", hex(frame)),
        Step::Classify { frame, skb } => format!("{skb:x?}: {}", hex(frame)),
        Step::Forward { arrived, frame, skb } => {
            format!("in as {}\n  out as {skb:x?}: {}", hex(arrived), hex(frame))
        }
        Step::Map { prefix, cpu, handle } => format!("map {prefix:x?} to CPU {cpu}, {handle:#x}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    let mut text = format!("{} bytes", bytes.len());
    for (offset, line) in bytes.chunks(16).enumerate() {
        let _ = write!(text, "\n    {:04x} ", offset * 16);
        for byte in line {
            let _ = write!(text, " {byte:02x}");
        }
    }
    text
}
