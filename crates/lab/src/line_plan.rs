// SPDX-License-Identifier: GPL-2.0-only
//! The description of a delay line.

use crate::encapsulation::Encapsulation;
use crate::link::HostLink;
use crate::mac::Mac;
use std::collections::HashMap;
use std::sync::Arc;

/// One host at a delay line.
#[derive(Clone, Debug)]
pub struct Spoke {
    /// The line's device that leads to the host.
    pub device: String,
    /// The host's address. The line sends a frame from the trunk to the spoke with its destination
    /// address; if the line has only one spoke, that spoke gets all frames.
    pub mac: Mac,
    /// Delay, impairments and counters of this host.
    pub link: Arc<HostLink>,
}

/// The devices that a delay line connects, and how it treats their frames.
#[derive(Clone, Debug)]
pub struct LinePlan {
    /// The line's device that leads to the shaper.
    pub trunk: String,
    /// The hosts.
    pub spokes: Vec<Spoke>,
    /// The encapsulation of a subscriber's frames on the trunk, by the subscriber's address. The
    /// address may be the source or the destination of the frame.
    pub encapsulations: HashMap<Mac, Encapsulation>,
    /// Largest frame in bytes.
    pub mtu: u32,
    /// Seed of the impairments.
    pub seed: u64,
}
