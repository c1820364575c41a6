//! Stream the RTTs of the flows that pass an interface, or that a capture holds.

use std::path::Path;

use crate::abi::{StreamConfig, DEFAULT_FLOWS};
use crate::capture::Capture;
use crate::cli::pping::{IngressHook, Input, Request};
use crate::device;
use crate::error::Result;
use crate::output::Side;
use crate::stream::clock::Clock;
use crate::stream::kernel::{Kernel, Program, Setup};
use crate::stream::live::Live;
use crate::stream::replay::Replay;
use crate::stream::signals::ProcessSignals;
use crate::stream::source::Source;
use crate::stream::writer::Output;
use crate::values::IfName;
use crate::watch::Watching;

use super::stream::{self, Report};

/// Runs the command. The output is opened first, so that what is in its way shows before anything
/// is attached; from then on signals wait, so that nothing stays attached.
///
/// # Errors
/// See [`crate::error::EXIT_CODES`].
pub fn run(request: Request) -> Result<()> {
    let output = Output::open(request.events.write.as_deref(), request.format, false)?;
    let mut signals = ProcessSignals::block()?;
    let (mut source, clock) = source(&request)?;
    let report = request.aggregate.map_or(Report::Events(Side::Both), Report::Aggregates);
    stream::run(source.as_mut(), &mut signals, output, clock, report)
}

/// What the request names, and its clock.
fn source(request: &Request) -> Result<(Box<dyn Source>, Clock)> {
    match &request.input {
        Input::Interface(dev) => Ok((Box::new(watch(request, dev)?), Clock::live()?)),
        Input::Capture(path) => Ok((Box::new(replay(request, path)?), Clock::fixed(0))),
    }
}

/// The programs, in front of a capture. It does not say which of its answers were this host's own:
/// all count.
fn replay(request: &Request, path: &Path) -> Result<Replay> {
    let capture = Capture::open(path)?;
    let mut stream = StreamConfig::default();
    request.apply(&mut stream);
    stream.include_local = 1;
    let kernel = Kernel::load(&Setup {
        programs: &[Program::Ingress, Program::Egress],
        stream,
        handshake: request.include_syn,
        replay: true,
        flows: DEFAULT_FLOWS as u32,
    })?;
    Replay::new(kernel, capture)
}

/// The programs, on the interface.
fn watch(request: &Request, dev: &IfName) -> Result<Live<Watching>> {
    let bare = device::has_ethernet_header(dev) == Some(false);
    let mut stream = StreamConfig { no_link_header: bare.into(), ..StreamConfig::default() };
    request.apply(&mut stream);
    let arriving = match request.ingress_hook {
        IngressHook::Tc => Program::Ingress,
        IngressHook::Xdp => Program::Xdp,
    };
    dev.index()?;
    let kernel = Kernel::load(&Setup {
        programs: &[arriving, Program::Egress],
        stream,
        handshake: request.include_syn,
        replay: false,
        flows: DEFAULT_FLOWS as u32,
    })?;
    let watching = Watching::begin(dev, &kernel, request.ingress_hook, request.xdp_mode)?;
    Ok(Live::new(watching, kernel))
}
