// SPDX-License-Identifier: GPL-2.0-only
//! `xdp_iphash_to_cpu_cmdline`: edits and lists the mapping from prefix to CPU and class.

use std::ffi::OsString;

use clap::{CommandFactory, Parser};

use super::{exactly_one, required, CliExit};
use crate::error::{exit, Error, Result};
use crate::values::{check_cpu, parse_cidr, parse_cpu, parse_tc_handle, Mapping, Prefix};

const USAGE: &str = "xdp_iphash_to_cpu_cmdline --add --ip ADDR[/LEN] --cpu N --classid MAJ:MIN
       xdp_iphash_to_cpu_cmdline --del --ip ADDR[/LEN]
       xdp_iphash_to_cpu_cmdline {--list|--clear}";

const EXAMPLES: &str = "
  xdp_iphash_to_cpu_cmdline --add --ip 100.64.1.0/24 --cpu 0x0 --classid 0x1:0x8
  xdp_iphash_to_cpu_cmdline --add --ip 2001:db8:1::/48 --cpu 3 --classid 4:12
  Traffic that no other entry names:
    xdp_iphash_to_cpu_cmdline --add --ip ::/0 --cpu 0 --classid 1:2
  xdp_iphash_to_cpu_cmdline --del --ip 100.64.1.0/24
  xdp_iphash_to_cpu_cmdline --list | jq .";

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
    #[arg(long, short = 'x')]
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
}

/// A checked command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Add this entry, or replace the one with the same prefix.
    Add(Mapping),
    /// Delete the entry of exactly this prefix.
    Del(Prefix),
    /// Print all entries.
    List,
    /// Delete all entries.
    Clear,
}

impl Request {
    /// Checks the CPU of an added entry against the number of possible CPUs.
    ///
    /// # Errors
    /// [`Error::BadCpu`] if the machine does not have it.
    pub fn check_cpus(&self, possible_cpus: u32) -> Result<()> {
        match self {
            Self::Add(mapping) => check_cpu(mapping.cpu, possible_cpus),
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
        ];
        match exactly_one(&actions)? {
            "--add" => add(&args),
            // Callers pass --cpu and --classid here too; only the prefix matters.
            "--del" => Ok(Self::Del(parse_cidr(&required("--ip", args.ip)?)?)),
            "--list" => takes_nothing("--list", &args).map(|()| Self::List),
            _ => takes_nothing("--clear", &args).map(|()| Self::Clear),
        }
    }
}

fn add(args: &Args) -> Result<Request> {
    let ip = required("--ip", args.ip.as_deref())?;
    let cpu = required("--cpu", args.cpu.as_deref())?;
    let classid = required("--classid", args.classid.as_deref())?;
    Ok(Request::Add(Mapping {
        tc_handle: parse_tc_handle(classid)?,
        cpu: parse_cpu(cpu)?,
        prefix: parse_cidr(ip)?,
    }))
}

/// Refuses `--clear --ip X`: whoever writes that means to delete one entry, not all.
fn takes_nothing(action: &'static str, args: &Args) -> Result<()> {
    let given = [
        ("--ip", args.ip.is_some()),
        ("--cpu", args.cpu.is_some()),
        ("--classid", args.classid.is_some()),
    ];
    given.into_iter().try_for_each(|option| super::exclusive((action, true), option))
}

/// Reads the command line, program name included.
///
/// # Errors
/// See [`super::parse`].
pub fn parse<I, T>(args: I) -> std::result::Result<Request, CliExit>
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    super::parse(args)
}

/// The command's definition.
pub fn command() -> clap::Command {
    Args::command()
}

#[cfg(test)]
mod tests {
    use super::*;
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
                Request::Add(mapping("100.64.1.0/24", 0, 0x1_0008)),
            ),
            (
                "--add --ip 100.64.1.5 --cpu 3 --classid 4:12",
                Request::Add(mapping("100.64.1.5/32", 3, 0x4_0012)),
            ),
            ("--add --ip ::/0 --cpu 0 --classid 1:2", Request::Add(mapping("::/0", 0, 0x1_0002))),
            ("--del --ip 100.64.1.0/24", Request::Del(parse_cidr("100.64.1.0/24").unwrap())),
            ("--clear", Request::Clear),
            ("--list", Request::List),
        ];
        for (line, request) in table {
            assert_eq!(parse(words(line)).unwrap(), request, "{line}");
        }
    }

    #[test]
    fn getopt_manners() {
        let expected = Request::Add(mapping("10.0.0.1", 1, 0x2_0005));
        let same = [
            "--add --ip=10.0.0.1 --cpu=1 --classid=2:5",
            "--class 2:5 --cp 1 --i 10.0.0.1 --ad",
            "-a -i 10.0.0.1 -c 1 -t 2:5",
            "-ai10.0.0.1 -c1 -t2:5",
            "-t 2:5 -c 1 -i 10.0.0.1 -a -a",
            "-a -i bogus -i 10.0.0.1 -c 9 -c 1 -t 1:1 -t 2:5",
        ];
        for line in same {
            match parse(words(line)) {
                Ok(request) => assert_eq!(request, expected, "{line}"),
                Err(exit) => panic!("{line}: {}", exit.text),
            }
        }
        assert_eq!(parse(words("-l")).unwrap(), Request::List);
        assert_eq!(parse(words("-e")).unwrap(), Request::Clear);
        assert_eq!(
            parse(words("-xi 10.0.0.1 -c 1 -t 1:1")).unwrap(),
            parse(words("--del --ip 10.0.0.1")).unwrap()
        );
        for ambiguous in ["--c 1", "--cl"] {
            let line = format!("--list {ambiguous}");
            assert_eq!(parse(words(&line)).unwrap_err().code, 2, "{line}");
        }
    }

    #[test]
    fn exit_codes() {
        let table = [
            ("", 2, "--add, --del, --list, --clear"),
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
            let exit = parse(words(line)).unwrap_err();
            assert_eq!((exit.code, exit.stream), (code, Stream::Stderr), "{line}: {}", exit.text);
            let first = exit.text.lines().next().unwrap();
            assert!(first.starts_with("ERR: ") && first.contains(names), "{line}: {first}");
            assert_eq!(exit.text.contains("\nUsage: "), code == 2, "{line}: {}", exit.text);
        }
    }

    #[test]
    fn empty_words_are_values() {
        let empty = |ip: &str, classid: &str, cpu: &str| {
            parse(["prog", "--add", "--ip", ip, "--classid", classid, "--cpu", cpu])
                .unwrap_err()
                .code
        };
        assert_eq!(empty("", "1:1", "0"), 30);
        assert_eq!(empty("10.0.0.1", "", "0"), 2);
        assert_eq!(empty("10.0.0.1", "1:1", ""), 31);
    }

    #[test]
    fn cpu_must_be_possible() {
        let request = parse(words("-a -i 10.0.0.1 -c 2 -t 3:1")).unwrap();
        assert!(request.check_cpus(3).is_ok());
        assert_eq!(request.check_cpus(2).unwrap_err().exit_code(), 31);
        assert!(Request::List.check_cpus(1).is_ok());
    }
}
