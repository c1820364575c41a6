// SPDX-License-Identifier: GPL-2.0-only
//! `tc_classify`: attaches the classifier to an interface's egress; edits and lists the queue
//! table.

use clap::Parser;

use crate::commands::command_line::{after_help, CommandLine};
use crate::commands::options::{missing, required};
use crate::commands::print::{print, print_line, print_unless_quiet, warn};
use crate::commands::rtt_args::RttArgs;
use crate::domain::error::{exit, Error, Result};
use crate::domain::number::{check_cpu, parse_cpu, parse_number, parse_u16_hex};
use crate::domain::{IfName, TxqRow};
use crate::format::tables::write_txq_table;
use crate::kernel::device;
use crate::kernel::load::{self, RttOptions, ShaperProgram};
use crate::kernel::machine::possible_cpus;
use crate::kernel::pin::PinDir;
use crate::kernel::tc::{tc_attach, tc_on};
use crate::shaper::queues::QueueTable;

const USAGE: &str = "tc_classify --dev-egress IF [--base-setup] [OPTIONS]
       tc_classify --base-setup
       tc_classify --cpu N --queue-mapping N --htb-major-hex HEX
       tc_classify --list [--dev-egress IF]";

const EXAMPLES: &str = "
  The two NICs of a shaper:
    tc_classify --dev-egress eth0
    tc_classify --dev-egress eth1
  Attach, and set the queue table back to CPU n = queue n+1 = major n+1:
    tc_classify --dev-egress eth0 --base-setup --quiet
  CPU 2 sends through queue 3, whose HTB is 13:
    tc_classify --cpu 2 --queue-mapping 3 --htb-major-hex 13
  tc_classify --list";

const CODES: [u8; 6] =
    [exit::MAP, exit::MAP_KEY, exit::MAP_FILE, exit::BPFFS, exit::BAD_CPU, exit::BPF_LOAD];

/// Put each subscriber's packets into queue and class, and measure their RTT
///
/// Loads the classifier and attaches it to the egress of an interface: clsact, prio 1, handle 1.
/// Leaves other filters alone, and replaces its own without a gap. The first load fills the queue
/// table (CPU n = queue n+1 = major n+1); later loads keep the table.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "tc_classify",
    version,
    override_usage = USAGE,
    after_help = after_help(EXAMPLES, &CODES),
    infer_long_args = true,
    args_override_self = true
)]
pub struct ClassifyArgs {
    /// Interface whose leaving packets are classified
    #[arg(long, short, value_name = "IF", allow_hyphen_values = true)]
    dev_egress: Option<String>,

    /// Reset the queue table: CPU n = queue n+1 = major n+1
    #[arg(long, short)]
    base_setup: bool,

    /// Print the queue table and, with --dev-egress, the classifier on that interface; attach
    /// nothing
    #[arg(long, short)]
    list: bool,

    /// CPU whose row to set, from 0; decimal, hexadecimal with 0x, octal with 0
    #[arg(long, short, value_name = "N", allow_hyphen_values = true)]
    cpu: Option<String>,

    /// TX queue of that CPU, from 1 to 65535; 0: do not change the packet's queue
    #[arg(long, short = 'm', value_name = "N", allow_hyphen_values = true)]
    queue_mapping: Option<String>,

    /// Major of that queue's HTB, in hexadecimal: 0 to ffff
    #[arg(long, short = 'j', value_name = "HEX", allow_hyphen_values = true)]
    htb_major_hex: Option<String>,

    /// Print errors and warnings only
    #[arg(long, short)]
    quiet: bool,

    #[command(flatten)]
    rtt: RttArgs,
}

/// A checked command line. Its steps run in the order of the fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassifyRequest {
    /// Attach the classifier to this interface's egress.
    pub attach: Option<IfName>,
    /// Reset the queue table. The first load fills it without this, too.
    pub base_setup: bool,
    /// Set this row of the queue table.
    pub set: Option<TxqRow>,
    /// Print the queue table, and the classifier of an interface.
    pub list: Option<ClassifyList>,
    /// Print errors, warnings and the output of `list` only.
    pub quiet: bool,
    /// How to measure RTTs. Only `attach` uses it.
    pub rtt: RttOptions,
}

