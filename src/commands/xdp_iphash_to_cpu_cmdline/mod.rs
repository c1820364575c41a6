// SPDX-License-Identifier: GPL-2.0-only
//! `xdp_iphash_to_cpu_cmdline`: edits and lists the mapping from prefix to CPU and class.

use std::fmt;
use std::path::PathBuf;

use clap::Parser;

use super::{exactly_one, required};
use crate::bulk::Edit;
use crate::error::{exit, Error, Result};
use crate::values::{check_cpu, parse_cidr, parse_cpu, parse_tc_handle, Mapping};

const USAGE: &str = "xdp_iphash_to_cpu_cmdline --add --ip ADDR[/LEN] --cpu N --classid MAJ:MIN
       xdp_iphash_to_cpu_cmdline --del --ip ADDR[/LEN]
       xdp_iphash_to_cpu_cmdline {--batch|--replace} FILE [--dry-run]
       xdp_iphash_to_cpu_cmdline {--list|--clear}";

const EXAMPLES: &str = "
  xdp_iphash_to_cpu_cmdline --add --ip 100.64.1.0/24 --cpu 0x0 --classid 0x1:0x8
  xdp_iphash_to_cpu_cmdline --add --ip 2001:db8:1::/48 --cpu 3 --classid 4:12
  Traffic that no other entry names:
    xdp_iphash_to_cpu_cmdline --add --ip ::/0 --cpu 0 --classid 1:2
  xdp_iphash_to_cpu_cmdline --del --ip 100.64.1.0/24
  xdp_iphash_to_cpu_cmdline --list | jq .
  Make the mapping what a program prints, with no gap for anybody:
    print-subscribers | xdp_iphash_to_cpu_cmdline --replace -

A file for --batch or --replace has the options of one --add or --del on each line; # starts a
comment. All lines are checked before the first counts: a bad one is named, and nothing changes.";

const CODES: [u8; 6] =
    [exit::MAP, exit::MAP_KEY, exit::MAP_FILE, exit::BPFFS, exit::BAD_IP, exit::BAD_CPU];

/// Map subscribers to CPUs and traffic classes
///
/// Edits the mapping that the attached programs use; a change counts from the next packet on. The
/// longest prefix that matches wins. An existing entry is replaced.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "xdp_iphash_to_cpu_cmdline",
    version,
    override_usage = USAGE,
    after_help = super::after_help(EXAMPLES, &CODES),
    infer_long_args = true,
    args_override_self = true
)]
pub struct Args {
    /// Add or replace an entry; needs --ip, --cpu and --classid
    #[arg(long, short)]
    add: bool,

    /// Delete an entry; needs --ip
    // The beginning that was unambiguous before there was --dry-run.
    #[arg(long, short = 'x', alias = "d")]
    del: bool,

    /// Address or prefix, IPv4 or IPv6 [default length: 32 or 128]; host bits are dropped
    #[arg(long, short, value_name = "ADDR[/LEN]", allow_hyphen_values = true)]
    ip: Option<String>,

    /// Traffic class: halves in hexadecimal, with or without 0x; none leaves packets unclassified
    #[arg(long, short = 't', value_name = "MAJ:MIN", allow_hyphen_values = true)]
    classid: Option<String>,

    /// CPU that serves the subscriber, from 0; decimal, 0x hexadecimal or 0 octal
    #[arg(long, short, value_name = "N", allow_hyphen_values = true)]
    cpu: Option<String>,

    /// Print all entries as one JSON object; majors and minors in hexadecimal
    #[arg(long, short)]
    list: bool,

    /// Delete all entries
    #[arg(long, short = 'e')]
    clear: bool,

    /// Do what each line of FILE says, one after another; - is standard input
    #[arg(long, value_name = "FILE", allow_hyphen_values = true)]
    batch: Option<PathBuf>,

