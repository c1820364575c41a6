// SPDX-License-Identifier: GPL-2.0-only

//! Maps of another ABI version under running programs: the next load replaces them on all interfaces, or changes nothing.
//!
//! Our own programs stand for those of the other version: the tests write that version into the pinned `cpp_control`.

use crate::common::command::{refused, MS};
use crate::common::foreign::{pin_foreign_program, pin_map};
use crate::common::shaper::{map_id, sandbox_with_devices, Filter, Shaper, GLOBALS};
use crate::reload::under_traffic;
use crate::traffic_lab;
use cpumap_pping::abi::{maps, ABI_VERSION};
use cpumap_pping::domain::IfName;
use cpumap_pping::kernel::attachments::attachments;
use cpumap_pping::kernel::hook::Hook;
use cpumap_pping::kernel::pin::PinDir;
use cpumap_pping::kernel::program_config::ProgramConfig;
use cpumap_pping::kernel::program_info::program_info;
use cpumap_pping::kernel::xdp::{xdp_link, XdpMode};
use lab::{traffic, Flow, Sandbox, LAN, WAN};
use libbpf_rs::{MapCore, MapFlags, MapType, Program};
use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::process::Stdio;
use std::thread::sleep;
use std::time::Instant;

/// What a refused load leaves as it was.
#[derive(Debug, PartialEq, Eq)]
struct State {
    /// The kernel's number of each pinned map or program, by the name of the pin.
    pins: BTreeMap<String, u32>,
    xdp: Vec<Option<(u64, bool)>>,
    filters: Vec<Vec<Filter>>,
    directions: Vec<Vec<u8>>,
    control: Vec<u8>,
}

impl State {
    fn of(sandbox: &Sandbox, devices: &[&str]) -> Self {
        let directions = sandbox.map("map_ifindex_type");
        let direction = |dev: &&str| {
            let ifindex = sandbox.ifindex(dev).to_ne_bytes();
            directions.lookup(&ifindex, MapFlags::ANY).unwrap().unwrap()
        };
        let pins = sandbox.pins().into_iter().map(|name| {
            let id = pinned_id(sandbox, &name);
            (name, id)
        });
        Self {
            pins: pins.collect(),
            xdp: devices.iter().map(|dev| sandbox.xdp(dev)).collect(),
            filters: devices.iter().map(|dev| sandbox.filters(dev, "egress")).collect(),
            directions: devices.iter().map(direction).collect(),
            control: control(sandbox),
        }
    }
}

fn pinned_id(sandbox: &Sandbox, name: &str) -> u32 {
    if name.starts_with("cpp_xdp_") || name.starts_with("cpp_egress_") {
        return program_info(&pinned_program(sandbox, name)).unwrap().id;
    }
    map_id(&sandbox.map(name))
}

fn pinned_program(sandbox: &Sandbox, name: &str) -> OwnedFd {
    let path = format!("{GLOBALS}/{name}");
    sandbox.run(|| Program::fd_from_pinned_path(path)).unwrap().unwrap()
}

/// Returns the bytes of `cpp_control`.
fn control(sandbox: &Sandbox) -> Vec<u8> {
    let map = sandbox.map(maps::CONTROL);
    map.lookup(&0u32.to_ne_bytes(), MapFlags::ANY).unwrap().unwrap()
}

/// Writes an ABI version into the pinned `cpp_control`.
fn set_version(sandbox: &Sandbox, version: u32) {
    let mut bytes = control(sandbox);
    bytes[20..24].copy_from_slice(&version.to_ne_bytes());
    sandbox.map(maps::CONTROL).update(&0u32.to_ne_bytes(), &bytes, MapFlags::ANY).unwrap();
}

/// Returns the numbers of the pinned maps: those of the contract, and ours.
fn pinned_maps(sandbox: &Sandbox) -> [BTreeMap<&'static str, u32>; 2] {
    [false, true].map(|ours| {
        let names = maps::ALL.into_iter().filter(|name| maps::is_ours(name) == ours);
        names.map(|name| (name, map_id(&sandbox.map(name)))).collect()
    })
}

