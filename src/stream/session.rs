// SPDX-License-Identifier: GPL-2.0-only
//! The loop of every stream: takes events from a source and writes records to an output, until a
//! signal stops it or the source ends.

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
use crate::stream::output::{Output, Reopened};
use crate::stream::record::Content;
use crate::stream::signals::{Signal, Signals};
use crate::stream::source::{Progress, Source, BATCH};

/// A function that prints one warning to the operator.
pub type Warn<'a> = &'a dyn Fn(fmt::Arguments<'_>);

/// Longest time that an event waits to be written, and a signal to be obeyed.
const PATIENCE: Duration = Duration::from_millis(100);
const PATIENCE_NS: u64 = PATIENCE.as_nanos() as u64;
const SECOND_NS: u64 = 1_000_000_000;
/// Largest number of batches to take after a stop: more than a full ring buffer (120 000 events)
/// has.
const MAX_LAST_BATCHES: usize = 32;

const LOST: StreamCounter = StreamCounter::named("events_lost");
const UNFOLLOWED: StreamCounter = StreamCounter::named("flows_unfollowed");

/// The kind of records that a session makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Product {
    /// One record for each event of these sides of the shaper.
    Events(Sides),
    /// The figures of each subnet, once an interval.
    Aggregates(AggregateOptions),
}