    /// Make the mapping exactly what the --add lines of FILE say; - is standard input
    ///
    /// An entry that stays is never touched; new ones come before old ones go, so that a packet
    /// finds the old or the new entry at any time. Of two lines with the same prefix the last
    /// counts, with a warning.
    #[arg(long, value_name = "FILE", allow_hyphen_values = true)]
    replace: Option<PathBuf>,

    /// With --batch or --replace: check everything, print what would be done, change nothing
    #[arg(long)]
    dry_run: bool,
}

/// A checked command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Change one entry.
    Edit(Edit),
    /// Print all entries.
    List,
    /// Delete all entries.
    Clear,
    /// Do what a file says.
    Bulk(Bulk),
}

/// Many changes at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bulk {
    /// Where they are read from.
    pub source: Source,
    /// The file is the whole mapping: what it does not add is deleted.
    pub replace: bool,
    /// Say what would be done, and change nothing.
    pub dry_run: bool,
}

/// Where edits are read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Standard input.
    Stdin,
    /// A file.
    File(PathBuf),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdin => f.write_str("standard input"),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

impl Request {
    /// Checks the CPU of an added entry against the number of possible CPUs.
    ///
    /// # Errors
    /// [`Error::BadCpu`] if the machine does not have it.
    pub fn check_cpus(&self, possible_cpus: u32) -> Result<()> {
        match self {
            Self::Edit(Edit::Add(mapping)) => check_cpu(mapping.cpu, possible_cpus),
            _ => Ok(()),
        }
    }
}

impl super::Request for Request {
    type Args = Args;
}

impl TryFrom<Args> for Request {
    type Error = Error;

    fn try_from(args: Args) -> Result<Self> {
        let actions = [
            ("--add", args.add),
            ("--del", args.del),
            ("--list", args.list),
            ("--clear", args.clear),
            ("--batch", args.batch.is_some()),
            ("--replace", args.replace.is_some()),
        ];
        let action = exactly_one(&actions)?;
        if action.starts_with("--batch") || action.starts_with("--replace") {
            takes_nothing(action, &args)?;
            return Ok(Self::Bulk(bulk(args)));
        }
        super::exclusive((action, true), ("--dry-run", args.dry_run))?;
        match action {
            "--list" => takes_nothing(action, &args).map(|()| Self::List),
            "--clear" => takes_nothing(action, &args).map(|()| Self::Clear),
            _ => Call::from(&args).edit().map(Self::Edit),
        }
    }
}

fn bulk(args: Args) -> Bulk {
    let replace = args.replace.is_some();
    let path = args.replace.or(args.batch).unwrap_or_default();
    let source = if path.as_os_str() == "-" { Source::Stdin } else { Source::File(path) };
    Bulk { source, replace, dry_run: args.dry_run }
}

/// The options of one change, on the command line or on a line of a file.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Call<'a> {
    pub add: bool,
    pub del: bool,
    pub ip: Option<&'a str>,
    pub cpu: Option<&'a str>,
    pub classid: Option<&'a str>,
}

impl<'a> From<&'a Args> for Call<'a> {
    fn from(args: &'a Args) -> Self {
        Self {
            add: args.add,
            del: args.del,
            ip: args.ip.as_deref(),
            cpu: args.cpu.as_deref(),
            classid: args.classid.as_deref(),
        }
    }
}

impl Call<'_> {
    /// Checks it.
    pub fn edit(&self) -> Result<Edit> {
        match exactly_one(&[("--add", self.add), ("--del", self.del)])? {
            "--add" => self.mapping().map(Edit::Add),
            // Callers pass --cpu and --classid here too; only the prefix matters.
            _ => parse_cidr(required("--ip", self.ip)?).map(Edit::Del),
        }
    }

    fn mapping(&self) -> Result<Mapping> {
        let ip = required("--ip", self.ip)?;
        let cpu = required("--cpu", self.cpu)?;
        let classid = required("--classid", self.classid)?;
        Ok(Mapping {
            tc_handle: parse_tc_handle(classid)?,
            cpu: parse_cpu(cpu)?,
            prefix: parse_cidr(ip)?,
        })
    }
}

