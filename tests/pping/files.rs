// SPDX-License-Identifier: GPL-2.0-only

//! The file of `--write`: when it is touched, and what it holds after a failure.

use crate::common::command::{program, refused, Said};
use crate::common::events::data;
use crate::common::shaper::{sandbox_with_devices, Shaper};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

/// Prepares `pping` on the recorded run, with every RTT, into a file.
fn read_into(file: &Path, format: &str) -> Command {
    let mut command = Command::new(program("pping"));
    command.arg("--read").arg(data("run.pcap")).args(["-r", "0", "-T", "-C", "-F", format]);
    command.env("TZ", "UTC").arg("-w").arg(file);
    command
}

/// A command that fails leaves the file as it was, and makes none.
#[test]
fn a_refused_command_touches_no_file() {
    lab::require_root();
    let sandbox = sandbox_with_devices(1);
    let folder = TempDir::new().unwrap();
    let (old, new) = (folder.path().join("old"), folder.path().join("new"));
    fs::write(&old, "an earlier array").unwrap();
    let commands = [
        "pping -i mistyped -F json",
        "pping --read /dev/null -F json",
        "xdp_pping --follow --format json",
    ];
    for line in commands {
        for file in [&old, &new] {
            let said = sandbox.call(&format!("{line} -w {}", file.display()));
            assert!(said.code != 0 && said.err.starts_with("ERR: "), "{line}: {said:?}");
        }
        assert_eq!(fs::read_to_string(&old).unwrap(), "an earlier array", "{line}");
        assert!(!new.exists(), "{line}");
    }
}

/// A file that cannot be opened ends the command after it has attached: nothing stays attached.
#[test]
fn a_file_that_cannot_be_opened() {
    lab::require_root();
    let sandbox = sandbox_with_devices(1);
    let said = sandbox.call("pping -i lan -w /nonexistent/file");
    refused(&said, 1, "open /nonexistent/file: No such file or directory");
    assert!(crate::common::listener::Place::of(&sandbox, "lan").programs().is_empty());
}

#[test]
fn a_new_file_is_closed_to_others() {
    lab::require_root();
    let folder = TempDir::new().unwrap();
    for format in ["json", "jsonl", "standard", "ppviz"] {
        let file = folder.path().join(format);
        let (said, _) = Said::by(&mut read_into(&file, format)).of_replay();
        assert_eq!(said.parts(), (0, "", ""));
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o640);
    }
}

/// A line that an earlier stream could not finish stays half, and what follows is on a line of its own.
#[test]
fn a_half_line_is_ended() {
    lab::require_root();
    let folder = TempDir::new().unwrap();
    for (format, text) in
        [("jsonl", "run.jsonl"), ("standard", "run.standard.txt"), ("ppviz", "run.ppviz.txt")]
    {
        let text = fs::read_to_string(data(text)).unwrap();
        for (before, after) in [("", ""), ("whole\n", "whole\n"), ("a\n{\"ha", "a\n{\"ha\n")] {
            let file = folder.path().join(format);
            fs::write(&file, before).unwrap();
            let (said, _) = Said::by(&mut read_into(&file, format)).of_replay();
            assert_eq!(said.parts(), (0, "", ""));
            assert_eq!(fs::read_to_string(&file).unwrap(), format!("{after}{text}"), "{format}");
        }
    }
}

/// A full disk ends the stream, and the file ends with the last line that is whole. When there is room again, the
/// next stream appends to that.
#[test]
fn a_full_disk_leaves_whole_lines() {
    lab::require_root();
    let sandbox = sandbox_with_devices(1);
    let folder = TempDir::new().unwrap();
    let disk = folder.path().display();
    sandbox.ok(&format!("mount -t tmpfs -o size=16k none {disk}"));
    sandbox.shell(&format!("head -c 8192 /dev/zero >{disk}/ballast"));
    let file = folder.path().join("file");
    let line = format!(
        "pping --read {} -r 0 -T -C -F jsonl -w {}",
        data("run.pcap").display(),
        file.display()
    );
    let (said, _) = sandbox.call(&line).of_replay();
    refused(&said, 1, "No space left on device (os error 28); make room, then start again");
    let text = fs::read_to_string(data("run.jsonl")).unwrap();
    let whole = &text[..text[..8192].rfind('\n').unwrap() + 1];
    let held = || sandbox.run(|| fs::read_to_string(&file).unwrap()).unwrap();
    assert!(whole.len() < 8192 && text.len() > 8192);
    assert_eq!(held(), whole);
    sandbox.ok(&format!("mount -o remount,size=1m {disk}"));
    assert_eq!(sandbox.call(&line).of_replay().0.parts(), (0, "", ""));
    assert_eq!(held(), format!("{whole}{text}"));
}
