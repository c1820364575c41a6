// SPDX-License-Identifier: GPL-2.0-only
//! The pin directory in bpffs, which keeps the maps from one command to the next.
//!
//! A command that reads or writes entries takes no lock. A load holds an exclusive lock on the directory
//! while it makes pins, so that two loads never mix their maps.

use std::ffi::CString;
use std::fmt;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use caps::Capability;
use libbpf_rs::{MapCore, MapHandle, MapType};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::unistd::{chown, Gid, Uid};
use plain::Plain;

use crate::abi::maps;
use crate::domain::error::{Error, Result};
use crate::kernel::errno::{check, KernelResult};
use crate::kernel::map::Map;

/// The pin directory of the contract, which the predecessors and iproute2 use, too.
const PIN_DIR: &str = "/sys/fs/bpf/tc/globals";

/// The remedy for maps of ours that a command cannot use: the next load replaces them.
pub const RELOAD: &str = "reload any interface: xdp_iphash_to_cpu --dev IF --lan (or --wan)";

/// Type of a map and sizes of its entries. A pinned map of another shape cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Type of the map.
    pub map_type: MapType,
    /// Size of a key in bytes.
    pub key_size: u32,
    /// Size of a value in bytes.
    pub value_size: u32,
}

impl Shape {
    /// Returns the shape of a map.
    pub fn of(map: &impl MapCore) -> Self {
        let (key_size, value_size) = (map.key_size(), map.value_size());
        Self { map_type: map.map_type(), key_size, value_size }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { map_type, key_size, value_size } = self;
        write!(f, "{map_type:?} of {key_size}-byte keys and {value_size}-byte values")
    }
}

/// The pin directory. The default is that of the contract.
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
    /// Returns the path of the pin with this name.
    pub fn path_of(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Makes the directory; bpffs must be mounted.
    ///
    /// # Errors
    /// [`Error::Bpffs`].
    pub fn create(&self) -> Result<()> {
        fs::create_dir_all(&self.path).map_err(|err| {
            let what = format!("make {}", self.path.display());
            Error::bpffs(what, err, "mount bpffs, and make it writable for this user")
        })
    }

    /// Waits for the exclusive lock and takes it. Dropping the result releases the lock, and so does the
    /// end of the process.
    ///
    /// # Errors
    /// [`Error::MapFile`] if the directory does not exist, else [`Error::Bpffs`].
    pub fn lock(&self) -> Result<Flock<File>> {
        let what = || format!("lock {}", self.path.display());
        let dir = File::open(&self.path).map_err(|err| match err.kind() {
            io::ErrorKind::NotFound => self.nothing_loaded(&self.path),
            _ => Error::bpffs(what(), err, "run as root, or make it readable for this user"),
        })?;
        Flock::lock(dir, FlockArg::LockExclusive).map_err(|(_, err)| Error::bpffs(what(), err, ""))
    }

    /// Returns the error of a missing pin.
    fn nothing_loaded(&self, path: &Path) -> Error {
        let remedy = "load first: xdp_iphash_to_cpu --dev IF --lan (or --wan)";
        Error::map_file(format!("open {}", path.display()), "nothing is loaded yet", remedy)
    }

    /// Opens a pinned map. Returns `None` if no pin has this name.
    ///
    /// # Errors
    /// [`Error::Map`]: the pin exists and cannot be opened.
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

    /// Opens a pinned map with keys of type `K` and values of type `V`.
    ///
    /// # Errors
    /// [`Error::MapFile`] if no pin has this name, [`Error::Map`] if the map has another shape.
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

    /// Refuses a pinned map whose shape is not `wanted`.
    ///
    /// # Errors
    /// [`Error::Map`] with the path, both shapes and the remedy.
    pub fn check_shape(&self, name: &str, pinned: &MapHandle, wanted: Shape) -> Result<()> {
        let found = Shape::of(pinned);
        if found == wanted {
            return Ok(());
        }
        let path = self.path_of(name);
        let why = format!("it is a {found}, this version needs a {wanted}");
        let remedy = match maps::is_ours(name) {
            true => RELOAD.to_owned(),
            false => {
                format!("remove it (its content is lost) and load again: rm {}", path.display())
            }
        };
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

/// Pins a map or a program at `path`.
///
/// # Errors
/// The kernel's errno; `EINVAL` for a path with a zero byte.
pub fn pin(object: &impl AsFd, path: &Path) -> KernelResult<()> {
    let path = CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno::EINVAL)?;
    // SAFETY: the descriptor is open, the path is a C string, and both outlive the call.
    check(unsafe { libbpf_sys::bpf_obj_pin(object.as_fd().as_raw_fd(), path.as_ptr()) })
}

/// Gives a pin the owner and the rights of another one, which it is to replace.
///
/// # Errors
/// The kernel refuses: only root may give pins away.
pub fn take_rights(pin: &Path, old: &Metadata) -> io::Result<()> {
    let new = fs::symlink_metadata(pin)?;
    if (new.uid(), new.gid()) != (old.uid(), old.gid()) {
        std::os::unix::fs::chown(pin, Some(old.uid()), Some(old.gid()))?;
    }
    fs::set_permissions(pin, old.permissions())
}
