// SPDX-License-Identifier: GPL-2.0-only
use super::*;

const RULES: Rules = Rules {
    handshake: false,
    jiffy_ns: 1_000_000,
    sweep_ticks: 62,
    idle_ticks: 250,
    resync_ticks: 15,
};
const MS: u64 = 1_000_000;
const LAN: usize = 0;
const WAN: usize = 1;

/// A flow under test. Its data leaves by LAN, its ACKs by WAN.
struct FlowBench {
    flow: TrackedFlow,
    rules: Rules,
    now: u64,
    counted: Vec<&'static str>,
}

impl FlowBench {
    fn new() -> FlowBench {
        FlowBench::with(RULES)
    }

    fn with(rules: Rules) -> FlowBench {
        let now = 1_000_000 * MS;
        FlowBench { flow: TrackedFlow::new(now, &rules), rules, now, counted: Vec::new() }
    }

    fn wait(&mut self, ms: u64) -> &mut FlowBench {
        self.now += ms * MS;
        self
    }

    fn send(&mut self, way: usize, segment: ModelSegment) -> Option<u64> {
        let mut counters = RaisedCounters::default();
        let units = self.flow.segment(way, &segment, self.now, &self.rules, &mut counters);
        self.counted = counters.into_names();
        units.map(|units| u64::from(units) * UNIT_NS)
    }

    fn data(&mut self, tsval: u32) -> Option<u64> {
        self.send(LAN, ModelSegment { payload: 1000, ..pure_ack(tsval, 1) })
    }

    /// Sends an ACK the other way. Its own TSval does not matter.
    fn ack(&mut self, tsecr: u32) -> Option<u64> {
        self.send(WAN, pure_ack(1, tsecr))
    }

    fn counted(&self, names: &[&str]) {
        assert_eq!(self.counted, names);
    }
}

fn pure_ack(tsval: u32, tsecr: u32) -> ModelSegment {
    ModelSegment {
        source_port: 1,
        destination_port: 2,
        syn: false,
        ack: true,
        payload: 0,
        tsval,
        tsecr,
    }
}

fn syn(tsval: u32) -> ModelSegment {
    ModelSegment { syn: true, ack: false, ..pure_ack(tsval, 0) }
}

fn syn_ack(tsval: u32, tsecr: u32) -> ModelSegment {
    ModelSegment { syn: true, ..pure_ack(tsval, tsecr) }
}

/// Returns a flow that has seen TSval 100 leave by LAN, so that any later TSval is an edge.
fn joined() -> FlowBench {
    let mut bench = FlowBench::new();
    bench.data(100);
    bench
}

#[test]
fn data_and_its_echo_make_a_sample() {
    let mut bench = joined();
    assert_eq!(bench.data(101), None);
    assert_eq!(bench.wait(20).ack(101), Some(20 * MS));
    bench.counted(&[]);
    assert_eq!(bench.wait(1).ack(101), None, "one match, one sample");
    bench.counted(&[]);
}

#[test]
fn the_other_way_measures_the_other_side() {
    let mut bench = FlowBench::new();
    bench.send(WAN, pure_ack(5, 1));
    bench.send(WAN, ModelSegment { payload: 1, ..pure_ack(6, 1) });
    assert_eq!(bench.wait(3).send(LAN, pure_ack(1, 6)), Some(3 * MS));
}

#[test]
fn an_echo_on_the_same_way_is_none() {
    let mut bench = joined();
    bench.data(101);
    assert_eq!(bench.wait(1).send(LAN, pure_ack(101, 101)), None);
    assert_eq!(bench.ack(101), Some(MS));
}

#[test]
fn joining_midway_the_first_tsval_is_no_edge() {
    let mut bench = FlowBench::new();
    bench.data(100);
    assert_eq!(bench.wait(5).ack(100), None);
    bench.data(100);
    assert_eq!(bench.ack(100), None);
    bench.data(101);
    assert_eq!(bench.wait(5).ack(101), Some(5 * MS));
}

#[test]
fn a_pure_ack_opens_nothing_but_advances() {
    let mut bench = joined();
    bench.send(LAN, pure_ack(101, 1));
    bench.data(101);
    assert_eq!(bench.ack(101), None);
    bench.counted(&[]);
}