/// Refuses `--clear --ip X`: whoever writes that means to delete one entry, not all.
fn takes_nothing(action: &str, args: &Args) -> Result<()> {
    let given = [
        ("--ip", args.ip.is_some()),
        ("--cpu", args.cpu.is_some()),
        ("--classid", args.classid.is_some()),
    ];
    given.into_iter().try_for_each(|option| super::exclusive((action, true), option))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Request as _;
    use crate::cli::{words, Stream};
    use crate::values::TcHandle;

    fn mapping(cidr: &str, cpu: u32, tc_handle: u32) -> Mapping {
        Mapping { prefix: parse_cidr(cidr).unwrap(), cpu, tc_handle: TcHandle(tc_handle) }
    }

    #[test]
    fn calls_in_the_field() {
        let table = [
            (
                "--add --ip 100.64.1.0/24 --cpu 0x0 --classid 0x1:0x8",
                Request::Edit(Edit::Add(mapping("100.64.1.0/24", 0, 0x1_0008))),
            ),
            (
                "--add --ip 100.64.1.5 --cpu 3 --classid 4:12",
                Request::Edit(Edit::Add(mapping("100.64.1.5/32", 3, 0x4_0012))),
            ),
            (
                "--add --ip ::/0 --cpu 0 --classid 1:2",
                Request::Edit(Edit::Add(mapping("::/0", 0, 0x1_0002))),
            ),
            (
                "--del --ip 100.64.1.0/24",
                Request::Edit(Edit::Del(parse_cidr("100.64.1.0/24").unwrap())),
            ),
            ("--clear", Request::Clear),
            ("--list", Request::List),
        ];
        for (line, request) in table {
            assert_eq!(Request::parse(words(line)).unwrap(), request, "{line}");
        }
    }

    #[test]
    fn getopt_manners() {
        let expected = Request::Edit(Edit::Add(mapping("10.0.0.1", 1, 0x2_0005)));
        let same = [
            "--add --ip=10.0.0.1 --cpu=1 --classid=2:5",
            "--class 2:5 --cp 1 --i 10.0.0.1 --ad",
            "-a -i 10.0.0.1 -c 1 -t 2:5",
            "-ai10.0.0.1 -c1 -t2:5",
            "-t 2:5 -c 1 -i 10.0.0.1 -a -a",
            "-a -i bogus -i 10.0.0.1 -c 9 -c 1 -t 1:1 -t 2:5",
        ];
        for line in same {
            match Request::parse(words(line)) {
                Ok(request) => assert_eq!(request, expected, "{line}"),
                Err(exit) => panic!("{line}: {}", exit.text),
            }
        }
        assert_eq!(Request::parse(words("-l")).unwrap(), Request::List);
        assert_eq!(Request::parse(words("-e")).unwrap(), Request::Clear);
        assert_eq!(
            Request::parse(words("-xi 10.0.0.1 -c 1 -t 1:1")).unwrap(),
            Request::parse(words("--del --ip 10.0.0.1")).unwrap()
        );
        for ambiguous in ["--c 1", "--cl"] {
            let line = format!("--list {ambiguous}");
            assert_eq!(Request::parse(words(&line)).unwrap_err().code, 2, "{line}");
        }
    }

    #[test]
    fn exit_codes() {
        let table = [
            ("", 2, "--add, --del, --list, --clear, --batch, --replace"),
            ("--batch f --replace f", 2, "--batch with --replace"),
            ("--add --batch f", 2, "--add with --batch"),
            ("--batch f --ip 10.0.0.1", 2, "--batch with --ip"),
            ("--list --dry-run", 2, "--list with --dry-run"),
            ("--del --ip 10.0.0.1 --dry-run", 2, "--del with --dry-run"),
            ("--dry-run", 2, "--batch, --replace"),
            ("--add", 2, "--ip"),
            ("--add --ip 10.0.0.1", 2, "--cpu"),
            ("--add --ip 10.0.0.1 --cpu 1", 2, "--classid"),
            ("--add --cpu 1 --classid 1:1", 2, "--ip"),
            ("--del", 2, "--ip"),
            ("--add --del --ip 10.0.0.1", 2, "--add with --del"),
            ("--list --clear", 2, "--list with --clear"),
            ("--list --add --ip 1.2.3.4 --cpu 1 --classid 1:1", 2, "--add with --list"),
            ("--clear --ip 10.0.0.1", 2, "--clear with --ip"),
            ("--list --ip 10.0.0.1", 2, "--list with --ip"),
            ("--add --ip 10.0.0.1 --cpu 1 --classid=", 2, "--classid ''"),
            ("--add --ip 10.0.0.1 --cpu 1 --classid 10000:1", 2, "--classid '10000:1'"),
            ("--add --ip 10.0.0.1/33 --cpu 1 --classid 1:1", 30, "0 to 32"),
            ("--add --ip= --cpu 1 --classid 1:1", 30, "--ip ''"),
            ("--add --ip localhost --cpu 1 --classid 1:1", 30, "localhost"),
            ("--del --ip example.com", 30, "example.com"),
            ("--add --ip 10.0.0.1 --cpu -1 --classid 1:1", 31, "--cpu '-1'"),
            ("--add --ip 10.0.0.1 --cpu=-1 --classid 1:1", 31, "--cpu '-1'"),
            ("--add --ip 10.0.0.1 -c-1 --classid 1:1", 31, "--cpu '-1'"),
            ("--add --ip 10.0.0.1 --cpu 1x --classid 1:1", 31, "--cpu '1x'"),
        ];
        for (line, code, names) in table {
            let exit = Request::parse(words(line)).unwrap_err();
            assert_eq!((exit.code, exit.stream), (code, Stream::Stderr), "{line}: {}", exit.text);
            let first = exit.text.lines().next().unwrap();
            assert!(first.starts_with("ERR: ") && first.contains(names), "{line}: {first}");
            assert_eq!(exit.text.contains("\nUsage: "), code == 2, "{line}: {}", exit.text);
        }
    }

    #[test]
    fn files() {
        let bulk = |source, replace, dry_run| Request::Bulk(Bulk { source, replace, dry_run });
        let file = Source::File("some/file".into());
        let table = [
            ("--batch some/file", bulk(file.clone(), false, false)),
            ("--replace=some/file --dry-run", bulk(file.clone(), true, true)),
            ("--dry --r some/file", bulk(file, true, true)),
            ("--batch -", bulk(Source::Stdin, false, false)),
            ("--batch --ip", bulk(Source::File("--ip".into()), false, false)),
        ];
        for (line, request) in table {
            assert_eq!(Request::parse(words(line)).unwrap(), request, "{line}");
        }
    }

    #[test]
    fn beginnings_that_callers_may_use_stay_unambiguous() {
        for line in ["--d --i 10.0.0.1", "--de --ip 10.0.0.1"] {
            assert_eq!(
                Request::parse(words(line)),
                Request::parse(words("--del --ip 10.0.0.1")),
                "{line}"
            );
        }
    }

    #[test]
    fn empty_words_are_values() {
        let empty = |ip: &str, classid: &str, cpu: &str| {
            Request::parse(["prog", "--add", "--ip", ip, "--classid", classid, "--cpu", cpu])
                .unwrap_err()
                .code
        };
        assert_eq!(empty("", "1:1", "0"), 30);
        assert_eq!(empty("10.0.0.1", "", "0"), 2);
        assert_eq!(empty("10.0.0.1", "1:1", ""), 31);
    }

    #[test]
    fn cpu_must_be_possible() {
        let request = Request::parse(words("-a -i 10.0.0.1 -c 2 -t 3:1")).unwrap();
        assert!(request.check_cpus(3).is_ok());
        assert_eq!(request.check_cpus(2).unwrap_err().exit_code(), 31);
        assert!(Request::List.check_cpus(1).is_ok());
    }
}
