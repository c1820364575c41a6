// SPDX-License-Identifier: GPL-2.0-only

//! Programs, maps and mounts that stop a load: exit 1, 3, 20, 21, 23 and 40. A refused command changes nothing.

use crate::common::command::{program, refused, Said};
use crate::common::foreign::{pin_foreign_program, pin_map, pin_map_with};
use crate::common::shaper::{sandbox_with_devices, Shaper};
use libbpf_rs::MapType;

#[test]
fn xdp_attach_is_exit_3() {
    lab::require_root();
    let sandbox = sandbox_with_devices(2);
    let pin = pin_foreign_program(&sandbox, libbpf_sys::BPF_PROG_TYPE_XDP);
    sandbox.ok(&format!("ip link set dev lan xdp pinned {pin}"));
    let foreign = sandbox.xdp("lan");
    let other = "the interface has another XDP program, somebody_else (id ";
    let remedy = "remove it first: ip link set dev lan xdp off";
    for line in [
        "xdp_iphash_to_cpu --dev lan --lan",
        "xdp_iphash_to_cpu --dev lan --lan --skb-mode",
        "xdp_iphash_to_cpu --dev lan --remove",
        "xdp_pass --dev lan",
        "xdp_pass --dev lan --unload",
    ] {
        let said = sandbox.call(line);
        refused(&said, 3, other);
        assert!(said.err.contains(remedy), "{said:?}");
        assert_eq!(sandbox.xdp("lan"), foreign, "{line}");
    }
    assert_eq!(sandbox.pins(), [""; 0], "all or nothing");
    assert_eq!(sandbox.ok("xdp_pass --dev lan --force"), "lan: xdp_pass attached (native)\n");
    assert_ne!(sandbox.xdp("lan"), foreign);
    sandbox.ok("xdp_iphash_to_cpu --dev lan --lan");
    // On a device without native XDP the command falls back to generic mode and says so; with --native-mode it fails.
    sandbox.ok("ip link add bridge0 type bridge");
    let said = sandbox.call("xdp_iphash_to_cpu --dev bridge0 --lan");
    assert_eq!(
        (said.code, said.out.as_str()),
        (0, "bridge0: XDP attached (generic), LAN: faces the subscribers\n")
    );
    assert!(said.err.starts_with("WARN: bridge0: no native XDP ("), "{said:?}");
    assert_eq!(sandbox.xdp("bridge0").map(|(_, native)| native), Some(false));
    sandbox.ok("xdp_iphash_to_cpu --dev bridge0 --remove");
    refused(&sandbox.call("xdp_pass --dev bridge0 --native-mode"), 3, "try --skb-mode");
}

#[test]
fn maps_of_another_shape_are_exit_20() {
    lab::require_root();
    for (line, pin, map_type, sizes) in [
        ("xdp_iphash_to_cpu --dev lan --lan", "map_ip_hash", MapType::Hash, [20, 8, 10]),
        ("xdp_iphash_to_cpu --dev lan --lan", "map_ifindex_type", MapType::Array, [4, 8, 256]),
        ("tc_classify --dev-egress lan", "map_txq_config", MapType::Array, [4, 8, 64]),
        ("tc_classify --list", "map_txq_config", MapType::Array, [4, 8, 64]),
        ("xdp_iphash_to_cpu_cmdline --list", "map_ip_hash", MapType::Hash, [8, 8, 10]),
        ("xdp_iphash_to_cpu_cmdline --clear", "map_ip_hash", MapType::Hash, [20, 16, 10]),
    ] {
        let sandbox = sandbox_with_devices(2);
        let _map = pin_map(&sandbox, pin, map_type, sizes);
        let said = sandbox.call(line);
        let [key, value, _] = sizes;
        let found = format!("it is a {map_type:?} of {key}-byte keys and {value}-byte values, this version needs a ");
        refused(&said, 20, &format!("use /sys/fs/bpf/tc/globals/{pin}: {found}"));
        let remedy = format!(
            "remove it (its content is lost) and load again: rm /sys/fs/bpf/tc/globals/{pin}\n"
        );
        assert!(said.err.ends_with(&remedy), "{said:?}");
        assert_eq!(sandbox.pins(), [pin], "nothing half done");
        assert_eq!(sandbox.xdp("lan"), None);
        assert_eq!(sandbox.filters("lan", "egress"), []);
    }
    // A map of ours: a load replaces it (tests/callers/abi_version.rs), a reader says so.
    let sandbox = sandbox_with_devices(2);
    let _map = pin_map(&sandbox, "cpp_rtt", MapType::Hash, [4, 64, 10]);
    let said = sandbox.call("xdp_pping");
    assert_eq!((said.code, said.out.as_str()), (20, "[\n{}]\n"), "{said:?}");
    let remedy = "; reload any interface: xdp_iphash_to_cpu --dev IF --lan (or --wan)\n";
    assert!(said.err.ends_with(remedy), "{said:?}");
}

