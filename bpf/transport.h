/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The one parser, above the network header: IPv6 extension headers, TCP with its
 * timestamps, ICMP echoes. parse.h has what is below.
 */
#ifndef CPP_TRANSPORT_H
#define CPP_TRANSPORT_H

#include <linux/in.h>
#include <linux/tcp.h>
#include "parse.h"

struct ipv6_extension { /* RFC 8200, 4: hop-by-hop, routing, destination options */
	__u8 next;
	__u8 length; /* in 8 bytes, without the first 8; AH: in 4 bytes, without 8 */
	__be16 fragment_offset;
	__be32 rest;
};

static __always_inline bool is_ipv6_extension(__u8 protocol)
{
	return protocol == IPPROTO_HOPOPTS || protocol == IPPROTO_ROUTING ||
	       protocol == IPPROTO_DSTOPTS || protocol == IPPROTO_AH ||
	       protocol == IPPROTO_FRAGMENT;
}

/* What find_transport() found: `offset` of the header of `protocol`, or that
 * there is none to be read. */
#define TRANSPORT_AT(offset, protocol) ((int)((protocol) << 16 | (offset)))
#define TRANSPORT_NONE(protocol)       TRANSPORT_AT(0, protocol)
#define TRANSPORT_OFFSET(found)	       ((found)&0xffff)
#define TRANSPORT_PROTOCOL(found)      ((found) >> 16)

/* Follows a chain of extension headers that begins at `offset` with one of
 * `protocol`: TRANSPORT_*, or -1 if the frame ends before the chain does. */
static __always_inline int find_transport(struct cursor *cur, __u32 offset, __u32 protocol)
{
	cur->offset = offset & MAX_HEADERS;
	for (int i = 0; i < MAX_IPV6_EXT_HEADERS; i++) {
		struct ipv6_extension *ext = TAKE(cur, struct ipv6_extension);
		__u32 more = 0, next;

		if (!ext)
			return -1;
		next = ext->next;
		if (protocol == IPPROTO_AH)
			more = ext->length * 4; /* RFC 4302, 2.2: words less 2 */
		else if (protocol != IPPROTO_FRAGMENT)
			more = ext->length * 8;
		else if (ext->fragment_offset & bpf_htons(0xfff8))
			return TRANSPORT_NONE(next);
		if (!cursor_skip(cur, more))
			return -1;
		if (cur->offset > MAX_HEADERS - MAX_TCP_HEADER)
			return TRANSPORT_NONE(next);
		if (!is_ipv6_extension(next))
			return TRANSPORT_AT(cur->offset, next);
		cursor_forget(cur);
		protocol = next;
	}
	return TRANSPORT_NONE(protocol); /* a longer chain than anybody sends */
}

/* Moves on to where find_transport() says that the transport header is. */
static __always_inline enum parse_result enter_transport(struct cursor *cur, int found,
							 struct ip_packet *ip)
{
	if (found < 0)
		return PARSE_TRUNCATED;
	cur->offset = TRANSPORT_OFFSET(found) & MAX_HEADERS;
	ip->protocol = TRANSPORT_PROTOCOL(found);
	ip->has_ports = cur->offset != 0;
	return PARSE_OK;
}

#define TCPOPT_EOL	  0
#define TCPOPT_NOP	  1
#define TCPOPT_TIMESTAMP  8
#define TCPOLEN_TIMESTAMP 10

struct tcp_timestamps { /* RFC 7323, 3.2 */
	__be32 tsval;
	__be32 tsecr;
} __attribute__((packed));

/* What every kernel puts first outside the handshake: NOP, NOP, timestamps. */
#define TIMESTAMPS_ALIGNED                                                                         \
	bpf_htonl(TCPOPT_NOP << 24 | TCPOPT_NOP << 16 | TCPOPT_TIMESTAMP << 8 | TCPOLEN_TIMESTAMP)

static __always_inline void set_timestamps(struct tcp_segment *tcp,
					   const struct tcp_timestamps *timestamps)
{
	tcp->tsval = bpf_ntohl(timestamps->tsval);
	tcp->tsecr = bpf_ntohl(timestamps->tsecr);
	tcp->has_timestamps = true;
}

/* One option at `option`, of the `left` bytes that doff leaves: its size, or 0
 * if it is impossible. */
static __always_inline __u32 tcp_option_size(const __u8 *option, __u32 left, const void *end)
{
	__u32 size;

	if (option[0] == TCPOPT_NOP)
		return 1;
	if ((void *)(option + 2) > end)
		return 0;
	size = option[1];
	return size >= 2 && size <= left ? size : 0;
}

/*
 * Looks through the options in any order (RFC 9293, 3.1): `length` bytes at
 * `offset`, known to lie within the frame. Returns the offset of the timestamps'
 * two words, 0 if there are none, or -1 if an option is impossible.
 *
 * The offset goes through verifier_zero each round, so that all ways through a
 * round end in one state; without that their number doubles forty times.
 */
