/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* Into a tunnel, out of it, and on through the next. */
#ifndef PROXIMA_TUNNEL_H
#define PROXIMA_TUNNEL_H

/* Sender of every frame that a front encapsulates: a client's packet, whose answers have to find the way back. No pod has it. */
static const __u8 front_mac[6] = { 0x02, 0x70, 0x78, 0x00, 0x00, 0x02 };

/* Out of this host with the tunnel headers in place. */
static __always_inline int transmit(struct __sk_buff *skb, struct packet *p, int via_tunnel)
{
	if (via_tunnel)
		return bpf_redirect(p->cfg->tunnel_ifindex, 0); /* a layer 3 device: the kernel takes the Ethernet header off */
	if (!p->has_mac && bpf_skb_change_head(skb, ETH_HLEN, 0))
		return drop(DROP_KERNEL);
	return bpf_redirect_neigh(p->cfg->lan_ifindex, NULL, 0, 0);
}

/* Sends a packet that is in a tunnel already on to another droplet. */
static __always_inline int pass_on(struct __sk_buff *skb, struct packet *p, __be32 to, int via_tunnel)
{
	__u32 at = p->has_mac ? ETH_HLEN : 0;
	struct iphdr ip;

	if (read_bytes(skb, at, &ip, sizeof(ip)))
		return drop(DROP_MALFORMED);
	if (ip.ttl <= 1)
		return drop(DROP_TTL);
	ip.ttl--;
	ip.saddr = via_tunnel ? p->cfg->tunnel_addr : p->cfg->lan_addr;
	ip.daddr = to;
	ip.check = 0;
	ip.check = ip_checksum(&ip);
	if (bpf_skb_store_bytes(skb, at, &ip, sizeof(ip), 0))
		return drop(DROP_KERNEL);
	return transmit(skb, p, via_tunnel);
}

/* Puts the packet, Ethernet header and all, into a tunnel. Segmentation offload stays: the kernel cuts the outer packet. */
static __always_inline int encapsulate(struct __sk_buff *skb, struct packet *p, __be32 to, int via_tunnel)
{
	const __u64 flags = BPF_F_ADJ_ROOM_FIXED_GSO | BPF_F_ADJ_ROOM_ENCAP_L3_IPV4 | BPF_F_ADJ_ROOM_ENCAP_L4_UDP |
			    BPF_F_ADJ_ROOM_ENCAP_L2(ETH_HLEN) | BPF_F_ADJ_ROOM_ENCAP_L2_ETH;
	__u32 hash = flow_hash(p);
	struct room r;

	if (read_bytes(skb, 0, &r.eth, sizeof(r.eth)))
		return drop(DROP_MALFORMED);
	if (p->is_client)
		__builtin_memcpy(r.eth.h_source, front_mac, 6);
	if (bpf_skb_adjust_room(skb, ROOM_BYTES, BPF_ADJ_ROOM_MAC, flags))
		return drop(DROP_KERNEL);
	fill_tunnel(&r.tunnel, p->vni, via_tunnel ? p->cfg->tunnel_addr : p->cfg->lan_addr, to, skb->len - ETH_HLEN, hash);
	if (bpf_skb_store_bytes(skb, ETH_HLEN, &r, ROOM_BYTES, 0))
		return drop(DROP_KERNEL);
	return transmit(skb, p, via_tunnel);
}

/* Takes the tunnel headers off; afterwards the packet begins with the Ethernet header given. */
static __always_inline int decapsulate(struct __sk_buff *skb, struct packet *p, const struct ethhdr *eth)
{
	__u32 outer = p->has_mac ? ETH_HLEN : 0;

	if (bpf_skb_adjust_room(skb, -(__s32)(p->inner - outer), BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO))
		return -1;
	if (!p->has_mac && bpf_skb_change_head(skb, ETH_HLEN, 0))
		return -1;
	p->has_mac = 1;
	p->inner = ETH_HLEN;
	p->outer_src = 0;
	return bpf_skb_store_bytes(skb, 0, eth, sizeof(*eth), 0);
}

static __always_inline int send_to(struct __sk_buff *skb, struct packet *p, __be32 to)
{
	/* Relays have the addresses of 100.64.0.0/10, and only a relay talks to one. */
	int via_tunnel = p->cfg->tunnel_ifindex && (to & bpf_htonl(0xffc00000)) == bpf_htonl(0x64400000);

	return p->outer_src ? pass_on(skb, p, to, via_tunnel) : encapsulate(skb, p, to, via_tunnel);
}

#endif
