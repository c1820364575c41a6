// SPDX-License-Identifier: GPL-2.0-only

//! RTT rules 1 to 10 of bpf/rtt.h: packet sequences, and the samples they must and must not produce.

mod edges;
mod lifetime;
mod matching;
mod script;
