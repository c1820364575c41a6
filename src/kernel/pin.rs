// SPDX-License-Identifier: GPL-2.0-only
//! The pin directory in bpffs: where the maps live between the commands.
//!
//! Readers and writers of entries take no lock. Who creates, replaces or removes pins holds an
//! exclusive lock on the directory, so that two loads never mix their halves.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use caps::Capability;
use libbpf_rs::{MapCore, MapHandle, MapType};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::mount::{mount, MsFlags};
use nix::sys::statfs::{statfs, FsType};
use nix::unistd::{chown, Gid, Uid};
use plain::Plain;

use crate::domain::error::{Error, Result};
use crate::kernel::map::Map;

/// Where bpffs belongs.
const BPFFS: &str = "/sys/fs/bpf";
/// Where the predecessors, iproute2 and the contract have the maps.
const PIN_DIR: &str = "/sys/fs/bpf/tc/globals";
/// include/uapi/linux/magic.h
const BPF_FS_MAGIC: i64 = 0xcafe_4a11;

/// Mounts bpffs if it is not mounted. True: it was mounted now.
///
/// # Errors
/// [`Error::Bpffs`], or the missing capability.
pub fn ensure_bpffs() -> Result<bool> {
    if is_bpffs() {
        return Ok(false);
    }
    mount(Some("bpf"), BPFFS, Some("bpf"), MsFlags::empty(), None::<&str>).map_err(|err| {
        let remedy = "mount it: mount -t bpf bpf /sys/fs/bpf";
        Error::bpffs(format!("mount {BPFFS}"), err, remedy).or_missing(&[Capability::CAP_SYS_ADMIN])
    })?;
    Ok(true)
}

fn is_bpffs() -> bool {
    statfs(BPFFS).is_ok_and(|fs| fs.filesystem_type() == FsType(BPF_FS_MAGIC))
}

/// What a map must look like to be used as one of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Kind of map.
    pub map_type: MapType,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value.
    pub value_size: u32,
}

impl Shape {
    /// The shape of a map that exists.
    pub fn of(map: &impl MapCore) -> Self {
        let (key_size, value_size) = (map.key_size(), map.value_size());
        Self { map_type: map.map_type(), key_size, value_size }
    }
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { map_type, key_size, value_size } = self;
        write!(f, "{map_type:?} of {key_size}-byte keys and {value_size}-byte values")
    }
}

/// The pin directory.
#[derive(Clone, Debug)]
pub struct PinDir {
    path: PathBuf,
}

impl Default for PinDir {
    fn default() -> Self {
        Self { path: PIN_DIR.into() }
    }
}

impl PinDir {
    /// Where a map of that name is pinned.
    pub fn path_of(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Makes the directory, in a bpffs that is mounted.
    ///
    /// # Errors
    /// [`Error::Bpffs`].
    pub fn create(&self) -> Result<()> {
        fs::create_dir_all(&self.path).map_err(|err| {
            let what = format!("make {}", self.path.display());
            Error::bpffs(what, err, "is bpffs mounted and writable for you?")
        })
    }

    /// Takes the exclusive lock, waiting for it. Released on drop, or when the process dies.
    ///
    /// # Errors
    /// [`Error::MapFile`] when the directory does not exist, else [`Error::Bpffs`].
    pub fn lock(&self) -> Result<Flock<File>> {
        let what = || format!("lock {}", self.path.display());
        let dir = File::open(&self.path).map_err(|err| match err.kind() {
            io::ErrorKind::NotFound => self.nothing_loaded(&self.path),
            _ => Error::bpffs(what(), err, "are you allowed to open it?"),
        })?;
        Flock::lock(dir, FlockArg::LockExclusive).map_err(|(_, err)| Error::bpffs(what(), err, ""))
    }

    fn nothing_loaded(&self, path: &Path) -> Error {
        let remedy = "load first: xdp_iphash_to_cpu --dev IF --lan (or --wan)";
        Error::map_file(format!("open {}", path.display()), "nothing is loaded yet", remedy)
    }

    /// Opens a pinned map; `None` if there is none of that name.
    ///
    /// # Errors
    /// [`Error::Map`]: it is there and cannot be opened.
    pub fn try_open(&self, name: &str) -> Result<Option<MapHandle>> {
        let path = self.path_of(name);
        match fs::symlink_metadata(&path) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
            _ => {}
        }
        MapHandle::from_pinned_path(&path).map(Some).map_err(|err| {
            let what = format!("open {}", path.display());
            let remedy = "run as root, or load with --owner USER";
            Error::map(what, err, remedy).or_missing(&[Capability::CAP_BPF])
        })
    }

