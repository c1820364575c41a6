//! All rows: every kind of traffic at once in labs of their own, one pair of delays after the other.

use std::thread;
use std::time::Duration;

use crate::plan::{Acks, Case, TRAFFICS};
use crate::progress::Progress;
use crate::row::Row;
use crate::stage::Stage;
use crate::Result;

/// Measurements of a row at most: others keep this machine busy, too.
fn tries(acks: Acks) -> u32 {
    match acks {
        Acks::Prompt => 4,
        Acks::Delayed => 2,
    }
}

/// Whether a repetition may tell more. Not of a sample that is too low; and what a delayed ACK adds
/// to a median is there each time, unless the machine was disturbed.
fn is_final(row: &Row, acks: Acks) -> bool {
    row.held() || row.has_false_samples() || (acks == Acks::Delayed && !row.disturbed())
}

pub fn measure_all(acks: Acks, usual: Duration) -> Result<Vec<Row>> {
    let cases = Case::all(acks);
    let name = match acks {
        Acks::Prompt => "prompt ACKs",
        Acks::Delayed => "ACKs as Linux sends them",
    };
    let total = cases.iter().map(|case| case.time(usual)).sum();
    let mut progress = Progress::start(name, total);
    progress.say("labs");
    let stages = build(acks)?;
    let mut rows = Vec::new();
    for case in cases {
        progress.say(&describe(&case));
        let first = measure_at_once(&stages, case, usual, &progress);
        for (stage, row) in stages.iter().zip(first) {
            rows.push(patiently(stage, case, usual, acks, row, &mut progress)?);
        }
        progress.done(case.time(usual));
    }
    Ok(rows)
}

fn build(acks: Acks) -> Result<Vec<Stage>> {
    (0..).zip(TRAFFICS).map(|(number, traffic)| Stage::new(number, traffic, acks)).collect()
}

fn describe(case: &Case) -> String {
    let [subscriber, internet] = case.delays.map(|delay| delay.as_millis());
    format!("subscriber {subscriber} ms, internet {internet} ms")
}

fn measure_at_once(
    stages: &[Stage],
    case: Case,
    usual: Duration,
    progress: &Progress,
) -> Vec<Result<Row>> {
    thread::scope(|scope| {
        let run = |stage| scope.spawn(move || Stage::measure(stage, case, usual));
        let running: Vec<_> = stages.iter().map(run).collect();
        progress.watch(|| running.iter().all(|thread| thread.is_finished()));
        let join = |thread: thread::ScopedJoinHandle<'_, Result<Row>>| {
            thread.join().unwrap_or_else(|_| Err("a measurement panicked".into()))
        };
        running.into_iter().map(join).collect()
    })
}

/// Measures a row again, alone, as long as that may tell more: the bound is the same each time.
fn patiently(
    stage: &Stage,
    case: Case,
    usual: Duration,
    acks: Acks,
    first: Result<Row>,
    progress: &mut Progress,
) -> Result<Row> {
    let mut row = first;
    for tries in 2..=tries(acks) {
        match &row {
            Ok(row) if is_final(row, acks) => break,
            Ok(_) => progress.say(&format!("{}: {} again", describe(&case), stage.traffic.name())),
            Err(err) => progress.say(&format!("{}: again: {err}", stage.traffic.name())),
        }
        row = stage.measure(case, usual).map(|row| Row { tries, ..row });
    }
    row.map_err(|err| format!("{}, {}: {err}", stage.traffic.name(), describe(&case)).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Traffic;
    use crate::row::tests::row;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn what_is_measured_again() {
        let late = row(Traffic::Bulk, [62 * MS, 5 * MS], 47 * MS);
        assert!(!is_final(&late, Acks::Prompt));
        assert!(is_final(&late, Acks::Delayed), "a delayed ACK is there each time");
        assert!(!is_final(&Row { stolen: 0.2, ..late.clone() }, Acks::Delayed));
        let good = row(Traffic::Bulk, [42 * MS, 5 * MS], 47 * MS);
        assert!(is_final(&Row { stolen: 0.2, ..good }, Acks::Prompt));
        let mut low = late;
        low.figures[0].false_samples = 1;
        assert!(is_final(&low, Acks::Prompt), "a false sample stays");
    }
}
