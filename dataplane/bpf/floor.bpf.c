// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/* What any program costs that looks one thing up: the measure for `bench/dataplane.ts`. */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u64);
	__type(value, __u64);
} floor_map SEC(".maps");

SEC("tcx/ingress")
int one_lookup(struct __sk_buff *skb)
{
	__u64 key = skb->len;

	return bpf_map_lookup_elem(&floor_map, &key) ? TC_ACT_SHOT : TC_ACT_OK;
}
