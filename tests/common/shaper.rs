//! What the end-to-end tests share: the commands in a shaper's sandbox, as callers and operators type
//! them, and what the kernel says afterwards.

#![allow(dead_code, reason = "each test file uses its part")]

use cpumap_pping::abi::COUNTERS;
use lab::Sandbox;
use libbpf_rs::{MapCore, MapFlags, MapHandle, MapType};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

pub const MS: Duration = Duration::from_millis(1);
/// Where the maps are pinned, inside a sandbox.
pub const GLOBALS: &str = "/sys/fs/bpf/tc/globals";
/// What callers take for an error when it stands on stdout.
const ALARMS: [&str; 2] = ["RTNETLINK answers", "We have an error talking to the kernel"];

/// The binaries under test by name.
pub const PROGRAMS: [(&str, &str); 7] = [
    ("xdp_iphash_to_cpu", env!("CARGO_BIN_EXE_xdp_iphash_to_cpu")),
    ("xdp_iphash_to_cpu_cmdline", env!("CARGO_BIN_EXE_xdp_iphash_to_cpu_cmdline")),
    ("tc_classify", env!("CARGO_BIN_EXE_tc_classify")),
    ("xdp_pping", env!("CARGO_BIN_EXE_xdp_pping")),
    ("pping", env!("CARGO_BIN_EXE_pping")),
    ("xdp_pass", env!("CARGO_BIN_EXE_xdp_pass")),
    ("cpumap-pping", env!("CARGO_BIN_EXE_cpumap-pping")),
];

/// The path of a binary under test; any other name is the system's.
pub fn program(name: &str) -> &str {
    PROGRAMS.iter().find(|(known, _)| *known == name).map_or(name, |(_, path)| path)
}

/// What a command said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Said {
    /// Runs a command to its end.
    pub fn by(command: &mut Command) -> Self {
        Self::from(command.output().unwrap_or_else(|error| panic!("{command:?}: {error}")))
    }

    /// The golden form: exit code, stdout, stderr.
    pub fn parts(&self) -> (i32, &str, &str) {
        (self.code, &self.out, &self.err)
    }
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("a command prints UTF-8");
        let said = Self {
            code: output.status.code().unwrap_or(-1), // a signal
            out: text(output.stdout),
            err: text(output.stderr),
        };
        for alarm in ALARMS {
            assert!(!said.out.contains(alarm), "stdout raises the callers' alarm: {said:?}");
        }
        said
    }
}

/// Commands and facts of a shaper.
pub trait Shaper {
    /// A command that is ready to run: words apart by spaces, ours by name.
    fn prepare(&self, line: &str) -> Command;
    /// Runs a command.
    fn call(&self, line: &str) -> Said;
    /// Runs a command that must succeed; its stdout.
    fn ok(&self, line: &str) -> String;
    /// The whole legacy set-up of both interfaces.
    fn attach_both(&self, lan: &str, wan: &str);
    /// A pinned map.
    fn map(&self, name: &str) -> MapHandle;
    /// Names in the pin directory, sorted.
    fn pins(&self) -> Vec<String>;
    /// The sum of each counter over all CPUs.
    fn counters(&self) -> Counts;
    /// The XDP program of an interface: id and whether it is native.
    fn xdp(&self, dev: &str) -> Option<(u64, bool)>;
    /// The bpf filters of a hook (`egress`, `ingress`), as `tc -j` lists them.
    fn filters(&self, dev: &str, hook: &str) -> Vec<Filter>;
    /// The mapping as `--list` prints it.
    fn mappings(&self) -> BTreeMap<String, (u64, String, String)>;
    /// `xdp_pping --format jsonl` by handle (`1:5`, decimal).
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

/// Counters by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts(BTreeMap<&'static str, u64>);

impl Counts {
    /// One of them.
    pub fn of(&self, name: &str) -> u64 {
        *self.0.get(name).unwrap_or_else(|| panic!("no counter is called {name}"))
    }

