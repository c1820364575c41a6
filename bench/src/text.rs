//! The report as text.

use std::fmt::Write as _;

use crate::accuracy::Accuracy;
use crate::bulk::BulkRow;
use crate::flows::FlowRow;
use crate::machine::Machine;
use crate::memory::Memory;
use crate::report::{Comparison, Report};
use crate::table::{grouped, number, percent, Table};
use crate::targets::{Kind, Target};

/// What the columns of the comparisons are.
const LEGEND: &str = "\
All systems of a table are attached in turn under the same load, round after round; each figure is the median of the
rounds. Costs are nanoseconds a run, by the kernel's bpf_stats (which itself costs what the empty pair shows).

  XDP, TC        a run of the program, both interfaces; below, each by itself: XDP on lan sees ACKs, on wan data, TC the other way round
  packet         XDP + TC: what a forwarded packet costs
  quiet          the same in the quietest tenth of the rounds
  x ...          packet, as a multiple of that system: the median of the rounds' ratios
  samples kept   RTT samples of those possible (a TSval's first ACK, but for a flow's first TSval)
  forwarded      packets that TC saw of the frames sent
  empty          programs that do nothing
  textbook       XDP: one hash look-up by address. TC: one LRU look-up by 5-tuple and an update in place. No class, no RTT
  predecessor-   the map operations of the C cpumap-pping: LPM in XDP; LPM, per-handle LRU, flow LRU, timestamp LRU
  shaped         insert and delete in TC
";

/// All of it.
pub fn whole(report: &Report) -> String {
    let mut parts = vec![machine(&report.machine), LEGEND.to_owned()];
    parts.extend(sections(report));
    parts.push(targets(&report.targets));
    parts.retain(|part| !part.is_empty());
    parts.join("\n")
}

/// What was measured: a text each.
pub fn sections(report: &Report) -> Vec<String> {
    let mut parts: Vec<_> = report.comparisons.iter().map(comparison).collect();
    // Both are of the first comparison, the live mix.
    let live_mix = parts.len().min(1);
    let details = [report.accuracy.as_ref().map(accuracy), report.memory.as_ref().map(memory)];
    let details: String = details.into_iter().flatten().collect();
    if !details.is_empty() {
        parts.insert(live_mix, details);
    }
    parts.extend([flows(&report.flows), bulk(&report.bulk)]);
    parts.retain(|part| !part.is_empty());
    parts
}

/// Where and when.
pub fn machine(machine: &Machine) -> String {
    let Machine { date, commit, kernel, clang, cpu, cpus, .. } = machine;
    let kind = if machine.virtual_machine { " (virtual)" } else { "" };
    format!(
        "cpumap-pping bench, {date}, commit {commit}\n\
         {cpus} CPUs{kind}: {cpu}, {} MiB, Linux {kernel}, {clang}\n\
         load average {:.2} at the start; {:.1} % of the CPU time stolen by the hypervisor during the run of {:.0} s\n",
        machine.memory_mib, machine.load_before, machine.steal_percent, machine.seconds
    )
}