/// Asserts that these programs, and no others of ours, are attached, and that they use the pinned maps. Returns their
/// options.
fn all_use_the_pins(sandbox: &Sandbox, expected: &[(&str, Hook)]) -> Vec<ProgramConfig> {
    let [contract, own] = pinned_maps(sandbox);
    let mut programs = sandbox.run(|| attachments(&PinDir::default())).unwrap().unwrap();
    let place = |dev: &IfName, hook| expected.iter().position(|at| *at == (dev.as_str(), hook));
    programs.sort_by_key(|program| place(&program.dev, program.hook));
    let found: Vec<_> =
        programs.iter().map(|program| (program.dev.as_str(), program.hook)).collect();
    assert_eq!(found, expected);
    for program in &programs {
        let needed: &[&str] = match program.hook {
            Hook::Xdp => &[maps::CONTROL, maps::ADDR_CACHE, maps::STATS],
            _ => &[
                maps::CONTROL,
                maps::ADDR_CACHE,
                maps::STATS,
                maps::FLOW,
                maps::RTT,
                maps::RTT_RECENT,
            ],
        };
        let at = (&program.dev, program.hook);
        assert!(program.maps.contains(&contract[maps::IP_HASH]), "{at:?}");
        for name in needed {
            assert!(program.maps.contains(&own[name]), "{at:?}: {name}");
        }
    }
    let read =
        || programs.iter().map(|program| ProgramConfig::of(program.id, &program.maps).unwrap());
    read().collect()
}

const FOUR: [(&str, Hook); 4] =
    [("lan", Hook::Xdp), ("wan", Hook::Xdp), ("lan", Hook::Egress), ("wan", Hook::Egress)];

/// Loads both programs on `lan` and `wan`, each with other options, one of them in generic mode, and a flow table of 2048.
fn loaded() -> Sandbox {
    let sandbox = sandbox_with_devices(2);
    for line in [
        "xdp_iphash_to_cpu --dev lan --lan --skb-mode --flows 2048",
        "xdp_iphash_to_cpu --dev wan --wan --no-rtt",
        "tc_classify --dev-egress lan --handshake",
        "tc_classify --dev-egress wan --no-rtt",
        "xdp_iphash_to_cpu_cmdline --add --ip 10.0.0.1 --cpu 1 --classid 2:5",
    ] {
        sandbox.ok(line);
    }
    sandbox
}

