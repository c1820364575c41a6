// SPDX-License-Identifier: GPL-2.0-only
//! `xdp_iphash_to_cpu_cmdline`: edits and lists the mapping from prefix to CPU and class.

use crate::commands::command_line::CommandLine;
use crate::commands::options::{exactly_one, exclusive};
use crate::commands::output::{print, warn};
use crate::commands::xdp_iphash_to_cpu_cmdline::args::MappingArgs;
use crate::commands::xdp_iphash_to_cpu_cmdline::call::Call;
use crate::commands::xdp_iphash_to_cpu_cmdline::many::{EditSource, ManyRequest};
use crate::commands::xdp_iphash_to_cpu_cmdline::queue_setup::{mismatch, set_up_queues};
use crate::domain::error::{Error, Result};
use crate::domain::number::check_cpu;
use crate::domain::Mapping;
use crate::format::tables::write_mappings;
use crate::kernel::machine::possible_cpus;
use crate::kernel::pin::PinDir;
use crate::shaper::changes::Edit;
use crate::shaper::mapping::Mappings;

mod args;
mod call;
mod edit_file;
mod many;
mod queue_setup;

/// A checked command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MappingRequest {
    /// Change one entry.
    Edit(Edit),
    /// Print all entries.
    List,
    /// Delete all entries.
    Clear,
    /// Do what a file says.
    Many(ManyRequest),
}

impl MappingRequest {
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

impl CommandLine for MappingRequest {
    type Args = MappingArgs;
}

impl TryFrom<MappingArgs> for MappingRequest {
    type Error = Error;

    fn try_from(args: MappingArgs) -> Result<Self> {
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
            return Ok(Self::Many(many_request(args)));
        }
        exclusive((action, true), ("--dry-run", args.dry_run))?;
        match action {
            "--list" => takes_nothing(action, &args).map(|()| Self::List),
            "--clear" => takes_nothing(action, &args).map(|()| Self::Clear),
            _ => Call {
                add: args.add,
                del: args.del,
                ip: args.ip.as_deref(),
                cpu: args.cpu.as_deref(),
                classid: args.classid.as_deref(),
            }
            .edit()
            .map(Self::Edit),
        }
    }
}

fn many_request(args: MappingArgs) -> ManyRequest {
    let replace = args.replace.is_some();
    let path = args.replace.or(args.batch).unwrap_or_default();
    let source = if path.as_os_str() == "-" { EditSource::Stdin } else { EditSource::File(path) };
    ManyRequest { source, replace, dry_run: args.dry_run }
}

/// Refuses `--clear --ip X`: whoever writes that means to delete one entry, not all.
fn takes_nothing(action: &str, args: &MappingArgs) -> Result<()> {
    let given = [
        ("--ip", args.ip.is_some()),
        ("--cpu", args.cpu.is_some()),
        ("--classid", args.classid.is_some()),
    ];
    given.into_iter().try_for_each(|option| exclusive((action, true), option))
}

/// Runs the command.
///
/// # Errors
/// See [`crate::domain::error::EXIT_CODES`].
pub fn run(request: MappingRequest) -> Result<()> {
    request.check_cpus(possible_cpus()?)?;
    let dir = PinDir::default();
    match request {
        MappingRequest::Edit(Edit::Add(mapping)) => add(&dir, &mapping),
        MappingRequest::Edit(Edit::Del(prefix)) => Mappings::open(&dir)?.remove(&prefix),
        MappingRequest::Clear => Mappings::open(&dir)?.clear().map(drop),
        MappingRequest::List => list(&dir),
        MappingRequest::Many(request) => many::run(&dir, &request),
    }
}

fn add(dir: &PinDir, mapping: &Mapping) -> Result<()> {
    let mappings = Mappings::open(dir)?;
    if let Some(queues) = set_up_queues(dir, false)? {
        let row = queues.row(mapping.cpu)?;
        if !row.serves(mapping.tc_handle) {
            warn(format_args!("{}", mismatch(mapping, &row)));
        }
    }
    mappings.set(mapping)
}

