// SPDX-License-Identifier: GPL-2.0-only
//! The report, docs/reports/accuracy.md. Formatting only.

use std::fmt::Write as _;

use crate::accuracy::cases::{ShaperSide, SIDES};
use crate::accuracy::figures::{ms, BoundVerdict};
use crate::accuracy::row::AccuracyRow;
use crate::accuracy::traffic_kind::{TrafficKind, TRAFFIC_KINDS};
use crate::machine::Machine;

/// All rows.
pub struct AccuracyReport {
    /// The conditions of the run.
    pub machine: Machine,
    /// Rows with prompt ACKs. The bound must hold.
    pub prompt: Vec<AccuracyRow>,
    /// Rows with ACKs as Linux sends them. No sample may be false.
    pub delayed: Vec<AccuracyRow>,
}

impl AccuracyReport {
    /// Returns whether the bound holds in all rows in which it must, and no sample is false.
    pub fn held(&self) -> bool {
        self.prompt.iter().all(AccuracyRow::held)
            && !self.delayed.iter().any(AccuracyRow::has_false_samples)
    }

    /// Writes the summary, one paragraph.
    pub fn summary(&self) -> String {
        let all = || self.prompt.iter().chain(&self.delayed);
        let false_samples: u64 = all().flat_map(|row| row.figures).map(|f| f.false_samples).sum();
        let samples: u64 = all().map(AccuracyRow::samples).sum();
        let held = self.prompt.iter().filter(|row| row.held()).count();
        let again = self.prompt.iter().filter(|row| row.tries > 1).count();
        let stolen = all().filter(|row| row.disturbed()).count();
        format!(
            "The bound held in {held} of {} rows; {again} rows were measured again, alone. {stolen} rows were measured while \
             the hypervisor took more than 1 % of the CPU time. {false_samples} false samples among {samples}.",
            self.prompt.len(),
        )
    }

    /// Writes the report as Markdown.
    pub fn render(&self) -> String {
        let mut text = head(&self.machine, &self.summary());
        text += READING;
        text += "\n## Prompt ACKs: the true RTT is the delay line's\n";
        tables(&mut text, &self.prompt);
        text += DELAYED;
        tables(&mut text, &self.delayed);
        text
    }
}

fn head(machine: &Machine, summary: &str) -> String {
    let Machine { kernel, date, commit, load_before, .. } = machine;
    let cpus = machine.cpu_text();
    format!(
        "# How right the RTTs are\n\n\
         Written by `sudo make accuracy`; do not edit.\n\n\
         {date}, commit {commit}, Linux {kernel}, {cpus}; load average before the run {load_before:.2}.\n\n\
         **{summary}**\n"
    )
}

const READING: &str = "
## How to read it

Absolute figures depend on the machine; compare each with the true delay beside it.

A lab on one machine: subscriber – delay line – shaper – delay line – internet, with connections of the kernel's TCP. Each
kind of traffic has a lab of its own; all labs run at once, one pair of delays after the other. The delay of one side
varies, that of the other is 5 ms; impairments are on the varied side, which is printed in bold. Each row has two lines:
the subscriber's side (from data that left towards the subscriber until its echo came back) and the internet's side.

* **true**: the time that the delay line of that side adds to the round trip, half each way. The RTT also includes the
  time that the hosts and the shaper need (0.05 to 0.3 ms here); the millisecond of the bound allows for it.
* **median**, **p95**: the figures of `xdp_pping`, within 4.4 % of those of the samples themselves; **lowest** is exact.
* **false**: samples that are more than 1 ms below the true delay. No frame leaves a delay line before its delay has passed,
  so that such a sample must be a wrong match. The record's exact minimum shows whether there is one, and its histogram how
  many (all samples in the bucket of the bound count). At 0 and 1 ms there can be none.