/// One load brings all interfaces to new maps, whatever was wrong with the old ones.
#[test]
fn a_load_replaces_maps_that_are_not_fit() {
    lab::require_root();
    type Spoil = fn(&Sandbox);
    let table: [(&str, Spoil); 8] = [
        ("ABI version 1", |sandbox| set_version(sandbox, 1)),
        ("ABI version 3", |sandbox| set_version(sandbox, 3)),
        ("ABI version 1", |sandbox| {
            set_version(sandbox, 1);
            sandbox.ok(&format!("rm {GLOBALS}/cpp_rtt {GLOBALS}/cpp_addr_cache"));
            drop(pin_map(sandbox, "cpp_rtt", MapType::Hash, [4, 64, 10]));
        }),
        // A kill between pinning and filling cpp_control, by version 1.
        ("unfinished", |sandbox| set_version(sandbox, 0)),
        // A kill between the first new pin and the last.
        ("unfinished", |sandbox| {
            sandbox.shell(&format!(
                "bpftool map pin pinned {GLOBALS}/cpp_control {GLOBALS}/cpp_control_new"
            ));
        }),
        ("without cpp_stats", |sandbox| drop(sandbox.ok(&format!("rm {GLOBALS}/cpp_stats")))),
        ("cpp_rtt was a Hash of 4-byte keys and 64-byte values", |sandbox| {
            sandbox.ok(&format!("rm {GLOBALS}/cpp_rtt"));
            drop(pin_map(sandbox, "cpp_rtt", MapType::Hash, [4, 64, 10]));
        }),
        // The remedy that version 1 named.
        ("none was pinned", |sandbox| {
            let own = maps::ALL.into_iter().filter(|name| maps::is_ours(name));
            own.for_each(|name| drop(sandbox.ok(&format!("rm {GLOBALS}/{name}"))));
        }),
    ];
    lab::require_tool("bpftool");
    for (fault, spoil) in table {
        let sandbox = loaded();
        let before = pinned_maps(&sandbox);
        let programs = State::of(&sandbox, &["lan", "wan"]);
        spoil(&sandbox);
        let said = sandbox.call("xdp_iphash_to_cpu --dev wan --wan --no-rtt");
        let line = format!(
            "WARN: wan (xdp, egress), lan (xdp, egress): new cpp_* maps (ABI version {ABI_VERSION}) in place of the \
             old ones ({fault}): RTT figures start anew, mappings stay\n"
        );
        let out = "wan: XDP attached (native), WAN: faces the internet\n";
        assert_eq!(said.code, 0, "{fault}: {said:?}");
        assert_eq!((said.out.as_str(), by_words(&said.err)), (out, by_words(&line)), "{fault}");
        // All maps of ours are new, and all programs; those of the contract are the same.
        let after = pinned_maps(&sandbox);
        assert_eq!(after[0], before[0], "{fault}");
        assert!(before[1].iter().all(|(name, id)| after[1][name] != *id), "{fault}: {after:?}");
        let now = State::of(&sandbox, &["lan", "wan"]);
        assert_eq!(now.directions, programs.directions);
        for (new, old) in now.xdp.iter().flatten().zip(programs.xdp.iter().flatten()) {
            assert_ne!(new.0, old.0, "{fault}");
            assert_eq!(new.1, old.1, "{fault}: the XDP mode stays");
        }
        // The other programs keep their options, and the flow table its size.
        let options = all_use_the_pins(&sandbox, &FOUR);
        let options = options.iter().map(|config| (config.rtt, config.handshake));
        let expected = [(true, false), (false, false), (true, true), (false, false)];
        assert_eq!(options.collect::<Vec<_>>(), expected, "{fault}");
        let flows = if fault == "none was pinned" { 262_144 } else { 2048 };
        assert_eq!(sandbox.map(maps::FLOW).max_entries() * 8, flows, "{fault}");
        assert_eq!(sandbox.mappings()["10.0.0.1/32"], (1, "2".into(), "5".into()));
        // Nothing is left over, and the next load is a reload.
        assert!(!now.pins.keys().any(|name| name.ends_with("_new")), "{:?}", now.pins);
        let said = sandbox.call("tc_classify --dev-egress lan");
        assert_eq!((said.code, said.err.as_str()), (0, ""), "{fault}: {said:?}");
        assert_eq!(pinned_maps(&sandbox), after, "{fault}");
        assert_eq!(sandbox.ok("xdp_pping"), "[\n{}]\n");
    }
}

/// The order in which the kernel lists a device's programs does not matter.
fn by_words(line: &str) -> Vec<&str> {
    let mut words: Vec<_> =
        line.split([' ', ',', '(', ')']).filter(|word| !word.is_empty()).collect();
    words.sort_unstable();
    words
}

