// SPDX-License-Identifier: GPL-2.0-only

//! A machine of its own for a shaper: network namespace, `/sys` and bpffs.

use crate::ns::{in_thread, Netns};
use nix::mount::{mount, MsFlags};
use nix::sched::{setns, unshare, CloneFlags};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

/// A network namespace and a private mount namespace in which `/sys/class/net` shows the devices of
/// that network namespace and `/sys/fs/bpf` is an empty bpffs. Pins vanish with the sandbox.
#[derive(Clone, Debug)]
pub struct Sandbox {
    netns: Netns,
    mounts: Arc<OwnedFd>,
}

impl Sandbox {
    /// Makes an empty sandbox.
    pub fn new() -> io::Result<Self> {
        let netns = Netns::new()?;
        let mounts = netns.run(|| {
            private_sysfs()?;
            mount_bpffs()?;
            File::open("/proc/thread-self/ns/mnt").map(OwnedFd::from)
        })??;
        Ok(Self { netns, mounts: Arc::new(mounts) })
    }

    /// Returns the network namespace.
    pub fn netns(&self) -> &Netns {
        &self.netns
    }

    /// A command whose process enters the sandbox; it keeps its working directory.
    pub fn command(&self, program: &str) -> Command {
        let sandbox = self.clone();
        let mut command = Command::new(program);
        // SAFETY: between fork and exec only system calls on stack buffers run: no allocation, no lock.
        unsafe { command.pre_exec(move || sandbox.enter()) };
        command
    }

    /// Runs `work` in a thread inside the sandbox and returns its result; a panic propagates.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        in_thread(|| {
            self.enter_thread()?;
            Ok(work())
        })
    }

    /// Starts a thread inside the sandbox.
    pub fn spawn<T: Send + 'static>(
        &self,
        name: &str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<JoinHandle<io::Result<T>>> {
        let sandbox = self.clone();
        thread::Builder::new().name(name.to_owned()).spawn(move || {
            sandbox.enter_thread()?;
            Ok(work())
        })
    }

    /// Moves this thread into the sandbox. Unshares its root and working directory first: the process shares them.
    fn enter_thread(&self) -> io::Result<()> {
        unshare(CloneFlags::CLONE_FS)?;
        self.enter()
    }

    /// Enters the namespaces. setns(2) moves to the root of the mount namespace: goes back to the working directory by its
    /// path.
    fn enter(&self) -> io::Result<()> {
        let mut cwd = [0 as nix::libc::c_char; nix::libc::PATH_MAX as usize];
        // SAFETY: the buffer is writable for the length given.
        let known = unsafe { !nix::libc::getcwd(cwd.as_mut_ptr(), cwd.len()).is_null() };
        setns(&*self.mounts, CloneFlags::CLONE_NEWNS)?;
        // SAFETY: getcwd terminated the string. Failure leaves the root as working directory.
        if known && unsafe { nix::libc::chdir(cwd.as_ptr()) } != 0 {
            return Err(io::Error::last_os_error());
        }
        self.netns.enter()
    }
}

/// Gives the calling thread (and its children) a mount namespace of its own with an empty bpffs on
/// `/sys/fs/bpf`. Use a dedicated thread: other threads of the process do not follow.
pub fn private_bpffs() -> io::Result<()> {
    private_mounts()?;
    mount_bpffs()
}

fn private_mounts() -> io::Result<()> {
    unshare(CloneFlags::CLONE_FS | CloneFlags::CLONE_NEWNS)?;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    Ok(mount(None::<&str>, "/", None::<&str>, private, None::<&str>)?)
}

/// Mounts a sysfs, which shows the network namespace that mounts it.
fn private_sysfs() -> io::Result<()> {
    private_mounts()?;
    Ok(mount(Some("sysfs"), "/sys", Some("sysfs"), MsFlags::empty(), None::<&str>)?)
}

fn mount_bpffs() -> io::Result<()> {
    Ok(mount(Some("bpf"), "/sys/fs/bpf", Some("bpf"), MsFlags::empty(), None::<&str>)?)
}
