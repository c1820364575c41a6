/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Coverage-guided fuzzing of the parser (bpf/parse.h, extension.h, tcp.h and mark_*.h),
 * whose headers are compiled for the host unchanged. They need no BPF helper; libbpf's
 * byte order macros come from include/bpf/ beside this file.
 *
 * Each input is a frame, in a heap buffer of exactly its size, so that
 * AddressSanitizer sees every read beyond it. Then:
 *  - the reference model must make the same of it;
 *  - with only the first bytes linear, as a driver may leave it, the parser must
 *    come to the same or say PARSE_TRUNCATED: read_packet() relies on that when
 *    it pulls the rest in and tries again;
 *  - without a link header the model must make the same of it, too;
 *  - an ICMP echo is a request or a reply, and never a TCP segment;
 *  - no cursor leaves the buffer, and no byte of the frame changes.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "extension.h"
#include "mark_icmp.h"
#include "mark_tcp.h"
#include "parse.h"
#include "segment.h"
#include "tcp.h"
#include "oracle.h"

static void show(const char *whose, const struct parsed *parsed)
{
	fprintf(stderr, "%s: network %u transport %u ipv6 %u protocol %u l3 %u-%u length %u\n",
		whose, parsed->network, parsed->transport, parsed->is_ipv6, parsed->protocol,
		parsed->l3_offset, parsed->l3_end, parsed->l3_length);
	fprintf(stderr, "  timestamps %u: %u %u, ports %u %u, payload %u, syn %u, ack %u\n",
		parsed->has_timestamps, parsed->tsval, parsed->tsecr, parsed->source_port,
		parsed->destination_port, parsed->payload, parsed->syn, parsed->ack);
}

static void fail(const char *why, const uint8_t *frame, size_t length)
{
	fprintf(stderr, "fuzz: %s\nfuzz: the frame:", why);
	for (size_t i = 0; i < length; i++)
		fprintf(stderr, " %02x", frame[i]);
	fprintf(stderr, "\n");
	abort();
}

/* Reads the transport header and the timestamps: the calls of read_transport() in
 * bpf/packet.h, in its order. */
static enum parse_result parse_segment(struct cursor *cur, struct ip_packet *ip, __u32 frame_len,
				       struct segment *segment)
{
	struct cursor walk;
	enum parse_result result;
	__u32 options;

	if (ip->is_ipv6 && is_ipv6_extension(ip->protocol)) {
		walk = *cur;
		result = enter_transport(cur, find_transport(&walk, cur->offset, ip->protocol), ip);
		if (result == PARSE_TOO_DEEP && ip->protocol != IPPROTO_TCP &&
		    !is_ipv6_extension(ip->protocol))
			return PARSE_OTHER;
		if (result != PARSE_OK)
			return result;
	}
	if (ip->protocol != IPPROTO_TCP)
		return PARSE_OTHER;
	result = parse_tcp(cur, ip, frame_len, segment, &options);
	if (result != PARSE_OK || !options || mark_aligned(cur, options, segment))
		return result;
	walk = *cur;
	return mark_found(cur, find_tcp_timestamps(&walk, cur->offset, options), segment);
}

static void set_segment(struct parsed *parsed, const struct segment *segment)
{
	if (!segment->has_mark)
		return;
	parsed->has_timestamps = 1;
	parsed->source_port = bpf_ntohs(segment->source);
	parsed->destination_port = bpf_ntohs(segment->dest);
	parsed->payload = segment->payload;
	parsed->tsval = segment->mark;
	parsed->tsecr = segment->echo;
	parsed->syn = segment->starts;
	parsed->ack = segment->has_echo;
}

/* A packet that is not TCP may be an ICMP echo, which is measured, too. */
static void check_echo(struct cursor *cur, const struct ip_packet *ip, const uint8_t *frame,
		       size_t length)
{
	struct segment echo = {};

	if (parse_echo(cur, ip, &echo) != PARSE_OK)
		return;
	if (ip->protocol != IPPROTO_ICMP && ip->protocol != IPPROTO_ICMPV6)
		fail("an echo that is not ICMP", frame, length);
	if (!echo.has_mark || echo.has_echo == echo.asks || echo.source != echo.dest)
		fail("an echo that is neither request nor reply", frame, length);
	if (echo.has_echo ? echo.mark : echo.echo)
		fail("a request that echoes, or a reply with a mark", frame, length);
}

