/* SPDX-License-Identifier: GPL-2.0 */
/* What bpf/parse.h needs of libbpf's header of this name, on the host. */
#ifndef FUZZ_BPF_ENDIAN_H
#define FUZZ_BPF_ENDIAN_H

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define bpf_htons(x) __builtin_bswap16(x)
#define bpf_htonl(x) __builtin_bswap32(x)
#else
#define bpf_htons(x) ((__u16)(x))
#define bpf_htonl(x) ((__u32)(x))
#endif
#define bpf_ntohs(x) bpf_htons(x)
#define bpf_ntohl(x) bpf_htonl(x)

#endif
