/* SPDX-License-Identifier: GPL-2.0 */
/* The reference model's parser (src/lib.rs). */
#ifndef FUZZ_ORACLE_H
#define FUZZ_ORACLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What TC learns from a frame. What does not apply is 0: bytes can be compared. */
struct parsed {
	uint32_t network;   /* enum parse_result */
	uint32_t transport; /* enum parse_result; from here on: with network PARSE_OK */
	uint32_t is_ipv6;
	uint32_t protocol; /* as the IP header says */
	uint32_t l3_offset;
	uint32_t l3_end;
	uint32_t l3_length;
	uint8_t source[16];
	uint8_t destination[16];
	uint32_t has_timestamps; /* from here on: with transport PARSE_OK and timestamps */
	uint32_t source_port;
	uint32_t destination_port;
	uint32_t payload;
	uint32_t tsval;
	uint32_t tsecr;
	uint32_t syn;
	uint32_t ack;
};
_Static_assert(sizeof(struct parsed) == 92, "Parsed in src/lib.rs");

/* `bare`: the frame begins with its IP header. */
void model_parse(const uint8_t *frame, size_t length, bool bare, struct parsed *parsed);

#endif