/// Streams until a signal stops it, the source ends, or the source or the output fails. In each
/// case writes the last records, such as those of the last interval, and closes the array.
///
/// # Errors
/// The first error of the source or the output.
pub fn run(
    source: &mut dyn Source,
    signals: &mut dyn Signals,
    output: Output,
    clock: Clock,
    product: Product,
    warn: Warn<'_>,
) -> Result<()> {
    let now_ns = source.now_ns()?;
    let product = match product {
        Product::Events(sides) => ProductState::Events { sides, flows: OpenFlows::default() },
        Product::Aggregates(options) => ProductState::Aggregates {
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
        product,
        warn,
        ending: false,
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
    product: ProductState,
    warn: Warn<'a>,
    /// Whether the stream ends: from then on no write waits for long.
    ending: bool,
    /// Time of the next [`Session::housekeeping`], on the source's clock.
    housekeeping_ns: u64,
    /// The counters at the last reading.
    counters: StreamCounters,
}

/// The state of a [`Product`].
enum ProductState {
    Events {
        sides: Sides,
        flows: OpenFlows,
    },
    Aggregates {
        aggregator: Box<Aggregator>,
        interval_ns: u64,
        /// Time at which the current interval ends.
        due_ns: u64,
    },
}

impl Session<'_> {
    /// Writes the record that a new file begins with, and warns if the file has lost its old
    /// content.
    fn preamble(&mut self, now_ns: u64) {
        if let Some(path) = self.output.replaced() {
            let path = path.display();
            (self.warn)(format_args!(
                "{path}: its old content is deleted: a JSON array cannot be appended to"
            ));
        }
        if let ProductState::Aggregates { aggregator, .. } = &self.product {
            let content = Content::Metadata(aggregator.metadata());
            self.output.record(self.wall_ns(now_ns), content);
        }
    }

    /// Converts a time of the source's clock to the wall-clock time of a record.
    fn wall_ns(&self, now_ns: u64) -> u64 {
        self.clock.wall_ns(self.source.stamp_ns(now_ns))
    }

    /// Runs the loop until a signal stops it or the source ends.
    fn pump(&mut self) -> Result<()> {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            let now_ns = self.source.now_ns()?;
            let stepped = self.step(&mut batch, self.next_ns(now_ns));
            // A stop comes before an error of the source: it ends the wait for a capture's next
            // bytes, also within a packet.
            if self.stopped()? {
                self.ending = true;
                return self.drain(&mut batch);
            }
            let progress = stepped?;
            self.tick()?;
            if progress == Progress::End {
                return Ok(());
            }
        }
    }

    /// Takes the events from before the stop that are still in the ring buffer. The number of
    /// batches is limited, since new events keep coming. A reader that stalls gets no more.
    fn drain(&mut self, batch: &mut Vec<StreamEvent>) -> Result<()> {
        let now_ns = self.source.now_ns()?;
        for _ in 0..MAX_LAST_BATCHES {
            self.step(batch, now_ns)?;
            if batch.is_empty() || self.output.is_full() {
                break;
            }
        }
        Ok(())
    }

    /// Polls the source until `until_ns` and takes the events, which stay in `batch`.
    fn step(&mut self, batch: &mut Vec<StreamEvent>, until_ns: u64) -> Result<Progress> {
        batch.clear();
        let polled = self.source.poll(batch, until_ns);
        // The source may append events and then fail: take them before returning the error.
        self.take(batch)?;
        polled
    }

    /// Returns the time at which the loop must wake up.
    fn next_ns(&self, now_ns: u64) -> u64 {
        let next_ns = self.housekeeping_ns.min(now_ns.saturating_add(PATIENCE_NS));
        match &self.product {
            ProductState::Events { .. } => next_ns,
            ProductState::Aggregates { due_ns, .. } => next_ns.min(*due_ns),
        }
    }

    /// Adds events to the aggregates, or writes those of the chosen sides.
    fn take(&mut self, batch: &[StreamEvent]) -> Result<()> {
        let now_ns = self.source.now_ns()?;
        for record in batch {
            // This never skips a record: programs and command come from one build.
            let Some(event) = Event::from_abi(record) else { continue };
            match &mut self.product {
                ProductState::Aggregates { aggregator, .. } => aggregator.add(&event),
                ProductState::Events { sides, .. } if !sides.include(event.side) => {}
                ProductState::Events { flows, .. } => {
                    let replaced = flows.follow(record, &event, now_ns);
                    self.write(replaced.into_iter().chain([event]))?;
                }
            }
        }
        Ok(())
    }

    fn write(&mut self, events: impl IntoIterator<Item = Event>) -> Result<()> {
        for event in events {
            let content = Content::Event { event, on_shaper: self.output.on_shaper() };
            self.output.record(self.clock.wall_ns(event.time_ns), content);
            if self.output.is_full() {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// Writes the text that waits. Returns early if a signal arrives while there is no room, or,
    /// when the stream ends, if there is none for a moment.
    fn flush(&mut self) -> Result<()> {
        match self.ending {
            true => self.output.flush_last().map(drop),
            false => self.output.flush(self.signals.fd()),
        }
    }

    /// Obeys the signals that have arrived. Returns true if the stream must stop.
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
            Reopened::Failed(err) => (self.warn)(format_args!("{err}; the old file stays open")),
        }
        Ok(())
    }

    /// Does what is due: the housekeeping, the end of an interval, a flush.
    fn tick(&mut self) -> Result<()> {
        let now_ns = self.source.now_ns()?;
        if now_ns >= self.housekeeping_ns {
            self.housekeeping_ns = now_ns.saturating_add(SECOND_NS);
            self.housekeeping(now_ns)?;
        }
        if let ProductState::Aggregates { due_ns, interval_ns, .. } = &mut self.product {
            if now_ns >= *due_ns {
                // The end times stay multiples of the interval. If the clock has passed several,
                // one record covers them: the clock jumped a pause of a capture, or this process
                // slept.
                let missed = (now_ns - *due_ns) / *interval_ns;
                *due_ns = due_ns.saturating_add((missed + 1).saturating_mul(*interval_ns));
                self.interval(now_ns)?;
            }
        }
        if self.output.is_full() || self.output.age() >= PATIENCE {
            self.flush()?;
        }
        Ok(())
    }

    /// Does once a second: follows the wall clock, checks the reader, reports losses, ends silent
    /// flows.
    fn housekeeping(&mut self, now_ns: u64) -> Result<()> {
        self.clock.refresh()?;
        self.output.check_reader()?;
        self.losses(now_ns)?;
        let ProductState::Events { flows, .. } = &mut self.product else { return Ok(()) };
        let source = &*self.source;
        let time_ns = source.stamp_ns(now_ns);
        let ended = flows.expired(now_ns, |index| source.flow(index));
        self.write(ended.into_iter().map(|event| Event { time_ns, ..event }))
    }

    /// Writes how many events were lost since the last call, in the place where they are missing.
    /// If the format has no text for that, prints a warning. Aggregates have a counter for it
    /// instead.
    fn losses(&mut self, now_ns: u64) -> Result<()> {
        let counters = self.source.counters()?;
        let lost = counters.since(&self.counters).get(LOST);
        self.counters = counters;
        if lost == 0 || matches!(self.product, ProductState::Aggregates { .. }) {
            return Ok(());
        }
        let wall_ns = self.wall_ns(now_ns);
        if !self.output.record(wall_ns, Content::Lost(lost)) {
            (self.warn)(format_args!("{lost} events lost"));
        }
        Ok(())
    }

    /// Ends an interval: writes its records and deletes subnets that have timed out.
    fn interval(&mut self, now_ns: u64) -> Result<()> {
        let ProductState::Aggregates { aggregator, .. } = &mut self.product else { return Ok(()) };
        let counts = self.source.subnets()?;
        let interval = aggregator.interval(now_ns, &counts, self.source.counters()?);
        let wall_ns = self.wall_ns(now_ns);
        for record in interval.subnets {
            self.output.record(wall_ns, Content::Subnet(Box::new(record)));
        }
        self.output.record(wall_ns, Content::Global(Box::new(interval.global)));
        self.source.forget_subnets(&interval.expired)
    }

    /// Writes the last records and the end of the array, and warns about everything that was lost.
    fn finish(&mut self) -> Result<()> {
        let last = self.last_records();
        let finished = self.output.finish();
        let (lost, unfollowed) = (self.counters.get(LOST), self.counters.get(UNFOLLOWED));
        if lost > 0 {
            let remedy = "raise --rate-limit, or write to a file";
            (self.warn)(format_args!("{lost} events were lost: the output is too slow; {remedy}"));
        }
        // The summary of a capture has them, too.
        if unfollowed > 0 && self.source.summary().is_none() {
            (self.warn)(format_args!(
                "{unfollowed} TCP segments were not measured: the flow table had no room for them"
            ));
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
mod tests;