/// Whatever fails, pins, maps, programs and directions are as before, and the load works once the obstacle is gone.
#[test]
fn a_failed_upgrade_changes_nothing() {
    lab::require_root();
    let devices = ["lan", "wan", "opt"];
    let sandbox = loaded();
    sandbox.add_device("opt", 2);
    sandbox.ok("xdp_iphash_to_cpu --dev opt --lan");
    set_version(&sandbox, 1);
    let fails = |line: &str, code: i32, part: &str| {
        let before = State::of(&sandbox, &devices);
        refused(&sandbox.call(line), code, part);
        assert_eq!(State::of(&sandbox, &devices), before, "{line}");
    };
    let (wan, opt) = ("xdp_iphash_to_cpu --dev wan --wan", "xdp_iphash_to_cpu --dev opt --lan");

    // 1. The programs do not load: they cannot use a map of the contract.
    let moved = format!("{GLOBALS}/map_txq_config {GLOBALS}/aside");
    sandbox.ok(&format!("mv {moved}"));
    let foreign = pin_map(&sandbox, "map_txq_config", MapType::Array, [4, 8, 2]);
    fails(wan, 20, "use /sys/fs/bpf/tc/globals/map_txq_config");
    drop(foreign);
    sandbox.ok(&format!("mv {GLOBALS}/aside {GLOBALS}/map_txq_config"));

    // 2. Read-only pins; a new pin that cannot be made; a pin that cannot be replaced.
    let before = State::of(&sandbox, &devices);
    sandbox.ok("mount -o remount,ro /sys/fs/bpf");
    refused(&sandbox.call(wan), 20, "Read-only file system");
    sandbox.ok("mount -o remount,rw /sys/fs/bpf");
    let obstacle = format!("{GLOBALS}/cpp_rtt_new");
    sandbox.ok(&format!("mkdir {obstacle}"));
    refused(&sandbox.call(wan), 23, "pin /sys/fs/bpf/tc/globals/cpp_rtt: EEXIST");
    sandbox.ok(&format!("rmdir {obstacle}"));
    assert_eq!(State::of(&sandbox, &devices), before);
    let flow = format!("{GLOBALS}/cpp_flow");
    sandbox.ok(&format!("mount --bind {flow} {flow}"));
    fails(wan, 23, "pin /sys/fs/bpf/tc/globals/cpp_flow: ");
    sandbox.ok(&format!("umount {flow}"));

    // 3. The last of the other interfaces has our program, but by a link: netlink does not replace it.
    let program = pinned_program(&sandbox, &format!("cpp_xdp_{}", sandbox.ifindex("opt")));
    sandbox.ok("ip link set dev opt xdp off");
    let dev = IfName::parse("--dev", "opt").unwrap();
    let link = sandbox.run(|| xdp_link(&dev, program.as_fd(), XdpMode::Native)).unwrap().unwrap();
    fails(wan, 3, "replace the XDP program of opt: EBUSY");
    fails("tc_classify --dev-egress wan", 3, "replace the XDP program of opt: EBUSY");
    drop((link, program));

    // The interface that the load is for has foreign programs. All others are replaced before it.
    let xdp = pin_foreign_program(&sandbox, libbpf_sys::BPF_PROG_TYPE_XDP);
    let tc = pin_foreign_program(&sandbox, libbpf_sys::BPF_PROG_TYPE_SCHED_CLS);
    sandbox.ok(&format!("ip link set dev opt xdp pinned {xdp}"));
    sandbox.ok("tc qdisc add dev opt clsact");
    sandbox.ok(&format!("tc filter add dev opt egress prio 1 handle 1 bpf da pinned {tc}"));
    fails(opt, 3, "the interface has another XDP program, somebody_else");
    fails("tc_classify --dev-egress opt", 1, "its place is taken by the filter somebody_else");

    // A load of another interface leaves the foreign programs alone.
    let theirs = |sandbox: &Sandbox| (sandbox.xdp("opt"), sandbox.filters("opt", "egress"));
    let before = theirs(&sandbox);
    sandbox.ok(wan);
    assert_eq!(theirs(&sandbox), before);
    all_use_the_pins(&sandbox, &FOUR);
}

