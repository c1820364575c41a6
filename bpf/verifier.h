/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Helpers that only the verifier needs. Without them the programs would do the same, but
 * some kernel would not load them. Each comment quotes the error that Linux 6.18 or 6.1
 * reports without the helper, or gives the price in verified instructions.
 *
 * One more rule has no helper: a loop that clang does not unroll must not load its
 * variables again at its end. Linux 6.1 takes the step from such a load into the loop's
 * first instruction for an error: "back-edge from insn 1278 to 1279".
 */
#ifndef CPP_VERIFIER_H
#define CPP_VERIFIER_H

#include <stdbool.h>
#include <stddef.h>
#include <linux/types.h>

/*
 * Marks a global function. The verifier checks it once, for any arguments, and
 * does not check it again from every state of every caller. Without it:
 *
 *     BPF program is too large. Processed 1000001 insn
 *
 * Three rules follow. The function has at most five arguments. It checks its
 * pointers for NULL ("pointer arithmetic on mem_or_null prohibited"). An argument that is a
 * program's context has the context's own type, struct xdp_md or struct __sk_buff,
 * so that each hook needs a function of its own.
 */
#define VERIFY_ONCE __attribute__((noinline))

/* Always 0, and never written; but the verifier does not know that. */
volatile __u32 verifier_zero;

/*
 * Returns `value`, which the verifier then takes for any number. So it need not follow
 * the code behind once for each number, such as each depth of tags and extensions. Without
 * it, xdp_iphash_to_cpu costs a third more instructions on Linux 6.18.
 */
static __always_inline __u32 forget_value(__u32 value)
{
	return value + verifier_zero;
}

/*
 * Returns `value`, which never has a bit outside `mask`, and tells the verifier so.
 * Without it, for an offset into a packet or a map's value:
 *
 *     R2 offset is outside of the packet
 */
static __always_inline __u32 bounded(__u32 value, __u32 mask)
{
	return value & mask;
}

/*
 * Returns the index of a direction or a side in an array of two: `pair` is 0 or 1, and
 * the verifier must know it. Without it:
 *
 *     R7 unbounded memory access, make sure to bounds check any such access
 */
static __always_inline __u32 pair_index(__u32 pair)
{
	return bounded(pair, 1);
}

/*
 * Tests a condition that never holds, where the verifier cannot know that and a
 * bounded() would hide a mistake: `if (never(index >= SIZE)) return;`. Without it:
 *
 *     R6 max value is outside of the allowed memory range
 */
static __always_inline bool never(bool condition)
{
	return condition;
}

/*
 * Ends a way on which words of the context were loaded. Without it, where the other way
 * loads words of a packet, clang makes one load of both, and the verifier says:
 *
 *     dereference of modified ctx ptr R2 off=60 disallowed
 */
#define keep_apart() asm volatile("" ::: "memory")

#define keep_loop(tries) asm volatile("" : "+r"(tries))

/*
 * Initialises a local variable that the program writes before it reads it. The verifier
 * does not see that on each way. Without it:
 *
 *     R5 !read_ok
 */
#define UNSET                                                                                      \
	{                                                                                          \
	}

/* Keeps a constant in .rodata. Without it, from clang: "Looks like the BPF stack limit of 512
 * bytes is exceeded". */
#define OFF_STACK static const

/*
 * Defines a global function that returns true and changes nothing. The verifier
 * must assume that it writes to the struct. So it forgets by which of a thousand ways the
 * struct came about, and follows the code behind once. Without it, pping_egress costs
 * 302000 instructions, not 114000.
 */
#define DEFINE_FORGET(name, type)                                                                  \
	VERIFY_ONCE int name(type *content)                                                        \
	{                                                                                          \
		asm volatile("" ::: "memory");                                                     \
		return content != NULL;                                                            \
	}

#endif
