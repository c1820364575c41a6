// SPDX-License-Identifier: GPL-2.0-only

//! A shaper in a sandbox: commands, as callers and operators type them, and what the kernel says afterwards.

use super::command::{json, program, Said};
use super::names::Counts;
use lab::Sandbox;
use libbpf_rs::{MapCore, MapFlags, MapHandle};
use nix::net::if_::if_nametoindex;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

/// Where the maps are pinned, inside a sandbox.
pub const GLOBALS: &str = "/sys/fs/bpf/tc/globals";

/// The commands and the facts of a shaper.
pub trait Shaper {
    /// Prepares a command. Its words are parted by spaces; the first is the name of a binary under test or of a program.
    fn prepare(&self, line: &str) -> Command;
    /// Runs a command.
    fn call(&self, line: &str) -> Said;
    /// Runs a command that must succeed and returns its stdout.
    fn ok(&self, line: &str) -> String;
    /// Runs a line of `sh` that must succeed.
    fn shell(&self, line: &str);
    /// Loads and attaches both programs on both interfaces, as the callers do.
    fn attach_both(&self, lan: &str, wan: &str);
    /// Adds a veth pair with this number of queues, `DEV` and `DEV-peer`, and sets both up.
    fn add_device(&self, dev: &str, queues: u16);
    /// Opens a pinned map.
    fn map(&self, name: &str) -> MapHandle;
    /// Returns the names in the pin directory, sorted.
    fn pins(&self) -> Vec<String>;
    /// Returns the sum of each counter over all CPUs.
    fn counters(&self) -> Counts;
    /// Returns the kernel's number of an interface.
    fn ifindex(&self, dev: &str) -> u32;
    /// Returns the XDP program of an interface: its id, and whether it is native.
    fn xdp(&self, dev: &str) -> Option<(u64, bool)>;
    /// Returns the bpf filters of a hook (`egress`, `ingress`), as `tc -j` lists them.
    fn filters(&self, dev: &str, hook: &str) -> Vec<Filter>;
    /// Returns the mapping as `--list` prints it: CPU, major and minor by prefix.
    fn mappings(&self) -> BTreeMap<String, (u64, String, String)>;
    /// Returns the lines of `xdp_pping --format jsonl` by handle (`1:5`, decimal).
    fn rtts(&self) -> BTreeMap<String, Value>;
}

/// A bpf filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    pub priority: u64,
    pub handle: String,
    pub direct_action: bool,
    pub id: u64,
}

impl Shaper for Sandbox {
    fn prepare(&self, line: &str) -> Command {
        let mut words = line.split_whitespace();
        let mut command = self.command(&program(words.next().expect("a command")));
        command.args(words);
        command
    }

    fn call(&self, line: &str) -> Said {
        Said::by(&mut self.prepare(line))
    }

    fn ok(&self, line: &str) -> String {
        let said = self.call(line);
        assert_eq!(said.code, 0, "{line}: {said:?}");
        said.out
    }

    fn shell(&self, line: &str) {
        let said = Said::by(self.command("sh").args(["-c", line]));
        assert_eq!(said.code, 0, "{line}: {said:?}");
    }

    fn attach_both(&self, lan: &str, wan: &str) {
        self.ok(&format!("xdp_iphash_to_cpu --dev {lan} --lan"));
        self.ok(&format!("xdp_iphash_to_cpu --dev {wan} --wan"));
        self.ok(&format!("tc_classify --dev-egress {lan}"));
        self.ok(&format!("tc_classify --dev-egress {wan}"));
    }

    fn add_device(&self, dev: &str, queues: u16) {
        let size = format!("numtxqueues {queues} numrxqueues {queues}");
        self.ok(&format!("ip link add {dev} {size} type veth peer name {dev}-peer {size}"));
        self.ok(&format!("ip link set {dev} up"));
        self.ok(&format!("ip link set {dev}-peer up"));
        self.ok(&format!("ethtool -K {dev} rxvlan off"));
    }