/// A load brings programs with other maps to the pinned ones, as a crash in the middle of an upgrade leaves them. Those
/// with another mapping belong to another pin directory, and stay.
#[test]
fn a_load_heals_what_a_crash_has_left() {
    lab::require_root();
    let sandbox = loaded();
    let index = sandbox.ifindex("wan");
    let old = "/sys/fs/bpf/old";
    sandbox.ok(&format!("mv {GLOBALS}/cpp_xdp_{index} {old}_xdp"));
    sandbox.ok(&format!("mv {GLOBALS}/cpp_egress_{index} {old}_tc"));
    set_version(&sandbox, 1);
    sandbox.ok("xdp_iphash_to_cpu --dev lan --lan");
    // As if the load had been killed before the last two programs.
    let put_back = || {
        sandbox.ok(&format!("ip link set dev wan xdpdrv pinned {old}_xdp"));
        let place = "dev wan egress prio 1 handle 1";
        sandbox.ok(&format!("tc filter replace {place} bpf da pinned {old}_tc"));
    };
    sandbox.ok("ip link set dev wan xdp off");
    put_back();
    let maps = pinned_maps(&sandbox);
    let said = sandbox.call("xdp_iphash_to_cpu --dev lan --lan");
    let healed = "WARN: wan (xdp, egress): used other cpp_* maps than the pinned ones, and uses these now: RTT figures \
                  of its traffic start anew\n";
    assert_eq!((said.code, said.err.as_str()), (0, healed));
    assert_eq!(pinned_maps(&sandbox), maps);
    all_use_the_pins(&sandbox, &FOUR);

    sandbox.ok("ip link set dev wan xdp off");
    put_back();
    sandbox.ok(&format!("rm -r {GLOBALS}"));
    let said = sandbox.call("xdp_iphash_to_cpu --dev lan --lan");
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    let theirs = sandbox.run(|| attachments(&PinDir::default())).unwrap().unwrap();
    let mapping = map_id(&sandbox.map(maps::IP_HASH));
    let sharing = theirs.iter().filter(|program| program.maps.contains(&mapping));
    assert_eq!(
        sharing.map(|at| (at.dev.as_str(), at.hook)).collect::<Vec<_>>(),
        [("lan", Hook::Xdp)]
    );
    assert_eq!(theirs.len(), 4);
}