* **path**, **rtt**, **min_rtt**: the true delay of both sides together, and `TCP_INFO` of the connections whose data went
  towards that side, read at the sender when each ended: the median of their smoothed RTTs, and the smallest of their
  minima. The kernel measures the whole path; we measure each side.
* **held**: the median is within 1 ms + 5 % of the true delay, there are at least 20 samples, and none is false. A row that
  does not hold is measured again alone, up to three times (the column shows the number of the try), because other work may
  keep the machine busy. A row with a false sample is never measured again. *stolen*: the share of the CPU time that the
  hypervisor gave to other machines meanwhile, if above 1 %. Hosts, shaper and delay lines are then late, and the RTT really
  is longer.

Samples per second: a flow has at most two TSvals outstanding each way, so that at long RTTs it gives two samples per round
trip. Only the first packet of a TSval opens a sample, and only if it has payload. A server that acknowledges a request at
once and answers within the same millisecond gives no sample (both packets have one TSval), so that the server here answers
2 ms later. By default, Linux sends the ACK with the answer.
The shaper's own queue would add to the RTT of the direction that it delays. The traffic stays below the rate of the class,
so that there is no queue. The p95 under *loss* and *reorder* is not noise: a packet that is held back or sent again really
takes longer.
";

const DELAYED: &str = "
## ACKs as Linux sends them

Above, the hosts' routes have `quickack 1`: hosts acknowledge every segment at once, so that the true RTT is known. Below
they do not. A receiver that delays its ACK (up to 40 ms, or until it has something to send) really makes the RTT longer:
the echo leaves that much later. The sender's kernel measures that, too, and a passive observer cannot tell it from a longer
path. Request/response shows it most: the client waits for 20 ms and sends its ACK with the next request; the server sends
its ACK with the answer 2 ms later. *The kernel sees it too* means: the kernel's smoothed RTT is above the path's by at least
half of the time by which our median is above the side's (not always by all of it: it covers the last exchanges only, and
the close of a connection is acknowledged at once). Only a false sample would be an error here.
";

fn tables(text: &mut String, rows: &[AccuracyRow]) {
    for traffic in TRAFFIC_KINDS {
        table(text, traffic, rows.iter().filter(|row| row.traffic == traffic));
    }
}

fn table<'a>(text: &mut String, traffic: TrafficKind, rows: impl Iterator<Item = &'a AccuracyRow>) {
    let _ = write!(
        text,
        "\n### {}\n\n{}.\n\n\
         | side | true | median | p95 | lowest | samples/s | false | path | rtt | min_rtt | held |\n\
         |---|--:|--:|--:|--:|--:|--:|--:|--:|--:|---|\n",
        traffic.name(),
        traffic.description()
    );
    for row in rows {
        for side in SIDES {
            line(text, row, side);
        }
    }
}

fn line(text: &mut String, row: &AccuracyRow, side: ShaperSide) {
    let figures = &row.figures[side as usize];
    let mark = if row.case.varied == side { "**" } else { "" };
    let name = format!("{mark}{}{mark}", side.name());
    let ours = match figures.summary {
        Some(ours) => {
            let rate = ours.count as f64 / row.time.as_secs_f64();
            let [median, p95, lowest] = [ours.median_ns, ours.p95_ns, ours.min_ns].map(ms);
            format!("{median:.2} | {p95:.2} | {lowest:.2} | {rate:.1}")
        }
        None => "– | – | – | 0".to_owned(),
    };
    let kernel = row.kernel[side as usize].map_or("– | –".to_owned(), |kernel| {
        let [rtt, min_rtt] = [kernel.rtt, kernel.min_rtt].map(|time| time.as_secs_f64() * 1e3);
        format!("{rtt:.2} | {min_rtt:.2}")
    });
    let _ = writeln!(
        text,
        "| {name} | {} | {ours} | {} | {} | {kernel} | {} |",
        figures.truth.as_millis(),
        figures.false_samples,
        row.case.path().as_millis(),
        verdict(row, side)
    );
}

