// SPDX-License-Identifier: GPL-2.0-only

//! Each command with each exit code of the contract: stdout and stderr, before and after anything is loaded, and with
//! which rights.

#[path = "../common/mod.rs"]
mod common;
mod refusals;
mod rights;
mod snapshot;

use common::command::{program, refused, Said};
use common::shaper::{sandbox_with_devices, Shaper};
use std::io::Read;
use std::process::Stdio;

const NOTHING_LOADED: &str =
    "nothing is loaded yet; load first: xdp_iphash_to_cpu --dev IF --lan (or --wan)\n";

#[test]
fn before_anything_is_loaded() {
    lab::require_root();
    let sandbox = sandbox_with_devices(2);
    let missing = |pin: &str| format!("ERR: open /sys/fs/bpf/tc/globals/{pin}: {NOTHING_LOADED}");
    let table = [
        ("xdp_iphash_to_cpu_cmdline --list", "{\n}\n", "map_ip_hash"),
        ("xdp_iphash_to_cpu_cmdline --clear", "", "map_ip_hash"),
        ("xdp_iphash_to_cpu_cmdline --del --ip 10.0.0.1", "", "map_ip_hash"),
        ("xdp_iphash_to_cpu_cmdline --add --ip 10.0.0.1 --cpu 0 --classid 1:5", "", "map_ip_hash"),
        ("xdp_pping", "[\n{}]\n", "cpp_rtt"),
        ("xdp_pping --format jsonl", "", "cpp_rtt"),
        ("tc_classify --list", "", "map_txq_config"),
        ("tc_classify --base-setup", "", "map_txq_config"),
        ("tc_classify --cpu 0 --queue-mapping 1 --htb-major-hex 1", "", "map_txq_config"),
    ];
    for (line, out, pin) in table {
        let said = sandbox.call(line);
        assert_eq!(said.parts(), (22, out, missing(pin).as_str()), "{line}");
    }
    assert_eq!(sandbox.pins(), [""; 0], "asking leaves nothing behind");
    let removed = sandbox.call("xdp_iphash_to_cpu --dev lan --remove");
    assert_eq!(removed.parts(), (0, "lan: no XDP program of ours, direction cleared\n", ""));
}

#[test]
fn success_says_one_line_or_nothing() {
    lab::require_root();
    let sandbox = sandbox_with_devices(2);
    let table = [
        (
            "xdp_iphash_to_cpu --dev lan --lan",
            "lan: XDP attached (native), LAN: faces the subscribers\n",
        ),
        ("xdp_iphash_to_cpu --dev wan --wan --quiet", ""),
        ("tc_classify --dev-egress lan", "lan: classifier attached (egress, prio 1, handle 1)\n"),
        ("tc_classify --dev-egress wan --quiet", ""),
        ("tc_classify --base-setup", "base setup: CPU n, queue n + 1, HTB major n + 1\n"),
        ("tc_classify --cpu 1 --queue-mapping 2 --htb-major-hex 2", ""),
        ("xdp_iphash_to_cpu_cmdline --list", "{\n}\n"),
        ("xdp_iphash_to_cpu_cmdline --add --ip 100.64.0.2 --cpu 1 --classid 2:5", ""),
        ("xdp_iphash_to_cpu_cmdline --add --ip 2001:db8:1::/48 --cpu 0x0 --classid 0x1:0x1F", ""),
        ("xdp_iphash_to_cpu_cmdline --add --ip ::/0 --cpu 0 --classid 1:2", ""),
        (
            "xdp_iphash_to_cpu_cmdline --list",
            "{\n\
             \"::/0\" : { \"cpu\" : 0, \"tc_maj\" : \"1\" , \"tc_min\" : \"2\" },\n\
             \"2001:db8:1::/48\" : { \"cpu\" : 0, \"tc_maj\" : \"1\" , \"tc_min\" : \"1F\" },\n\
             \"100.64.0.2/32\" : { \"cpu\" : 1, \"tc_maj\" : \"2\" , \"tc_min\" : \"5\" }\n\
             }\n",
        ),
        ("xdp_iphash_to_cpu_cmdline --del --ip 100.64.0.2/32", ""),
        ("xdp_iphash_to_cpu_cmdline --clear", ""),
        ("xdp_iphash_to_cpu_cmdline --clear", ""),
        ("xdp_pping", "[\n{}]\n"),
        ("xdp_pping --format jsonl", ""),
        ("xdp_iphash_to_cpu --dev lan --remove", "lan: XDP detached, direction cleared\n"),
        ("xdp_iphash_to_cpu --dev lan --remove -q", ""),
        ("xdp_pass --dev lan", "lan: xdp_pass attached (native)\n"),
        ("xdp_pass --dev lan --skb-mode", "lan: xdp_pass attached (generic)\n"),
        ("xdp_pass --dev lan --unload", "lan: xdp_pass detached\n"),
        ("xdp_pass --dev lan --unload", "lan: xdp_pass was not attached\n"),
    ];
    for (line, out) in table {
        assert_eq!(sandbox.call(line).parts(), (0, out, ""), "{line}");
    }
}

