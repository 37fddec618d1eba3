/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* Reading and rewriting in XDP: frames with whole checksums only, so never on a device that hands on unfinished ones. */
#ifndef PROXIMA_XDP_H
#define PROXIMA_XDP_H

#define HANDED_ON 0x7078646fu

/* In the packet's metadata: it is rewritten already, and is for this VPC. */
struct handed_on {
	__u32 magic;
	__u32 vni;
	__be32 asked; /* what the client called: address and port */
	__be16 asked_port;
	__u16 pad;
};

/* Whether it is TCP or UDP over IPv4 without options or fragments. */
static __always_inline int parse_xdp(struct xdp_md *ctx, struct packet *p)
{
	struct ethhdr *eth = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	struct iphdr *ip = (void *)(eth + 1);
	struct udphdr *ports = (void *)(ip + 1);

	if ((void *)(ports + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP))
		return 0;
	if (ip->version != 4 || ip->ihl != 5 || (ip->frag_off & bpf_htons(FRAGMENT)))
		return 0;
	if (ip->protocol == IPPROTO_TCP) {
		struct tcphdr *tcp = (void *)ports;

		if ((void *)(tcp + 1) > end)
			return 0;
		p->tcp_flags = ((__u8 *)tcp)[13];
	} else if (ip->protocol != IPPROTO_UDP) {
		return 0;
	}
	p->src = ip->saddr;
	p->dst = ip->daddr;
	p->sport = ports->source;
	p->dport = ports->dest;
	p->proto = ip->protocol;
	return 1;
}

/*
 * Whether a TCP or UDP packet without IP options may go on without the kernel's help. Its sender may have left the checksum to the device: it
 * then is the sum of the pseudo header alone. A whole one that happens to look so takes the longer way.
 */
static __always_inline int is_finished(const void *data, const void *end, const struct packet *p)
{
	const struct iphdr *ip = data + (p->inner & FURTHEST);
	const void *l4 = ip + 1;
	const __be16 *check = l4 + (p->proto == IPPROTO_TCP ? offsetof(struct tcphdr, check) : offsetof(struct udphdr, check));

	if (p->has_options || p->inner > FURTHEST || (const void *)(check + 1) > end || (ip->frag_off & bpf_htons(FRAGMENT)))
		return 0;
	if (p->proto == IPPROTO_ICMP)
		return 1;
	if (p->proto == IPPROTO_UDP && !*check)
		return 1;
	if (p->proto != IPPROTO_TCP && p->proto != IPPROTO_UDP)
		return 0;
	return *check != (__u16)~fold((__u64)ip->saddr + ip->daddr + bpf_htons(p->proto) + bpf_htons(bpf_ntohs(ip->tot_len) - sizeof(*ip)));
}

/* Back out of the interface that it came by, to another droplet of the LAN: 0, or the reason to drop. */
static __always_inline int bounce(void *data, void *end, const struct packet *p, const struct droplet *to, __be32 addr)
{
	struct ethhdr *eth = data;
	int bad = readdress(eth + 1, end, p->cfg->lan_addr, addr);

	if (bad)
		return bad;
	write_mac(eth->h_source, eth->h_dest);
	write_mac(eth->h_dest, to->mac);
	return 0;
}

static __always_inline __sum16 adjusted(__sum16 sum, __be32 *from, __be32 *to, __u32 bytes)
{
	return fold(bpf_csum_diff(from, bytes, to, bytes, (__u16)~sum));
}

/* Destination address and port, and the note for `from_uplink`. */
static __always_inline int rewrite_xdp(struct xdp_md *ctx, struct packet *p, __u32 vni, __be32 addr, __be16 port)
{
	struct handed_on *note = (void *)(long)ctx->data_meta;
	struct ethhdr *eth = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	struct iphdr *ip = (void *)(eth + 1);
	struct udphdr *udp = (void *)(ip + 1);
	struct tcphdr *tcp = (void *)(ip + 1);
	__be32 from[2] = { p->dst, p->dport }, to[2] = { addr, port };

	if ((void *)(note + 1) > (void *)eth || (void *)(udp + 1) > end)
		return -1;
	note->magic = HANDED_ON;
	note->vni = vni;
	note->asked = p->dst;
	note->asked_port = p->dport;
	ip->check = adjusted(ip->check, from, to, 4);
	ip->daddr = addr;
	udp->dest = port;
	if (p->proto == IPPROTO_TCP) {
		if ((void *)(tcp + 1) > end)
			return -1;
		tcp->check = adjusted(tcp->check, from, to, 8);
	} else if (udp->check) { /* 0 = none, and stays so */
		udp->check = adjusted(udp->check, from, to, 8);
		if (!udp->check)
			udp->check = 0xffff;
	}
	return 0;
}

#endif