static void parse_cursor(struct cursor *cur, bool bare, __u32 frame_len, struct parsed *parsed)
{
	struct ip_packet ip = {};
	struct segment segment = {};

	parsed->network = bare ? parse_bare_ip(cur, &ip) : parse_ip(cur, &ip);
	if (parsed->network != PARSE_OK)
		return;
	parsed->is_ipv6 = ip.is_ipv6;
	parsed->protocol = ip.protocol;
	parsed->l3_offset = ip.l3_offset;
	parsed->l3_end = cur->offset;
	parsed->l3_length = ip.l3_len ?: frame_len - ip.l3_offset;
	memcpy(parsed->source, &ip.src, sizeof(parsed->source));
	memcpy(parsed->destination, &ip.dst, sizeof(parsed->destination));
	parsed->transport = parse_segment(cur, &ip, frame_len, &segment);
	if (parsed->transport == PARSE_OK)
		set_segment(parsed, &segment);
	else if (parsed->transport == PARSE_OTHER)
		check_echo(cur, &ip, cur->data, cur->end - cur->data);
}

/* A frame of `length` bytes, of which the first `linear` can be read; `bare`: it
 * begins with the IP header. */
static struct parsed parse(const uint8_t *frame, size_t length, size_t linear, bool bare)
{
	struct parsed parsed = {};
	uint8_t *copy = malloc(linear);
	struct cursor cur = { .data = copy, .end = copy + linear };

	if (!copy)
		fail("out of memory", frame, length);
	memcpy(copy, frame, linear);
	parse_cursor(&cur, bare, length, &parsed);
	if (cur.offset > linear)
		fail("the cursor has left the frame", frame, length);
	if (memcmp(copy, frame, linear))
		fail("the parser has changed the frame", frame, length);
	free(copy);
	return parsed;
}

static void compare_with_model(const uint8_t *frame, size_t length, bool bare,
			       const struct parsed *ours)
{
	struct parsed model;

	model_parse(frame, length, bare, &model);
	if (!memcmp(ours, &model, sizeof(model)))
		return;
	show("bpf/parse.h", ours);
	show("the model", &model);
	fail(bare ? "bpf/parse.h and the model differ without a link header" :
		    "bpf/parse.h and the model differ",
	     frame, length);
}

/* Which part of the frame is linear: anything, but the same each time. */
static size_t linear_part(const uint8_t *frame, size_t length)
{
	uint32_t hash = 2166136261u; /* FNV-1a */

	for (size_t i = 0; i < length; i++)
		hash = (hash ^ frame[i]) * 16777619u;
	return (hash ^ hash >> 16) % (length + 1);
}

static void compare_with_part(const uint8_t *frame, size_t length, const struct parsed *whole)
{
	size_t linear = linear_part(frame, length);
	struct parsed part = parse(frame, length, linear, false);

	if (part.network == PARSE_TRUNCATED || part.transport == PARSE_TRUNCATED)
		return;
	if (!memcmp(&part, whole, sizeof(part)))
		return;
	show("the whole", whole);
	show("the linear part", &part);
	fprintf(stderr, "fuzz: %zu of %zu bytes linear\n", linear, length);
	fail("a part of the frame is taken for something else than the whole", frame, length);
}

static void compare_bare(const uint8_t *packet, size_t length)
{
	struct parsed ours = parse(packet, length, length, true);

	compare_with_model(packet, length, true, &ours);
}

#define LINK_HEADER ((size_t)ETH_HLEN)

int LLVMFuzzerTestOneInput(const uint8_t *frame, size_t length)
{
	struct parsed whole = parse(frame, length, length, false);

	compare_with_model(frame, length, false, &whole);
	compare_with_part(frame, length, &whole);
	compare_bare(frame, length);
	/* What follows an Ethernet header is a packet more often. */
	if (length > LINK_HEADER)
		compare_bare(frame + LINK_HEADER, length - LINK_HEADER);
	return 0;
}