    /// Opens a pinned map whose entries are of these types.
    ///
    /// # Errors
    /// [`Error::MapFile`] when nothing is pinned, [`Error::Map`] when it has another shape.
    pub fn open<K, V>(&self, name: &'static str) -> Result<Map<K, V>>
    where
        K: Plain + Default + Clone,
        V: Plain + Default,
    {
        let handle =
            self.try_open(name)?.ok_or_else(|| self.nothing_loaded(&self.path_of(name)))?;
        let (key_size, value_size) = (size_of::<K>() as u32, size_of::<V>() as u32);
        let wanted = Shape { map_type: handle.map_type(), key_size, value_size };
        self.check_shape(name, &handle, wanted)?;
        Ok(Map::new(name, handle))
    }

    /// Refuses a pinned map of another shape, naming both.
    ///
    /// # Errors
    /// [`Error::Map`] with path, shapes and remedy.
    pub fn check_shape(&self, name: &str, pinned: &MapHandle, wanted: Shape) -> Result<()> {
        let found = Shape::of(pinned);
        if found == wanted {
            return Ok(());
        }
        let path = self.path_of(name);
        let why = format!("it is a {found}, this version needs a {wanted}");
        let remedy =
            format!("remove it (its content is lost) and load again: rm {}", path.display());
        Err(Error::map(format!("use {}", path.display()), why, remedy))
    }

    /// Gives the directory and everything in it to a user.
    ///
    /// # Errors
    /// [`Error::Bpffs`].
    pub fn give_to(&self, uid: Uid, gid: Gid) -> Result<()> {
        let give = |path: &Path| {
            chown(path, Some(uid), Some(gid)).map_err(|err| {
                Error::bpffs(format!("change the owner of {}", path.display()), err, "")
            })
        };
        give(&self.path)?;
        let entries = fs::read_dir(&self.path)
            .map_err(|err| Error::bpffs(format!("list {}", self.path.display()), err, ""))?;
        for entry in entries.flatten() {
            give(&entry.path())?;
        }
        Ok(())
    }
}

/// Pins that were made by a load that may still fail: removed on drop unless kept.
pub struct NewPins<'a> {
    dir: &'a PinDir,
    names: Vec<String>,
}

impl<'a> NewPins<'a> {
    /// None so far.
    pub fn new(dir: &'a PinDir) -> Self {
        Self { dir, names: Vec::new() }
    }

    /// Pins a map.
    ///
    /// # Errors
    /// [`Error::Bpffs`] with the path.
    pub fn add(&mut self, name: &str, map: &impl AsFd) -> Result<()> {
        let path = self.dir.path_of(name);
        let failed = |why: Errno| {
            Error::bpffs(format!("pin {}", path.display()), why, "is bpffs writable for you?")
        };
        pin(map, &path).map_err(failed)?;
        self.names.push(name.to_owned());
        Ok(())
    }

    /// The load has succeeded.
    pub fn keep(mut self) {
        self.names.clear();
    }
}

impl Drop for NewPins<'_> {
    fn drop(&mut self) {
        for name in self.names.iter().rev() {
            // Nothing better can be done: the load's own error is what the operator sees.
            let _ = fs::remove_file(self.dir.path_of(name));
        }
    }
}

/// Pins an object.
///
/// # Errors
/// The kernel's number.
pub fn pin(object: &impl AsFd, path: &Path) -> std::result::Result<(), Errno> {
    use std::os::fd::AsRawFd;
    use std::os::unix::ffi::OsStrExt;
    let path = std::ffi::CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno::EINVAL)?;
    // SAFETY: an open descriptor and a C string that outlive the call.
    match unsafe { libbpf_sys::bpf_obj_pin(object.as_fd().as_raw_fd(), path.as_ptr()) } {
        0 => Ok(()),
        err => Err(Errno::from_raw(-err)),
    }
}
