//! Network namespaces without a name, held open by a file descriptor.

use nix::sched::{setns, unshare, CloneFlags};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

/// A network namespace. It lives as long as a clone of this handle, or a process or socket in it.
#[derive(Clone, Debug)]
pub struct Netns {
    fd: Arc<OwnedFd>,
}

impl Netns {
    /// A new namespace with `lo` up and IPv6 quiet: no DAD, no router solicitations, no link-local addresses.
    pub fn new() -> io::Result<Self> {
        let fd = in_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET)?;
            quiet_ipv6()?;
            Ok(OwnedFd::from(File::open("/proc/thread-self/ns/net")?))
        })?;
        let netns = Self { fd: Arc::new(fd) };
        crate::tool::output(netns.command("ip").args(["link", "set", "lo", "up"]))?;
        Ok(netns)
    }

    /// Runs `work` in a thread inside the namespace and returns its result; a panic propagates.
    ///
    /// `/proc/sys/net` is the namespace's there, but `/proc/net` is the main thread's: read `/proc/thread-self/net`.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        in_thread(|| {
            self.enter()?;
            Ok(work())
        })
    }

    /// Starts a thread inside the namespace.
    pub fn spawn<T: Send + 'static>(
        &self,
        name: &str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<JoinHandle<io::Result<T>>> {
        let netns = self.clone();
        thread::Builder::new().name(name.to_owned()).spawn(move || {
            netns.enter()?;
            Ok(work())
        })
    }

    /// A command whose process enters this network namespace and nothing else (bpffs stays visible).
    pub fn command(&self, program: &str) -> Command {
        let netns = self.clone();
        let mut command = Command::new(program);
        // SAFETY: between fork and exec only setns(2) runs: no allocation, no lock.
        unsafe { command.pre_exec(move || netns.enter()) };
        command
    }

    /// Writes a sysctl of the namespace, named as sysctl(8) does: `net.ipv4.tcp_timestamps`.
    pub fn sysctl(&self, name: &str, value: &str) -> io::Result<()> {
        self.run(|| write_sysctl(name, value))?
    }

    /// A path that names the namespace for `ip link … netns PATH` and `nsenter --net=PATH`.
    pub fn path(&self) -> PathBuf {
        format!("/proc/{}/fd/{}", std::process::id(), self.fd.as_raw_fd()).into()
    }

    /// Moves the calling thread into the namespace.
    pub(crate) fn enter(&self) -> io::Result<()> {
        Ok(setns(&*self.fd, CloneFlags::CLONE_NEWNET)?)
    }
}

/// Runs `work` in a scoped thread, so that what it does to its namespaces ends with it.
pub(crate) fn in_thread<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    let name = thread::current().name().unwrap_or("lab").to_owned();
    thread::scope(|scope| {
        let thread = thread::Builder::new().name(name).spawn_scoped(scope, work)?;
        thread.join().unwrap_or_else(|panic| resume_unwind(panic))
    })
}

fn quiet_ipv6() -> io::Result<()> {
    for conf in ["all", "default"] {
        let quiet = [
            ("accept_dad", "0"),
            ("accept_ra", "0"),
            ("router_solicitations", "0"),
            // At once, not within the next second: nobody's frames in somebody's measurement.
            ("mldv2_unsolicited_report_interval", "1"),
        ];
        for (key, value) in quiet {
            write_sysctl(&format!("net.ipv6.conf.{conf}.{key}"), value)?;
        }
    }
    // As MLD.
    for conf in ["all", "default"] {
        write_sysctl(&format!("net.ipv4.conf.{conf}.igmpv3_unsolicited_report_interval"), "1")?;
    }
    write_sysctl("net.ipv6.conf.default.addr_gen_mode", "1")
}

fn write_sysctl(name: &str, value: &str) -> io::Result<()> {
    let path = format!("/proc/sys/{}", name.replace('.', "/"));
    fs::write(&path, value)
        .map_err(|error| io::Error::new(error.kind(), format!("{path} = {value}: {error}")))
}