fn verdict(row: &AccuracyRow, side: ShaperSide) -> String {
    let mut text = match row.figures[side as usize].verdict() {
        BoundVerdict::Held => "yes".to_owned(),
        BoundVerdict::False(_) => "**no: false samples**".to_owned(),
        BoundVerdict::TooFew(count) => format!("**no: {count} samples**"),
        BoundVerdict::Off(off) if row.kernel_sees_it(side) => {
            format!("no: {off:+.1} ms; the kernel sees it too")
        }
        BoundVerdict::Off(off) => format!("**no: {off:+.1} ms**"),
    };
    if row.tries > 1 {
        let _ = write!(text, "; try {}", row.tries);
    }
    if row.disturbed() {
        let _ = write!(text, "; stolen {:.0} %", row.stolen * 100.0);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accuracy::row::tests::row;
    use std::time::Duration;

    const MS: Duration = Duration::from_millis(1);

    fn report(prompt: Vec<AccuracyRow>, delayed: Vec<AccuracyRow>) -> AccuracyReport {
        let machine = Machine { commit: "abc1234".into(), ..Machine::default() };
        AccuracyReport { machine, prompt, delayed }
    }

    fn good() -> AccuracyRow {
        row(TrafficKind::Bulk, [42 * MS, 5 * MS], 47 * MS)
    }

    #[test]
    fn a_line_for_each_side() {
        let text = report(vec![good()], vec![]).render();
        let subscriber = "| **subscriber** | 42 | 42.00 | 42.00 | 42.00 | 100.0 | 0 | 47 | 47.00 | 47.00 | yes |";
        let internet =
            "| internet | 5 | 5.00 | 5.00 | 5.00 | 100.0 | 0 | 47 | 47.00 | 47.00 | yes |";
        assert!(text.contains(&format!("{subscriber}\n{internet}\n")), "{text}");
        assert!(text.contains("commit abc1234"));
        assert!(text.contains("held in 1 of 1 rows"));
    }

    #[test]
    fn the_report_says_why_a_bound_did_not_hold() {
        let waiting = row(TrafficKind::Paced, [62 * MS, 5 * MS], 67 * MS);
        assert_eq!(
            verdict(&waiting, ShaperSide::Subscriber),
            "no: +20.0 ms; the kernel sees it too"
        );
        let wrong = row(TrafficKind::Paced, [62 * MS, 5 * MS], 47 * MS);
        assert_eq!(verdict(&wrong, ShaperSide::Subscriber), "**no: +20.0 ms**");
        let mut low = good();
        low.figures[0].false_samples = 3;
        assert_eq!(verdict(&low, ShaperSide::Subscriber), "**no: false samples**");
        assert!(report(vec![low], vec![]).summary().contains("3 false samples among 2400"));
        let disturbed = AccuracyRow { tries: 2, stolen: 0.034, ..good() };
        assert_eq!(verdict(&disturbed, ShaperSide::Subscriber), "yes; try 2; stolen 3 %");
    }

    #[test]
    fn a_side_without_samples() {
        let mut silent = good();
        silent.figures[1].summary = None;
        silent.kernel[1] = None;
        let text = report(vec![silent.clone()], vec![]).render();
        assert!(
            text.contains("| internet | 5 | – | – | – | 0 | 0 | 47 | – | – | **no: 0 samples** |")
        );
        assert!(!report(vec![silent], vec![]).held());
    }

    #[test]
    fn delayed_acks_may_be_late_but_not_false() {
        let late = row(TrafficKind::RequestResponse, [62 * MS, 5 * MS], 67 * MS);
        assert!(report(vec![good()], vec![late.clone()]).held());
        assert!(!report(vec![late.clone()], vec![]).held());
        let mut low = late;
        low.figures[1].false_samples = 1;
        assert!(!report(vec![good()], vec![low]).held());
    }
}
