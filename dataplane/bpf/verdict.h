/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* Every drop has a number, never reused, and leaves through one function that counts it. `dataplane/transit/layout.ts` names them. */
#ifndef PROXIMA_VERDICT_H
#define PROXIMA_VERDICT_H

enum drop_reason {
	DROP_UNKNOWN_PORT = 1,	/* a packet from an interface that no pod was given */
	DROP_SPOOFED = 2,	/* source address or MAC is not the pod's own */
	DROP_NO_ROUTE = 3,	/* no endpoint, network, route or answer that it could belong to */
	DROP_NOT_BELIEVED = 4,	/* Geneve from an address that is no droplet of ours */
	DROP_MALFORMED = 5,	/* too short, or not what its headers say */
	DROP_TTL = 6,		/* went round too often */
	DROP_NO_BACKEND = 7,	/* a front without backends */
	DROP_UNSUPPORTED = 8,	/* not IPv4, or a fragment where ports are needed */
	DROP_KERNEL = 9,	/* the kernel could not make room or change the packet */
	DROP_TOO_BIG = 10,	/* larger than the way on carries, and its sender could not be told */
	DROP_REASONS = 16,
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, DROP_REASONS);
	__type(key, __u32);
	__type(value, __u64);
} drops SEC(".maps");

static __always_inline int drop(__u32 reason)
{
	__u64 *n = bpf_map_lookup_elem(&drops, &reason);

	if (n)
		(*n)++;
	return TC_ACT_SHOT;
}

#endif