/// Whenever a load is killed, the next one ends what it began, on every interface.
#[test]
fn an_upgrade_may_be_killed_at_any_time() {
    lab::require_root();
    let sandbox = loaded();
    let line = "xdp_iphash_to_cpu --dev wan --wan";
    set_version(&sandbox, 1);
    let started = Instant::now();
    sandbox.ok(line);
    let whole = started.elapsed();
    let mut killed = 0;
    for round in 0..40 {
        set_version(&sandbox, 1);
        let mut command = sandbox.prepare(line);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        sleep(whole * (round * 7 % 40) / 40);
        killed += u32::from(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
        let said = sandbox.call("tc_classify --dev-egress lan --handshake");
        assert_eq!(said.code, 0, "{round}: {said:?}");
        all_use_the_pins(&sandbox, &FOUR);
        assert!(!sandbox.pins().iter().any(|name| name.ends_with("_new")), "{round}");
    }
    assert!(killed >= 20, "only {killed} were killed in time");
}

/// An operator without root can go on using the pins after root has loaded (tests/commands/rights.rs).
#[test]
fn new_pins_have_the_owner_of_the_old_ones() {
    lab::require_root();
    let sandbox = loaded();
    sandbox.ok(&format!("chown 65534:65534 {GLOBALS}/cpp_rtt"));
    sandbox.ok(&format!("chmod 640 {GLOBALS}/cpp_rtt"));
    let program = format!("cpp_xdp_{}", sandbox.ifindex("wan"));
    sandbox.ok(&format!("chown 65534:65534 {GLOBALS}/{program}"));
    set_version(&sandbox, 1);
    sandbox.ok("tc_classify --dev-egress lan");
    let mode = |name: &str| sandbox.ok(&format!("stat -c %u:%g:%a {GLOBALS}/{name}"));
    assert_eq!(mode("cpp_rtt"), "65534:65534:640\n");
    assert_eq!(mode(&program), "65534:65534:600\n");
    assert_eq!(mode("cpp_flow"), "0:0:600\n");
}

/// Every command says in one line what is wrong and what to do; the mapping can be read and changed meanwhile.
#[test]
fn commands_on_maps_of_another_version() {
    lab::require_root();
    let sandbox = loaded();
    for (version, why) in [
        (1, "they have ABI version 1, this command needs "),
        (3, "they have ABI version 3, this command needs "),
        (0, "a load was interrupted before it had filled them"),
    ] {
        set_version(&sandbox, version);
        for line in ["xdp_pping", "xdp_pping --follow", "cpumap-pping status", "cpumap-pping check"]
        {
            let said = sandbox.call(line);
            assert_eq!((said.code, said.err.lines().count()), (20, 1), "{line}: {said:?}");
            let start = format!("ERR: use the pinned cpp_* maps: {why}");
            let end = "; reload any interface: xdp_iphash_to_cpu --dev IF --lan (or --wan)\n";
            assert!(said.err.starts_with(&start) && said.err.ends_with(end), "{line}: {said:?}");
            let out = if line == "xdp_pping" { "[\n{}]\n" } else { "" };
            assert_eq!(said.out, out, "{line}");
        }
        for line in [
            "xdp_iphash_to_cpu_cmdline --add --ip 10.0.0.2 --cpu 1 --classid 2:6",
            "xdp_iphash_to_cpu_cmdline --list",
            "xdp_iphash_to_cpu_cmdline --del --ip 10.0.0.2",
            "tc_classify --list",
        ] {
            sandbox.ok(line);
        }
    }
}

/// Twenty upgrades under UDP and TCP lose no packet, and packets keep their class.
#[test]
fn an_upgrade_loses_no_packet() {
    lab::require_root();
    let (lab, server) = traffic_lab();
    let shaper = lab.shaper();
    // The longest queues that the kernel takes: frames that wait because the machine is busy are not lost.
    let lines = [
        format!("xdp_iphash_to_cpu --dev {LAN} --lan --qsize 16384"),
        format!("xdp_iphash_to_cpu --dev {WAN} --wan --qsize 16384"),
        format!("tc_classify --dev-egress {LAN}"),
        format!("tc_classify --dev-egress {WAN}"),
    ];
    lines.iter().for_each(|line| drop(shaper.ok(line)));
    shaper.ok("xdp_iphash_to_cpu_cmdline --add --ip 100.64.1.2 --cpu 1 --classid 2:9");
    shaper.ok("xdp_iphash_to_cpu_cmdline --add --ip ::/0 --cpu 0 --classid 1:3");
    let contract = pinned_maps(shaper)[0].clone();
    let toll = under_traffic(&lab, &server, |_| {
        for round in 0..20 {
            set_version(shaper, 1);
            let said = shaper.call(&lines[round % lines.len()]);
            assert!(said.code == 0 && said.err.contains("(ABI version 1)"), "{said:?}");
        }
    });
    assert_eq!(toll.lost, 0, "{toll:?}");
    assert_eq!(toll.frames[0], toll.frames[1], "TCP included: {toll:?}");
    assert!(toll.sent > 500, "{toll:?}");
    assert_eq!(lab.dropped_frames(), 0);
    assert_eq!(pinned_maps(shaper)[0], contract);
    let four = FOUR.map(|(dev, hook)| (if dev == "lan" { LAN } else { WAN }, hook));
    all_use_the_pins(shaper, &four);
    // The new maps measure, and no packet of alice was taken for anybody else's.
    let flow = Flow::request_response(20, MS);
    traffic::run(lab.subscriber("alice").netns(), &server, lab.internet().v4(), &flow).unwrap();
    let rtts = shaper.rtts();
    assert!(rtts.contains_key("2:9") && !rtts.contains_key("1:3"), "{rtts:?}");
}
