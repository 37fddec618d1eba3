/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* What the programs know of a packet, and how they change its addresses. */
#ifndef PROXIMA_PACKET_H
#define PROXIMA_PACKET_H

#define NOT_OURS (-2)
#define FRAGMENT 0x3fff

/* What is known of the packet in hand; `inner` is the offset of its innermost IP header. */
struct packet {
	struct config *cfg;
	__u32 vni;
	__u32 inner;
	__be32 src, dst;
	__be16 sport, dport;
	__u8 proto;
	__u8 tcp_flags;
	__u8 has_options; /* IP options, which move the ports */
	__be32 outer_src; /* 0 = it did not come in a tunnel */
	__u8 has_mac;	  /* the outermost header is Ethernet */
	__u8 is_client;	  /* a client's, by this droplet's front; it asked for: */
	__be16 asked_port;
	__be32 asked;
	__u8 is_far; /* on its way to another site */
};

/* What the compiler puts in line and what out of the way. */
#define USUALLY(x) __builtin_expect(!!(x), 1)
#define RARELY(x) __builtin_expect(!!(x), 0)

#define FURTHEST 511	/* no header that we read begins later */
#define IP_AND_TCP 80	/* headers of both with all options that are read */

/* Brings headers up to `bytes` into the linear part, as far as the packet has them; they nearly always are there. */
static __always_inline void linear(struct __sk_buff *skb, __u32 bytes)
{
	__u32 have = skb->data_end - skb->data;

	if (RARELY(have < bytes && have < skb->len))
		bpf_skb_pull_data(skb, bytes < skb->len ? bytes : skb->len);
}

static __always_inline struct config *configuration(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&config, &zero);
}

/* Reads addresses and, of TCP and UDP, ports, from linear data at `p->inner`; 0 = all is well. */
static __always_inline int parse(const void *data, const void *end, struct packet *p)
{
	const struct iphdr *ip = data + (p->inner & FURTHEST);
	const __be16 *port;

	if (p->inner > FURTHEST || (const void *)(ip + 1) > end)
		return DROP_MALFORMED;
	if (ip->version != 4 || ip->ihl < 5)
		return DROP_UNSUPPORTED;
	p->src = ip->saddr;
	p->dst = ip->daddr;
	p->proto = ip->protocol;
	p->has_options = ip->ihl != 5;
	p->sport = p->dport = 0;
	p->tcp_flags = 0;
	/* A later fragment has no ports; it can be carried inside a VPC, where addresses are enough, and finds no flow elsewhere. */
	if (ip->frag_off & bpf_htons(FRAGMENT & ~0x2000))
		return 0;
	if (ip->protocol != IPPROTO_TCP && ip->protocol != IPPROTO_UDP)
		return 0;
	port = p->has_options ? (const void *)ip + ip->ihl * 4 : (const void *)(ip + 1);
	if ((const void *)(port + 2) > end)
		return DROP_MALFORMED;
	p->sport = port[0];
	p->dport = port[1];
	if (ip->protocol == IPPROTO_TCP && (const void *)port + 14 <= end)
		p->tcp_flags = ((const __u8 *)port)[13];
	return 0;
}

static __always_inline __u32 mix(__u32 a, __u32 b)
{
	a ^= b * 0x9e3779b1u;
	a ^= a >> 16;
	a *= 0x85ebca6bu;
	a ^= a >> 13;
	return a;
}

/* The same for all packets of a flow. */
static __always_inline __u32 flow_hash(const struct packet *p)
{
	return mix(p->src ^ (p->dst << 1), (__u32)p->sport << 16 | p->dport);
}

static __always_inline struct prefix *prefix_of(__u32 vni, __be32 addr)
{
	struct prefix_key key = { .bits = 64, .vni = bpf_htonl(vni), .addr = addr };

	return bpf_map_lookup_elem(&prefixes, &key);
}

static __always_inline void reply_key(struct reply_key *k, __u32 vni, __be32 pod, __be16 pod_port, __be32 client, __be16 client_port, __u8 proto)
{
	__builtin_memset(k, 0, sizeof(*k));
	k->vni = vni;
	k->pod = pod;
	k->pod_port = pod_port;
	k->client = client;
	k->client_port = client_port;
	k->proto = proto;
}

/* A SYN begins anew: the client may reuse a port, and a drained backend must get no new connection. */
static __always_inline int is_opening(const struct packet *p)
{
	return p->proto == IPPROTO_TCP && (p->tcp_flags & 0x12) == 0x02;
}

/* The first words of two MACs and their last. */
static __always_inline int is_same_mac(const __u8 *a, const __u8 *b)
{
	return *(const __u32 *)a == *(const __u32 *)b && *(const __u16 *)(a + 4) == *(const __u16 *)(b + 4);
}

static __always_inline void write_mac(__u8 *to, const __u8 *from)
{
	*(__u32 *)to = *(const __u32 *)from;
	*(__u16 *)(to + 4) = *(const __u16 *)(from + 4);
}

static __always_inline struct port *port_of(__u32 ifindex)
{
	__u32 slot = ifindex % SLOTS;
	struct port *p = bpf_map_lookup_elem(&port_slots, &slot);

	return USUALLY(p && p->ifindex == ifindex) ? p : bpf_map_lookup_elem(&ports, &ifindex);
}

static __always_inline struct droplet *droplet_of(__be32 addr)
{
	__u32 slot = bpf_ntohl(addr) % SLOTS;
	struct droplet_slot *s = bpf_map_lookup_elem(&droplet_slots, &slot);

	return USUALLY(s && s->addr == addr) ? &s->droplet : bpf_map_lookup_elem(&droplets, &addr);
}

static __always_inline __u32 l4_checksum_at(struct packet *p)
{
	return p->inner + sizeof(struct iphdr) + (p->proto == IPPROTO_TCP ? offsetof(struct tcphdr, check) : offsetof(struct udphdr, check));
}

/* Rewrites one address and port of a TCP or UDP packet without IP options, checksums kept right. */
static __always_inline int rewrite(struct __sk_buff *skb, struct packet *p, int is_source, __be32 addr, __be16 port)
{
	__u32 ip_at = p->inner + (is_source ? offsetof(struct iphdr, saddr) : offsetof(struct iphdr, daddr));
	__u32 port_at = p->inner + sizeof(struct iphdr) + (is_source ? 0 : 2);
	__be32 old_addr = is_source ? p->src : p->dst;
	__be16 old_port = is_source ? p->sport : p->dport;
	__u64 udp = p->proto == IPPROTO_UDP ? BPF_F_MARK_MANGLED_0 : 0;
	__u32 sum_at = l4_checksum_at(p);

	if (bpf_l4_csum_replace(skb, sum_at, old_addr, addr, BPF_F_PSEUDO_HDR | udp | 4) ||
	    bpf_l4_csum_replace(skb, sum_at, old_port, port, udp | 2) ||
	    bpf_l3_csum_replace(skb, p->inner + offsetof(struct iphdr, check), old_addr, addr, 4) ||
	    bpf_skb_store_bytes(skb, ip_at, &addr, 4, 0) || bpf_skb_store_bytes(skb, port_at, &port, 2, 0))
		return -1;
	if (is_source) {
		p->src = addr;
		p->sport = port;
	} else {
		p->dst = addr;
		p->dport = port;
	}
	return 0;
}

#endif