#[test]
fn bad_options_and_values() {
    lab::require_root();
    let sandbox = sandbox_with_devices(2);
    sandbox.ok("xdp_iphash_to_cpu --dev lan --lan");
    let table = [
        ("xdp_iphash_to_cpu --dev absent --lan", 2, "interface absent: ENODEV: No such device"),
        ("xdp_iphash_to_cpu --dev lan", 2, "missing --wan, --lan"),
        ("xdp_iphash_to_cpu --dev lan --lan --bogus", 2, "--bogus"),
        ("xdp_iphash_to_cpu --dev lan --lan --owner no_such_user", 2, "no such user"),
        ("xdp_iphash_to_cpu --dev lan --lan --cpu 4096", 31, "--cpu 4096: this machine has"),
        ("xdp_iphash_to_cpu --dev absent --remove", 2, "interface absent"),
        ("tc_classify --dev-egress absent", 2, "interface absent"),
        ("tc_classify --cpu 4096 --queue-mapping 1 --htb-major-hex 1", 31, "--cpu 4096"),
        ("tc_classify", 2, "missing --dev-egress"),
        ("xdp_pass --dev absent", 2, "interface absent"),
        ("xdp_pass --dev lan --skb-mode --native-mode", 2, "exclude each other"),
        ("xdp_pping --format bogus", 2, "--format"),
        ("xdp_pping surplus", 2, "surplus"),
        ("xdp_iphash_to_cpu_cmdline --add --ip bogus --cpu 0 --classid 1:5", 30, "--ip 'bogus'"),
        ("xdp_iphash_to_cpu_cmdline --add --ip 10.0.0.0/33 --cpu 0 --classid 1:5", 30, "0 to 32"),
        ("xdp_iphash_to_cpu_cmdline --add --ip localhost --cpu 0 --classid 1:5", 30, "localhost"),
        (
            "xdp_iphash_to_cpu_cmdline --add --ip 10.0.0.1 --cpu 4096 --classid 1:5",
            31,
            "--cpu 4096",
        ),
        ("xdp_iphash_to_cpu_cmdline --add --ip 10.0.0.1 --cpu x --classid 1:5", 31, "--cpu 'x'"),
        (
            "xdp_iphash_to_cpu_cmdline --add --ip 10.0.0.1 --cpu 0 --classid 1:x",
            2,
            "--classid '1:x'",
        ),
        (
            "xdp_iphash_to_cpu_cmdline --del --ip 10.9.9.9",
            21,
            "delete 10.9.9.9/32: it is not mapped",
        ),
        ("xdp_iphash_to_cpu_cmdline --list --clear", 2, "--list with --clear"),
    ];
    for (line, code, part) in table {
        refused(&sandbox.call(line), code, part);
    }
    let empty = |option: &str| {
        let mut command = sandbox.command(&program("xdp_iphash_to_cpu_cmdline"));
        let value = |name, value| if name == option { "" } else { value };
        let classid = value("--classid", "1:5");
        let (ip, cpu) = (value("--ip", "10.0.0.1"), value("--cpu", "0"));
        Said::by(command.args(["--add", "--ip", ip, "--cpu", cpu, "--classid", classid]))
    };
    refused(&empty("--ip"), 30, "--ip ''");
    refused(&empty("--cpu"), 31, "--cpu ''");
    refused(&empty("--classid"), 2, "--classid ''");
    assert!(sandbox.mappings().is_empty(), "nothing of all this was stored");
}

