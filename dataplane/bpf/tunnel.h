/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* Into a tunnel, out of it, and on through the next. */
#ifndef PROXIMA_TUNNEL_H
#define PROXIMA_TUNNEL_H

/* Sender of every frame that a front encapsulates: a client's packet, whose answers have to find the way back. No pod has it. */
static const __u8 front_mac[6] __attribute__((aligned(8))) = { 0x02, 0x70, 0x78, 0x00, 0x00, 0x02 };

/* Out of this host with the tunnel headers in place. */
static __always_inline int transmit(struct __sk_buff *skb, struct packet *p, int via_tunnel)
{
	if (via_tunnel)
		return bpf_redirect(p->cfg->tunnel_ifindex, 0); /* a layer 3 device: the kernel takes the Ethernet header off */
	if (!p->has_mac && bpf_skb_change_head(skb, ETH_HLEN, 0))
		return drop(DROP_KERNEL);
	return bpf_redirect_neigh(p->cfg->lan_ifindex, NULL, 0, 0);
}

/* The outer header of a packet that is in a tunnel already, for the next hop: 0, or the reason to drop. */
static __always_inline int readdress(void *ip_header, const void *end, __be32 from, __be32 to)
{
	struct iphdr *ip = ip_header;

	if ((void *)(ip + 1) > end)
		return DROP_MALFORMED;
	if (ip->ttl <= 1)
		return DROP_TTL;
	ip->ttl--;
	ip->saddr = from;
	ip->daddr = to;
	ip->check = ip_checksum(ip_header);
	return 0;
}

/* Sends a packet that is in a tunnel already on to another droplet. */
static __always_inline int pass_on(struct __sk_buff *skb, struct packet *p, __be32 to, int via_tunnel)
{
	void *outer = (void *)(long)skb->data + (p->has_mac ? ETH_HLEN : 0);
	int bad = readdress(outer, (void *)(long)skb->data_end, via_tunnel ? p->cfg->tunnel_addr : p->cfg->lan_addr, to);

	return bad ? drop(bad) : transmit(skb, p, via_tunnel);
}

/* Puts the packet, Ethernet header and all, into a tunnel. Segmentation offload stays: the kernel cuts the outer packet. */
static __always_inline int encapsulate(struct __sk_buff *skb, struct packet *p, __be32 to, int via_tunnel)
{
	const __u64 flags = BPF_F_ADJ_ROOM_FIXED_GSO | BPF_F_ADJ_ROOM_ENCAP_L3_IPV4 | BPF_F_ADJ_ROOM_ENCAP_L4_UDP |
			    BPF_F_ADJ_ROOM_ENCAP_L2(ETH_HLEN) | BPF_F_ADJ_ROOM_ENCAP_L2_ETH;
	void *data, *inner;

	if (bpf_skb_adjust_room(skb, ROOM_BYTES, BPF_ADJ_ROOM_MAC, flags))
		return drop(DROP_KERNEL);
	data = (void *)(long)skb->data;
	inner = data + ETH_HLEN + sizeof(struct tunnel_headers);
	if (inner + ETH_HLEN > (void *)(long)skb->data_end)
		return drop(DROP_KERNEL);
	fill_tunnel(data + ETH_HLEN, p->vni, via_tunnel ? p->cfg->tunnel_addr : p->cfg->lan_addr, to, skb->len - ETH_HLEN, flow_hash(p));
	/* The kernel moved the packet's own Ethernet header to the front, where the next one will be. */
	write_mac(inner, data);
	write_mac(inner + ETH_ALEN, p->is_client ? front_mac : data + ETH_ALEN);
	((struct ethhdr *)inner)->h_proto = bpf_htons(ETH_P_IP);
	return transmit(skb, p, via_tunnel);
}

/* Takes the tunnel headers off and leaves room for an Ethernet header before the packet. */
static __always_inline int decapsulate(struct __sk_buff *skb, struct packet *p)
{
	__u32 outer = p->has_mac ? ETH_HLEN : 0;

	if (bpf_skb_adjust_room(skb, -(__s32)(p->inner - outer), BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO))
		return -1;
	if (!p->has_mac && bpf_skb_change_head(skb, ETH_HLEN, 0))
		return -1;
	p->has_mac = 1;
	p->inner = ETH_HLEN;
	p->outer_src = 0;
	return 0;
}

/* Relays have the addresses of 100.64.0.0/10, and only a relay talks to one. */
static __always_inline int is_via_tunnel(const struct packet *p, __be32 to)
{
	return p->cfg->tunnel_ifindex && (to & bpf_htonl(0xffc00000)) == bpf_htonl(0x64400000);
}

#endif