#[test]
fn only_the_first_segment_of_a_tsval_opens() {
    let mut bench = joined();
    bench.data(101);
    bench.wait(10).data(101);
    assert_eq!(bench.wait(10).ack(101), Some(20 * MS));
    bench.data(101);
    assert_eq!(bench.wait(10).ack(101), None, "never re-open");
}

#[test]
fn an_earlier_tsval_never_regresses() {
    let mut bench = joined();
    bench.data(105);
    bench.ack(105);
    bench.data(103);
    bench.data(105);
    bench.data(104);
    assert_eq!(bench.ack(105), None);
    bench.counted(&[]);
}

#[test]
fn tsvals_wrap() {
    let mut bench = FlowBench::new();
    bench.data(u32::MAX);
    bench.data(0);
    bench.data(1);
    assert_eq!(bench.wait(7).ack(1), Some(7 * MS));
    bench.counted(&["rtt_unmatched"]);
    bench.data(u32::MAX);
    assert_eq!(bench.ack(u32::MAX), None, "behind, not ahead");
    bench.data(1u32.wrapping_add(1 << 31));
    assert_eq!(bench.ack(1u32.wrapping_add(1 << 31)), None, "half way round is not ahead");
}

#[test]
fn tsecr_counts_with_ack_and_not_zero() {
    let mut bench = FlowBench::new();
    bench.data(u32::MAX);
    bench.data(0);
    assert_eq!(bench.ack(0), None);
    bench.counted(&[]);
    bench.data(1);
    assert_eq!(bench.send(WAN, ModelSegment { ack: false, ..pure_ack(1, 1) }), None);
    bench.counted(&[]);
    assert_eq!(bench.ack(1), Some(8), "no time passed: one unit");
    bench.counted(&["rtt_unmatched"]);
}

#[test]
fn a_later_echo_ends_the_tsvals_before_it() {
    let mut bench = joined();
    bench.data(101);
    bench.data(102);
    assert_eq!(bench.wait(4).ack(102), Some(4 * MS));
    bench.counted(&["rtt_unmatched"]);
    bench.data(103);
    bench.data(104);
    assert_eq!(bench.ack(200), None);
    bench.counted(&["rtt_unmatched", "rtt_unmatched"]);
}

#[test]
fn an_earlier_echo_leaves_the_slot() {
    let mut bench = joined();
    bench.data(102);
    bench.ack(101);
    bench.counted(&[]);
    assert_eq!(bench.wait(2).ack(102), Some(2 * MS));
}

#[test]
fn an_unmatched_tsval_is_not_overwritten() {
    let mut bench = joined();
    bench.data(101);
    bench.wait(1).data(102);
    bench.wait(1).data(103);
    bench.counted(&["rtt_no_slot"]);
    assert_eq!(bench.wait(1).ack(101), Some(3 * MS));
    assert_eq!(bench.ack(102), Some(2 * MS));
    assert_eq!(bench.ack(103), None);
}

#[test]
fn matching_precedes_opening() {
    let mut bench = FlowBench::new();
    bench.send(WAN, pure_ack(50, 1));
    bench.data(100);
    bench.data(101);
    let both = ModelSegment { payload: 1, ..pure_ack(51, 101) };
    assert_eq!(bench.wait(9).send(WAN, both), Some(9 * MS));
    assert_eq!(bench.wait(4).send(LAN, pure_ack(101, 51)), Some(4 * MS));
}

#[test]
fn a_handshake_opens_only_if_asked() {
    for handshake in [false, true] {
        let mut bench = FlowBench::with(Rules { handshake, ..RULES });
        let expected = |ms: u64| handshake.then_some(ms * MS);
        bench.send(WAN, syn(10));
        assert_eq!(bench.wait(30).send(LAN, syn_ack(500, 10)), expected(30));
        assert_eq!(bench.wait(5).send(WAN, pure_ack(15, 500)), expected(5));
    }
}

#[test]
fn after_a_syn_the_first_data_is_an_edge() {
    let mut bench = FlowBench::new();
    bench.send(LAN, syn(500));
    bench.data(501);
    assert_eq!(bench.wait(6).ack(501), Some(6 * MS));
    let mut same_tick = FlowBench::new();
    same_tick.send(LAN, syn(500));
    same_tick.data(500);
    assert_eq!(
        same_tick.ack(500),
        None,
        "neither the SYN nor the second segment of its TSval opens a sample"
    );
}

