//! docs/ACCURACY.md. Formatting only.

use std::fmt::Write as _;

use crate::figures::{ms, Verdict};
use crate::machine::Machine;
use crate::plan::{Side, Traffic, SIDES, TRAFFICS};
use crate::row::Row;

/// Everything measured.
pub struct Report {
    pub machine: Machine,
    /// Rows with prompt ACKs: the bound must hold.
    pub prompt: Vec<Row>,
    /// Rows with ACKs as Linux sends them: no sample may be too low.
    pub delayed: Vec<Row>,
}

impl Report {
    /// Whether everything that must hold does.
    pub fn held(&self) -> bool {
        self.prompt.iter().all(Row::held) && !self.delayed.iter().any(Row::has_false_samples)
    }

    /// One paragraph.
    pub fn summary(&self) -> String {
        let all = || self.prompt.iter().chain(&self.delayed);
        let false_samples: u64 = all().flat_map(|row| row.figures).map(|f| f.false_samples).sum();
        let samples: u64 = all().map(Row::samples).sum();
        let held = self.prompt.iter().filter(|row| row.held()).count();
        let again = self.prompt.iter().filter(|row| row.tries > 1).count();
        let stolen = all().filter(|row| row.disturbed()).count();
        format!(
            "The bound held in {held} of {} rows, {again} of them only when repeated alone, {stolen} rows were \
             measured while the machine's host took more than 1 % of its time; {false_samples} false samples \
             among {samples}.",
            self.prompt.len(),
        )
    }

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
    let Machine { cpus, kernel, date, commit, load } = machine;
    format!(
        "# How right the RTTs are\n\n\
         Written by `sudo make accuracy`; do not edit.\n\n\
         {date}, commit {commit}, {kernel}, {cpus}; load before the run {load}.\n\n\
         **{summary}**\n"
    )
}

const READING: &str = "
## How to read it

A lab on one machine: subscriber – delay line – shaper – delay line – internet, real TCP of the kernel's. Each kind of
traffic has a lab of its own; all run at once, one pair of delays after the other. One side rests at 5 ms, the
other moves; impairments are on the moved side. Two lines a row: the subscriber's side (data that left towards the
subscriber, until its echo came back) and the internet's.

* **true**: what the delay line of that side adds to the round trip, half each way. The hosts' and the shaper's own time
  (0.05 to 0.3 ms here) comes on top: that is part of the RTT, and of the millisecond that the bound allows.
* **median**, **p95**: what `xdp_pping` says, within 5 % of the samples' own; **lowest** is exact.
* **false**: samples below the true delay by more than 1 ms. No frame passes a delay line sooner than after its delay, so
  those would be wrong matches. The record's exact minimum says whether there is one, its histogram how many (the bucket
  that the bound lies in counts as a whole). At 0 and 1 ms there can be none.
* **path**, **rtt**, **min_rtt**: the true delay of both sides, and `TCP_INFO` of the connections whose data went towards that
  side, asked at the sender when each ended: the median of their smoothed RTTs, the smallest of their minima. The
  kernel measures the whole path, we measure each side.
* **held**: median within 1 ms + 5 % of the true delay, from at least 20 samples, none false. A row that does not hold is
  measured again alone, up to three times (that is said), since others may keep the machine busy; a false sample is never
  repeated away. *stolen*: the share of the machine's time that its host gave to others meanwhile, if above 1 %: hosts,
  shaper and delay lines are late then, and the RTT is longer in truth.

Samples a second: a flow has at most two TSvals outstanding each way, so at long RTTs it gives two samples a round trip.
Only the first packet of a TSval opens a sample, and only if it has payload: a server that acknowledges a request at once
and answers within the same millisecond gives none (both have one TSval), so the one here answers 2 ms later. Linux usually
lets the ACK ride on the answer.
The shaper's own queue would be in the RTT of the direction that it delays; the traffic stays below the class's rate, so
that there is none. p95 under *loss* and *reorder* is not noise: what is held back or sent again does take longer.
";

const DELAYED: &str = "
## ACKs as Linux sends them

Above, the hosts' routes say `quickack 1`: every segment is acknowledged at once, so that the true RTT is known. Below
they do not. A receiver that waits before it acknowledges (up to 40 ms, or until it has something to send) makes the RTT
longer in truth: the echo leaves that much later, the sender's kernel measures it as well, and a passive observer cannot
tell it from distance. Request/response shows it most: the client thinks for 20 ms, and its ACK rides on the next
request, the server's on the answer 2 ms later. *The kernel sees it too*: its smoothed RTT is above the path's by at least
half of what our median is above the side's (not always all of it: it holds the last exchanges only, and a closing
connection is acknowledged at once). Only a false sample would be wrong here.
";

fn tables(text: &mut String, rows: &[Row]) {
    for traffic in TRAFFICS {
        table(text, traffic, rows.iter().filter(|row| row.traffic == traffic));
    }
}

fn table<'a>(text: &mut String, traffic: Traffic, rows: impl Iterator<Item = &'a Row>) {
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

fn line(text: &mut String, row: &Row, side: Side) {
    let figures = &row.figures[side as usize];
    let mark = if row.case.moved == side { "**" } else { "" };
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

fn verdict(row: &Row, side: Side) -> String {
    let mut text = match row.figures[side as usize].verdict() {
        Verdict::Held => "yes".to_owned(),
        Verdict::False(_) => "**no: false samples**".to_owned(),
        Verdict::TooFew(count) => format!("**no: {count} samples**"),
        Verdict::Off(off) if row.kernel_sees_it(side) => {
            format!("no: {off:+.1} ms; the kernel sees it too")
        }
        Verdict::Off(off) => format!("**no: {off:+.1} ms**"),
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
    use crate::row::tests::row;
    use std::time::Duration;

    const MS: Duration = Duration::from_millis(1);

    fn report(prompt: Vec<Row>, delayed: Vec<Row>) -> Report {
        let machine = Machine { commit: "abc1234".into(), ..Machine::default() };
        Report { machine, prompt, delayed }
    }

    fn good() -> Row {
        row(Traffic::Bulk, [42 * MS, 5 * MS], 47 * MS)
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
    fn what_did_not_hold_is_said() {
        let waiting = row(Traffic::Paced, [62 * MS, 5 * MS], 67 * MS);
        assert_eq!(verdict(&waiting, Side::Subscriber), "no: +20.0 ms; the kernel sees it too");
        let wrong = row(Traffic::Paced, [62 * MS, 5 * MS], 47 * MS);
        assert_eq!(verdict(&wrong, Side::Subscriber), "**no: +20.0 ms**");
        let mut low = good();
        low.figures[0].false_samples = 3;
        assert_eq!(verdict(&low, Side::Subscriber), "**no: false samples**");
        assert!(report(vec![low], vec![]).summary().contains("3 false samples among 2400"));
        let disturbed = Row { tries: 2, stolen: 0.034, ..good() };
        assert_eq!(verdict(&disturbed, Side::Subscriber), "yes; try 2; stolen 3 %");
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
        let late = row(Traffic::RequestResponse, [62 * MS, 5 * MS], 67 * MS);
        assert!(report(vec![good()], vec![late.clone()]).held());
        assert!(!report(vec![late.clone()], vec![]).held());
        let mut low = late;
        low.figures[1].false_samples = 1;
        assert!(!report(vec![good()], vec![low]).held());
    }
}
