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
	__u8 is_client;	  /* a client's, by this droplet's front */
};

#define FURTHEST 511 /* no header that we read begins later */

/* From the linear part when it reaches that far, which it nearly always does; else by the helper. */
static __always_inline int read_bytes(struct __sk_buff *skb, __u32 at, void *to, __u32 bytes)
{
	void *from = (void *)(long)skb->data + (at & FURTHEST);

	if (at > FURTHEST)
		return -1;
	if (from + bytes <= (void *)(long)skb->data_end) {
		__builtin_memcpy(to, from, bytes);
		return 0;
	}
	return bpf_skb_load_bytes(skb, at, to, bytes);
}

static __always_inline struct config *configuration(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&config, &zero);
}

/* Reads addresses and, of TCP and UDP, ports; 0 = all is well. */
static __always_inline int parse(struct __sk_buff *skb, struct packet *p)
{
	struct iphdr ip;
	__be16 port[2];

	if (read_bytes(skb, p->inner, &ip, sizeof(ip)))
		return DROP_MALFORMED;
	if (ip.version != 4 || ip.ihl < 5)
		return DROP_UNSUPPORTED;
	p->src = ip.saddr;
	p->dst = ip.daddr;
	p->proto = ip.protocol;
	p->has_options = ip.ihl != 5;
	p->sport = p->dport = 0;
	p->tcp_flags = 0;
	/* A later fragment has no ports; it can be carried inside a VPC, where addresses are enough, and finds no flow elsewhere. */
	if (ip.frag_off & bpf_htons(FRAGMENT & ~0x2000))
		return 0;
	if (ip.protocol != IPPROTO_TCP && ip.protocol != IPPROTO_UDP)
		return 0;
	if (read_bytes(skb, p->inner + ip.ihl * 4, port, sizeof(port)))
		return DROP_MALFORMED;
	p->sport = port[0];
	p->dport = port[1];
	if (ip.protocol == IPPROTO_TCP)
		read_bytes(skb, p->inner + ip.ihl * 4 + 13, &p->tcp_flags, 1);
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
