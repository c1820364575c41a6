// SPDX-License-Identifier: GPL-2.0-only

//! Sandboxes and labs have namespaces of their own, which end with them.

use lab::{htb_class_stats, mq_htb, HtbClass, Lab, Plan, Sandbox, Subscriber};
use std::fs;
use std::io::ErrorKind;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

fn names(directory: &str) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn stdout(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_sandbox_has_its_own_devices_and_pins() {
    lab::require_root();
    let (one, other) = (Sandbox::new().unwrap(), Sandbox::new().unwrap());
    // The machine's own bpffs may hold anything, a `tc` folder above all: look for a name of our own.
    let name = format!("lab-{}", std::process::id());
    let folder = format!("/sys/fs/bpf/{name}");
    one.run(|| {
        assert_eq!(names("/sys/class/net"), ["lo"]);
        assert!(!names("/sys/fs/bpf").contains(&"tc".to_owned()));
        fs::create_dir(&folder).unwrap();
    })
    .unwrap();
    let listed = format!("{name}\n");
    assert!(stdout(one.command("ls").arg("/sys/fs/bpf")).contains(&listed));
    assert!(!stdout(other.command("ls").arg("/sys/fs/bpf")).contains(&listed));
    assert_eq!(stdout(other.command("ls").arg("/sys/class/net")), "lo\n");
    let own = fs::metadata(&folder).map_err(|error| error.kind());
    assert!(matches!(own, Err(ErrorKind::NotFound)), "{own:?}");
}

#[test]
fn a_command_keeps_its_working_directory() {
    lab::require_root();
    let sandbox = Sandbox::new().unwrap();
    let here = std::env::current_dir().unwrap();
    assert_eq!(stdout(&mut sandbox.command("pwd")).trim(), here.to_str().unwrap());
    assert_eq!(stdout(sandbox.command("pwd").current_dir("/usr")).trim(), "/usr");
    assert_eq!(sandbox.run(|| std::env::current_dir().unwrap()).unwrap(), here);
}

#[test]
#[should_panic(expected = "from inside")]
fn a_panic_comes_out() {
    lab::require_root();
    Sandbox::new().unwrap().run(|| panic!("from inside")).unwrap();
}

#[test]
fn the_shaper_has_queues_and_classes() {
    lab::require_root();
    let lab = Lab::build(Plan::new([Subscriber::new("alice", 1)])).unwrap();
    let shaper = lab.shaper();
    let queues = shaper.run(|| names("/sys/class/net/lan/queues")).unwrap();
    assert_eq!(queues.len(), 4, "{queues:?}");
    let classes = [HtbClass::new(1, 5, "50mbit"), HtbClass::new(2, 0x1f, "50mbit")];
    for _ in 0..2 {
        mq_htb(shaper.netns(), "lan", 2, &classes).unwrap();
    }
    let stats = htb_class_stats(shaper.netns(), "lan").unwrap();
    let mut found: Vec<_> = stats.into_keys().collect();
    found.sort_unstable();
    let wanted = [(1, 1), (1, 2), (1, 3), (1, 5), (2, 1), (2, 2), (2, 3), (2, 0x1f)];
    assert_eq!(found, wanted);
}

#[test]
fn an_idle_lab_uses_no_cpu() {
    lab::require_root();
    let _lab = Lab::build(Plan::new([Subscriber::new("alice", 1)])).unwrap();
    // Sum utime and stime of the delay lines only: other tests run in this process at the same time.
    let ticks = || -> u64 {
        let tasks = names("/proc/self/task").into_iter();
        let stats =
            tasks.filter_map(|id| fs::read_to_string(format!("/proc/self/task/{id}/stat")).ok());
        let lines = stats.filter(|stat| stat.contains("(delay line)"));
        let fields = lines.map(|stat| stat.split_once(") ").unwrap().1.to_owned());
        fields
            .map(|line| {
                line.split(' ').skip(11).take(2).map(|t| t.parse::<u64>().unwrap()).sum::<u64>()
            })
            .sum()
    };
    let before = ticks();
    sleep(Duration::from_millis(500));
    assert!(ticks().saturating_sub(before) <= 2, "ticks of 10 ms: {} then {}", before, ticks());
}
