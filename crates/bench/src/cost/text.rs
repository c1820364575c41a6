// SPDX-License-Identifier: GPL-2.0-only
//! The report as text.

use std::fmt::Write as _;

use clap::ValueEnum;
use cpumap_pping::abi::FLOW_IDLE_NS;

use crate::cost::comparison::Comparison;
use crate::cost::memory::MapMemory;
use crate::cost::options::ReportPart;
use crate::cost::parts::bulk_commands::BulkRow;
use crate::cost::parts::flow_scale::{FlowRow, KeptSamples};
use crate::cost::parts::follower::StreamRow;
use crate::cost::report::BenchReport;
use crate::cost::rtt_accuracy::RttAccuracy;
use crate::cost::target::{Target, Unit};
use crate::machine::Machine;
use crate::table::{grouped, number, percent, TextTable};

/// Explains the columns of the comparisons.
const LEGEND: &str = "\
The systems of a table are attached in turn under the same load, round after round; each figure is the median of the
rounds. Costs are nanoseconds per run, by the kernel's bpf_stats; the empty pair shows the cost of bpf_stats itself.
Absolute figures depend on the machine; compare ratios within a column.

  XDP, TC        one run of the program, mean of both interfaces. The columns to the right show each interface: XDP on
                 lan sees ACKs and on wan data, TC the other way round
  packet         XDP + TC: the cost of a forwarded packet
  quiet          the cost of a packet that the quietest tenth of the rounds stays below
  times ...      packet, as a multiple of that system's: the median of the rounds' ratios
  samples kept   RTT samples taken as a share of those possible: one for each TSval, except a flow's first. (Our programs
                 keep two TSvals per direction outstanding: of a hot flow with a new TSval every ms, two per RTT.)
  forwarded      packets that TC saw as a share of the frames sent
  empty          programs that do nothing
  textbook       XDP: one hash look-up by address. TC: one LRU look-up by 5-tuple and one update in place. No class,
                 no RTT
  predecessor-   the map operations of the C cpumap-pping: LPM in XDP; LPM, per-handle LRU, flow LRU, timestamp LRU
  shaped         insert and delete in TC
";

/// Writes the whole report.
pub fn whole(report: &BenchReport) -> String {
    let mut texts = vec![machine(&report.machine), LEGEND.to_owned()];
    texts.extend(ReportPart::value_variants().iter().map(|each| part(*each, report)));
    texts.extend([targets(&report.targets), conditions(&report.machine)]);
    texts.retain(|text| !text.is_empty());
    texts.join("\n")
}

/// Writes the figures of a part; nothing if the part did not run.
pub fn part(part: ReportPart, report: &BenchReport) -> String {
    let mut text = match part {
        ReportPart::Flows => flows(&report.flows),
        ReportPart::Bulk => bulk(&report.bulk),
        _ => report.comparison(&part.name()).map_or_else(String::new, comparison),
    };
    if part == ReportPart::Stream {
        text += &stream(&report.stream);
    }
    if part == ReportPart::LiveMix {
        text.extend(report.accuracy.as_ref().map(accuracy));
        text.extend(report.memory.as_ref().map(memory));
    }
    text
}

/// Writes the head of the report: the machine, and an explanation of the figures.
pub fn start(report: &BenchReport) -> String {
    machine(&report.machine) + "\n" + LEGEND
}

fn machine(machine: &Machine) -> String {
    let Machine { date, commit, kernel, clang, cpu, cpus, .. } = machine;
    let kind = if machine.virtual_machine { " (virtual)" } else { "" };
    format!(
        "cpumap-pping bench, {date}, commit {commit}\n\
         {cpus} CPUs{kind}: {cpu}, {} MiB, Linux {kernel}, {clang}\n",
        machine.memory_mib
    )
}

/// Writes how much other work disturbed the run.
pub fn conditions(machine: &Machine) -> String {
    format!(
        "the run took {:.0} s; load average {:.2} before and {:.2} at the end (the run itself adds 1 to 2); the hypervisor \
         took {:.1} % of the CPU time during the run\n",
        machine.seconds, machine.load_before, machine.load_after, machine.steal_percent
    )
}

