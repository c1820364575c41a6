//! The stream: what a packet costs with a follower behind the classifiers, and how many events a
//! second reach a file.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
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

use crate::loads::{about, rounds, start};
use crate::options::{Options, Part};
use crate::progress::Line;
use crate::report::{Report, Subject};
use crate::stage::Stage;
use crate::systems::{inside, ours, Hook, Ours, System};
use crate::targets::name;
use crate::workload::Load;
use crate::Result;

const FOLLOWED: &str = "ours, followed, every RTT";
const LIMITED: &str = "ours, followed, 100 ms";

/// Segments a millisecond of the runs that look for the limit.
const RATES: [u32; 3] = [60, 100, 160];
/// How long each of them lasts.
const SUSTAINED: Duration = Duration::from_secs(5);

/// Events of one rate on their way into a file.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StreamRow {
    /// RTTs that were possible in a second: ACKs that the generator sent.
    pub possible_a_second: f64,
    /// RTT events in a second that reached the file.
    pub written_a_second: f64,
    /// Events for which the ring buffer had no room.
    pub lost: u64,
    /// Milliseconds in which the generator sent nothing, for want of CPU time.
    pub ticks_skipped: u64,
}

/// Runs it and adds it to the report.
pub fn run(options: &Options, line: &Line, report: &mut Report) -> Result<()> {
    compare(options, line, report)?;
    for per_tick in RATES.into_iter().filter(|rate| !options.quick || *rate == RATES[0]) {
        line.say(&format!("stream: {per_tick} 000 segments/s into a file"));
        report.stream.push(sustained(per_tick, options)?);
    }
    Ok(())
}

/// The same programs without a follower, with one of every RTT, and with one that is limited.
fn compare(options: &Options, line: &Line, report: &mut Report) -> Result<()> {
    let load = Load::live_mix();
    line.say("stream: loading");
    let stage = Stage::build(false)?;
    let systems = [name::OURS, FOLLOWED, LIMITED]
        .map(|name| ours(&stage, &Ours { name, ..Ours::new(&load) }))
        .into_iter()
        .collect::<Result<Vec<_>>>()?;
    let _followers = [
        Follower::start(&systems[1], Duration::ZERO)?,
        Follower::start(&systems[2], Duration::from_millis(100))?,
    ];
    systems.iter().try_for_each(System::prefer_cpumap_threads)?;
    let generator = start(&stage, std::slice::from_ref(&load), options)?;
    let subject = Subject {
        name: Part::Stream.name(),
        about: about(&load),
        beside: name::OURS,
        pairs: &[(FOLLOWED, name::OURS), (LIMITED, name::OURS)],
    };
    let schedule = options.schedule(Part::Stream);
    report.comparisons.push(rounds(&stage, &generator, &systems, &schedule, &subject, line)?);
    Ok(())
}

/// One rate, followed for a while.
fn sustained(per_tick: u32, options: &Options) -> Result<StreamRow> {
    let load = Load { per_tick, ..Load::live_mix() };
    let stage = Stage::build(false)?;
    let system = ours(&stage, &Ours::new(&load))?;
    inside(&stage.shaper, || system.attach())?;
    system.prefer_cpumap_threads()?;
    let follower = Follower::start(&system, Duration::ZERO)?;
    let generator = start(&stage, std::slice::from_ref(&load), options)?;
    let acks = || generator.progress.acks.load(Relaxed);
    let (began, before) = (Instant::now(), acks());
    thread::sleep(SUSTAINED);
    let (seconds, sent) = (began.elapsed().as_secs_f64(), acks() - before);
    let ticks_skipped = generator.progress.skipped.load(Relaxed);
    drop(generator);
    let (written, lost) = follower.end()?;
    Ok(StreamRow {
        possible_a_second: sent as f64 / seconds,
        written_a_second: written as f64 / seconds,
        lost,
        ticks_skipped,
    })
}

/// `xdp_pping --follow --format jsonl --write FILE`, in a thread of this process: behind the programs
/// of one system, whether or not they are attached.
struct Follower {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<u64>>>,
    file: PathBuf,
}

impl Follower {
    fn start(system: &System, rate_limit: Duration) -> Result<Self> {
        let classifiers: Vec<OwnedFd> = system
            .programs
            .iter()
            .filter(|placed| placed.hook == Hook::Tc)
            .map(|placed| placed.program.try_clone())
            .collect::<std::io::Result<_>>()?;
        let stop = Arc::new(AtomicBool::new(false));
        let file = std::env::temp_dir().join(format!(
            "cpumap-pping-bench-{}-{}",
            std::process::id(),
            system.name.len()
        ));
        let _ = std::fs::remove_file(&file);
        let (tell, ready) = mpsc::channel();
        let thread = {
            let (stop, file) = (Arc::clone(&stop), file.clone());
            thread::spawn(move || follow(&classifiers, rate_limit, &file, Stop(stop), &tell))
        };
        // A thread that fails drops its end: it tells why when it is joined.
        let is_ready = ready.recv().is_ok();
        let follower = Self { stop, thread: Some(thread), file };
        match is_ready {
            true => Ok(follower),
            false => follower.end().and(Err("the follower ended at once".into())),
        }
    }

    /// Ends it: RTT events in the file, and events lost.
    fn end(mut self) -> Result<(u64, u64)> {
        self.stop.store(true, Relaxed);
        let joined = self.thread.take().map(JoinHandle::join);
        let lost = joined.ok_or("no thread")?.map_err(|_| "the follower panicked")??;
        Ok((rtt_events(&self.file)?, lost))
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        // Whatever it has to say, nobody waits for it any more.
        let _ = self.thread.take().map(JoinHandle::join);
        let _ = std::fs::remove_file(&self.file);
    }
}

/// Lines of the file that are RTTs.
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
    mut stop: Stop,
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
    let mut source = Live::new(Behind { _arrays: held }, programs);
    let output = Output::open(Some(file), &cpumap_pping::format::stream_formats::JSONL, true)?;
    ready.send(())?;
    let product = Product::Events(Sides::Both);
    session::run(&mut source, &mut stop, output, Clock::live()?, product, &|_| ())?;
    Ok(source.counters()?.get(StreamCounter::named("events_lost")))
}

/// Stays where it is.
struct Behind {
    _arrays: Vec<Option<MapHandle>>,
}

impl Attachment for Behind {
    fn check(&mut self, _: &StreamPrograms) -> cpumap_pping::domain::error::Result<()> {
        Ok(())
    }
}

/// A signal of our own.
struct Stop(Arc<AtomicBool>);

impl Signals for Stop {
    fn take(&mut self) -> cpumap_pping::domain::error::Result<Option<Signal>> {
        Ok(self.0.load(Relaxed).then_some(Signal::Stop))
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}