#[test]
fn options_as_getopt_takes_them() {
    lab::require_root();
    let sandbox = sandbox_with_devices(2);
    sandbox.ok("xdp_iphash_to_cpu -qldlan");
    sandbox.ok("xdp_iphash_to_cpu --wa --dev=wan --all --qs 2048 --quiet");
    sandbox.ok("tc_classify -qd lan");
    sandbox.ok("tc_classify --dev wan --qui");
    let adds = [
        ("-a -i 10.0.0.1 -c 1 -t 2:5", "10.0.0.1/32", (1, "2", "5")),
        ("--add --ip=10.0.0.2 --cpu=0x1 --classid=0x2:0xa", "10.0.0.2/32", (1, "2", "A")),
        ("--class 2:12 --cp 01 --i 10.0.0.3 --ad", "10.0.0.3/32", (1, "2", "12")),
        ("-ai10.0.0.4 -c1 -t2:ffff", "10.0.0.4/32", (1, "2", "FFFF")),
        ("--add --ip 10.1.2.3/8 --cpu 0 --classid root", "10.0.0.0/8", (0, "FFFF", "FFFF")),
        ("--add --ip 2001:DB8::1/32 --cpu 0 --classid none", "2001:db8::/32", (0, "0", "0")),
        ("--add --ip 10.0.0.5 --cpu 0 --classid 1:", "10.0.0.5/32", (0, "1", "0")),
    ];
    for (options, prefix, (cpu, major, minor)) in adds {
        sandbox.ok(&format!("xdp_iphash_to_cpu_cmdline {options}"));
        let wanted = (cpu, major.to_owned(), minor.to_owned());
        assert_eq!(sandbox.mappings().get(prefix), Some(&wanted), "{options}");
    }
    assert_eq!(sandbox.mappings().len(), adds.len());
    sandbox.ok("xdp_iphash_to_cpu_cmdline --add --ip 10.0.0.1 --cpu 0 --classid 1:7");
    assert_eq!(sandbox.mappings()["10.0.0.1/32"], (0, "1".into(), "7".into()), "replaced");
    assert_eq!(sandbox.mappings().len(), adds.len());
}

#[test]
fn a_major_of_another_queue_is_stored_with_a_warning() {
    lab::require_root();
    let sandbox = sandbox_with_devices(2);
    // Without tc_classify, --add does the base setup first.
    sandbox.ok("xdp_iphash_to_cpu --dev lan --lan");
    let said = sandbox.call("xdp_iphash_to_cpu_cmdline --add --ip 10.0.0.1 --cpu 1 --classid 7:5");
    let warning = "WARN: 10.0.0.1/32: class 7:5 has major 7, but CPU 1 has HTB major 2: \
                   its packets will miss the class\n";
    assert_eq!(said.parts(), (0, "", warning));
    assert_eq!(sandbox.mappings()["10.0.0.1/32"], (1, "7".into(), "5".into()));
    let table = sandbox.ok("tc_classify --list");
    assert!(table.contains("\n|    1      |        2      |  0x2      |\n"), "{table}");
}

#[test]
fn advice_is_on_stderr() {
    lab::require_root();
    let sandbox = sandbox_with_devices(1);
    sandbox.ok("ethtool -K lan rxvlan on");
    let said = sandbox.call("xdp_iphash_to_cpu --dev lan --lan --quiet");
    let warning = "WARN: lan: receive VLAN offload hides tags from XDP; turn it off: ethtool -K lan rxvlan off\n";
    assert_eq!(said.parts(), (0, "", warning));
    let said = sandbox.call("tc_classify --dev-egress lan --quiet");
    let warning =
        "WARN: lan has one TX queue: mq cannot be used, so all CPUs share its qdisc and lock\n";
    assert_eq!(said.parts(), (0, "", warning));
}

#[test]
fn the_work_is_done_when_stdout_closes() {
    lab::require_root();
    let sandbox = sandbox_with_devices(2);
    for line in ["xdp_iphash_to_cpu --dev lan --lan", "tc_classify --dev-egress lan"] {
        let mut child = sandbox.prepare(line).stdout(Stdio::piped()).spawn().unwrap();
        let mut said = String::new();
        child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
        let done = (sandbox.xdp("lan").is_some(), sandbox.filters("lan", "egress").len());
        assert_eq!(done, (true, usize::from(line.starts_with("tc"))), "{line}");
        assert!(child.wait().unwrap().success());
    }
    // A closed stdout is no error.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut list = sandbox.prepare("xdp_iphash_to_cpu_cmdline --list");
    assert_eq!(list.stdout(writer).status().unwrap().code(), Some(0));
}
