// SPDX-License-Identifier: GPL-2.0-only
use super::*;
use crate::commands::command_line::{words, CliExit, StdStream};

fn attach(line: &str) -> SteerAttach {
    match SteerRequest::parse(words(line)).unwrap().action {
        SteerAction::Attach(attach) => attach,
        SteerAction::Remove => panic!("{line}"),
    }
}

fn refused(line: &str) -> CliExit {
    SteerRequest::parse(words(line)).unwrap_err()
}

#[test]
fn calls_of_libreqos_are_understood() {
    let lan = SteerRequest::parse(words("--dev eth0 --lan")).unwrap();
    let plain = SteerAttach {
        direction: Direction::Lan,
        cpus: Cpus::All,
        qsize: 2048,
        owner: None,
        rtt: RttOptions::default(),
    };
    assert_eq!(lan.dev.as_str(), "eth0");
    assert_eq!(lan.action, SteerAction::Attach(plain.clone()));
    assert_eq!((lan.mode, lan.quiet), (XdpMode::Auto, false));

    let quiet = SteerRequest::parse(words("--dev eth0 --all-cpus --wan --quiet")).unwrap();
    assert!(quiet.quiet);
    assert_eq!(
        quiet.action,
        SteerAction::Attach(SteerAttach { direction: Direction::Wan, ..plain })
    );
}

#[test]
fn options_are_read_as_getopt_long_reads_them() {
    let expected = SteerRequest::parse(words("--dev eth0 --lan --qsize 512 --skb-mode")).unwrap();
    let same = [
        "--dev=eth0 --lan --qsize=512 --skb-mode",
        "--skb --qs 512 --la --de eth0",
        "-deth0 -l -s512 -S",
        "-Slds512 --dev eth0 -s 512",
        "-Sls512 -d eth0",
        "--dev eth9 --dev eth0 --lan --lan --qsize 1 --qsize 0x200 -S",
    ];
    for line in same {
        match SteerRequest::parse(words(line)) {
            Ok(request) => assert_eq!(request, expected, "{line}"),
            Err(exit) => panic!("{line}: {}", exit.text),
        }
    }
    for ambiguous in ["--q", "--"] {
        let line = format!("--dev eth0 --lan {ambiguous} 1");
        assert_eq!(refused(&line).code, 2, "{line}");
    }
    for help in ["-h", "--h", "--help", "--dev eth0 --he"] {
        let exit = refused(help);
        assert_eq!((exit.code, exit.stream), (0, StdStream::Stdout), "{help}");
    }
}

#[test]
fn cpus_replace_all_cpus_and_the_last_option_wins() {
    let only = |cpus: &[u32]| Cpus::Only(cpus.iter().copied().collect());
    let table = [
        ("", Cpus::All),
        ("-a", Cpus::All),
        ("--cpu 2", only(&[2])),
        ("--cpu 0x1f -c 010 -c31 --cpu=3", only(&[3, 8, 31])),
        ("--all-cpus --cpu 1", only(&[1])),
        ("--cpu 1 --all-cpus", Cpus::All),
    ];
    for (options, cpus) in table {
        assert_eq!(attach(&format!("-d eth0 -l {options}")).cpus, cpus, "{options}");
    }
}

#[test]
fn cpus_are_checked() {
    for cpu in ["-1", "x", "''", "08", "4294967296"] {
        let exit = refused(&format!("-d eth0 -l --cpu {cpu}"));
        assert_eq!((exit.code, exit.stream), (31, StdStream::Stderr), "{cpu}: {}", exit.text);
        assert_eq!(exit.text.lines().count(), 1, "{}", exit.text);
    }
    let request = SteerRequest::parse(words("-d eth0 -l -c 0 -c 4")).unwrap();
    assert!(request.check_cpus(5).is_ok());
    assert_eq!(request.check_cpus(4).unwrap_err().exit_code(), 31);
    assert!(SteerRequest::parse(words("-d eth0 -l")).unwrap().check_cpus(1).is_ok());
}

#[test]
fn bad_command_lines_are_refused() {
    let table = [
        ("", "--dev"),
        ("--lan", "--dev"),
        ("--dev eth0", "--wan, --lan"),
        ("--dev eth0 --wan --lan", "--wan with --lan"),
        ("--dev 1234567890123456 --lan", "15 bytes"),
        ("--dev a/b --lan", "not an interface name"),
        ("--dev= --lan", "empty"),
        ("--dev", "--dev"),
        ("--dev eth0 --lan --qsize 0", "--qsize '0'"),
        ("--dev eth0 --lan --qsize 16385", "1 to 16384"),
        ("--dev eth0 --lan --qsize -5", "--qsize '-5'"),
        ("--dev eth0 --lan --flows 12", "--flows"),
        ("--dev eth0 --lan --no-rtt --handshake", "--no-rtt with --handshake"),
        ("--dev eth0 --lan extra", "extra"),
        ("--dev eth0 --lan --quiet=1", "--quiet"),
    ];
    for (line, names) in table {
        let exit = refused(line);
        assert_eq!((exit.code, exit.stream), (2, StdStream::Stderr), "{line}: {}", exit.text);
        assert!(exit.text.starts_with("ERR: "), "{line}: {}", exit.text);
        let first = exit.text.lines().next().unwrap();
        assert!(first.contains(names), "{line}: {first}");
        assert!(exit.text.contains("\nUsage: xdp_iphash_to_cpu --dev IF"), "{}", exit.text);
    }
}

#[test]
fn remove_needs_no_direction() {
    for line in ["--dev eth0 --remove", "-r -d eth0 --wan"] {
        assert_eq!(SteerRequest::parse(words(line)).unwrap().action, SteerAction::Remove, "{line}");
    }
    assert_eq!(refused("--remove").code, 2);
}

#[test]
fn a_value_may_look_like_an_option() {
    let request = SteerRequest::parse(words("--lan --dev -x")).unwrap();
    assert_eq!(request.dev.as_str(), "-x");
    assert_eq!(attach("-l -d eth0 --owner --wan").owner.as_deref(), Some("--wan"));
}

#[test]
fn rtt_options_reach_the_request() {
    let rtt = attach("-d eth0 -l --flows 300000 --handshake").rtt;
    assert_eq!(rtt, RttOptions { handshake: true, flows: Some(524_288), ..RttOptions::default() });
    assert!(!attach("-d eth0 -l --no-rtt").rtt.enabled);
}

#[test]
fn owner_is_looked_up() {
    assert_eq!(resolve_owner("root").unwrap().0, Uid::from_raw(0));
    assert_eq!(resolve_owner("no such user").unwrap_err().exit_code(), 2);
}
