// SPDX-License-Identifier: GPL-2.0-only
use super::*;
use crate::commands::command_line::{words, StdStream};
use crate::domain::prefix::parse_cidr;
use crate::domain::TcHandle;

fn mapping(cidr: &str, cpu: u32, tc_handle: u32) -> Mapping {
    Mapping { prefix: parse_cidr(cidr).unwrap(), cpu, tc_handle: TcHandle(tc_handle) }
}

#[test]
fn calls_of_libreqos_and_bracketqos_are_understood() {
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
fn options_are_read_as_getopt_long_reads_them() {
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
fn bad_command_lines_have_their_exit_code() {
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
        assert_eq!((exit.code, exit.stream), (code, StdStream::Stderr), "{line}: {}", exit.text);
        let first = exit.text.lines().next().unwrap();
        assert!(first.starts_with("ERR: ") && first.contains(names), "{line}: {first}");
        assert_eq!(exit.text.contains("\nUsage: "), code == 2, "{line}: {}", exit.text);
    }
}

#[test]
fn files_become_requests() {
    let bulk =
        |source, replace, dry_run| MappingRequest::Many(ManyRequest { source, replace, dry_run });
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
fn prefixes_of_del_stay_unambiguous() {
    for line in ["--d --i 10.0.0.1", "--de --ip 10.0.0.1"] {
        assert_eq!(
            MappingRequest::parse(words(line)),
            MappingRequest::parse(words("--del --ip 10.0.0.1")),
            "{line}"
        );
    }
}

#[test]
fn empty_values_are_refused() {
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