static __always_inline int find_tcp_timestamps(struct cursor *cur, __u32 offset, __u32 length)
{
	const __u8 *options = cur->data + (offset & MAX_HEADERS);
	__u32 at = 0;

	for (int i = 0; i < MAX_TCP_OPTION_BYTES && at < length; i++) {
		const __u8 *option = options + at;
		__u32 size;

		if ((void *)(option + 1) > cur->end)
			return -1;
		if (option[0] == TCPOPT_EOL)
			return 0;
		size = tcp_option_size(option, length - at, cur->end);
		if (!size)
			return -1;
		if (option[0] == TCPOPT_TIMESTAMP)
			return size == TCPOLEN_TIMESTAMP ? (int)(offset + at + 2) : -1;
		at = (at + size + verifier_zero) & 0x3f;
	}
	return 0;
}

/* RFC 9293. `frame_len` is the whole frame's, for the packets that are too big
 * to say theirs. */
static __always_inline enum parse_result parse_tcp(struct cursor *cur, const struct ip_packet *ip,
						   __u32 frame_len, struct tcp_segment *tcp)
{
	__u32 available = frame_len - ip->l3_offset, l3_len = ip->l3_len ?: available;
	__u32 headers = cur->offset - ip->l3_offset, length;
	struct tcphdr *header = TAKE(cur, struct tcphdr);
	__be32 *first;
	void *options;

	if (!header)
		return PARSE_TRUNCATED;
	if (header->doff < 5)
		return PARSE_MALFORMED;
	length = header->doff * 4 - sizeof(*header);
	headers += header->doff * 4;
	options = header + 1;
	if (options + length > cur->end || l3_len > available)
		return PARSE_TRUNCATED;
	if (headers > l3_len)
		return PARSE_MALFORMED;

	tcp->source = header->source;
	tcp->dest = header->dest;
	tcp->payload = l3_len - headers;
	tcp->syn = header->syn;
	tcp->ack = header->ack;
	tcp->fin = header->fin;
	tcp->rst = header->rst;
	tcp->first_is_edge = header->syn;
	tcp->has_timestamps = false;

	first = options;
	tcp->options_len = length;
	if (length >= 12 && options + 12 <= cur->end && *first == TIMESTAMPS_ALIGNED) {
		set_timestamps(tcp, options + 4);
		tcp->options_len = 0;
	}
	return PARSE_OK;
}

/* The timestamps where find_tcp_timestamps() says that they are. */
static __always_inline enum parse_result parse_timestamps(struct cursor *cur, int found,
							  struct tcp_segment *tcp)
{
	struct tcp_timestamps *timestamps;

	if (found <= 0)
		return found ? PARSE_MALFORMED : PARSE_OK;
	cur->offset = found & MAX_HEADERS;
	timestamps = TAKE(cur, struct tcp_timestamps);
	if (!timestamps)
		return PARSE_TRUNCATED;
	set_timestamps(tcp, timestamps);
	return PARSE_OK;
}

struct echo_header { /* RFC 792, RFC 4443 4.1 */
	__u8 type;
	__u8 code;
	__be16 checksum;
	__be16 identifier;
	__be16 sequence;
};

#define ICMP_ECHO_REQUEST   8
#define ICMP_ECHO_REPLY	    0
#define ICMPV6_ECHO_REQUEST 128
#define ICMPV6_ECHO_REPLY   129

/*
 * An ICMP echo as a TCP segment, so that one set of rules measures both: the
 * identifier is the ports, and the sequence number what is echoed. It stands in
 * the upper half, so that TSvals' circular comparison goes for its 16 bits; the 1
 * below keeps a sequence number of 0 from reading as "no TSecr".
 */
static __always_inline enum parse_result parse_echo(struct cursor *cur, const struct ip_packet *ip,
						    struct tcp_segment *tcp)
{
	struct echo_header *echo;
	bool request, reply;
	__u32 sequence;

	if (ip->protocol != (ip->is_ipv6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP))
		return PARSE_OTHER;
	if (!ip->has_ports)
		return PARSE_FRAGMENT;
	cursor_forget(cur);
	echo = TAKE(cur, struct echo_header);
	if (!echo)
		return PARSE_TRUNCATED;
	request = echo->type == (ip->is_ipv6 ? ICMPV6_ECHO_REQUEST : ICMP_ECHO_REQUEST);
	reply = echo->type == (ip->is_ipv6 ? ICMPV6_ECHO_REPLY : ICMP_ECHO_REPLY);
	if (!request && !reply)
		return PARSE_OTHER;
	sequence = (__u32)bpf_ntohs(echo->sequence) << 16 | 1;
	*tcp = (struct tcp_segment){
		.source = echo->identifier,
		.dest = echo->identifier,
		.payload = request,
		.tsval = request ? sequence : 1,
		.tsecr = reply ? sequence : 0,
		.has_timestamps = true,
		.first_is_edge = request,
		.ack = reply,
	};
	return PARSE_OK;
}

/* The transport header at the cursor: PARSE_OTHER unless it is TCP. */
static __always_inline enum parse_result parse_transport(struct cursor *cur, struct ip_packet *ip,
							 __u32 frame_len, struct tcp_segment *tcp)
{
	if (ip->protocol != IPPROTO_TCP)
		return PARSE_OTHER;
	if (!ip->has_ports)
		return PARSE_FRAGMENT;
	cursor_forget(cur);
	return parse_tcp(cur, ip, frame_len, tcp);
}

#endif
