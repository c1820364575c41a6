//! What keeps a pping from starting: one line on stderr, an exit code, and nothing done.

use crate::listener::Place;
use crate::shaper::{pin_foreign_program, program, sandbox_with_devices, Said, Shaper, TempDir};
use std::process::Command;

/// One line on stderr (with exit 2 the usage follows) that names `part`; nothing on stdout.
fn refused(said: &Said, code: i32, part: &str) {
    assert_eq!((said.code, said.out.as_str()), (code, ""), "{said:?}");
    let first = said.err.lines().next().unwrap_or_default();
    assert!(first.starts_with("ERR: ") && first.contains(part), "{part}: {said:?}");
    assert_eq!(said.err.contains("\nUsage: "), code == 2, "{said:?}");
    assert!(code == 2 || said.err.lines().count() == 1, "{said:?}");
}

#[test]
fn bad_options_and_values() {
    let table = [
        ("", "missing --interface, --read"),
        ("-i lo --read x", "--interface with --read"),
        ("-i lo -F xml", "'xml'"),
        ("-i lo -r -1", "--rate-limit '-1'"),
        ("-i lo -R x", "--rtt-rate 'x'"),
        ("-i lo -t mean", "'mean'"),
        ("-i lo -I egress", "'egress'"),
        ("-i lo -x skb", "'skb'"),
        ("-i lo -c never", "--cleanup-interval 'never'"),
        ("-i lo -a 0", "--aggregate '0'"),
        ("-i lo -a 1 --aggregate-subnets-v4 33", "--aggregate-subnets-v4 '33'"),
        ("-i lo -a 1 --aggregate-subnets-v6 129", "--aggregate-subnets-v6 '129'"),
        ("-i lo -a 1 --aggregate-timeout -1", "--aggregate-timeout '-1'"),
        ("-i lo --aggregate-reverse", "--aggregate-reverse: "),
        ("-i lo -a 1 -F ppviz", "--aggregate with --format ppviz"),
        ("-i name-of-an-interface", "--interface 'name-of-an-interface'"),
        ("-i lo surplus", "'surplus'"),
    ];
    for (options, part) in table {
        let mut command = Command::new(program("pping"));
        refused(&Said::by(command.args(options.split_whitespace())), 2, part);
    }
}

#[test]
fn files_that_cannot_be_read_or_written() {
    lab::require_root();
    let folder = TempDir::new();
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("text"), "no capture").unwrap();
    let table = [
        (format!("--read {}", path("absent")), format!("open {}: No such file", path("absent"))),
        (format!("--read {}", path("text")), format!("read {}: neither pcap nor", path("text"))),
        (format!("-i lo -w {}", path("no/file")), format!("open {}: No such", path("no/file"))),
    ];
    for (options, part) in table {
        let mut command = Command::new(program("pping"));
        let said = Said::by(command.args(options.split_whitespace()));
        refused(&said, 1, &part);
    }
}

#[test]
fn an_unknown_interface() {
    lab::require_root();
    let sandbox = sandbox_with_devices(1);
    refused(&sandbox.call("pping -i absent"), 2, "interface absent: ENODEV: No such device");
}

#[test]
fn the_place_of_an_xdp_program_is_taken() {
    lab::require_root();
    let sandbox = sandbox_with_devices(1);
    let pin = pin_foreign_program(&sandbox, libbpf_sys::BPF_PROG_TYPE_XDP);
    sandbox.ok(&format!("ip link set dev lan xdp pinned {pin}"));
    let foreign = (sandbox.xdp("lan"), Place::of(&sandbox, "lan").programs());
    for mode in ["unspecified", "native", "generic"] {
        let said = sandbox.call(&format!("pping -i lan -I xdp -x {mode}"));
        refused(&said, 3, "attach XDP to lan: ");
        assert!(said.err.ends_with("has an XDP program: leave --ingress-hook at tc\n"), "{said:?}");
        assert_eq!((sandbox.xdp("lan"), Place::of(&sandbox, "lan").programs()), foreign, "{mode}");
    }
    // A bridge has no native XDP; unless that is asked for, generic will do.
    sandbox.ok("ip link add bridge0 type bridge");
    let said = sandbox.call("pping -i bridge0 -I xdp -x native");
    refused(&said, 3, "attach XDP to bridge0: ");
    assert!(said.err.contains("try --xdp-mode generic"), "{said:?}");
}

#[test]
fn missing_rights_are_named() {
    lab::require_root();
    let (sandbox, folder) = (sandbox_with_devices(1), TempDir::new());
    // The build directory may be closed to others.
    let copy = folder.path().join("pping");
    std::fs::copy(program("pping"), &copy).unwrap();
    let call = |capabilities: &str, options: &str| {
        let mut command = sandbox.command("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
        command.args(["--inh-caps", capabilities, "--ambient-caps", capabilities]);
        Said::by(command.arg(&copy).args(options.split_whitespace()))
    };
    let remedy = "run as root or grant them with setcap/AmbientCapabilities=\n";
    let missing = |names: &str| format!("ERR: missing {names}: {remedy}");
    let all = missing("CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON");
    assert_eq!(call("-all", "-i lan").parts(), (1, "", all.as_str()));
    let one = missing("CAP_NET_ADMIN");
    assert_eq!(call("-all,+bpf,+perfmon", "-i lan").parts(), (1, "", one.as_str()));
    let said = call("-all,+bpf,+net_admin,+perfmon", "--read /dev/null");
    refused(&said, 1, "read /dev/null: neither pcap nor pcapng");
}
