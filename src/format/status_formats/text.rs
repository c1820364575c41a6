// SPDX-License-Identifier: GPL-2.0-only
//! The status as tables for people.

use crate::domain::format::Format;
use crate::domain::Direction;
use crate::format::columns::write_columns;
use crate::kernel::program::Attached;
use crate::shaper::inventory::{Cpu, Fill, Interface};
use crate::shaper::status::{CounterRate, StatusSnapshot};

/// Writes one table each of the interfaces, the CPUs, the maps and the counters.
pub struct StatusTables;

impl Format<StatusSnapshot> for StatusTables {
    fn record(&mut self, out: &mut Vec<u8>, status: &StatusSnapshot) {
        let head = ["interface", "direction", "XDP", "classifier"];
        write_columns(out, &head, interface_rows(status));
        out.push(b'\n');
        let head = ["CPU", "takes frames", "frame queue", "TX queue", "HTB major", "mappings"];
        write_columns(out, &head, status.cpus.iter().map(cpu_row));
        out.push(b'\n');
        write_columns(out, &["map", "used", "of", ""], status.maps.iter().map(map_row));
        out.push(b'\n');
        let shown = |counter: &&CounterRate| status.with_zeroes || counter.count > 0;
        let head = ["counter", "total", "a second", "what it counts"];
        write_columns(out, &head, status.counters.iter().filter(shown).map(counter_row));
    }
}

fn interface_rows(status: &StatusSnapshot) -> impl Iterator<Item = [String; 4]> + '_ {
    status.interfaces.iter().map(|interface| {
        let Interface { name, ifindex, direction, xdp, classifier, pinned_maps } = interface;
        let name = match name {
            Some(name) => name.to_string(),
            None => format!("gone (index {ifindex})"),
        };
        let maps = if *pinned_maps == Some(false) { ", not the pinned maps" } else { "" };
        [
            name,
            direction.map_or("-", Direction::name).to_owned(),
            program(xdp.as_ref()),
            program(classifier.as_ref()) + maps,
        ]
    })
}

fn program(attached: Option<&Attached>) -> String {
    match attached {
        None => "-".to_owned(),
        Some(Attached { id, name, mode: None }) => format!("{name} (id {id})"),
        Some(Attached { id, name, mode: Some(mode) }) => format!("{name} (id {id}, {mode})"),
    }
}

fn cpu_row(cpu: &Cpu) -> [String; 6] {
    let or_dash = |number: u32| if number == 0 { "-".to_owned() } else { number.to_string() };
    [
        cpu.cpu.to_string(),
        if cpu.available { "yes" } else { "no" }.to_owned(),
        or_dash(cpu.queue_size.unwrap_or(0)),
        or_dash(cpu.tx_queue.into()),
        format!("{:x}:", cpu.htb_major),
        cpu.mappings.to_string(),
    ]
}

fn map_row((name, fill): (&&'static str, &Fill)) -> [String; 4] {
    let percent = fill.used as f64 * 100.0 / fill.limit.max(1) as f64;
    let (used, limit) = (fill.used.to_string(), fill.limit.to_string());
    [name.to_string(), used, limit, format!("{percent:.1} %")]
}

fn counter_row(counter: &CounterRate) -> [String; 4] {
    let CounterRate { name, count, per_second, help } = counter;
    [name.to_string(), count.to_string(), format!("{per_second:.1}"), help.to_string()]
}
