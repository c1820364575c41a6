// SPDX-License-Identifier: GPL-2.0-only
use std::collections::VecDeque;
use std::fs;
use std::os::fd::BorrowedFd;

use serde_json::Value;

use super::*;
use crate::abi::{StreamFlow, StreamSubnet, StreamSubnetKey};
use crate::domain::error::Error;
use crate::domain::Side;
use crate::format::stream_formats;
use crate::stream::counters::tests::stats;
use crate::stream::event::tests::{opening_record, rtt_record};
use crate::stream::output::StreamFormat;

const WALL: i64 = 1_600_000_000_000_000_000;

/// A source that plays steps. Each sets the clock and yields events.
#[derive(Default)]
struct ScriptedSource {
    steps: VecDeque<(u64, Vec<StreamEvent>)>,
    /// Events in the ring buffer that are too few to end a wait.
    waiting: Vec<StreamEvent>,
    now_ns: u64,
    lost: u64,
    fails: bool,
    forgotten: Vec<StreamSubnetKey>,
}

impl Source for ScriptedSource {
    fn poll(&mut self, batch: &mut Vec<StreamEvent>, until_ns: u64) -> Result<Progress> {
        if until_ns == self.now_ns {
            batch.append(&mut self.waiting);
            return Ok(Progress::More);
        }
        assert!(until_ns > self.now_ns && until_ns - self.now_ns <= PATIENCE_NS);
        match self.steps.pop_front() {
            Some((now_ns, events)) => {
                self.now_ns = now_ns;
                batch.extend(events);
                Ok(Progress::More)
            }
            None if self.fails => Err(Error::other("interface x", "it is gone", "")),
            None => Ok(Progress::End),
        }
    }

    fn now_ns(&mut self) -> Result<u64> {
        Ok(self.now_ns)
    }

    fn counters(&mut self) -> Result<StreamCounters> {
        Ok(StreamCounters::sum(&[stats(&[(LOST, self.lost)])]))
    }

    fn flow(&self, _: u32) -> Option<StreamFlow> {
        Some(StreamFlow { tag: 77, ..StreamFlow::default() })
    }

    fn subnets(&mut self) -> Result<Vec<(StreamSubnetKey, StreamSubnet)>> {
        let subnet = StreamSubnet::default();
        Ok(vec![(StreamSubnetKey { addr: [0xFF; 16] }, subnet)])
    }

    fn forget_subnets(&mut self, keys: &[StreamSubnetKey]) -> Result<()> {
        self.forgotten.extend(keys);
        Ok(())
    }
}

/// Signals: each call of `take` returns the next entry.
#[derive(Default)]
struct ScriptedSignals(VecDeque<Option<Signal>>);

