// SPDX-License-Identifier: GPL-2.0-only
//! Network namespaces without a name, held open by a file descriptor.

use crate::{inside, tool};
use nix::sched::{setns, unshare, CloneFlags};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::thread::JoinHandle;

/// A network namespace. It exists as long as a clone of this handle, or a process or socket in it.
#[derive(Clone, Debug)]
pub struct Netns {
    fd: Arc<OwnedFd>,
}

impl Netns {
    /// Makes a namespace with `lo` up and quiet IPv6: no DAD, no router solicitations, no link-local
    /// addresses.
    pub fn new() -> io::Result<Self> {
        let fd = inside::run(
            || Ok(unshare(CloneFlags::CLONE_NEWNET)?),
            || -> io::Result<OwnedFd> {
                quiet_ipv6()?;
                Ok(OwnedFd::from(File::open("/proc/thread-self/ns/net")?))
            },
        )??;
        let netns = Self { fd: Arc::new(fd) };
        tool::output(netns.command("ip").args(["link", "set", "lo", "up"]))?;
        Ok(netns)
    }

    /// Runs `work` in a thread inside the namespace and returns its result; a panic propagates.
    ///
    /// In `work`, `/proc/sys/net` is that of the namespace, but `/proc/net` is that of the main thread:
    /// read `/proc/thread-self/net` instead.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        inside::run(|| self.enter(), work)
    }

    /// Starts a thread inside the namespace.
    pub fn spawn<T: Send + 'static>(
        &self,
        name: &str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<JoinHandle<io::Result<T>>> {
        let netns = self.clone();
        inside::spawn(name, move || netns.enter(), work)
    }

    /// Returns a command whose process enters this network namespace and no other (bpffs stays
    /// visible).
    pub fn command(&self, program: &str) -> Command {
        let netns = self.clone();
        // SAFETY: `enter` calls setns(2) and nothing else.
        unsafe { inside::command(program, move || netns.enter()) }
    }

    /// Writes a sysctl of the namespace, named as sysctl(8) does: `net.ipv4.tcp_timestamps`.
    pub fn sysctl(&self, name: &str, value: &str) -> io::Result<()> {
        self.run(|| write_sysctl(name, value))?
    }

    /// Returns a path that names the namespace for `ip link … netns PATH` and `nsenter --net=PATH`.
    pub fn path(&self) -> PathBuf {
        format!("/proc/{}/fd/{}", std::process::id(), self.fd.as_raw_fd()).into()
    }

    /// Moves the calling thread into the namespace.
    pub(crate) fn enter(&self) -> io::Result<()> {
        Ok(setns(&*self.fd, CloneFlags::CLONE_NEWNET)?)
    }
}

fn quiet_ipv6() -> io::Result<()> {
    for conf in ["all", "default"] {
        let quiet = [
            ("accept_dad", "0"),
            ("accept_ra", "0"),
            ("router_solicitations", "0"),
            // The kernel repeats its MLD reports after this many ms. By default it repeats them
            // within the next second, in the middle of a measurement.
            ("mldv2_unsolicited_report_interval", "1"),
        ];
        for (key, value) in quiet {
            write_sysctl(&format!("net.ipv6.conf.{conf}.{key}"), value)?;
        }
    }
    // The same for IGMP.
    for conf in ["all", "default"] {
        write_sysctl(&format!("net.ipv4.conf.{conf}.igmpv3_unsolicited_report_interval"), "1")?;
    }
    // 1: no link-local address.
    write_sysctl("net.ipv6.conf.default.addr_gen_mode", "1")
}

fn write_sysctl(name: &str, value: &str) -> io::Result<()> {
    let path = format!("/proc/sys/{}", name.replace('.', "/"));
    fs::write(&path, value)
        .map_err(|error| io::Error::new(error.kind(), format!("{path} = {value}: {error}")))
}
