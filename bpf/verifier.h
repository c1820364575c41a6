/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Helpers that only the verifier needs. Without them the programs would do the
 * same, but the kernel would not load them. Each comment quotes the error that
 * the kernel reports without the helper.
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
 * pointers for NULL ("R1 invalid mem access 'mem_or_null'"). An argument that is a
 * program's context has the context's own type, struct xdp_md or struct __sk_buff,
 * so that each hook needs a function of its own.
 */
#define VERIFY_ONCE __attribute__((noinline))

/* Always 0, and never written; but the verifier does not know that. */
volatile __u32 verifier_zero;

/*
 * Returns `value`, which the verifier then takes for any number. It then follows the
 * code behind once, and not once for each number: a million instructions become
 * ten thousand. Without it: "BPF program is too large. Processed 1000001 insn".
 */
static __always_inline __u32 forget_value(__u32 value)
{
	return value + verifier_zero;
}

/*
 * Returns `value`, which never has a bit outside `mask`, and tells the verifier so.
 * Without it, for an offset into a packet or a map's value:
 *
 *     math between pkt pointer and register with unbounded min value is not allowed
 *     R2 unbounded memory access, make sure to bounds check any such access
 */
static __always_inline __u32 bounded(__u32 value, __u32 mask)
{
	return value & mask;
}

/* The index of a direction, a side or another pair: `dir` is 0 or 1, and the
 * verifier must know it. The errors are those of bounded(). */
static __always_inline __u32 pair_index(__u32 dir)
{
	return dir & 1;
}

/*
 * Tests a condition that never holds, where the verifier cannot know that and a
 * bounded() would hide a mistake: `if (never(index >= SIZE)) return;`. Without it:
 *
 *     invalid access to map value, value_size=64 off=76 size=4
 */
static __always_inline bool never(bool condition)
{
	return condition;
}

/*
 * Initialises a local variable that the program writes before it reads it. The
 * verifier does not see that on each way. Without it:
 *
 *     invalid read from stack R10 off=-72 size=8
 */
#define UNSET                                                                                      \
	{                                                                                          \
	}

/* Keeps a constant out of the 512 bytes of stack, in .rodata. Without it, from clang or from
 * the verifier: "combined stack size of 2 calls is 544. Too large". */
#define OFF_STACK static const

/*
 * Defines a global function that returns true and changes nothing. The verifier
 * must assume that it writes to the struct, so that it forgets by which of a thousand
 * ways the struct came about, and follows the code behind once. Without it:
 * "BPF program is too large. Processed 1000001 insn".
 */
#define DEFINE_FORGET(name, type)                                                                  \
	VERIFY_ONCE int name(type *content)                                                        \
	{                                                                                          \
		asm volatile("" ::: "memory");                                                     \
		return content != NULL;                                                            \
	}

#endif
