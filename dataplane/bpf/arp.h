/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* A pod's gateway answers for every address: what is behind it is for `forward` to know. */
#ifndef PROXIMA_ARP_H
#define PROXIMA_ARP_H

#define ARPOP_REQUEST 1
#define ARPOP_REPLY 2

static __always_inline int answer_arp(struct __sk_buff *skb, struct port *self)
{
	struct {
		struct ethhdr eth;
		__be16 hardware, protocol;
		__u8 hardware_len, protocol_len;
		__be16 op;
		__u8 sha[6];
		__be32 spa;
		__u8 tha[6];
		__be32 tpa;
	} __attribute__((packed)) a;
	__be32 asked;

	if (bpf_skb_load_bytes(skb, 0, &a, sizeof(a)))
		return drop(DROP_MALFORMED);
	/* A pod that probes or announces its own address must hear nothing. */
	if (a.op != bpf_htons(ARPOP_REQUEST) || a.tpa == self->addr || a.spa != self->addr)
		return TC_ACT_SHOT;
	asked = a.tpa;
	__builtin_memcpy(a.eth.h_dest, self->mac, 6);
	__builtin_memcpy(a.eth.h_source, gateway_mac, 6);
	a.op = bpf_htons(ARPOP_REPLY);
	__builtin_memcpy(a.sha, gateway_mac, 6);
	__builtin_memcpy(a.tha, self->mac, 6);
	a.tpa = a.spa;
	a.spa = asked;
	if (bpf_skb_store_bytes(skb, 0, &a, sizeof(a), 0))
		return drop(DROP_KERNEL);
	return bpf_redirect(skb->ifindex, 0);
}

#endif