    fn map(&self, name: &str) -> MapHandle {
        let path = format!("{GLOBALS}/{name}");
        let open = || MapHandle::from_pinned_path(&path);
        self.run(open).expect("enter the sandbox").unwrap_or_else(|err| panic!("{path}: {err}"))
    }

    fn pins(&self) -> Vec<String> {
        let names = || -> Vec<String> {
            let Ok(entries) = fs::read_dir(GLOBALS) else { return Vec::new() };
            entries.flatten().map(|entry| entry.file_name().to_string_lossy().into()).collect()
        };
        let mut names = self.run(names).expect("enter the sandbox");
        names.sort();
        names
    }

    fn counters(&self) -> Counts {
        let stats = self.map("cpp_stats");
        let block = |cpu: u32| stats.lookup(&cpu.to_ne_bytes(), MapFlags::ANY).unwrap().unwrap();
        Counts::of_all_cpus((0..stats.max_entries()).map(block))
    }

    fn ifindex(&self, dev: &str) -> u32 {
        let index = || if_nametoindex(dev).unwrap_or_else(|error| panic!("{dev}: {error}"));
        self.run(index).expect("enter the sandbox")
    }

    fn xdp(&self, dev: &str) -> Option<(u64, bool)> {
        let link = json(&self.ok(&format!("ip -j link show dev {dev}")));
        let xdp = &link[0]["xdp"];
        Some((xdp["prog"]["id"].as_u64()?, xdp["mode"] == 1))
    }

    fn filters(&self, dev: &str, hook: &str) -> Vec<Filter> {
        // tc prints nothing where there is no clsact.
        let said = self.call(&format!("tc -j filter show dev {dev} {hook}"));
        let Ok(Value::Array(found)) = serde_json::from_str(&said.out) else { return Vec::new() };
        let filters = found.iter().filter(|filter| filter["options"]["handle"].is_string());
        filters
            .map(|filter| Filter {
                priority: filter["pref"].as_u64().expect("a priority"),
                handle: filter["options"]["handle"].as_str().unwrap_or_default().to_owned(),
                direct_action: filter["options"]["direct-action"] == true,
                id: filter["options"]["prog"]["id"].as_u64().expect("a program"),
            })
            .collect()
    }

    fn mappings(&self) -> BTreeMap<String, (u64, String, String)> {
        let list = json(&self.ok("xdp_iphash_to_cpu_cmdline --list"));
        let text = |value: &Value| value.as_str().expect("a string").to_owned();
        let entries = list.as_object().expect("an object").iter();
        entries
            .map(|(prefix, to)| {
                let cpu = to["cpu"].as_u64().expect("a CPU");
                (prefix.clone(), (cpu, text(&to["tc_maj"]), text(&to["tc_min"])))
            })
            .collect()
    }

    fn rtts(&self) -> BTreeMap<String, Value> {
        let lines = self.ok("xdp_pping --format jsonl");
        let rows = lines.lines().map(json);
        rows.map(|row| (row["tc"].as_str().expect("a handle").to_owned(), row)).collect()
    }
}

/// Makes a sandbox with the veth devices `lan` and `wan` of this number of queues.
pub fn sandbox_with_devices(queues: u16) -> Sandbox {
    let sandbox = Sandbox::new().expect("a sandbox");
    for dev in ["lan", "wan"] {
        sandbox.add_device(dev, queues);
    }
    sandbox
}

/// Returns the kernel threads of a cpumap: name and process id.
pub fn cpumap_threads(map_id: u32) -> Vec<(String, u32)> {
    let suffix = format!("/map:{map_id}");
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").expect("/proc").flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse() else { continue };
        let Ok(name) = fs::read_to_string(entry.path().join("comm")) else { continue };
        if name.starts_with("cpumap/") && name.trim_end().ends_with(&suffix) {
            found.push((name.trim_end().to_owned(), pid));
        }
    }
    found.sort();
    found
}

/// Returns the kernel's number of a map.
pub fn map_id(map: &MapHandle) -> u32 {
    map.info().expect("map info").info.id
}
