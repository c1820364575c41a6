/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Coverage-guided fuzzing of bpf/parse.h, compiled for the host: the very
 * header, unchanged. It needs no BPF helper; libbpf's byte order macros come
 * from include/bpf/ beside this file.
 *
 * Each input is a frame, in a heap buffer of exactly its size, so that
 * AddressSanitizer sees every read beyond it. Then:
 *  - the reference model must make the same of it;
 *  - with only the first bytes linear, as a driver may leave it, the parser must
 *    come to the same or say PARSE_TRUNCATED: parse_packet() relies on that when
 *    it pulls the rest in and tries again;
 *  - no cursor leaves the buffer, and no byte of the frame changes.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "parse.h"
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

/* The transport header and the timestamps: the calls of parse_linear() in
 * bpf/classify.h, in its order. */
static enum parse_result parse_segment(struct cursor *cur, struct ip_packet *ip, __u32 frame_len,
				       struct tcp_segment *tcp)
{
	enum parse_result result;

	if (ip->is_ipv6 && is_ipv6_extension(ip->protocol)) {
		struct cursor walk = *cur;
		int found = find_transport(&walk, cur->offset, ip->protocol);

		result = enter_transport(cur, found, ip);
		if (result != PARSE_OK)
			return result;
	}
	result = parse_transport(cur, ip, frame_len, tcp);
	if (result == PARSE_OK && tcp->options_len) {
		struct cursor walk = *cur;
		int found = find_tcp_timestamps(&walk, cur->offset, tcp->options_len);

		result = parse_timestamps(cur, found, tcp);
	}
	return result;
}

static void set_segment(struct parsed *parsed, const struct tcp_segment *tcp)
{
	if (!tcp->has_timestamps)
		return;
	parsed->has_timestamps = 1;
	parsed->source_port = bpf_ntohs(tcp->source);
	parsed->destination_port = bpf_ntohs(tcp->dest);
	parsed->payload = tcp->payload;
	parsed->tsval = tcp->tsval;
	parsed->tsecr = tcp->tsecr;
	parsed->syn = tcp->syn;
	parsed->ack = tcp->ack;
}

static void parse_cursor(struct cursor *cur, __u32 frame_len, struct parsed *parsed)
{
	struct ip_packet ip = {};
	struct tcp_segment tcp = {};

	parsed->network = parse_ip(cur, &ip);
	if (parsed->network != PARSE_OK)
		return;
	parsed->is_ipv6 = ip.is_ipv6;
	parsed->protocol = ip.protocol;
	parsed->l3_offset = ip.l3_offset;
	parsed->l3_end = cur->offset;
	parsed->l3_length = ip.l3_len ?: frame_len - ip.l3_offset;
	memcpy(parsed->source, &ip.src, sizeof(parsed->source));
	memcpy(parsed->destination, &ip.dst, sizeof(parsed->destination));
	parsed->transport = parse_segment(cur, &ip, frame_len, &tcp);
	if (parsed->transport == PARSE_OK)
		set_segment(parsed, &tcp);
}

/* A frame of `length` bytes, of which the first `linear` can be read. */
static struct parsed parse(const uint8_t *frame, size_t length, size_t linear)
{
	struct parsed parsed = {};
	uint8_t *copy = malloc(linear);
	struct cursor cur = { .data = copy, .end = copy + linear };

	if (!copy)
		fail("out of memory", frame, length);
	memcpy(copy, frame, linear);
	parse_cursor(&cur, length, &parsed);
	if (cur.offset > linear)
		fail("the cursor has left the frame", frame, length);
	if (memcmp(copy, frame, linear))
		fail("the parser has changed the frame", frame, length);
	free(copy);
	return parsed;
}

static void compare_with_model(const uint8_t *frame, size_t length, const struct parsed *ours)
{
	struct parsed model;

	model_parse(frame, length, &model);
	if (!memcmp(ours, &model, sizeof(model)))
		return;
	show("bpf/parse.h", ours);
	show("the model", &model);
	fail("bpf/parse.h and the model differ", frame, length);
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
	struct parsed part = parse(frame, length, linear);

	if (part.network == PARSE_TRUNCATED || part.transport == PARSE_TRUNCATED)
		return;
	if (!memcmp(&part, whole, sizeof(part)))
		return;
	show("the whole", whole);
	show("the linear part", &part);
	fprintf(stderr, "fuzz: %zu of %zu bytes linear\n", linear, length);
	fail("a part of the frame is taken for something else than the whole", frame, length);
}

int LLVMFuzzerTestOneInput(const uint8_t *frame, size_t length)
{
	struct parsed whole = parse(frame, length, length);

	compare_with_model(frame, length, &whole);
	compare_with_part(frame, length, &whole);
	return 0;
}
