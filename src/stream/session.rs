// SPDX-License-Identifier: GPL-2.0-only
//! The loop of every event stream: from a source to the output, until a signal or the end.

use std::fmt;
use std::time::Duration;

use crate::abi::StreamEvent;
use crate::domain::error::Result;
use crate::domain::Sides;
use crate::stream::aggregate::{AggregateOptions, Aggregator};
use crate::stream::clock::Clock;
use crate::stream::counters::{StreamCounter, StreamCounters};
use crate::stream::event::Event;
use crate::stream::flows::OpenFlows;
use crate::stream::record::Content;
use crate::stream::signals::{Signal, Signals};
use crate::stream::source::{Progress, Source, BATCH};
use crate::stream::writer::{Output, Reopened};

/// Prints one warning to the operator.
pub type Warn<'a> = &'a dyn Fn(fmt::Arguments<'_>);

/// The longest that an event waits to be written, and a signal to be heeded.
const PATIENCE: Duration = Duration::from_millis(100);
const PATIENCE_NS: u64 = PATIENCE.as_nanos() as u64;
const SECOND_NS: u64 = 1_000_000_000;
/// Batches after a stop: a ring buffer and more.
const MAX_LAST_BATCHES: usize = 32;

const LOST: StreamCounter = StreamCounter::named("events_lost");
const UNFOLLOWED: StreamCounter = StreamCounter::named("flows_unfollowed");

/// The records that a session makes of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Product {
    /// Each event: those of one side of the shaper, or of both.
    Events(Sides),
    /// The figures of each subnet.
    Aggregates(AggregateOptions),
}

/// Streams until a signal says stop, the source ends, or something fails. Whatever the reason, what
/// was begun is finished: the array is closed, the last interval printed.
///
/// # Errors
/// Those of the source and of the output, the first one.
pub fn run(
    source: &mut dyn Source,
    signals: &mut dyn Signals,
    output: Output,
    clock: Clock,
    product: Product,
    warn: Warn<'_>,
) -> Result<()> {
    let now_ns = source.now_ns()?;
    let mode = match product {
        Product::Events(sides) => Mode::Events { sides, flows: OpenFlows::default() },
        Product::Aggregates(options) => Mode::Aggregates {
            aggregator: Box::new(Aggregator::new(options, now_ns)),
            interval_ns: options.interval.as_nanos() as u64,
            due_ns: now_ns.saturating_add(options.interval.as_nanos() as u64),
        },
    };
    let mut session = Session {
        source,
        signals,
        output,
        clock,
        mode,
        warn,
        housekeeping_ns: now_ns.saturating_add(SECOND_NS),
        counters: StreamCounters::default(),
    };
    session.preamble(now_ns);
    let ended = session.pump();
    let finished = session.finish();
    ended.and(finished)
}

struct Session<'a> {
    source: &'a mut dyn Source,
    signals: &'a mut dyn Signals,
    output: Output,
    clock: Clock,
    mode: Mode,
    warn: Warn<'a>,
    /// When to look after what is done once a second.
    housekeeping_ns: u64,
    counters: StreamCounters,
}

enum Mode {
    Events { sides: Sides, flows: OpenFlows },
    Aggregates { aggregator: Box<Aggregator>, interval_ns: u64, due_ns: u64 },
}