/// What to print besides the queue table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassifyList {
    /// Print the classifier on this interface's egress.
    pub dev: Option<IfName>,
}

impl ClassifyRequest {
    /// Checks the CPU of the row to set against the number of possible CPUs.
    ///
    /// # Errors
    /// [`Error::BadCpu`] if the machine does not have it.
    pub fn check_cpus(&self, possible_cpus: u32) -> Result<()> {
        self.set.map_or(Ok(()), |row| check_cpu(row.cpu, possible_cpus))
    }
}

impl CommandLine for ClassifyRequest {
    type Args = ClassifyArgs;
}

impl TryFrom<ClassifyArgs> for ClassifyRequest {
    type Error = Error;

    fn try_from(args: ClassifyArgs) -> Result<Self> {
        let set = row(&args)?;
        let named = args.dev_egress.as_deref();
        let dev = named.map(|dev| IfName::parse("--dev-egress", dev)).transpose()?;
        let (attach, list) = match args.list {
            true => (None, Some(ClassifyList { dev })),
            false => (dev, None),
        };
        if attach.is_none() && list.is_none() && set.is_none() && !args.base_setup {
            let actions = "--dev-egress, --base-setup, --cpu, --list";
            return Err(missing(actions, "one of them is required"));
        }
        let rtt = args.rtt.try_into()?;
        Ok(Self { attach, base_setup: args.base_setup, set, list, quiet: args.quiet, rtt })
    }
}

/// Returns the row to set; `None` if none of its three options is given.
///
/// # Errors
/// [`Error::Usage`] if only some of them are given or a value is bad; [`Error::BadCpu`].
fn row(args: &ClassifyArgs) -> Result<Option<TxqRow>> {
    let (cpu, queue, major) =
        (args.cpu.as_deref(), args.queue_mapping.as_deref(), args.htb_major_hex.as_deref());
    if cpu.or(queue).or(major).is_none() {
        return Ok(None);
    }
    let cpu = required("--cpu", cpu)?;
    let queue = required("--queue-mapping", queue)?;
    let major = required("--htb-major-hex", major)?;
    let queue = parse_number("--queue-mapping", queue, 0, u16::MAX.into())?;
    Ok(Some(TxqRow {
        queue_mapping: queue as u16,
        htb_major: parse_u16_hex("--htb-major-hex", major)?,
        cpu: parse_cpu(cpu)?,
    }))
}

