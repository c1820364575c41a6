//! Attach the classifier, set up and list the queue table.

use crate::attach::tc_attach;
use crate::cli::tc_classify::Request;
use crate::device;
use crate::error::Result;
use crate::loader::{self, Program};
use crate::machine::possible_cpus;
use crate::output::write_txq_table;
use crate::pin::PinDir;
use crate::queues::QueueTable;
use crate::values::IfName;

/// Runs the command.
///
/// # Errors
/// See [`crate::error::EXIT_CODES`].
pub fn run(request: Request) -> Result<()> {
    request.check_cpus(possible_cpus()?)?;
    let dir = PinDir::default();
    if let Some(dev) = &request.attach {
        attach_to(&dir, &request, dev)?;
    }
    if request.base_setup {
        QueueTable::open(&dir)?.base_setup()?;
        super::report(
            request.quiet,
            format_args!("base setup: CPU n, queue n + 1, HTB major n + 1"),
        )?;
    }
    if let Some(row) = request.set {
        QueueTable::open(&dir)?.set(row)?;
    }
    if request.list.is_some() {
        list(&dir, request.list.as_ref().and_then(|list| list.dev.as_ref()))?;
    }
    Ok(())
}

/// The first load sets the queue table up; later ones keep what is configured.
fn attach_to(dir: &PinDir, request: &Request, dev: &IfName) -> Result<()> {
    dev.index()?;
    loader::load(dir, Program::Classify, &request.rtt, |program| {
        let queues = QueueTable::open(dir)?;
        if queues.is_unset()? {
            queues.base_setup()?;
        }
        tc_attach(dev, program)
    })?;
    if device::tx_queues(dev) == Some(1) {
        super::warn(format_args!(
            "{dev} has one TX queue: mq cannot be used, so all CPUs share its qdisc and lock"
        ));
    }
    super::report(
        request.quiet,
        format_args!("{dev}: classifier attached (egress, prio 1, handle 1)"),
    )
}

fn list(dir: &PinDir, dev: Option<&IfName>) -> Result<()> {
    let rows = QueueTable::open(dir)?.rows()?;
    super::print(|out| write_txq_table(out, rows))?;
    let Some(dev) = dev else { return Ok(()) };
    let place = "(egress, prio 1, handle 1)";
    match crate::attach::tc_on(dev)? {
        Some(filter) => {
            super::report(false, format_args!("{dev}: {} id {} {place}", filter.name, filter.id))
        }
        None => super::report(false, format_args!("{dev}: no classifier {place}")),
    }
}