#[test]
fn a_new_connection_forgets_the_old_one() {
    let mut bench = joined();
    bench.send(WAN, pure_ack(70, 1));
    bench.send(WAN, ModelSegment { payload: 1, ..pure_ack(71, 1) });
    bench.data(101);
    bench.send(LAN, syn(50));
    bench.counted(&["rtt_evicted", "rtt_evicted"]);
    bench.send(WAN, syn_ack(3, 50));
    bench.counted(&[]);
    bench.data(51);
    assert_eq!(bench.wait(2).ack(51), Some(2 * MS), "TSvals below the old connection's are edges");
}

#[test]
fn a_syn_ack_of_a_connection_whose_syn_was_not_seen_forgets_both_ways() {
    let mut bench = joined();
    bench.send(WAN, pure_ack(70, 1));
    bench.data(101);
    bench.send(WAN, syn_ack(5, 42));
    bench.counted(&["rtt_evicted"]);
    assert_eq!(bench.wait(1).ack(101), None);
    bench.data(43);
    assert_eq!(bench.wait(1).ack(43), Some(MS), "its TSecr is the TSval of the SYN");
}

#[test]
fn a_syn_ack_after_its_syn_forgets_its_own_way_only() {
    let mut bench = joined();
    bench.send(WAN, pure_ack(70, 1));
    bench.send(LAN, syn(42));
    bench.send(WAN, syn_ack(5, 42));
    bench.data(43);
    assert_eq!(bench.wait(1).ack(43), Some(MS));
}

#[test]
fn a_flow_found_idle_takes_any_tsval() {
    let mut bench = joined();
    bench.send(WAN, pure_ack(1, 100));
    bench.wait(17_000).data(50);
    assert_eq!(bench.wait(1).ack(50), None, "the first: it may not be new");
    bench.data(51);
    assert_eq!(bench.wait(1).ack(51), Some(MS));
}

#[test]
fn the_other_way_of_a_flow_found_idle_takes_any_tsval_too() {
    let mut bench = joined();
    bench.send(WAN, pure_ack(1, 100));
    bench.wait(17_000).data(101);
    bench.send(WAN, ModelSegment { payload: 1, ..pure_ack(0x9000_0000, 51) });
    bench.send(WAN, ModelSegment { payload: 1, ..pure_ack(0x9000_0001, 51) });
    assert_eq!(bench.wait(3).send(LAN, pure_ack(52, 0x9000_0001)), Some(3 * MS));
}

#[test]
fn a_way_is_not_blind_after_a_stray_segment_far_ahead() {
    let mut bench = joined();
    bench.data(0x4000_0000);
    for tsval in 101..104 {
        bench.wait(600).data(tsval);
        assert_eq!(bench.wait(1).ack(tsval), None);
    }
    bench.data(104);
    bench.counted(&["rtt_resynced", "rtt_evicted"]);
    bench.data(105);
    assert_eq!(bench.wait(1).ack(105), Some(MS));
}

#[test]
fn reordering_does_not_look_like_another_clock() {
    let mut bench = joined();
    bench.data(200);
    for tsval in 101..180 {
        bench.wait(10).data(tsval);
    }
    bench.data(200);
    bench.data(201);
    assert_eq!(bench.wait(1).ack(200), Some(791 * MS));
    assert_eq!(bench.ack(201), Some(MS));
}

#[test]
fn a_clock_that_goes_back_gives_no_sample() {
    let mut bench = joined();
    bench.data(101);
    bench.now -= MS;
    assert_eq!(bench.ack(101), None);
    bench.counted(&["rtt_clock_back"]);
    bench.data(102);
    bench.now -= 30_000 * MS;
    assert_eq!(bench.ack(102), None);
    bench.counted(&["rtt_clock_back"]);
    bench.data(103);
    assert_eq!(bench.wait(20).ack(103), Some(20 * MS));
}

#[test]
fn a_syn_on_an_established_way_is_another_connection_with_any_tsval() {
    let mut bench = joined();
    bench.data(101);
    bench.send(LAN, syn(102));
    bench.counted(&["rtt_evicted"]);
}