/// Prints the mapping. Also before anything is loaded: the caller's JSON parser gets an empty object,
/// and the exit code.
fn list(dir: &PinDir) -> Result<()> {
    let write = |mappings| {
        let mut text = Vec::new();
        write_mappings(&mut text, mappings);
        print(&text)
    };
    match Mappings::open(dir).and_then(|mappings| mappings.list()) {
        Ok(found) => write(found),
        Err(err @ Error::MapFile(_)) => write(Vec::new()).and(Err(err)),
        Err(err) => Err(err),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::command_line::{words, StdStream};
    use crate::domain::prefix::parse_cidr;
    use crate::domain::TcHandle;

    fn mapping(cidr: &str, cpu: u32, tc_handle: u32) -> Mapping {
        Mapping { prefix: parse_cidr(cidr).unwrap(), cpu, tc_handle: TcHandle(tc_handle) }
    }

    #[test]
    fn calls_in_the_field() {
        let table = [
            (
                "--add --ip 100.64.1.0/24 --cpu 0x0 --classid 0x1:0x8",
                MappingRequest::Edit(Edit::Add(mapping("100.64.1.0/24", 0, 0x1_0008))),
            ),
            (
                "--add --ip 100.64.1.5 --cpu 3 --classid 4:12",
                MappingRequest::Edit(Edit::Add(mapping("100.64.1.5/32", 3, 0x4_0012))),
            ),
            (
                "--add --ip ::/0 --cpu 0 --classid 1:2",
                MappingRequest::Edit(Edit::Add(mapping("::/0", 0, 0x1_0002))),
            ),
            (
                "--del --ip 100.64.1.0/24",
                MappingRequest::Edit(Edit::Del(parse_cidr("100.64.1.0/24").unwrap())),
            ),
            ("--clear", MappingRequest::Clear),
            ("--list", MappingRequest::List),
        ];
        for (line, request) in table {
            assert_eq!(MappingRequest::parse(words(line)).unwrap(), request, "{line}");
        }
    }

    #[test]
    fn getopt_manners() {
        let expected = MappingRequest::Edit(Edit::Add(mapping("10.0.0.1", 1, 0x2_0005)));
        let same = [
            "--add --ip=10.0.0.1 --cpu=1 --classid=2:5",
            "--class 2:5 --cp 1 --i 10.0.0.1 --ad",
            "-a -i 10.0.0.1 -c 1 -t 2:5",
            "-ai10.0.0.1 -c1 -t2:5",
            "-t 2:5 -c 1 -i 10.0.0.1 -a -a",
            "-a -i bogus -i 10.0.0.1 -c 9 -c 1 -t 1:1 -t 2:5",
        ];
        for line in same {
            match MappingRequest::parse(words(line)) {
                Ok(request) => assert_eq!(request, expected, "{line}"),
                Err(exit) => panic!("{line}: {}", exit.text),
            }
        }
        assert_eq!(MappingRequest::parse(words("-l")).unwrap(), MappingRequest::List);
        assert_eq!(MappingRequest::parse(words("-e")).unwrap(), MappingRequest::Clear);
        assert_eq!(
            MappingRequest::parse(words("-xi 10.0.0.1 -c 1 -t 1:1")).unwrap(),
            MappingRequest::parse(words("--del --ip 10.0.0.1")).unwrap()
        );
        for ambiguous in ["--c 1", "--cl"] {
            let line = format!("--list {ambiguous}");
            assert_eq!(MappingRequest::parse(words(&line)).unwrap_err().code, 2, "{line}");
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
            let exit = MappingRequest::parse(words(line)).unwrap_err();
            assert_eq!(
                (exit.code, exit.stream),
                (code, StdStream::Stderr),
                "{line}: {}",
                exit.text
            );
            let first = exit.text.lines().next().unwrap();
            assert!(first.starts_with("ERR: ") && first.contains(names), "{line}: {first}");
            assert_eq!(exit.text.contains("\nUsage: "), code == 2, "{line}: {}", exit.text);
        }
    }

    #[test]
    fn files() {
        let bulk = |source, replace, dry_run| {
            MappingRequest::Many(ManyRequest { source, replace, dry_run })
        };
        let file = EditSource::File("some/file".into());
        let table = [
            ("--batch some/file", bulk(file.clone(), false, false)),
            ("--replace=some/file --dry-run", bulk(file.clone(), true, true)),
            ("--dry --r some/file", bulk(file, true, true)),
            ("--batch -", bulk(EditSource::Stdin, false, false)),
            ("--batch --ip", bulk(EditSource::File("--ip".into()), false, false)),
        ];
        for (line, request) in table {
            assert_eq!(MappingRequest::parse(words(line)).unwrap(), request, "{line}");
        }
    }

    #[test]
    fn beginnings_that_callers_may_use_stay_unambiguous() {
        for line in ["--d --i 10.0.0.1", "--de --ip 10.0.0.1"] {
            assert_eq!(
                MappingRequest::parse(words(line)),
                MappingRequest::parse(words("--del --ip 10.0.0.1")),
                "{line}"
            );
        }
    }

    #[test]
    fn empty_words_are_values() {
        let empty = |ip: &str, classid: &str, cpu: &str| {
            MappingRequest::parse(["prog", "--add", "--ip", ip, "--classid", classid, "--cpu", cpu])
                .unwrap_err()
                .code
        };
        assert_eq!(empty("", "1:1", "0"), 30);
        assert_eq!(empty("10.0.0.1", "", "0"), 2);
        assert_eq!(empty("10.0.0.1", "1:1", ""), 31);
    }

    #[test]
    fn cpu_must_be_possible() {
        let request = MappingRequest::parse(words("-a -i 10.0.0.1 -c 2 -t 3:1")).unwrap();
        assert!(request.check_cpus(3).is_ok());
        assert_eq!(request.check_cpus(2).unwrap_err().exit_code(), 31);
        assert!(MappingRequest::List.check_cpus(1).is_ok());
    }
}
