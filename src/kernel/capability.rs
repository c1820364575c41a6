// SPDX-License-Identifier: GPL-2.0-only
//! Capabilities (capabilities(7)) that the commands need, and errors that name the missing ones.

use std::error::Error as _;
use std::io;

use caps::{CapSet, Capability, CapsHashSet};
use nix::errno::Errno;

use crate::domain::error::{Error, Result};

/// Capabilities for loading and attaching: CAP_BPF for maps and programs, CAP_NET_ADMIN for the network
/// device, CAP_PERFMON for the programs' pointer arithmetic.
pub const LOAD_CAPABILITIES: [Capability; 3] =
    [Capability::CAP_BPF, Capability::CAP_NET_ADMIN, Capability::CAP_PERFMON];

/// Returns the names of the capabilities in `needed` that this thread lacks, in the order of `needed`.
///
/// CAP_SYS_ADMIN counts as CAP_BPF and CAP_PERFMON, as it does for the kernel. If the capabilities
/// cannot be read, the list is empty, and the caller sees the kernel's own refusal instead.
pub fn missing_capabilities(needed: &[Capability]) -> Vec<String> {
    match caps::read(None, CapSet::Effective) {
        Ok(effective) => missing_in(&effective, needed),
        Err(_) => Vec::new(),
    }
}

/// Fails unless this thread holds all capabilities in `needed`.
///
/// # Errors
/// [`Error::Capabilities`] with the names of the missing ones.
pub fn require_capabilities(needed: &[Capability]) -> Result<()> {
    let missing = missing_capabilities(needed);
    if missing.is_empty() {
        return Ok(());
    }
    Err(Error::Capabilities(missing))
}

fn missing_in(effective: &CapsHashSet, needed: &[Capability]) -> Vec<String> {
    let implied = |cap: &Capability| {
        matches!(cap, Capability::CAP_BPF | Capability::CAP_PERFMON)
            && effective.contains(&Capability::CAP_SYS_ADMIN)
    };
    let missing = needed.iter().filter(|cap| !effective.contains(cap) && !implied(cap));
    missing.map(ToString::to_string).collect()
}

impl Error {
    /// Replaces an `EPERM` or `EACCES` by [`Error::Capabilities`] if this thread lacks one of the
    /// capabilities in `needed`: the kernel's "operation not permitted" does not name the reason.
    /// Returns every other error unchanged.
    pub fn or_missing(self, needed: &[Capability]) -> Self {
        if !matches!(errno_of(&self), Some(Errno::EPERM | Errno::EACCES)) {
            return self;
        }
        let missing = missing_capabilities(needed);
        if missing.is_empty() {
            self
        } else {
            Self::Capabilities(missing)
        }
    }
}

/// Returns the errno that caused an error, also through wrapped errors.
fn errno_of(err: &Error) -> Option<Errno> {
    let mut cause = err.source();
    while let Some(err) = cause {
        if let Some(errno) = err.downcast_ref::<Errno>() {
            return Some(*errno);
        }
        if let Some(code) = err.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error) {
            return Some(Errno::from_raw(code));
        }
        if let Some(err) = err.downcast_ref::<libbpf_rs::Error>() {
            return errno_of_kind(err.kind());
        }
        cause = err.source();
    }
    None
}

/// Returns an errno of the same kind. libbpf-rs shows only the kind of its inner `io::Error`, which is
/// enough to tell a missing capability from other failures.
fn errno_of_kind(kind: libbpf_rs::ErrorKind) -> Option<Errno> {
    match kind {
        libbpf_rs::ErrorKind::PermissionDenied => Some(Errno::EPERM),
        libbpf_rs::ErrorKind::NotFound => Some(Errno::ENOENT),
        libbpf_rs::ErrorKind::AlreadyExists => Some(Errno::EEXIST),
        libbpf_rs::ErrorKind::TooBig => Some(Errno::E2BIG),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errno_of_looks_through_wrapped_errors() {
        let errno = |err: Error| errno_of(&err);
        let io = io::Error::from_raw_os_error(2);
        assert_eq!(errno(Error::map("m", io, "")), Some(Errno::ENOENT));
        assert_eq!(errno(Error::map("m", Errno::EPERM, "")), Some(Errno::EPERM));
        let wrapped = Error::bpf_load("outer", Error::map("inner", Errno::E2BIG, ""), "");
        assert_eq!(errno(wrapped), Some(Errno::E2BIG));
        assert_eq!(errno(Error::map("m", "text", "")), None);
        for raw in [Errno::EPERM, Errno::EACCES] {
            let libbpf = libbpf_rs::Error::from_raw_os_error(raw as i32);
            assert_eq!(errno(Error::map("m", libbpf, "")), Some(Errno::EPERM));
        }
    }

    #[test]
    fn sys_admin_counts_as_bpf_and_perfmon() {
        use Capability::{CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON, CAP_SYS_ADMIN};
        let needed = [CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON];
        let table: [(&[Capability], &[&str]); 5] = [
            (&[], &["CAP_BPF", "CAP_NET_ADMIN", "CAP_PERFMON"]),
            (&[CAP_BPF], &["CAP_NET_ADMIN", "CAP_PERFMON"]),
            (&[CAP_SYS_ADMIN], &["CAP_NET_ADMIN"]),
            (&[CAP_NET_ADMIN, CAP_PERFMON, CAP_BPF], &[]),
            (&[CAP_NET_ADMIN, CAP_SYS_ADMIN, CAP_PERFMON, CAP_BPF], &[]),
        ];
        for (effective, missing) in table {
            let set: CapsHashSet = effective.iter().copied().collect();
            assert_eq!(missing_in(&set, &needed), missing, "{effective:?}");
        }
        let bpf: CapsHashSet = [CAP_BPF].into_iter().collect();
        assert_eq!(missing_in(&bpf, &[CAP_SYS_ADMIN]), ["CAP_SYS_ADMIN"]);
    }
}