impl Session<'_> {
    /// What every file begins with.
    fn preamble(&mut self, now_ns: u64) {
        if let Some(path) = self.output.replaced() {
            let path = path.display();
            (self.warn)(format_args!("{path}: begun anew: an array cannot be appended to"));
        }
        if let Mode::Aggregates { aggregator, .. } = &self.mode {
            let content = Content::Metadata(aggregator.metadata());
            self.output.record(self.clock.wall_ns(now_ns), content);
        }
    }

    fn pump(&mut self) -> Result<()> {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            let now_ns = self.source.now_ns()?;
            let progress = self.step(&mut batch, self.next_ns(now_ns))?;
            if self.stopped()? {
                return self.drain(&mut batch);
            }
            self.tick()?;
            if progress == Progress::End {
                return Ok(());
            }
        }
    }

    /// What happened before the stop; what happens from now on does not count.
    fn drain(&mut self, batch: &mut Vec<StreamEvent>) -> Result<()> {
        let now_ns = self.source.now_ns()?;
        for _ in 0..MAX_LAST_BATCHES {
            self.step(batch, now_ns)?;
            if batch.is_empty() {
                break;
            }
        }
        Ok(())
    }

    /// Takes the events until then. They stay in `batch`.
    fn step(&mut self, batch: &mut Vec<StreamEvent>, until_ns: u64) -> Result<Progress> {
        batch.clear();
        let polled = self.source.poll(batch, until_ns);
        // What came before a failure counts.
        self.take(batch)?;
        polled
    }

    /// When something is to be done next.
    fn next_ns(&self, now_ns: u64) -> u64 {
        let next_ns = self.housekeeping_ns.min(now_ns.saturating_add(PATIENCE_NS));
        match &self.mode {
            Mode::Events { .. } => next_ns,
            Mode::Aggregates { due_ns, .. } => next_ns.min(*due_ns),
        }
    }

    fn take(&mut self, batch: &[StreamEvent]) -> Result<()> {
        for record in batch {
            // Both ends are of one build: there is no record that cannot be read.
            let Some(event) = Event::from_abi(record) else { continue };
            match &mut self.mode {
                Mode::Aggregates { aggregator, .. } => aggregator.add(&event),
                Mode::Events { sides, .. } if !sides.include(event.side) => {}
                Mode::Events { flows, .. } => {
                    let replaced = flows.follow(record, &event);
                    self.print(replaced.into_iter().chain([event]))?;
                }
            }
        }
        Ok(())
    }

    fn print(&mut self, events: impl IntoIterator<Item = Event>) -> Result<()> {
        for event in events {
            let content = Content::Event { event, on_shaper: self.output.on_shaper() };
            self.output.record(self.clock.wall_ns(event.time_ns), content);
            if self.output.is_full() {
                self.output.flush(self.signals.fd())?;
            }
        }
        Ok(())
    }

    /// Heeds the signals that have arrived.
    fn stopped(&mut self) -> Result<bool> {
        while let Some(signal) = self.signals.take()? {
            match signal {
                Signal::Stop => return Ok(true),
                Signal::Reopen if self.output.is_terminal() => return Ok(true),
                Signal::Reopen => self.reopen()?,
            }
        }
        Ok(false)
    }

    fn reopen(&mut self) -> Result<()> {
        match self.output.reopen(self.signals.fd())? {
            Reopened::Fresh => {
                let now_ns = self.source.now_ns()?;
                self.preamble(now_ns);
            }
            Reopened::Same => {}
            Reopened::Failed(err) => (self.warn)(format_args!("{err}; the old file goes on")),
        }
        Ok(())
    }

    /// What is due.
    fn tick(&mut self) -> Result<()> {
        let now_ns = self.source.now_ns()?;
        if now_ns >= self.housekeeping_ns {
            self.housekeeping_ns = now_ns.saturating_add(SECOND_NS);
            self.housekeeping(now_ns)?;
        }
        if let Mode::Aggregates { due_ns, interval_ns, .. } = &mut self.mode {
            if now_ns >= *due_ns {
                // On the grid; intervals that nothing can have happened in are left out.
                let missed = (now_ns - *due_ns) / *interval_ns;
                *due_ns = due_ns.saturating_add((missed + 1).saturating_mul(*interval_ns));
                self.interval(now_ns)?;
            }
        }
        if self.output.is_full() || self.output.age() >= PATIENCE {
            self.output.flush(self.signals.fd())?;
        }
        Ok(())
    }

    fn housekeeping(&mut self, now_ns: u64) -> Result<()> {
        self.clock.refresh()?;
        self.output.check_reader()?;
        self.losses(now_ns)?;
        let Mode::Events { flows, .. } = &mut self.mode else { return Ok(()) };
        let source = &*self.source;
        let ended = flows.expired(now_ns, |index| source.flow(index));
        self.print(ended)
    }

    /// Says which events are missing, where they are. Aggregates have a count for them.
    fn losses(&mut self, now_ns: u64) -> Result<()> {
        let counters = self.source.counters()?;
        let lost = counters.since(&self.counters).get(LOST);
        self.counters = counters;
        if lost == 0 || matches!(self.mode, Mode::Aggregates { .. }) {
            return Ok(());
        }
        if !self.output.record(self.clock.wall_ns(now_ns), Content::Lost(lost)) {
            (self.warn)(format_args!("{lost} events lost"));
        }
        Ok(())
    }

    fn interval(&mut self, now_ns: u64) -> Result<()> {
        let Mode::Aggregates { aggregator, .. } = &mut self.mode else { return Ok(()) };
        let counts = self.source.subnets()?;
        let interval = aggregator.interval(now_ns, &counts, self.source.counters()?);
        let wall_ns = self.clock.wall_ns(now_ns);
        for record in interval.subnets {
            self.output.record(wall_ns, Content::Subnet(Box::new(record)));
        }
        self.output.record(wall_ns, Content::Global(Box::new(interval.global)));
        self.source.forget_subnets(&interval.expired)
    }

    /// The last records, the end of the array, and what was lost on the whole.
    fn finish(&mut self) -> Result<()> {
        let last = self.last_records();
        let finished = self.output.finish();
        let (lost, unfollowed) = (self.counters.get(LOST), self.counters.get(UNFOLLOWED));
        if lost > 0 {
            let remedy = "raise --rate-limit, or write to a file";
            (self.warn)(format_args!("{lost} events were lost: the output is too slow; {remedy}"));
        }
        if unfollowed > 0 {
            (self.warn)(format_args!(
                "{unfollowed} TCP segments were not measured: the flow table had no room for them"
            ));
        }
        if let Some(left_out) = self.source.left_out() {
            (self.warn)(format_args!("{left_out}"));
        }
        last.and(finished)
    }

    fn last_records(&mut self) -> Result<()> {
        let now_ns = self.source.now_ns()?;
        self.losses(now_ns)?;
        self.interval(now_ns)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::fs;
    use std::os::fd::BorrowedFd;
    use std::path::PathBuf;

    use serde_json::Value;

    use super::*;
    use crate::abi::{StreamFlow, StreamSubnet, StreamSubnetKey};
    use crate::domain::error::Error;
    use crate::domain::Side;
    use crate::format::stream;
    use crate::stream::counters::tests::stats;
    use crate::stream::event::tests::{opening_record, rtt_record};
    use crate::stream::writer::StreamFormat;

    const WALL: i64 = 1_600_000_000_000_000_000;

    /// Plays steps: a clock and the events until then.
    #[derive(Default)]
    struct Script {
        steps: VecDeque<(u64, Vec<StreamEvent>)>,
        /// What is in the ring buffer, and wakes nobody.
        waiting: Vec<StreamEvent>,
        now_ns: u64,
        lost: u64,
        fails: bool,
        forgotten: Vec<StreamSubnetKey>,
    }

    impl Source for Script {
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

    /// Signals, one for each look.
    #[derive(Default)]
    struct Scripted(VecDeque<Option<Signal>>);

    impl Signals for Scripted {
        fn take(&mut self) -> Result<Option<Signal>> {
            Ok(self.0.pop_front().flatten())
        }

        fn fd(&self) -> Option<BorrowedFd<'_>> {
            None
        }
    }

    struct Run {
        path: PathBuf,
        result: Result<()>,
    }

    impl Run {
        fn new(
            test: &str,
            script: &mut Script,
            signals: &[Option<Signal>],
            format: StreamFormat,
            report: Product,
        ) -> Self {
            let name = format!("pping-session-{test}-{}", std::process::id());
            let path = std::env::temp_dir().join(name);
            let _ = fs::remove_file(&path);
            let output = Output::open(Some(&path), format, true).unwrap();
            let mut signals = Scripted(signals.iter().copied().collect());
            let clock = Clock::fixed(-WALL);
            let result = run(script, &mut signals, output, clock, report, &|_| ());
            Self { path, result }
        }

        fn text(&self) -> String {
            fs::read_to_string(&self.path).unwrap()
        }

        fn objects(&self) -> Vec<Value> {
            serde_json::from_str(&self.text()).unwrap()
        }
    }

    impl Drop for Run {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.path);
        }
    }

    fn steps(times: &[u64], events: Vec<StreamEvent>) -> Script {
        let mut steps: VecDeque<_> = times.iter().map(|time| (*time, Vec::new())).collect();
        steps[0].1 = events;
        Script { steps, ..Script::default() }
    }

    fn events() -> Vec<StreamEvent> {
        vec![opening_record(), rtt_record()]
    }

    const BOTH: Product = Product::Events(Sides::Both);

    #[test]
    fn events_drops_and_time_outs() {
        let late = 400 * SECOND_NS;
        let mut script = steps(&[5, SECOND_NS, late], events());
        script.lost = 3;
        let run = Run::new("events", &mut script, &[], &stream::JSON, BOTH);
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
    fn one_side_only() {
        for (side, count) in [(Side::Subscriber, 0), (Side::Internet, 2)] {
            let mut script = steps(&[5], events());
            let report = Product::Events(Sides::One(side));
            let run = Run::new(&format!("{side:?}"), &mut script, &[], &stream::JSON, report);
            assert_eq!(run.objects().len(), count);
        }
    }

    #[test]
    fn the_array_is_closed_whatever_happens() {
        let mut script = Script { waiting: events(), ..steps(&[5, 6], events()) };
        let run = Run::new("stop", &mut script, &[Some(Signal::Stop)], &stream::JSON, BOTH);
        assert!(run.result.is_ok() && run.objects().len() == 4);
        assert_eq!(script.steps.len(), 1);

        let mut script = Script { fails: true, ..steps(&[5], events()) };
        let run = Run::new("gone", &mut script, &[], &stream::JSON, BOTH);
        assert_eq!(run.result.as_ref().unwrap_err().to_string(), "interface x: it is gone");
        assert_eq!(run.objects().len(), 2);

        let run = Run::new("nothing", &mut Script::default(), &[], &stream::JSON, BOTH);
        assert_eq!(run.text(), "[]\n");
    }

    #[test]
    fn a_hang_up_where_nothing_moved_changes_nothing() {
        let mut script = steps(&[5, 6], events());
        let run = Run::new("hup", &mut script, &[Some(Signal::Reopen)], &stream::JSON, BOTH);
        assert!(run.result.is_ok() && run.objects().len() == 2);
    }

    #[test]
    fn aggregates() {
        let options = AggregateOptions::default();
        let mut script = steps(&[5, SECOND_NS, 40 * SECOND_NS], events());
        let report = Product::Aggregates(options);
        let run = Run::new("aggregates", &mut script, &[], &stream::JSON, report);
        run.result.as_ref().unwrap();
        let objects = run.objects();
        assert_eq!(objects[0]["format_version"], 1);
        assert_eq!(objects[0]["bin_edges_ns"].as_array().unwrap().len(), 103);
        assert_eq!(objects[1]["ip_prefix"], "10.11.1.0/24");
        assert_eq!(objects[1]["count_rtt"], 1);
        assert_eq!(objects[1]["median_rtt"], 5_977_708);
        assert_eq!(objects[2]["duration_ns"], SECOND_NS);
        assert_eq!(objects[3]["timestamp"], WALL + 40 * SECOND_NS as i64);
        assert_eq!(script.forgotten.len(), 2);
    }

    #[test]
    fn aggregates_for_people() {
        let mut script = steps(&[5], events());
        let report = Product::Aggregates(AggregateOptions::default());
        let run = Run::new("readable", &mut script, &[], &stream::STANDARD, report);
        let text = run.text();
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[0].starts_with("Aggregating RTTs of IPv4 /24 and IPv6 /48 in 103"), "{text}");
        let end = ": 10.11.1.0/24 -> rxpkts=0, rxbytes=0, txpkts=0, txbytes=0, rtt-count=1, \
                   min=5.977708 ms, mean=5.977708 ms, median=5.977708 ms, p95=5.977708 ms, \
                   max=5.977708 ms";
        assert!(lines[1].ends_with(end), "{text}");
        assert!(lines[2].ends_with(": pkts=0, bytes=0"), "{text}");
    }
}