#[test]
fn full_maps_and_missing_keys() {
    lab::require_root();
    let sandbox = sandbox_with_devices(2);
    let _small = pin_map(&sandbox, "map_ip_hash", MapType::LpmTrie, [20, 8, 2]);
    let _one = pin_map(&sandbox, "map_txq_config", MapType::Array, [4, 4, 1]);
    sandbox.ok("xdp_iphash_to_cpu --dev lan --lan");
    let add = |ip: &str| {
        sandbox.call(&format!("xdp_iphash_to_cpu_cmdline --add --ip {ip} --cpu 0 --classid 1:5"))
    };
    assert_eq!(add("10.0.0.1").parts(), (0, "", ""));
    assert_eq!(add("10.1.0.1").parts(), (0, "", ""));
    refused(&add("10.2.0.1"), 20, "write to map_ip_hash: it is full (2 entries)");
    assert_eq!(add("10.0.0.1").parts(), (0, "", ""), "replacing needs no room");
    let row = "tc_classify --cpu 1 --queue-mapping 2 --htb-major-hex 2";
    refused(&sandbox.call(row), 21, "write to map_txq_config: E2BIG");

    let sandbox = sandbox_with_devices(2);
    let _one = pin_map(&sandbox, "map_ifindex_type", MapType::Array, [4, 4, 1]);
    let said = sandbox.call("xdp_iphash_to_cpu --dev lan --lan");
    refused(&said, 21, "set the direction of lan: its index");
    assert_eq!((sandbox.pins(), sandbox.xdp("lan")), (vec!["map_ifindex_type".into()], None));
}

#[test]
fn a_program_the_kernel_refuses_is_exit_40() {
    lab::require_root();
    for line in ["xdp_iphash_to_cpu --dev lan --lan", "tc_classify --dev-egress lan"] {
        let sandbox = sandbox_with_devices(2);
        // BPF_F_WRONLY_PROG: no program may read this map, and both programs look the direction up.
        let (pin, flags) = ("map_ifindex_type", libbpf_sys::BPF_F_WRONLY_PROG);
        let _directions = pin_map_with(&sandbox, pin, MapType::Array, [4, 4, 4096], flags);
        refused(&sandbox.call(line), 40, "load the BPF programs: ");
        assert_eq!(sandbox.pins(), [pin]);
        assert_eq!((sandbox.xdp("lan"), sandbox.filters("lan", "egress")), (None, vec![]));
    }
}

#[test]
fn bpffs_is_mounted_or_exit_23() {
    lab::require_root();
    let inside = |script: &str| {
        let sandbox = sandbox_with_devices(2);
        let lines = "xdp_iphash_to_cpu=$0 tc_classify=$1\n";
        let mut shell = sandbox.command("bash");
        // A mount namespace for one process.
        shell.args(["-c", "exec unshare --mount bash -c \"$2\" \"$0\" \"$1\""]);
        shell.args([program("xdp_iphash_to_cpu"), program("tc_classify")]);
        Said::by(shell.arg(format!("{lines}{script}")))
    };
    let said = inside("umount /sys/fs/bpf && $xdp_iphash_to_cpu --dev lan --lan && ls /sys/fs/bpf/tc/globals/cpu_map");
    let out =
        "lan: XDP attached (native), LAN: faces the subscribers\n/sys/fs/bpf/tc/globals/cpu_map\n";
    assert_eq!(said.parts(), (0, out, ""), "bpffs is mounted on the way");
    for attach in ["$xdp_iphash_to_cpu --dev lan --lan", "$tc_classify --dev-egress lan"] {
        let said = inside(&format!("mount -t tmpfs none /sys/fs && {attach}"));
        let error = "ERR: mount /sys/fs/bpf: ENOENT: No such file or directory; mount it: mount -t bpf bpf /sys/fs/bpf\n";
        assert_eq!(said.parts(), (23, "", error));
        let said = inside(&format!("mount -o remount,ro /sys/fs/bpf && {attach}"));
        refused(&said, 23, "make /sys/fs/bpf/tc/globals: Read-only file system");
    }
}

#[test]
fn a_foreign_filter_is_left_alone() {
    lab::require_root();
    let sandbox = sandbox_with_devices(2);
    let pin = pin_foreign_program(&sandbox, libbpf_sys::BPF_PROG_TYPE_SCHED_CLS);
    sandbox.ok("tc qdisc add dev lan clsact");
    sandbox.ok(&format!("tc filter add dev lan egress prio 1 handle 1 bpf da pinned {pin}"));
    let before = sandbox.filters("lan", "egress");
    let said = sandbox.call("tc_classify --dev-egress lan");
    refused(
        &said,
        1,
        "attach the classifier to lan: its place is taken by the filter somebody_else (id ",
    );
    assert!(
        said.err.ends_with("remove it: tc filter del dev lan egress prio 1 handle 1 bpf\n"),
        "{said:?}"
    );
    assert_eq!(sandbox.filters("lan", "egress"), before);
    assert_eq!(sandbox.pins(), [""; 0]);
    // The remedy that the error names works.
    sandbox.ok("tc filter del dev lan egress prio 1 handle 1 bpf");
    sandbox.ok("tc_classify --dev-egress lan");
}