fn comparison(found: &Comparison) -> String {
    let Comparison { name, about, rounds, window_ms, beside, generator, .. } = found;
    let times = if beside.starts_with("ours") { "x first" } else { "x text-" };
    let row = if beside.starts_with("ours") { "row" } else { "book" };
    let mut costs = Table::new([
        [
            "",
            "XDP",
            "TC",
            "packet",
            "quiet",
            times,
            "XDP",
            "XDP",
            "TC",
            "TC",
            "samples",
            "forwarded",
        ],
        ["system", "ns", "ns", "ns", "ns", row, "ACK", "data", "data", "ACK", "kept", ""],
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
    let mut text = format!("{name}: {about}\n{rounds} rounds of {window_ms} ms\n\n{costs}\n");
    for ratio in &found.ratios {
        let _ = writeln!(
            text,
            "  {} / {}: {:.2} ({:.2} to {:.2} in the middle half of the rounds)",
            ratio.of, ratio.to, ratio.median, ratio.low, ratio.high
        );
    }
    let _ = writeln!(
        text,
        "  generator: {} frames down, {} up, {} refused, {} ms without frames for want of CPU time",
        grouped(generator.segments),
        grouped(generator.acks),
        generator.refused,
        grouped(generator.ticks_skipped)
    );
    text
}

fn accuracy(found: &Accuracy) -> String {
    format!(
        "live mix, a tc handle for each flow: {} of the {} flows for which a sample was possible in 4 s have one\n\
         mean RTT of a flow, measured beside true ({:.3} ms on average): off by {:.0} us (median), {:.0} us (95 % of flows)\n",
        grouped(found.reported as u64),
        grouped(found.flows as u64),
        found.true_rtt_ms,
        found.median_error_us,
        found.p95_error_us
    )
}

fn memory(found: &Memory) -> String {
    format!(
        "memory, by the kernel's account: flow table {} bytes for {} flows, {:.0} a flow; with the RTT records of {} \
         handles ({} bytes) shared out among them {:.0} a flow\n",
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
    let mut table = Table::new([
        [
            "",
            "each sends",
            "table",
            "places",
            "kept of",
            "possible",
            "beside the",
            "reference",
            "long beside",
        ],
        ["flows", "every ms", "places", "taken", short, long, short, long, "short RTTs"],
    ]);
    for row in rows {
        let [short, long] = [row.kept.first(), row.kept.last()];
        let of = |kept: Option<&crate::flows::Kept>| percent(kept.map(|kept| kept.share));
        let beside = |kept: Option<&crate::flows::Kept>| match row.has_room {
            true => "reference".to_owned(),
            false => percent(kept.map(|kept| kept.of_reference)),
        };
        let bias = long.zip(short).map_or(f64::NAN, |(long, short)| long.share / short.share);
        table.row([
            grouped(row.flows.into()),
            row.cycle_ms.to_string(),
            grouped(row.places.into()),
            grouped(row.taken),
            of(short),
            of(long),
            beside(short),
            beside(long),
            number(bias, 2),
        ]);
    }
    format!(
        "flows: samples kept of so many flows, half of them with an RTT of {short}, half of {long}; every flow sends in \
         turn\nThe reference is a table with room for all: what it loses is not for want of room. Long beside short \
         below 1: long RTTs\nare lost more than short ones.\n\n{table}"
    )
}

fn bulk(rows: &[BulkRow]) -> String {
    let mut table =
        Table::new([["", "best", "median", "CPU", ""], ["command", "ms", "ms", "ms", "runs"]]);
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
        "bulk: whole runs of the release programs, the output down a pipe; CPU: the least user and system time of a \
         run\n\n{table}"
    )
}

/// Met or not.
pub fn targets(all: &[Target]) -> String {
    let mut table = Table::new([["", "target", "measured", "", "stretch"]]);
    for target in all {
        let bound = |bound| match target.kind {
            Kind::AtLeastShare => format!(">= {}", figure(target.kind, bound)),
            _ => format!("<= {}", figure(target.kind, bound)),
        };
        let met = |met| if met { "met" } else { "NOT MET" };
        let stretch = target.stretch.zip(target.stretch_met);
        table.row([
            target.what.to_owned(),
            bound(target.bound),
            figure(target.kind, target.measured),
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

fn figure(kind: Kind, value: f64) -> String {
    match kind {
        Kind::AtMostTimes => number(value, 2),
        Kind::AtLeastShare => percent(Some(value)),
        Kind::AtMostBytes => format!("{} bytes", number(value, 0)),
        Kind::AtMostMs => format!("{} ms", number(value, 0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Ratio, Row};

    fn live_mix() -> Comparison {
        let row = |system: &str, times, kept| Row {
            system: system.into(),
            xdp_ns: 280.4,
            times,
            kept,
            forwarded: 1.0,
            ..Row::default()
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
        assert_eq!(lines[1], "3 rounds of 500 ms");
        assert!(lines[4].starts_with("  system "), "{text}");
        let cells: Vec<_> = lines[6].split_whitespace().collect();
        assert_eq!(cells[..6], ["ours", "280", "0", "0", "0", "0.98"]);
        assert!(lines[6].ends_with("95.1 %     100.0 %"), "{text}");
        assert_eq!(lines[5].len(), lines[6].len(), "{text}");
        assert!(text.contains("ours / textbook: 0.98 (0.90 to 1.00 "), "{text}");
    }

    #[test]
    fn targets_are_met_or_not() {
        let report = Report { comparisons: vec![live_mix()], ..Report::default() };
        let text = targets(&crate::targets::judge(&report));
        let expected = "\
targets: 2 of 2 met (ratios: median of paired rounds; times: the best run)

                                             target  measured                stretch
  live mix: ours / textbook pair            <= 1.00      0.98  met   <= 0.85 NOT MET
  live mix: samples kept of those possible  >= 92.0 %    95.1 %  met
";
        let squeeze = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(squeeze(&text), squeeze(expected));
        assert_eq!(targets(&[]), "");
    }

    #[test]
    fn parts_that_did_not_run_leave_no_trace() {
        assert_eq!(sections(&Report::default()), Vec::<String>::new());
        let report = Report { comparisons: vec![live_mix()], ..Report::default() };
        assert_eq!(sections(&report).len(), 1);
        assert!(whole(&report).contains("textbook"));
    }

    #[test]
    fn flows_of_both_rtts() {
        let kept = |rtt_ms, share| crate::flows::Kept { rtt_ms, share, of_reference: share };
        let row = FlowRow { kept: vec![kept(20, 0.5), kept(200, 0.25)], ..FlowRow::default() };
        let text = flows(&[row]);
        let last: Vec<_> = text.lines().last().unwrap().split_whitespace().collect();
        assert_eq!(last[4..], ["50.0", "%", "25.0", "%", "50.0", "%", "25.0", "%", "0.50"]);
    }
}
