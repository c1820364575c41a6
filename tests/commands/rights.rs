// SPDX-License-Identifier: GPL-2.0-only

//! The commands with few rights: three capabilities are enough, and a missing one is named.

use crate::common::command::{binaries_for_everybody, json, program, programs, Said};
use crate::common::shaper::{sandbox_with_devices, Shaper};
use lab::Sandbox;
use libbpf_rs::{MapCore, MapFlags};
use tempfile::TempDir;

#[test]
fn a_memlock_limit_is_no_obstacle() {
    lab::require_root();
    let sandbox = sandbox_with_devices(2);
    let binary = program("xdp_iphash_to_cpu");
    sandbox.ok(&format!("prlimit --memlock=0:0 {binary} --dev lan --lan"));
    assert!(sandbox.xdp("lan").is_some());
}

/// Runs commands as a user other than root, with these capabilities.
struct Unprivileged {
    sandbox: Sandbox,
    binaries: TempDir,
    capabilities: &'static str,
}

impl Unprivileged {
    const NOBODY: u32 = 65534;

    fn new(capabilities: &'static str) -> Self {
        let binaries = binaries_for_everybody(&programs().collect::<Vec<_>>());
        Self { sandbox: sandbox_with_devices(2), binaries, capabilities }
    }

    fn call(&self, line: &str) -> Said {
        let (name, options) = line.split_once(' ').unwrap_or((line, ""));
        let mut command = self.sandbox.command("setpriv");
        let user = Self::NOBODY.to_string();
        command.args(["--reuid", &user, "--regid", &user, "--clear-groups"]);
        for set in ["--inh-caps", "--ambient-caps"] {
            command.args([set, self.capabilities]);
        }
        command.arg(self.binaries.path().join(name)).args(options.split_whitespace());
        Said::by(&mut command)
    }
}

#[test]
fn without_rights_the_missing_ones_are_named() {
    lab::require_root();
    let nobody = Unprivileged::new("-all");
    for loaded in [false, true] {
        if loaded {
            nobody.sandbox.attach_both("lan", "wan");
        }
        for (line, missing) in [
            ("xdp_iphash_to_cpu --dev lan --lan", "CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON"),
            ("tc_classify --dev-egress lan", "CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON"),
            ("xdp_pass --dev lan", "CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON"),
            // With nothing attached, --remove needs no right.
            (
                "xdp_iphash_to_cpu --dev lan --remove",
                if loaded { "CAP_BPF, CAP_NET_ADMIN" } else { "" },
            ),
        ] {
            if missing.is_empty() {
                continue;
            }
            let error = format!("ERR: missing {missing}: run as root or grant them with setcap/AmbientCapabilities=\n");
            assert_eq!(nobody.call(line).parts(), (1, "", error.as_str()), "{line}");
        }
        if !loaded {
            continue;
        }
        for line in ["xdp_pping", "xdp_iphash_to_cpu_cmdline --list", "tc_classify --list"] {
            let error = "ERR: missing CAP_BPF: run as root or grant them with setcap/AmbientCapabilities=\n";
            assert_eq!(nobody.call(line).parts(), (1, "", error), "{line}");
        }
    }
}

#[test]
fn three_capabilities_are_enough() {
    lab::require_root();
    let operator = Unprivileged::new("+bpf,+net_admin,+perfmon");
    let owner = Unprivileged::NOBODY;
    operator.sandbox.ok("mkdir -p /sys/fs/bpf/tc/globals");
    operator.sandbox.ok(&format!("chown {owner}:{owner} /sys/fs/bpf/tc/globals"));
    for _load_and_reload in 0..2 {
        for line in [
            "xdp_iphash_to_cpu --dev lan --lan",
            "xdp_iphash_to_cpu --dev wan --wan",
            "tc_classify --dev-egress lan",
            "tc_classify --dev-egress wan",
            "tc_classify --base-setup",
            "tc_classify --list --dev-egress lan",
            "xdp_iphash_to_cpu_cmdline --add --ip 100.64.0.0/10 --cpu 1 --classid 2:5",
            "xdp_iphash_to_cpu_cmdline --add --ip 10.0.0.1 --cpu 1 --classid 2:6",
            "xdp_iphash_to_cpu_cmdline --del --ip 10.0.0.1",
            "xdp_iphash_to_cpu_cmdline --list",
            "xdp_pping",
        ] {
            let said = operator.call(line);
            assert_eq!((said.code, said.err.as_str()), (0, ""), "{line}: {said:?}");
        }
    }
    assert_eq!(operator.sandbox.mappings().len(), 1);
    assert_eq!(json(&operator.call("xdp_pping").out), serde_json::json!([{}]));
    for line in [
        "xdp_iphash_to_cpu --dev lan --remove",
        "xdp_pass --dev lan",
        "xdp_pass --dev lan --unload",
    ] {
        let said = operator.call(line);
        assert_eq!((said.code, said.err.as_str()), (0, ""), "{line}: {said:?}");
    }
}

/// An upgrade without CAP_SYS_ADMIN: the options of the other programs cannot be read, and the line says so.
#[test]
fn three_capabilities_are_enough_for_an_upgrade() {
    lab::require_root();
    let operator = Unprivileged::new("+bpf,+net_admin,+perfmon");
    let owner = Unprivileged::NOBODY;
    operator.sandbox.ok("mkdir -p /sys/fs/bpf/tc/globals");
    operator.sandbox.ok(&format!("chown {owner}:{owner} /sys/fs/bpf/tc/globals"));
    for line in ["xdp_iphash_to_cpu --dev lan --lan", "tc_classify --dev-egress wan"] {
        assert_eq!(operator.call(line).code, 0, "{line}");
    }
    let (map, key) = (operator.sandbox.map("cpp_control"), 0u32.to_ne_bytes());
    let mut control = map.lookup(&key, MapFlags::ANY).unwrap().unwrap();
    control[20..24].copy_from_slice(&1u32.to_ne_bytes());
    map.update(&key, &control, MapFlags::ANY).unwrap();
    let programs = || (operator.sandbox.xdp("lan"), operator.sandbox.filters("wan", "egress"));
    let (xdp, filters) = programs();
    let said = operator.call("xdp_iphash_to_cpu --dev wan --wan");
    assert_eq!(said.code, 0, "{said:?}");
    let end = "; lan (xdp), wan (egress): RTT options of this command, for want of CAP_SYS_ADMIN\n";
    assert!(said.err.contains("(ABI version 1)") && said.err.ends_with(end), "{said:?}");
    let now = programs();
    assert!(now.0 != xdp && now.1 != filters, "{now:?}");
    for line in ["xdp_iphash_to_cpu --dev wan --wan", "tc_classify --dev-egress wan", "xdp_pping"] {
        let said = operator.call(line);
        assert_eq!((said.code, said.err.as_str()), (0, ""), "{line}: {said:?}");
    }
}
