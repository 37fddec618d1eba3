/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * Geneve (RFC 8926) over IPv4, as it is on the wire; we emit no options and accept any that are not critical.
 *
 *  0                   1                   2                   3
 *  |Ver|  Opt Len  |O|C|    Rsvd.  |    Protocol Type = 0x6558     |
 *  |        Virtual Network Identifier (VNI)       |    Reserved   |
 */
#ifndef PROXIMA_GENEVE_H
#define PROXIMA_GENEVE_H

#define GENEVE_PORT 6081
#define GENEVE_ETHERNET 0x6558
#define GENEVE_CRITICAL 0x40

struct geneve {
	__u8 ver_opt_len; /* options in units of 4 bytes in the low six bits */
	__u8 flags;
	__be16 protocol;
	__be32 vni; /* in the upper 24 bits */
};

struct tunnel_headers {
	struct iphdr ip;
	struct udphdr udp;
	struct geneve geneve;
};

/* All that encapsulation puts before the inner IP header, from the outer one on. */
struct room {
	struct tunnel_headers tunnel;
	struct ethhdr eth;
};

#define ROOM_BYTES ((int)offsetof(struct room, eth) + ETH_HLEN)

static __always_inline __u16 fold(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (__u16)~sum;
}

static __always_inline __sum16 ip_checksum(struct iphdr *ip)
{
	const __u16 *w = (const __u16 *)ip;
	__u32 sum = 0;

#pragma unroll
	for (int i = 0; i < 10; i++)
		sum += w[i];
	return fold(sum);
}

static __always_inline void fill_tunnel(struct tunnel_headers *h, __u32 vni, __be32 from, __be32 to, __u32 ip_len, __u32 hash)
{
	__builtin_memset(h, 0, sizeof(*h));
	h->ip.version = 4;
	h->ip.ihl = 5;
	h->ip.tot_len = bpf_htons((__u16)ip_len);
	h->ip.ttl = 64;
	h->ip.protocol = IPPROTO_UDP;
	h->ip.saddr = from;
	h->ip.daddr = to;
	h->ip.check = ip_checksum(&h->ip);
	/* The flow's hash in the source port spreads flows over paths and queues. The checksum of 0 is allowed for IPv4 tunnels. */
	h->udp.source = bpf_htons((__u16)(0xc000 | (hash & 0x3fff)));
	h->udp.dest = bpf_htons(GENEVE_PORT);
	h->udp.len = bpf_htons((__u16)(ip_len - sizeof(struct iphdr)));
	h->geneve.protocol = bpf_htons(GENEVE_ETHERNET);
	h->geneve.vni = bpf_htonl(vni << 8);
}

#endif
