// SPDX-License-Identifier: GPL-2.0-only

//! The rights and the tools that a test needs: without them it fails, since a skipped test would look like a pass.

/// Fails the test unless it runs as root.
///
/// # Panics
///
/// When the process is not root; the message names the remedy.
#[track_caller]
pub fn require_root() {
    assert!(
        is_root(),
        "this test needs root, to make network namespaces and to load BPF programs: run sudo make test \
         (make test-user runs the tests that any user may run)"
    );
}

/// Fails the test unless a program of another package is installed.
///
/// # Panics
///
/// When the program is in no folder of `PATH`; the message names the remedy.
#[track_caller]
pub fn require_tool(program: &str) {
    let path = std::env::var_os("PATH").unwrap_or_default();
    assert!(
        std::env::split_paths(&path).any(|folder| folder.join(program).is_file()),
        "this test needs the program {program}: make deps installs it"
    );
}

/// Fails the test on a machine with fewer CPUs than it needs.
///
/// # Panics
///
/// When the machine has too few CPUs.
#[track_caller]
pub fn require_cpus(count: usize) {
    // Not what this thread may use: the tests of the packet path run on one CPU.
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let is_cpu = |line: &&str| line.starts_with("cpu") && !line.starts_with("cpu ");
    let online = stat.lines().filter(is_cpu).count();
    assert!(online >= count, "this test needs {count} CPUs, and this machine has {online}");
}

/// Returns whether the process is root, for programs that are not tests.
pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}
