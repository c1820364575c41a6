// SPDX-License-Identifier: GPL-2.0-only
//! The stream: what a packet costs with a follower behind the classifiers, and how many events per second
//! reach a file.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{mpsc, Arc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use cpumap_pping::abi::{StreamConfig, DEFAULT_FLOWS};
use cpumap_pping::domain::Sides;
use cpumap_pping::stream::clock::Clock;
use cpumap_pping::stream::counters::StreamCounter;
use cpumap_pping::stream::output::Output;
use cpumap_pping::stream::session::{self, Product};
use cpumap_pping::stream::signals::{Signal, Signals};
use cpumap_pping::stream::source::following::stand_behind;
use cpumap_pping::stream::source::live::{Attachment, Live};
use cpumap_pping::stream::source::stream_programs::{StreamProgram, StreamPrograms, StreamSetup};
use cpumap_pping::stream::source::Source;
use libbpf_rs::MapHandle;
use serde::Serialize;

use crate::cost::comparison::{Comparison, Subject};
use crate::cost::names;
use crate::cost::options::{BenchOptions, ReportPart};
use crate::cost::systems::ours::{ours, Ours};
use crate::cost::systems::system::{inside, AttachPoint, System};
use crate::cost::testbed::Testbed;
use crate::cost::turns::{about, rounds, start};
use crate::cost::workload::Load;
use crate::error::Result;
use crate::progress::StatusLine;
use crate::scratch_file::ScratchFile;

const FOLLOWED: &str = "ours, followed, every RTT";
const LIMITED: &str = "ours, followed, 100 ms";

/// Segments per millisecond of the runs that look for the limit.
const RATES: [u32; 3] = [60, 100, 160];
/// Duration of each of those runs.
const SUSTAINED: Duration = Duration::from_secs(5);

/// Events that reached a file at one rate.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StreamRow {
    /// RTTs that were possible per second: ACKs that the generator sent.
    pub possible_a_second: f64,
    /// RTT events per second that reached the file.
    pub written_a_second: f64,
    /// Events for which the ring buffer had no room.
    pub lost: u64,
    /// Milliseconds in which the generator sent nothing, for want of CPU time.
    pub ticks_skipped: u64,
}

/// Measures what a follower costs, and how many events per second reach a file.
pub fn measure(options: &BenchOptions, line: &StatusLine) -> Result<(Comparison, Vec<StreamRow>)> {
    let comparison = compare(options, line)?;
    let rates = RATES.into_iter().filter(|rate| !options.quick || *rate == RATES[0]);
    let rows = rates.map(|per_tick| {
        line.say(&format!("stream: {per_tick} 000 segments/s into a file"));
        sustained(per_tick, options)
    });
    Ok((comparison, rows.collect::<Result<_>>()?))
}

/// Compares the same programs without a follower, with a follower of every RTT, and with a follower that
/// has a rate limit.
fn compare(options: &BenchOptions, line: &StatusLine) -> Result<Comparison> {
    let load = Load::live_mix();
    line.say("stream: loading");
    let testbed = Testbed::build(false)?;
    let systems = [names::OURS, FOLLOWED, LIMITED]
        .map(|name| ours(&testbed, &Ours { name, ..Ours::new(&load) }))
        .into_iter()
        .collect::<Result<Vec<_>>>()?;
    let _followers = [
        FollowerProcess::start(&systems[1], Duration::ZERO)?,
        FollowerProcess::start(&systems[2], Duration::from_millis(100))?,
    ];
    systems.iter().try_for_each(System::prefer_cpumap_threads)?;
    let generator = start(&testbed, std::slice::from_ref(&load), options)?;
    let subject = Subject {
        name: ReportPart::Stream.name(),
        about: about(&load),
        beside: names::OURS,
        pairs: &[(FOLLOWED, names::OURS), (LIMITED, names::OURS)],
    };
    let schedule = options.schedule(ReportPart::Stream);
    rounds(&testbed, &generator, &systems, &schedule, &subject, line)
}

