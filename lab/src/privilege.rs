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
    let name = std::thread::current().name().unwrap_or("lab").to_owned();
    let ci = std::env::var("CI").is_ok_and(|value| value == "true");
    assert!(!ci, "{name}: network namespaces need root; run the tests as root");
    eprintln!("SKIP {name}: network namespaces need root");
    false
}
