// SPDX-License-Identifier: GPL-2.0-only
//! Measures all rows: one pair of delays after the other, each kind of traffic in a lab of its own, all
//! labs at once.

use std::thread;
use std::time::Duration;

use crate::accuracy::cases::{Acks, Case};
use crate::accuracy::measured_lab::MeasuredLab;
use crate::accuracy::row::AccuracyRow;
use crate::accuracy::traffic_kind::TRAFFIC_KINDS;
use crate::error::Result;
use crate::progress::ProgressBar;

/// Returns how often a row is measured at most. Other programs and labs may disturb a measurement.
fn tries(acks: Acks) -> u32 {
    match acks {
        Acks::Prompt => 4,
        Acks::Delayed => 2,
    }
}

/// Returns whether it is useless to measure the row again. A sample that is too low is a fault, whatever
/// another measurement shows. The time that delayed ACKs add to a median is the same each time, unless the
/// machine was disturbed.
fn is_final(row: &AccuracyRow, acks: Acks) -> bool {
    row.held() || row.has_false_samples() || (acks == Acks::Delayed && !row.disturbed())
}

/// Measures the rows of all cases.
pub fn measure_all(acks: Acks, usual: Duration) -> Result<Vec<AccuracyRow>> {
    let cases = Case::all(acks);
    let name = match acks {
        Acks::Prompt => "prompt ACKs",
        Acks::Delayed => "ACKs as Linux sends them",
    };
    let total = cases.iter().map(|case| case.time(usual)).sum();
    let mut progress = ProgressBar::start(name, total);
    progress.begin("building the labs");
    let labs = build(acks)?;
    let mut rows = Vec::new();
    for case in cases {
        progress.begin(&describe(&case));
        let first = measure_at_once(&labs, case, usual, &progress);
        for (lab, row) in labs.iter().zip(first) {
            rows.push(repeat_if_useful(lab, case, usual, acks, row, &mut progress)?);
        }
        progress.end(case.time(usual));
    }
    Ok(rows)
}

fn build(acks: Acks) -> Result<Vec<MeasuredLab>> {
    (0..)
        .zip(TRAFFIC_KINDS)
        .map(|(number, traffic)| MeasuredLab::new(number, traffic, acks))
        .collect()
}

fn describe(case: &Case) -> String {
    let [subscriber, internet] = case.delays.map(|delay| delay.as_millis());
    format!("subscriber {subscriber} ms, internet {internet} ms")
}

fn measure_at_once(
    labs: &[MeasuredLab],
    case: Case,
    usual: Duration,
    progress: &ProgressBar,
) -> Vec<Result<AccuracyRow>> {
    thread::scope(|scope| {
        let run = |lab| scope.spawn(move || MeasuredLab::measure(lab, case, usual));
        let running: Vec<_> = labs.iter().map(run).collect();
        progress.watch(|| running.iter().all(|thread| thread.is_finished()));
        let join = |thread: thread::ScopedJoinHandle<'_, Result<AccuracyRow>>| {
            thread.join().unwrap_or_else(|_| Err("a measurement panicked".into()))
        };
        running.into_iter().map(join).collect()
    })
}

/// Measures a row again, alone, as long as that is useful. The bound stays the same.
fn repeat_if_useful(
    lab: &MeasuredLab,
    case: Case,
    usual: Duration,
    acks: Acks,
    first: Result<AccuracyRow>,
    progress: &mut ProgressBar,
) -> Result<AccuracyRow> {
    let mut row = first;
    for tries in 2..=tries(acks) {
        match &row {
            Ok(row) if is_final(row, acks) => break,
            Ok(_) => progress.begin(&format!("{}: {} again", describe(&case), lab.traffic.name())),
            Err(err) => progress.begin(&format!("{}: again: {err}", lab.traffic.name())),
        }
        row = lab.measure(case, usual).map(|row| AccuracyRow { tries, ..row });
    }
    row.map_err(|err| format!("{}, {}: {err}", lab.traffic.name(), describe(&case)).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accuracy::row::tests::row;
    use crate::accuracy::traffic_kind::TrafficKind;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn rows_that_are_measured_again() {
        let late = row(TrafficKind::Bulk, [62 * MS, 5 * MS], 47 * MS);
        assert!(!is_final(&late, Acks::Prompt));
        assert!(is_final(&late, Acks::Delayed), "a delayed ACK is there each time");
        assert!(!is_final(&AccuracyRow { stolen: 0.2, ..late.clone() }, Acks::Delayed));
        let good = row(TrafficKind::Bulk, [42 * MS, 5 * MS], 47 * MS);
        assert!(is_final(&AccuracyRow { stolen: 0.2, ..good }, Acks::Prompt));
        let mut low = late;
        low.figures[0].false_samples = 1;
        assert!(is_final(&low, Acks::Prompt), "a false sample stays");
    }
}