/// Follows one rate for a while.
fn sustained(per_tick: u32, options: &BenchOptions) -> Result<StreamRow> {
    let load = Load { per_tick, ..Load::live_mix() };
    let testbed = Testbed::build(false)?;
    let system = ours(&testbed, &Ours::new(&load))?;
    inside(&testbed.shaper, || system.attach())?;
    system.prefer_cpumap_threads()?;
    let follower = FollowerProcess::start(&system, Duration::ZERO)?;
    let generator = start(&testbed, std::slice::from_ref(&load), options)?;
    let acks = || generator.counts.acks.load(Relaxed);
    let (began, before) = (Instant::now(), acks());
    thread::sleep(SUSTAINED);
    let (seconds, sent) = (began.elapsed().as_secs_f64(), acks() - before);
    let ticks_skipped = generator.counts.skipped.load(Relaxed);
    drop(generator);
    let (written, lost) = follower.end()?;
    Ok(StreamRow {
        possible_a_second: sent as f64 / seconds,
        written_a_second: written as f64 / seconds,
        lost,
        ticks_skipped,
    })
}

/// `xdp_pping --follow --format jsonl --write FILE` in a thread of this process, behind the programs of
/// one system, which need not be attached.
struct FollowerProcess {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<u64>>>,
    file: ScratchFile,
}

impl FollowerProcess {
    fn start(system: &System, rate_limit: Duration) -> Result<Self> {
        let classifiers: Vec<OwnedFd> = system
            .programs
            .iter()
            .filter(|placed| placed.hook == AttachPoint::Tc)
            .map(|placed| placed.program.try_clone())
            .collect::<std::io::Result<_>>()?;
        let stop = Arc::new(AtomicBool::new(false));
        let file = ScratchFile::new(&[])?;
        let (tell, ready) = mpsc::channel();
        let thread = {
            let (stop, file) = (Arc::clone(&stop), file.path());
            thread::spawn(move || follow(&classifiers, rate_limit, &file, StopFlag(stop), &tell))
        };
        // A thread that fails drops its end of the channel; join returns its error.
        let is_ready = ready.recv().is_ok();
        let follower = Self { stop, thread: Some(thread), file };
        match is_ready {
            true => Ok(follower),
            false => follower.end().and(Err("the follower ended at once".into())),
        }
    }

    /// Ends the follower. Returns the number of RTT events in the file, and of events lost.
    fn end(mut self) -> Result<(u64, u64)> {
        self.stop.store(true, Relaxed);
        let joined = self.thread.take().map(JoinHandle::join);
        let lost = joined.ok_or("no thread")?.map_err(|_| "the follower panicked")??;
        Ok((rtt_events(&self.file.path())?, lost))
    }
}

impl Drop for FollowerProcess {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        // After an error elsewhere, the follower's result does not matter.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Counts the lines of the file that are RTTs.
fn rtt_events(file: &Path) -> Result<u64> {
    let mut count = 0;
    for line in BufReader::new(File::open(file)?).split(b'\n') {
        count += u64::from(line?.windows(6).any(|word| word == b"\"rtt\":"));
    }
    Ok(count)
}

fn follow(
    classifiers: &[OwnedFd],
    rate_limit: Duration,
    file: &Path,
    mut stop: StopFlag,
    ready: &mpsc::Sender<()>,
) -> Result<u64> {
    let limit = rate_limit.as_nanos() as u64;
    let config = StreamConfig { rate_limit_ns: limit, events: 1, ..StreamConfig::default() };
    let programs = StreamPrograms::load(&StreamSetup {
        programs: &[StreamProgram::Follow],
        stream: config,
        handshake: false,
        replay: false,
        flows: DEFAULT_FLOWS as u32,
    })?;
    let held = classifiers.iter().map(|program| stand_behind(program, &programs));
    let held = held.collect::<cpumap_pping::domain::error::Result<Vec<_>>>()?;
    let mut source = Live::new(HeldArrays { _arrays: held }, programs);
    let output =
        Output::open(Some(file), &cpumap_pping::format::stream_formats::JSONL, true, None)?;
    ready.send(())?;
    let product = Product::Events(Sides::Both);
    session::run(&mut source, &mut stop, output, Clock::live()?, product, &|_| ())?;
    Ok(source.counters()?.get(StreamCounter::named("events_lost")))
}

/// Keeps the program arrays alive; the follower's place never changes.
struct HeldArrays {
    _arrays: Vec<Option<MapHandle>>,
}

impl Attachment for HeldArrays {
    fn check(&mut self, _: &StreamPrograms) -> cpumap_pping::domain::error::Result<()> {
        Ok(())
    }
}

/// Stands in for the signal that ends a follower.
struct StopFlag(Arc<AtomicBool>);

impl Signals for StopFlag {
    fn take(&mut self) -> cpumap_pping::domain::error::Result<Option<Signal>> {
        Ok(self.0.load(Relaxed).then_some(Signal::Stop))
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}
