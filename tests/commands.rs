//! Each command with each exit code of the contract: what it prints where, before and after anything
//! is loaded, and with which rights.

#[path = "common/shaper.rs"]
mod shaper;

use lab::Sandbox;
use libbpf_rs::MapType;
use shaper::{
    json, pin_foreign_program, pin_map, pin_map_with, program, sandbox_with_devices, Said, Shaper,
    TempDir, PROGRAMS,
};
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

/// One line on stderr that starts with `ERR: ` and names `part`, nothing on stdout.
fn refused(said: &Said, code: i32, part: &str) {
    assert_eq!((said.code, said.out.as_str()), (code, ""), "{said:?}");
    assert!(said.err.starts_with("ERR: ") && said.err.contains(part), "{part}: {said:?}");
    let usage = said.err.contains("\nUsage: ");
    assert_eq!(usage, code == 2, "usage goes with exit 2 only: {said:?}");
    assert!(code == 2 || said.err.lines().count() == 1, "{said:?}");
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
        let mut command = sandbox.command(program("xdp_iphash_to_cpu_cmdline"));
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
fn help_is_on_stdout() {
    for (name, path) in PROGRAMS.iter().filter(|(name, _)| *name != "cpumap-pping") {
        for option in ["--help", "-h", "--he"] {
            let said = Said::by(std::process::Command::new(path).arg(option));
            assert_eq!((said.code, said.err.as_str()), (0, ""), "{name} {option}");
            for part in ["Usage: ", "Examples:", "Exit codes:"] {
                assert!(said.out.contains(part), "{name} {option}: {}", said.out);
            }
        }
    }
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
    // Without tc_classify: --add does the base setup first.
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
    // A device whose driver has no native XDP falls back, and says so; --native-mode does not.
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
        ("tc_classify --dev-egress lan", "cpp_rtt", MapType::Array, [4, 8, 64]),
        ("tc_classify --list", "map_txq_config", MapType::Array, [4, 8, 64]),
        ("xdp_iphash_to_cpu_cmdline --list", "map_ip_hash", MapType::Hash, [8, 8, 10]),
        ("xdp_iphash_to_cpu_cmdline --clear", "map_ip_hash", MapType::Hash, [20, 16, 10]),
        ("xdp_pping", "cpp_rtt", MapType::Hash, [4, 64, 10]),
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
        // A program may not write to it, and both count in it.
        let flags = libbpf_sys::BPF_F_RDONLY_PROG;
        let _stats = pin_map_with(&sandbox, "cpp_stats", MapType::Array, [4, 512, 64], flags);
        refused(&sandbox.call(line), 40, "load the BPF programs: ");
        assert_eq!(sandbox.pins(), ["cpp_stats"]);
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
        // The mounts of one process: a namespace of its own.
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
    // The remedy is one.
    sandbox.ok("tc filter del dev lan egress prio 1 handle 1 bpf");
    sandbox.ok("tc_classify --dev-egress lan");
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
    // A reader that has gone is no error.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut list = sandbox.prepare("xdp_iphash_to_cpu_cmdline --list");
    assert_eq!(list.stdout(writer).status().unwrap().code(), Some(0));
}

#[test]
fn a_memlock_limit_is_no_obstacle() {
    lab::require_root();
    let sandbox = sandbox_with_devices(2);
    let binary = program("xdp_iphash_to_cpu");
    sandbox.ok(&format!("prlimit --memlock=0:0 {binary} --dev lan --lan"));
    assert!(sandbox.xdp("lan").is_some());
}

/// Commands of a user who is not root, with these capabilities.
struct Unprivileged {
    sandbox: Sandbox,
    binaries: TempDir,
    capabilities: &'static str,
}

impl Unprivileged {
    const NOBODY: u32 = 65534;

    fn new(capabilities: &'static str) -> Self {
        let (sandbox, binaries) = (sandbox_with_devices(2), TempDir::new());
        for (name, path) in PROGRAMS {
            // The build directory may be closed to others.
            std::fs::copy(path, binaries.path().join(name)).unwrap();
        }
        Self { sandbox, binaries, capabilities }
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
            // With nothing attached there is nothing that takes a right.
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
