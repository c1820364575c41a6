// SPDX-License-Identifier: GPL-2.0-only
//! The status as one JSON object. `cpumap-pping status --help` lists its keys: add new ones there.

use crate::domain::format::Format;
use crate::format::json::{JsonLayout, JsonObject};
use crate::kernel::program::Attached;
use crate::shaper::inventory::{Cpu, Interface};
use crate::shaper::status::StatusSnapshot;

/// Writes the object, indented.
pub struct StatusObject;

impl Format<StatusSnapshot> for StatusObject {
    fn record(&mut self, out: &mut Vec<u8>, status: &StatusSnapshot) {
        JsonObject::write(out, JsonLayout::Indented(0), |object| {
            object.flag("loaded", true);
            object.objects("interfaces", &status.interfaces, interface);
            object.objects("cpus", &status.cpus, cpu);
            object.object("maps", |maps| {
                for (name, fill) in &status.maps {
                    maps.object(name, |object| {
                        object.number("used", fill.used as u64);
                        object.number("limit", fill.limit as u64);
                    });
                }
            });
            object.float("interval", status.interval);
            object.object("counters", |counters| {
                for counter in &status.counters {
                    counters.object(counter.name, |object| {
                        object.number("count", counter.count);
                        object.float("per_second", counter.per_second);
                        object.string("help", counter.help);
                    });
                }
            });
        });
        out.push(b'\n');
    }
}

fn interface(object: &mut JsonObject<'_>, interface: &Interface) {
    match &interface.name {
        Some(name) => object.string("name", name.as_str()),
        None => object.null("name"),
    }
    object.number("ifindex", interface.ifindex.into());
    match interface.direction {
        Some(direction) => object.string("direction", direction.option()),
        None => object.null("direction"),
    }
    object.optional("xdp", interface.xdp.as_ref(), program);
    object.optional("classifier", interface.classifier.as_ref(), program);
    match interface.pinned_maps {
        Some(pinned) => object.flag("pinned_maps", pinned),
        None => object.null("pinned_maps"),
    }
}

fn program(object: &mut JsonObject<'_>, program: &Attached) {
    object.number("id", program.id.into());
    object.string("name", &program.name);
    if let Some(mode) = program.mode {
        object.string("mode", &mode.to_string());
    }
}

fn cpu(object: &mut JsonObject<'_>, cpu: &Cpu) {
    object.number("cpu", cpu.cpu.into());
    object.flag("available", cpu.available);
    match cpu.queue_size {
        Some(size) => object.number("queue_size", size.into()),
        None => object.null("queue_size"),
    }
    object.number("tx_queue", cpu.tx_queue.into());
    object.number("htb_major", cpu.htb_major.into());
    object.number("mappings", cpu.mappings as u64);
}
