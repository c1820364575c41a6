//! Stream the RTTs of the flows that pass an interface, or that a capture holds.

use crate::cli::pping::{Input, Request};
use crate::error::{Error, Result};
use crate::output::Side;
use crate::stream::clock::Clock;
use crate::stream::signals::ProcessSignals;
use crate::stream::source::Source;
use crate::stream::writer::Output;

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
    let what = match &request.input {
        Input::Interface(dev) => format!("--interface {dev}"),
        Input::Capture(path) => format!("--read {}", path.display()),
    };
    Err(Error::other(what, "the programs that measure are not part of this build", ""))
}