    /// What was added since `before`.
    pub fn since(&self, before: &Self) -> Self {
        Self(self.0.iter().map(|(name, value)| (*name, value - before.of(name))).collect())
    }
}

impl Shaper for Sandbox {
    fn prepare(&self, line: &str) -> Command {
        let mut words = line.split_whitespace();
        let mut command = self.command(program(words.next().expect("a command")));
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

    fn attach_both(&self, lan: &str, wan: &str) {
        self.ok(&format!("xdp_iphash_to_cpu --dev {lan} --lan"));
        self.ok(&format!("xdp_iphash_to_cpu --dev {wan} --wan"));
        self.ok(&format!("tc_classify --dev-egress {lan}"));
        self.ok(&format!("tc_classify --dev-egress {wan}"));
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
        let mut sums: BTreeMap<_, u64> = COUNTERS.iter().map(|(name, _)| (*name, 0)).collect();
        for cpu in 0..stats.max_entries() {
            let block = stats.lookup(&cpu.to_ne_bytes(), MapFlags::ANY).unwrap().unwrap();
            for ((name, _), word) in COUNTERS.iter().zip(block.chunks_exact(8)) {
                *sums.entry(name).or_default() += u64::from_ne_bytes(word.try_into().unwrap());
            }
        }
        Counts(sums)
    }

    fn xdp(&self, dev: &str) -> Option<(u64, bool)> {
        let link = json(&self.ok(&format!("ip -j link show dev {dev}")));
        let xdp = &link[0]["xdp"];
        Some((xdp["prog"]["id"].as_u64()?, xdp["mode"] == 1))
    }

    fn filters(&self, dev: &str, hook: &str) -> Vec<Filter> {
        // An empty answer stands for no clsact at all.
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

/// Strictly valid JSON.
pub fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("not JSON: {error}\n{text}"))
}

/// A sandbox with two ends of veth pairs, `lan` and `wan`, of so many queues; the other ends are up.
pub fn sandbox_with_devices(queues: u16) -> Sandbox {
    let sandbox = Sandbox::new().expect("a sandbox");
    for dev in ["lan", "wan"] {
        let size = format!("numtxqueues {queues} numrxqueues {queues}");
        sandbox.ok(&format!("ip link add {dev} {size} type veth peer name {dev}-peer {size}"));
        sandbox.ok(&format!("ip link set {dev} up"));
        sandbox.ok(&format!("ip link set {dev}-peer up"));
        sandbox.ok(&format!("ethtool -K {dev} rxvlan off"));
    }
    sandbox
}

/// A map as somebody else would make it, pinned where ours go.
pub fn pin_map(sandbox: &Sandbox, name: &str, map_type: MapType, sizes: [u32; 3]) -> MapHandle {
    let flags = if map_type == MapType::LpmTrie { libbpf_sys::BPF_F_NO_PREALLOC } else { 0 };
    pin_map_with(sandbox, name, map_type, sizes, flags)
}

/// The same with the flags of `bpf_map_create`.
pub fn pin_map_with(
    sandbox: &Sandbox,
    name: &str,
    map_type: MapType,
    sizes: [u32; 3],
    flags: u32,
) -> MapHandle {
    let [key_size, value_size, max_entries] = sizes;
    let opts = libbpf_sys::bpf_map_create_opts {
        sz: size_of::<libbpf_sys::bpf_map_create_opts>() as u64,
        map_flags: flags,
        ..Default::default()
    };
    let made = MapHandle::create(map_type, Some(name), key_size, value_size, max_entries, &opts);
    let mut map = made.unwrap_or_else(|error| panic!("make {name}: {error}"));
    sandbox
        .run(|| {
            fs::create_dir_all(GLOBALS).expect("the pin directory");
            map.pin(format!("{GLOBALS}/{name}")).expect("pin");
        })
        .expect("enter the sandbox");
    map
}

/// Loads a program of another project, which lets everything pass, and pins it: the path.
pub fn pin_foreign_program(sandbox: &Sandbox, kind: libbpf_sys::bpf_prog_type) -> String {
    // r0 = XDP_PASS or TC_ACT_OK; exit.
    let verdict = if kind == libbpf_sys::BPF_PROG_TYPE_XDP { 2 } else { 0 };
    let instruction = |code, imm| {
        let mut instruction = libbpf_sys::bpf_insn { code, imm, ..Default::default() };
        instruction.set_dst_reg(0);
        instruction
    };
    let code = [instruction(0xb7, verdict), instruction(0x95, 0)];
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let path = format!("/sys/fs/bpf/foreign{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let pin = std::ffi::CString::new(path.clone()).expect("a path");
    sandbox
        .run(|| {
            // SAFETY: strings and instructions outlive the calls; the descriptor is ours alone.
            unsafe {
                let fd = libbpf_sys::bpf_prog_load(
                    kind,
                    c"somebody_else".as_ptr(),
                    c"GPL".as_ptr(),
                    code.as_ptr(),
                    code.len() as u64,
                    std::ptr::null_mut(),
                );
                assert!(fd >= 0, "load a foreign program: {fd}");
                let fd = <std::os::fd::OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(fd);
                assert_eq!(libbpf_sys::bpf_obj_pin(fd.as_raw_fd(), pin.as_ptr()), 0);
            }
        })
        .expect("enter the sandbox");
    path
}

/// A directory that goes away with the test, also after a panic.
pub struct TempDir(PathBuf);

impl TempDir {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("cpp-test-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).expect("a temporary directory");
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        // What stays behind is in /tmp.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Waits until `done` says so; panics with `what` after ten seconds.
pub fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(10), "did not happen: {what}");
        sleep(20 * MS);
    }
}

/// Kernel threads of a cpumap, as (name, process id).
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

/// The kernel's number of a map.
pub fn map_id(map: &MapHandle) -> u32 {
    map.info().expect("map info").info.id
}
