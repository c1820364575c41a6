/* SPDX-License-Identifier: GPL-2.0 */
/* Passes everything: some drivers accept redirected frames only on interfaces
 * that have a program. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

SEC("xdp.frags")
int xdp_pass(struct xdp_md *ctx __attribute__((unused)))
{
	return XDP_PASS;
}
