// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/* What any program costs that finds one thing in a table like `endpoints`: the measure for `bench/dataplane.ts`. */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>
#include "types.h"

char LICENSE[] SEC("license") = "GPL";

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 131072);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct vpc_addr);
	__type(value, struct endpoint);
} floor_map SEC(".maps");

SEC("tcx/ingress")
int one_lookup(struct __sk_buff *skb __attribute__((unused)))
{
	struct vpc_addr key = { .vni = 7 };

	return bpf_map_lookup_elem(&floor_map, &key) ? TC_ACT_SHOT : TC_ACT_OK;
}
