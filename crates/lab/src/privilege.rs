//! Who may run lab tests.

/// Whether a lab can be built here. Tests start with `if !lab::privileged() { return; }`.
///
/// # Panics
///
/// When not root and `CI=true`: there a skipped test would be taken for a pass.
pub fn privileged() -> bool {
    if nix::unistd::geteuid().is_root() {
        return true;
    }
    skip("network namespaces need root; run the tests as root")
}

/// Whether a program of another package is installed. Tests that need one start with
/// `if !lab::has_tool("tshark") { return; }`; `make deps` installs what they need.
///
/// # Panics
///
/// When it is not and `CI=true`.
pub fn has_tool(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    if std::env::split_paths(&path).any(|folder| folder.join(program).is_file()) {
        return true;
    }
    skip(&format!("needs {program} (make deps)"))
}

/// Says why this test is not run; where that would be taken for a pass, it fails.
fn skip(why: &str) -> bool {
    let name = std::thread::current().name().unwrap_or("lab").to_owned();
    let ci = std::env::var("CI").is_ok_and(|value| value == "true");
    assert!(!ci, "{name}: {why}");
    eprintln!("SKIP {name}: {why}");
    false
}
