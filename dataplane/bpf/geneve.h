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
#define ROOM_BYTES ((int)sizeof(struct tunnel_headers) + ETH_HLEN)

static __always_inline __u16 fold(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (__u16)~sum;
}

/* Of an IP header without options, but for the checksum itself. */
static __always_inline __sum16 ip_checksum(const __u32 *w)
{
	return fold((__u64)w[0] + w[1] + (w[2] & bpf_htonl(0xffff0000)) + w[3] + w[4]);
}

/* Whole words: a header that is put together from bytes costs more than all the rest of the program. */
static __always_inline void fill_tunnel(__u32 *w, __u32 vni, __be32 from, __be32 to, __u32 ip_len, __u32 hash)
{
	const __be32 length = bpf_htonl(0x45000000 | ip_len), protocol = bpf_htonl(64 << 24 | IPPROTO_UDP << 16);
	__be16 *check = (__be16 *)w + 5;

	w[0] = length;
	w[1] = 0;
	w[2] = protocol;
	*check = fold((__u64)length + protocol + from + to);
	w[3] = from;
	w[4] = to;
	/* The flow's hash in the source port spreads flows over paths and queues. The checksum of 0 is allowed for IPv4 tunnels. */
	w[5] = bpf_htonl((0xc000 | (hash & 0x3fff)) << 16 | GENEVE_PORT);
	w[6] = bpf_htonl((ip_len - sizeof(struct iphdr)) << 16);
	w[7] = bpf_htonl(GENEVE_ETHERNET);
	w[8] = bpf_htonl(vni << 8);
}

#endif