impl Signals for ScriptedSignals {
    fn take(&mut self) -> Result<Option<Signal>> {
        Ok(self.0.pop_front().flatten())
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

/// The outcome of a session: its result and the text that it wrote.
struct SessionRun {
    result: Result<()>,
    text: String,
}

impl SessionRun {
    fn new(
        script: &mut ScriptedSource,
        signals: &[Option<Signal>],
        format: StreamFormat,
        product: Product,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        let output = Output::open(Some(&path), format, true, None).unwrap();
        let mut signals = ScriptedSignals(signals.iter().copied().collect());
        let clock = Clock::fixed(-WALL);
        let result = run(script, &mut signals, output, clock, product, &|_| ());
        Self { result, text: fs::read_to_string(&path).unwrap() }
    }

    fn objects(&self) -> Vec<Value> {
        serde_json::from_str(&self.text).unwrap()
    }
}

fn steps(times: &[u64], events: Vec<StreamEvent>) -> ScriptedSource {
    let mut steps: VecDeque<_> = times.iter().map(|time| (*time, Vec::new())).collect();
    steps[0].1 = events;
    ScriptedSource { steps, ..ScriptedSource::default() }
}

fn events() -> Vec<StreamEvent> {
    vec![opening_record(), rtt_record()]
}

const BOTH: Product = Product::Events(Sides::Both);

#[test]
fn the_array_holds_events_losses_and_time_outs() {
    let late = 400 * SECOND_NS;
    let mut script = steps(&[5, SECOND_NS, late], events());
    script.lost = 3;
    let run = SessionRun::new(&mut script, &[], &stream_formats::JSON, BOTH);
    run.result.as_ref().unwrap();
    let objects = run.objects();
    assert_eq!(objects.len(), 4, "{objects:?}");
    assert_eq!(objects[0]["flow_event"], "opening");
    assert_eq!(objects[1]["timestamp"], WALL + 1000);
    assert_eq!(objects[2]["lost_events"], 3);
    assert_eq!(objects[3]["reason"], "flow timeout");
    assert_eq!(objects[3]["timestamp"], WALL + late as i64);
}

#[test]
fn events_of_the_other_side_are_left_out() {
    for (side, count) in [(Side::Subscriber, 0), (Side::Internet, 2)] {
        let mut script = steps(&[5], events());
        let product = Product::Events(Sides::One(side));
        let run = SessionRun::new(&mut script, &[], &stream_formats::JSON, product);
        assert_eq!(run.objects().len(), count);
    }
}

#[test]
fn the_array_is_closed_whatever_happens() {
    let mut script = ScriptedSource { waiting: events(), ..steps(&[5, 6], events()) };
    let run = SessionRun::new(&mut script, &[Some(Signal::Stop)], &stream_formats::JSON, BOTH);
    assert!(run.result.is_ok() && run.objects().len() == 4);
    assert_eq!(script.steps.len(), 1);

    let mut script = ScriptedSource { fails: true, ..steps(&[5], events()) };
    let run = SessionRun::new(&mut script, &[], &stream_formats::JSON, BOTH);
    assert_eq!(run.result.as_ref().unwrap_err().to_string(), "interface x: it is gone");
    assert_eq!(run.objects().len(), 2);

    let run = SessionRun::new(&mut ScriptedSource::default(), &[], &stream_formats::JSON, BOTH);
    assert_eq!(run.text, "[]\n");
}

/// The signal is taken, so its descriptor wakes nobody any more, and the reader does not read.
#[test]
fn a_stop_ends_a_stream_whose_reader_stalls() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fifo");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let reader = fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let output = Output::open(Some(&path), &stream_formats::JSONL, true, None).unwrap();
    let mut script = ScriptedSource { waiting: vec![rtt_record(); 2000], ..steps(&[5], events()) };
    let mut signals = ScriptedSignals([Some(Signal::Stop)].into());
    let start = std::time::Instant::now();
    let result = run(&mut script, &mut signals, output, Clock::fixed(-WALL), BOTH, &|_| ());
    let time = start.elapsed();
    assert!(result.unwrap_err().to_string().ends_with("its reader does not read"));
    assert!((Duration::from_millis(300)..Duration::from_secs(1)).contains(&time), "{time:?}");
    drop(reader);
}

#[test]
fn sighup_changes_nothing_while_the_file_is_in_its_place() {
    let mut script = steps(&[5, 6], events());
    let run = SessionRun::new(&mut script, &[Some(Signal::Reopen)], &stream_formats::JSON, BOTH);
    assert!(run.result.is_ok() && run.objects().len() == 2);
}

#[test]
fn aggregates_are_written_each_interval() {
    let options = AggregateOptions::default();
    let mut script = steps(&[5, SECOND_NS, 40 * SECOND_NS], events());
    let product = Product::Aggregates(options);
    let run = SessionRun::new(&mut script, &[], &stream_formats::JSON, product);
    run.result.as_ref().unwrap();
    let objects = run.objects();
    assert_eq!(objects[0]["format_version"], 1);
    assert_eq!(objects[0]["bin_edges_ns"].as_array().unwrap().len(), 106);
    assert_eq!(objects[1]["ip_prefix"], "10.11.1.0/24");
    assert_eq!(objects[1]["count_rtt"], 1);
    assert_eq!(objects[1]["median_rtt"], 5_977_708);
    assert_eq!(objects[2]["duration_ns"], SECOND_NS);
    assert_eq!(objects[3]["timestamp"], WALL + 40 * SECOND_NS as i64);
    assert_eq!(script.forgotten.len(), 2);
}

#[test]
fn aggregates_in_the_standard_format() {
    let mut script = steps(&[5], events());
    let product = Product::Aggregates(AggregateOptions::default());
    let run = SessionRun::new(&mut script, &[], &stream_formats::STANDARD, product);
    let text = run.text;
    let lines: Vec<_> = text.lines().collect();
    assert!(lines[0].starts_with("Aggregating RTTs of IPv4 /24 and IPv6 /48 in 106"), "{text}");
    let end = ": 10.11.1.0/24 -> rxpkts=0, rxbytes=0, txpkts=0, txbytes=0, rtt-count=1, \
               min=5.977708 ms, mean=5.977708 ms, median=5.977708 ms, p95=5.977708 ms, \
               max=5.977708 ms";
    assert!(lines[1].ends_with(end), "{text}");
    assert!(lines[2].ends_with(": pkts=0, bytes=0"), "{text}");
}
