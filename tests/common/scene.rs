// SPDX-License-Identifier: GPL-2.0-only

//! The set-up of most tests of the packet path: two NICs, two subscribers, a default entry, a thread on CPU 0.

use super::rig::{LoadOptions, Rig, SkbCtx};
use lab::Netns;
use model::Facing;
use nix::sched::{sched_setaffinity, CpuSet};
use nix::unistd::Pid;
use std::ops::Deref;
use std::sync::OnceLock;

/// The class of Alice, who is on CPU 0.
pub const ALICE_CLASS: u32 = 0x0001_0010;
/// The class of Bob, who is on CPU 0, too.
pub const BOB_CLASS: u32 = 0x0001_0020;
/// The class of the default entry.
pub const DEFAULT_CLASS: u32 = 0x0001_dead;
/// The priority that packets come with. Its minor is none of those that the classifier keeps.
pub const UNTOUCHED: u32 = 0x0077_0077;

/// A [`Rig`] with interfaces.
pub struct Scene {
    rig: Rig,
    /// The interface that faces the subscribers.
    pub lan: u32,
    /// The interface that faces the internet.
    pub wan: u32,
    /// An interface without a direction.
    pub other: u32,
}

impl Deref for Scene {
    type Target = Rig;

    fn deref(&self) -> &Rig {
        &self.rig
    }
}

impl Scene {
    /// Returns the context of a packet that leaves towards the subscribers.
    pub fn to_subscriber(&self) -> SkbCtx {
        self.between(self.wan, self.lan)
    }

    /// Returns the context of a packet that leaves towards the internet.
    pub fn to_internet(&self) -> SkbCtx {
        self.between(self.lan, self.wan)
    }

    /// Returns the context of a packet that came in by one interface and leaves by another.
    pub fn between(&self, ingress_ifindex: u32, ifindex: u32) -> SkbCtx {
        SkbCtx { ifindex, ingress_ifindex, priority: UNTOUCHED, ..SkbCtx::default() }
    }
}

/// Runs a test on CPU 0 in a scene of its own.
pub fn with_scene(test: impl FnOnce(&Scene) + Send) {
    with_scene_of(LoadOptions::default(), test);
}

/// Runs a test in such a scene, loaded with these options.
pub fn with_scene_of(options: LoadOptions, test: impl FnOnce(&Scene) + Send) {
    with_bare_scene(options, |scene| {
        for prefix in ["100.64.1.1", "2001:db8:a11c::/48"] {
            scene.map_quietly(prefix, 0, ALICE_CLASS);
        }
        for prefix in ["100.64.2.2", "2001:db8:b0b::/48"] {
            scene.map_quietly(prefix, 0, BOB_CLASS);
        }
        scene.map("255.255.255.255", 0, DEFAULT_CLASS);
        test(scene);
    });
}

/// Runs a test in a scene without a mapping, loaded with these options.
pub fn with_bare_scene(options: LoadOptions, test: impl FnOnce(&Scene) + Send) {
    on_interfaces(|[lan, wan, other]| {
        run_on_cpu(0);
        let scene = Scene { rig: Rig::new(options), lan, wan, other };
        scene.direction(scene.lan, Facing::Lan);
        scene.direction(scene.wan, Facing::Wan);
        scene.txq(0, 1, 1);
        scene.txq(1, 2, 2);
        scene.redirect_to(0);
        scene.available(0, true);
        test(&scene);
    });
}

/// Runs a test in a namespace with three interfaces.
pub fn on_interfaces(test: impl FnOnce([u32; 3]) + Send) {
    lab::require_root();
    let (netns, indices) = interfaces();
    netns.run(|| test(*indices)).expect("setns");
}

/// Runs `work` on a CPU in a thread in the scene's namespace, where test runs look interfaces up.
pub fn spawn_in_scene<'scope>(
    scope: &'scope std::thread::Scope<'scope, '_>,
    cpu: usize,
    work: impl FnOnce() + Send + 'scope,
) {
    scope.spawn(move || {
        let run = || {
            run_on_cpu(cpu);
            work();
        };
        interfaces().0.run(run).expect("setns");
    });
}

/// Moves this thread to a CPU.
pub fn run_on_cpu(cpu: usize) {
    let mut set = CpuSet::new();
    set.set(cpu).expect("CPU number");
    sched_setaffinity(Pid::from_raw(0), &set).expect("sched_setaffinity");
}

/// Returns the namespace with the interfaces: one for all tests of a process, since they only look interfaces up.
fn interfaces() -> &'static (Netns, [u32; 3]) {
    static INTERFACES: OnceLock<(Netns, [u32; 3])> = OnceLock::new();
    INTERFACES.get_or_init(|| {
        let netns = Netns::new().expect("network namespace");
        let add = ["link", "add", "lan", "type", "veth", "peer", "name", "wan"];
        let status = netns.command("ip").args(add).status().expect("ip");
        assert!(status.success(), "ip {add:?}");
        let index = |name| nix::net::if_::if_nametoindex(name).expect(name);
        let indices = netns.run(|| ["lan", "wan", "lo"].map(index)).expect("setns");
        (netns, indices)
    })
}
