// SPDX-License-Identifier: GPL-2.0-only
//! `tc_classify`: attaches the classifier to an interface's egress; edits and lists the queue
//! table.

use clap::Parser;

use super::{missing, required, RttArgs, RttOptions};
use crate::error::{exit, Error, Result};
use crate::values::{check_cpu, parse_cpu, parse_number, parse_u16_hex, IfName, TxqRow};

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
/// Other filters are left alone; our own is replaced without a gap. The first load fills the queue
/// table (CPU n = queue n+1 = major n+1), later ones keep it.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "tc_classify",
    version,
    override_usage = USAGE,
    after_help = super::after_help(EXAMPLES, &CODES),
    infer_long_args = true,
    args_override_self = true
)]
pub struct Args {
    /// Interface whose egress is classified
    #[arg(long, short, value_name = "IF", allow_hyphen_values = true)]
    dev_egress: Option<String>,

    /// Fill the queue table anew: CPU n = queue n+1 = major n+1
    #[arg(long, short)]
    base_setup: bool,

    /// Print the queue table and, with --dev-egress, what is attached there; attaches nothing
    #[arg(long, short)]
    list: bool,

    /// CPU whose row is set, from 0; decimal, 0x hexadecimal or 0 octal
    #[arg(long, short, value_name = "N", allow_hyphen_values = true)]
    cpu: Option<String>,

    /// TX queue of that CPU, from 1 to 65535; 0: leave the packet's queue alone
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

/// A checked command line. The steps that are asked for run in the order of the fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Attach the classifier to this interface's egress.
    pub attach: Option<IfName>,
    /// Fill the queue table anew. Without it, only the first load does.
    pub base_setup: bool,
    /// Set this row of the queue table.
    pub set: Option<TxqRow>,
    /// Print the queue table, and what is attached to an interface.
    pub list: Option<List>,
    /// Say nothing but errors and warnings (and what `list` prints).
    pub quiet: bool,
    /// How RTTs are measured; counts for `attach`.
    pub rtt: RttOptions,
}

/// What `--list` prints besides the queue table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List {
    /// Print the filters on this interface's egress.
    pub dev: Option<IfName>,
}

impl Request {
    /// Checks the CPU of the row to set against the number of possible CPUs.
    ///
    /// # Errors
    /// [`Error::BadCpu`] if the machine does not have it.
    pub fn check_cpus(&self, possible_cpus: u32) -> Result<()> {
        self.set.map_or(Ok(()), |row| check_cpu(row.cpu, possible_cpus))
    }
}

impl super::Request for Request {
    type Args = Args;
}

impl TryFrom<Args> for Request {
    type Error = Error;

    fn try_from(args: Args) -> Result<Self> {
        let set = row(&args)?;
        let named = args.dev_egress.as_deref();
        let dev = named.map(|dev| IfName::parse("--dev-egress", dev)).transpose()?;
        let (attach, list) = match args.list {
            true => (None, Some(List { dev })),
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

/// The row to set, if any of its three options is given: then all three must be.
fn row(args: &Args) -> Result<Option<TxqRow>> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Request as _;
    use crate::cli::{words, Stream};

    fn nothing() -> Request {
        Request {
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
    fn what_is_asked_for() {
        let table = [
            ("--dev-egress eth0", Request { attach: dev("eth0"), ..nothing() }),
            ("--dev eth0", Request { attach: dev("eth0"), ..nothing() }),
            ("-deth0 -q", Request { attach: dev("eth0"), quiet: true, ..nothing() }),
            (
                "--dev-egress eth0 --base-setup --quiet",
                Request { attach: dev("eth0"), base_setup: true, quiet: true, ..nothing() },
            ),
            ("-b", Request { base_setup: true, ..nothing() }),
            ("--list", Request { list: Some(List { dev: None }), ..nothing() }),
            ("-l -d eth0", Request { list: Some(List { dev: dev("eth0") }), ..nothing() }),
            (
                "-blc1 -m2 -j2",
                Request {
                    base_setup: true,
                    set: row(1, 2, 2),
                    list: Some(List { dev: None }),
                    ..nothing()
                },
            ),
            (
                "--cpu 0x2 --queue-mapping 3 --htb-major-hex 0x1F",
                Request { set: row(2, 3, 0x1f), ..nothing() },
            ),
            (
                "-c 010 -m 010 -j 10 -b",
                Request { base_setup: true, set: row(8, 8, 16), ..nothing() },
            ),
        ];
        for (line, request) in table {
            match Request::parse(words(line)) {
                Ok(parsed) => assert_eq!(parsed, request, "{line}"),
                Err(exit) => panic!("{line}: {}", exit.text),
            }
        }
        let rtt = Request::parse(words("-d eth0 --flows 2000 --handshake")).unwrap().rtt;
        assert_eq!(rtt, RttOptions { enabled: true, handshake: true, flows: Some(2048) });
    }

    #[test]
    fn refusals() {
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
            let exit = Request::parse(words(line)).unwrap_err();
            assert_eq!((exit.code, exit.stream), (code, Stream::Stderr), "{line}: {}", exit.text);
            let first = exit.text.lines().next().unwrap();
            assert!(first.starts_with("ERR: ") && first.contains(names), "{line}: {first}");
        }
    }

    #[test]
    fn cpu_must_be_possible() {
        let request = Request::parse(words("-c 2 -m 3 -j 3")).unwrap();
        assert!(request.check_cpus(3).is_ok());
        assert_eq!(request.check_cpus(2).unwrap_err().exit_code(), 31);
    }
}