fn comparison(found: &Comparison) -> String {
    let Comparison { name, about, rounds, window_ms, beside, generator, .. } = found;
    let beside = if found.rows.first().is_some_and(|row| row.system == *beside) {
        "first row"
    } else {
        beside
    };
    let mut costs = TextTable::new([
        [
            "",
            "XDP",
            "TC",
            "packet",
            "quiet",
            "times",
            "XDP",
            "XDP",
            "TC",
            "TC",
            "samples",
            "forwarded",
        ],
        ["system", "ns", "ns", "ns", "ns", beside, "ACK", "data", "data", "ACK", "kept", ""],
    ]);
    for row in &found.rows {
        let ns = |value| number(value, 0);
        costs.row([
            row.system.clone(),
            ns(row.xdp_ns),
            ns(row.tc_ns),
            ns(row.packet_ns),
            ns(row.quiet_ns),
            number(row.times, 2),
            ns(row.xdp_ack_ns),
            ns(row.xdp_data_ns),
            ns(row.tc_data_ns),
            ns(row.tc_ack_ns),
            percent(row.kept),
            percent(Some(row.forwarded)),
        ]);
    }
    let about = about.replacen("; ", "\n", 1);
    let mut text =
        format!("{name}: {about}\n{rounds} rounds of {window_ms} ms a system\n\n{costs}\n");
    for ratio in &found.ratios {
        let _ = writeln!(
            text,
            "  {} / {}: {:.2} (middle half of the rounds: {:.2} to {:.2})",
            ratio.of, ratio.to, ratio.median, ratio.low, ratio.high
        );
    }
    let _ = writeln!(
        text,
        "  generator: {} frames down, {} up, {} refused; {} ms without segments because the machine had no time",
        grouped(generator.segments),
        grouped(generator.acks),
        generator.refused,
        grouped(generator.ticks_skipped)
    );
    text
}

fn accuracy(found: &RttAccuracy) -> String {
    format!(
        "  with a tc handle for each flow: a sample was possible of {} flows within 4 s; {} of them have one\n  \
           mean RTT of a flow: {:.3} ms on average in truth; as measured, off by {:.0} us (median), {:.0} us (95 % of flows)\n",
        grouped(found.flows as u64),
        grouped(found.reported as u64),
        found.true_rtt_ms,
        found.median_error_us,
        found.p95_error_us
    )
}

fn memory(found: &MapMemory) -> String {
    format!(
        "  memory, by the kernel's count: the flow table has {} bytes for {} flows, {:.0} per flow;\n    \
           with the RTT records of {} handles ({} bytes) divided by the same number, {:.0} per flow\n",
        grouped(found.flow_table_bytes),
        grouped(found.flow_capacity),
        found.table_bytes_a_flow(),
        grouped(found.handles),
        grouped(found.rtt_bytes),
        found.all_bytes_a_flow()
    )
}

fn flows(rows: &[FlowRow]) -> String {
    let Some(first) = rows.first() else { return String::new() };
    let rtts: Vec<_> = first.kept.iter().map(|kept| format!("{} ms", kept.rtt_ms)).collect();
    let [short, long] = [rtts.first(), rtts.last()].map(|rtt| rtt.map_or("", String::as_str));
    let mut table = TextTable::new([
        ["", "each sends", "table", "places", "kept:", "", "beside", "reference:", "kept:", ""],
        [
            "flows",
            "every ms",
            "places",
            "taken",
            short,
            long,
            short,
            long,
            "long/short",
            "forwarded",
        ],
    ]);
    for row in rows {
        let [short, long] = [row.kept.first(), row.kept.last()];
        let of = |kept: Option<&KeptSamples>| percent(kept.map(|kept| kept.share));
        let beside = |kept: Option<&KeptSamples>| match row.has_room {
            true => "reference".to_owned(),
            false => percent(kept.map(|kept| kept.of_reference)),
        };
        let bias = long.zip(short).map_or(f64::NAN, |(long, short)| long.share / short.share);
        table.row([
            grouped(row.flows.into()),
            cycle(row),
            grouped(row.places.into()),
            grouped(row.taken),
            of(short),
            of(long),
            beside(short),
            beside(long),
            number(bias, 2),
            percent(Some(row.forwarded)),
        ]);
    }
    format!(
        "flows: samples kept of a number of flows, half of them with an RTT of {short}, half of {long}; the flows send in \
         turn\nThe reference is a table with room for all flows: it loses no sample for want of room. If long/short is \
         below 1, samples\nof long RTTs are lost more often than those of short ones. `idle`: a flow is silent for \
         longer than {} s between two\nsegments, so that the table counts it as idle and gives its place away.\n\n{table}",
        FLOW_IDLE_NS / 1_000_000_000
    )
}

/// Returns the time between two segments of a flow, and whether its place is given away meanwhile.
fn cycle(row: &FlowRow) -> String {
    match u64::from(row.cycle_ms) * 1_000_000 > FLOW_IDLE_NS {
        true => format!("idle {}", row.cycle_ms),
        false => row.cycle_ms.to_string(),
    }
}

fn bulk(rows: &[BulkRow]) -> String {
    let mut table =
        TextTable::new([["", "best", "median", "CPU", ""], ["command", "ms", "ms", "ms", "runs"]]);
    for row in rows {
        let ms = |value| number(value, 0);
        table.row([
            row.what.clone(),
            ms(row.best_ms),
            ms(row.median_ms),
            ms(row.cpu_ms),
            row.runs.to_string(),
        ]);
    }
    if table.is_empty() {
        return String::new();
    }
    format!(
        "bulk: whole runs of the release programs, their output into a pipe; CPU: the least user and system time of a \
         run\n\n{table}"
    )
}