/// Runs the command.
///
/// # Errors
/// See [`crate::domain::error::EXIT_CODES`].
pub fn run(request: ClassifyRequest) -> Result<()> {
    request.check_cpus(possible_cpus()?)?;
    let dir = PinDir::default();
    if let Some(dev) = &request.attach {
        attach_to(&dir, &request, dev)?;
    }
    if request.base_setup {
        QueueTable::open(&dir)?.base_setup()?;
        print_unless_quiet(
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

/// Loads and attaches the classifier. Fills the queue table unless it is configured already.
fn attach_to(dir: &PinDir, request: &ClassifyRequest, dev: &IfName) -> Result<()> {
    device::ifindex(dev)?;
    let loaded = load::load(dir, ShaperProgram::Classify, dev, &request.rtt, |program| {
        let queues = QueueTable::open(dir)?;
        if queues.is_unset()? {
            queues.base_setup()?;
        }
        tc_attach(dir, dev, program)
    })?;
    loaded.replacement.iter().for_each(|replaced| warn(format_args!("{replaced}")));
    if device::tx_queues(dev) == Some(1) {
        warn(format_args!(
            "{dev} has one TX queue: mq cannot be used, so all CPUs share its qdisc and lock"
        ));
    }
    print_unless_quiet(
        request.quiet,
        format_args!("{dev}: classifier attached (egress, prio 1, handle 1)"),
    )
}

/// Prints the queue table, and the classifier of `dev`.
fn list(dir: &PinDir, dev: Option<&IfName>) -> Result<()> {
    let rows = QueueTable::open(dir)?.rows()?;
    let mut table = Vec::new();
    write_txq_table(&mut table, rows);
    print(&table)?;
    let Some(dev) = dev else { return Ok(()) };
    let place = "(egress, prio 1, handle 1)";
    match tc_on(dir, dev)? {
        Some(filter) => print_line(format_args!("{dev}: {} id {} {place}", filter.name, filter.id)),
        None => print_line(format_args!("{dev}: no classifier {place}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::command_line::{words, StdStream};

    fn nothing() -> ClassifyRequest {
        ClassifyRequest {
            attach: None,
            base_setup: false,
            set: None,
            list: None,
            quiet: false,
            rtt: RttOptions::default(),
        }
    }

    fn dev(name: &str) -> Option<IfName> {
        IfName::parse("--dev-egress", name).ok()
    }

    fn row(cpu: u32, queue_mapping: u16, htb_major: u16) -> Option<TxqRow> {
        Some(TxqRow { cpu, queue_mapping, htb_major })
    }

    #[test]
    fn options_become_requests() {
        let table = [
            ("--dev-egress eth0", ClassifyRequest { attach: dev("eth0"), ..nothing() }),
            ("--dev eth0", ClassifyRequest { attach: dev("eth0"), ..nothing() }),
            ("-deth0 -q", ClassifyRequest { attach: dev("eth0"), quiet: true, ..nothing() }),
            (
                "--dev-egress eth0 --base-setup --quiet",
                ClassifyRequest { attach: dev("eth0"), base_setup: true, quiet: true, ..nothing() },
            ),
            ("-b", ClassifyRequest { base_setup: true, ..nothing() }),
            ("--list", ClassifyRequest { list: Some(ClassifyList { dev: None }), ..nothing() }),
            (
                "-l -d eth0",
                ClassifyRequest { list: Some(ClassifyList { dev: dev("eth0") }), ..nothing() },
            ),
            (
                "-blc1 -m2 -j2",
                ClassifyRequest {
                    base_setup: true,
                    set: row(1, 2, 2),
                    list: Some(ClassifyList { dev: None }),
                    ..nothing()
                },
            ),
            (
                "--cpu 0x2 --queue-mapping 3 --htb-major-hex 0x1F",
                ClassifyRequest { set: row(2, 3, 0x1f), ..nothing() },
            ),
            (
                "-c 010 -m 010 -j 10 -b",
                ClassifyRequest { base_setup: true, set: row(8, 8, 16), ..nothing() },
            ),
        ];
        for (line, request) in table {
            match ClassifyRequest::parse(words(line)) {
                Ok(parsed) => assert_eq!(parsed, request, "{line}"),
                Err(exit) => panic!("{line}: {}", exit.text),
            }
        }
        let rtt = ClassifyRequest::parse(words("-d eth0 --flows 2000 --handshake")).unwrap().rtt;
        assert_eq!(rtt, RttOptions { handshake: true, flows: Some(2048), ..RttOptions::default() });
    }

    #[test]
    fn bad_command_lines_are_refused() {
        let table = [
            ("", 2, "--dev-egress, --base-setup"),
            ("--quiet", 2, "--dev-egress"),
            ("--cpu 1", 2, "--queue-mapping"),
            ("--cpu 1 --queue-mapping 2", 2, "--htb-major-hex"),
            ("--queue-mapping 2 --htb-major-hex 2", 2, "--cpu"),
            ("-c 1 -m 65536 -j 1", 2, "--queue-mapping '65536'"),
            ("-c 1 -m 1 -j 10000", 2, "--htb-major-hex '10000'"),
            ("-c 1 -m 1 -j 1:", 2, "--htb-major-hex '1:'"),
            ("-c -1 -m 1 -j 1", 31, "--cpu '-1'"),
            ("-d 1234567890123456", 2, "15 bytes"),
            ("-d eth0 --no-rtt --handshake", 2, "--no-rtt with --handshake"),
        ];
        for (line, code, names) in table {
            let exit = ClassifyRequest::parse(words(line)).unwrap_err();
            assert_eq!(
                (exit.code, exit.stream),
                (code, StdStream::Stderr),
                "{line}: {}",
                exit.text
            );
            let first = exit.text.lines().next().unwrap();
            assert!(first.starts_with("ERR: ") && first.contains(names), "{line}: {first}");
        }
    }

    #[test]
    fn cpu_must_be_possible() {
        let request = ClassifyRequest::parse(words("-c 2 -m 3 -j 3")).unwrap();
        assert!(request.check_cpus(3).is_ok());
        assert_eq!(request.check_cpus(2).unwrap_err().exit_code(), 31);
    }
}
