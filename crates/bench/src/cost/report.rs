// SPDX-License-Identifier: GPL-2.0-only
//! The content of the report, as it is written to JSON.

use serde::Serialize;

use crate::cost::comparison::Comparison;
use crate::cost::memory::MapMemory;
use crate::cost::parts::bulk_commands::BulkRow;
use crate::cost::parts::flow_scale::FlowRow;
use crate::cost::parts::follower::StreamRow;
use crate::cost::rtt_accuracy::RttAccuracy;
use crate::cost::target::Target;
use crate::machine::Machine;

/// All figures of a run.
#[derive(Debug, Default, Serialize)]
pub struct BenchReport {
    /// The conditions of the run.
    pub machine: Machine,
    /// Comparisons of systems, one for each load, and the scaling of mappings.
    pub comparisons: Vec<Comparison>,
    /// RTTs beside the truth, in the live mix.
    pub accuracy: Option<RttAccuracy>,
    /// Memory in the live mix.
    pub memory: Option<MapMemory>,
    /// Scaling of flows.
    pub flows: Vec<FlowRow>,
    /// Events that reached a file.
    pub stream: Vec<StreamRow>,
    /// Commands with many entries.
    pub bulk: Vec<BulkRow>,
    /// The targets, and whether the figures meet them.
    pub targets: Vec<Target>,
}

impl BenchReport {
    /// Returns a comparison by its name.
    pub fn comparison(&self, name: &str) -> Option<&Comparison> {
        self.comparisons.iter().find(|comparison| comparison.name == name)
    }
}