fn stream(rows: &[StreamRow]) -> String {
    let mut table = TextTable::new([
        ["possible", "written", "lost: no room", "generator"],
        ["RTTs/s", "RTTs/s", "in the ring", "skipped ms"],
    ]);
    for row in rows {
        table.row([
            grouped(row.possible_a_second as u64),
            grouped(row.written_a_second as u64),
            grouped(row.lost),
            grouped(row.ticks_skipped),
        ]);
    }
    if table.is_empty() {
        return String::new();
    }
    format!(
        "\n  every RTT written to a file of JSON lines, at rising rates; generator, shaper and follower share the \
         machine's CPUs\n\n{table}"
    )
}

/// Writes the targets, and whether they are met.
pub fn targets(all: &[Target]) -> String {
    let mut table = TextTable::new([["", "target", "measured", "", "stretch"]]);
    for target in all {
        let bound = |bound| match target.unit {
            Unit::Share => format!(">= {}", figure(target.unit, bound)),
            _ => format!("<= {}", figure(target.unit, bound)),
        };
        let met = |met| if met { "met" } else { "NOT MET" };
        let stretch = target.stretch.zip(target.stretch_met);
        table.row([
            target.what.to_owned(),
            bound(target.bound),
            figure(target.unit, target.measured),
            met(target.met).to_owned(),
            stretch.map_or_else(String::new, |(at, is)| format!("{} {}", bound(at), met(is))),
        ]);
    }
    if table.is_empty() {
        return String::new();
    }
    let (met, all) = (all.iter().filter(|target| target.met).count(), all.len());
    format!(
        "targets: {met} of {all} met (ratios: median of paired rounds; times: the best run)\n\n{table}"
    )
}

fn figure(unit: Unit, value: f64) -> String {
    match unit {
        Unit::Times => number(value, 3),
        Unit::Share => percent(Some(value)),
        Unit::Bytes => format!("{} bytes", number(value, 0)),
        Unit::Ms => format!("{} ms", number(value, 0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::comparison::{Ratio, SystemRow};
    use crate::cost::targets::judge;

    fn live_mix() -> Comparison {
        let row = |system: &str, times, kept| SystemRow {
            system: system.into(),
            xdp_ns: 280.4,
            times,
            kept,
            forwarded: 1.0,
            ..SystemRow::default()
        };
        Comparison {
            name: "live-mix".into(),
            about: "some flows".into(),
            rounds: 3,
            window_ms: 500,
            beside: "textbook".into(),
            rows: vec![row("textbook", 1.0, None), row("ours", 0.984, Some(0.9512))],
            ratios: vec![Ratio {
                of: "ours".into(),
                to: "textbook".into(),
                median: 0.984,
                low: 0.9,
                high: 1.0,
            }],
            ..Comparison::default()
        }
    }

    #[test]
    fn a_comparison() {
        let text = comparison(&live_mix());
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "live-mix: some flows");
        assert_eq!(lines[1], "3 rounds of 500 ms a system");
        assert!(lines[4].starts_with("  system "), "{text}");
        let cells: Vec<_> = lines[6].split_whitespace().collect();
        assert_eq!(cells[..6], ["ours", "280", "0", "0", "0", "0.98"]);
        assert!(lines[6].ends_with("95.1 %    100.0 %"), "{text}");
        assert_eq!(lines[5].len(), lines[6].len(), "{text}");
        assert!(
            text.contains("ours / textbook: 0.98 (middle half of the rounds: 0.90 to 1.00"),
            "{text}"
        );
    }

    #[test]
    fn targets_are_met_or_not() {
        let report = BenchReport { comparisons: vec![live_mix()], ..BenchReport::default() };
        let text = targets(&judge(&report));
        let expected = "\
targets: 2 of 2 met (ratios: median of paired rounds; times: the best run)

                                             target  measured                stretch
  live mix: ours / textbook pair            <= 1.000     0.984  met   <= 0.850 NOT MET
  live mix: samples kept of those possible  >= 92.0 %    95.1 %  met
";
        let squeeze = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(squeeze(&text), squeeze(expected));
        assert_eq!(targets(&[]), "");
    }

    #[test]
    fn parts_that_did_not_run_leave_no_trace() {
        let nothing = BenchReport::default();
        assert!(ReportPart::value_variants().iter().all(|each| part(*each, &nothing).is_empty()));
        let report = BenchReport { comparisons: vec![live_mix()], ..BenchReport::default() };
        assert!(whole(&report).contains("\nlive-mix: some flows\n"));
        assert_eq!(part(ReportPart::Cold, &report), "");
    }

    #[test]
    fn flows_of_both_rtts() {
        let kept = |rtt_ms, share| KeptSamples { rtt_ms, share, of_reference: share };
        let row = FlowRow { kept: vec![kept(20, 0.5), kept(200, 0.25)], ..FlowRow::default() };
        let text = flows(&[row]);
        let last: Vec<_> = text.lines().last().unwrap().split_whitespace().collect();
        assert_eq!(last[4..13], ["50.0", "%", "25.0", "%", "50.0", "%", "25.0", "%", "0.50"]);
    }
}
