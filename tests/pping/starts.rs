// SPDX-License-Identifier: GPL-2.0-only

//! Failures at the start of a pping: one line on stderr, an exit code, and nothing changed.

use crate::common::command::{binaries_for_everybody, program, refused, Said};
use crate::common::foreign::pin_foreign_program;
use crate::common::listener::Place;
use crate::common::shaper::{sandbox_with_devices, Shaper};
use std::process::Command;
use tempfile::TempDir;

#[test]
fn files_that_cannot_be_read_or_written() {
    lab::require_root();
    let folder = TempDir::new().unwrap();
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
    // A bridge has no native XDP.
    sandbox.ok("ip link add bridge0 type bridge");
    let said = sandbox.call("pping -i bridge0 -I xdp -x native");
    refused(&said, 3, "attach XDP to bridge0: ");
    assert!(said.err.contains("try --xdp-mode generic"), "{said:?}");
}

#[test]
fn missing_rights_are_named() {
    lab::require_root();
    let (sandbox, folder) = (sandbox_with_devices(1), binaries_for_everybody(&["pping"]));
    let copy = folder.path().join("pping");
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