#[test]
fn a_tsval_that_came_round_ends_twice_but_counts_once() {
    let mut bench = joined();
    bench.data(101);
    for quarter in 1..4 {
        bench.send(LAN, pure_ack(101 + (quarter << 30), 1));
    }
    bench.wait(5).data(101);
    assert_eq!(bench.wait(5).ack(101), Some(10 * MS));
    bench.counted(&["rtt_unmatched"]);
}

#[test]
fn a_syn_sent_again_forgets_nothing() {
    let mut bench = FlowBench::with(Rules { handshake: true, ..RULES });
    bench.send(LAN, syn(10));
    bench.wait(1000).send(LAN, syn(10));
    bench.send(LAN, syn(1010));
    bench.counted(&[]);
    assert_eq!(bench.wait(20).send(WAN, syn_ack(5, 10)), Some(1020 * MS));
    assert_eq!(bench.send(WAN, syn_ack(5, 1010)), Some(20 * MS));
}

#[test]
fn a_syn_with_an_earlier_tsval_is_another_connection() {
    let mut bench = FlowBench::with(Rules { handshake: true, ..RULES });
    bench.send(LAN, syn(1000));
    bench.send(LAN, syn(10));
    bench.counted(&["rtt_evicted"]);
    assert_eq!(bench.wait(20).send(WAN, syn_ack(5, 10)), Some(20 * MS));
}

#[test]
fn ten_seconds_are_not_too_old_one_unit_more_is() {
    let mut bench = joined();
    bench.data(101);
    assert_eq!(bench.wait(10_000).ack(101), Some(10_000 * MS));
    bench.data(102);
    bench.now += 10_000 * MS + 8;
    assert_eq!(bench.ack(102), None);
    bench.counted(&["rtt_timed_out"]);
}

#[test]
fn opening_takes_a_slot_that_timed_out() {
    let rules = Rules { sweep_ticks: 1000, idle_ticks: 1000, ..RULES };
    let mut bench = FlowBench::with(rules);
    bench.data(100);
    bench.data(101);
    bench.wait(1).data(102);
    bench.wait(10_000).data(103);
    bench.counted(&["rtt_timed_out"]);
    bench.data(104);
    bench.counted(&["rtt_no_slot"]);
    assert_eq!(bench.wait(1).ack(103), Some(MS));
    bench.counted(&["rtt_timed_out"]);
}

#[test]
fn a_sweep_frees_timed_out_slots_of_both_ways() {
    let mut bench = joined();
    bench.send(WAN, pure_ack(70, 1));
    bench.send(WAN, ModelSegment { payload: 1, ..pure_ack(71, 1) });
    bench.data(101);
    bench.wait(8_000).data(102);
    bench.counted(&[]);
    bench.wait(62 * 64).data(102);
    bench.counted(&[]);
    bench.wait(64).data(102);
    bench.counted(&["rtt_timed_out", "rtt_timed_out"]);
    assert_eq!(bench.ack(102), Some(63 * 64 * MS));
}

#[test]
fn an_idle_flow_loses_all_slots_before_their_times_wrap() {
    let mut bench = joined();
    bench.data(101);
    assert_eq!(bench.wait(34_360).ack(101), None, "34.36 s: 0.26 ms in 32 bits of units");
    bench.counted(&["rtt_timed_out"]);
}

#[test]
fn sweeping_follows_a_restart_and_precedes_the_match() {
    let mut bench = joined();
    bench.data(101);
    bench.wait(20_000).send(LAN, syn(5));
    bench.counted(&["rtt_evicted"]);
    let mut bench = joined();
    bench.data(101);
    bench.data(102);
    bench.wait(20_000).ack(102);
    bench.counted(&["rtt_timed_out", "rtt_timed_out"]);
}

#[test]
fn unit_zero_counts_as_one() {
    let mut bench = FlowBench::new();
    bench.now = 1 << 35; // a multiple of 2^32 units
    bench.flow = TrackedFlow::new(bench.now, &RULES);
    bench.data(100);
    bench.data(101);
    bench.now += 16;
    assert_eq!(bench.ack(101), Some(8));
}

#[test]
fn serial_numbers_compare_as_rfc_7323_says() {
    assert!(is_after(1, 0));
    assert!(is_after(0, u32::MAX));
    assert!(!is_after(5, 5));
    assert!(!is_after(0, 1 << 31));
    assert!(!is_after(1 << 31, 0));
}
