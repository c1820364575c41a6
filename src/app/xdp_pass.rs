//! Attach a program that passes everything, or take it off again.

use crate::attach::{xdp_attach, xdp_detach};
use crate::cli::xdp_pass::{Action, Request};
use crate::error::Result;
use crate::loader::load_pass;

/// Runs the command.
///
/// # Errors
/// See [`crate::error::EXIT_CODES`].
pub fn run(request: Request) -> Result<()> {
    let dev = &request.dev;
    dev.index()?;
    match request.action {
        Action::Attach { force } => {
            let outcome = load_pass(|program| xdp_attach(dev, program, request.mode, force))?;
            super::report(false, format_args!("{dev}: xdp_pass attached ({})", outcome.mode))
        }
        Action::Unload { force } => {
            let what = if xdp_detach(dev, force)? { "detached" } else { "was not attached" };
            super::report(false, format_args!("{dev}: xdp_pass {what}"))
        }
    }
}
