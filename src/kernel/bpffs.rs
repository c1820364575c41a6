// SPDX-License-Identifier: GPL-2.0-only
//! The BPF file system (bpffs), which holds the pins.

use caps::Capability;
use nix::mount::{mount, MsFlags};
use nix::sys::statfs::{statfs, FsType};

use crate::domain::error::{Error, Result};

/// Where bpffs is mounted.
const MOUNT_POINT: &str = "/sys/fs/bpf";
/// `BPF_FS_MAGIC` of include/uapi/linux/magic.h.
const BPF_FS_MAGIC: i64 = 0xcafe_4a11;

/// Mounts bpffs unless it is mounted.
///
/// # Errors
/// [`Error::Bpffs`], or [`Error::Capabilities`].
pub fn ensure_mounted() -> Result<()> {
    if is_mounted() {
        return Ok(());
    }
    mount(Some("bpf"), MOUNT_POINT, Some("bpf"), MsFlags::empty(), None::<&str>).map_err(|err| {
        let remedy = "mount it: mount -t bpf bpf /sys/fs/bpf";
        Error::bpffs(format!("mount {MOUNT_POINT}"), err, remedy)
            .or_missing(&[Capability::CAP_SYS_ADMIN])
    })
}

fn is_mounted() -> bool {
    statfs(MOUNT_POINT).is_ok_and(|fs| fs.filesystem_type() == FsType(BPF_FS_MAGIC))
}
