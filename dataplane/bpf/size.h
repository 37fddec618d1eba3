/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * Packets that are larger than the way on carries. Both ends of a TCP connection hear in its first two packets what fits, as the largest
 * segment (RFC 9293, 3.7.1); other senders that forbid fragments hear it when they sent too much (RFC 1191).
 */
#ifndef PROXIMA_SIZE_H
#define PROXIMA_SIZE_H

#define TCP_SYN 0x02
#define OPTION_END 0
#define OPTION_NOTHING 1
#define OPTION_SEGMENT 2
#define OPTIONS_READ 10
#define DONT_FRAGMENT 0x4000
#define UNREACHABLE 3
#define FRAGMENTATION_NEEDED 4

static const __u8 gateway_mac[6] __attribute__((aligned(8))) = { 0x02, 0x70, 0x78, 0x00, 0x00, 0x01 };

/* Lowers the largest segment that a SYN announces; -1 = the kernel could not. A SYN without the option means 536 bytes, which fit. */
static __noinline int clamp_segments(struct __sk_buff *skb, __u32 tcp, __u16 most)
{
	__u32 at = tcp + sizeof(struct tcphdr), sum_at = tcp + offsetof(struct tcphdr, check), end;
	__be16 was, now = bpf_htons(most);
	__u8 offset, option[4];

	if (bpf_skb_load_bytes(skb, tcp + 12, &offset, 1))
		return 0;
	end = tcp + (offset >> 4) * 4;
#pragma clang loop unroll(disable)
	for (int i = 0; i < OPTIONS_READ; i++) {
		if (at + 4 > end || bpf_skb_load_bytes(skb, at, option, 4) || option[0] == OPTION_END)
			return 0;
		if (option[0] == OPTION_NOTHING) {
			at++;
			continue;
		}
		if (option[0] == OPTION_SEGMENT)
			break;
		if (option[1] < 2)
			return 0;
		at += option[1];
	}
	__builtin_memcpy(&was, option + 2, 2);
	if (option[0] != OPTION_SEGMENT || option[1] != 4 || bpf_ntohs(was) <= most)
		return 0;
	if (bpf_skb_store_bytes(skb, at + 2, &now, 2, 0))
		return -1;
	/* A word at an odd place counts with its bytes swapped. */
	if ((at - tcp) & 1) {
		was = __builtin_bswap16(was);
		now = __builtin_bswap16(now);
	}
	return bpf_l4_csum_replace(skb, sum_at, was, now, 2);
}

/* For a packet that looks larger than `room`: a frame may be padded, and a segment yet to be cut counts as what it is cut into. */
static __noinline int is_too_big(struct __sk_buff *skb, struct packet *p, __u32 room)
{
	__u32 header = sizeof(struct iphdr);
	__be16 length;
	__u8 offset;

	if (skb->gso_size) {
		if (p->proto != IPPROTO_TCP)
			header += sizeof(struct udphdr);
		else if (!bpf_skb_load_bytes(skb, p->inner + header + 12, &offset, 1))
			header += (offset >> 4) * 4;
		return header + skb->gso_size > room;
	}
	return bpf_skb_load_bytes(skb, p->inner + offsetof(struct iphdr, tot_len), &length, 2) || bpf_ntohs(length) > room;
}

struct needs_fragments {
	__u8 pad[2]; /* not sent: the headers after the Ethernet header are aligned so */
	struct ethhdr eth;
	struct iphdr ip;
	__u8 type, code;
	__be16 check;
	__be16 unused, mtu;
	struct iphdr about; /* the packet's own header, and its first 8 bytes after that */
	__u32 start[2];
};

#define MESSAGE_BYTES (sizeof(struct needs_fragments) - offsetof(struct needs_fragments, eth))

/* Tells the sender of a packet that is in no tunnel, back through the interface that it came by, in the name of whom it called. */
static __noinline int too_big(struct __sk_buff *skb, struct packet *p, __u32 room)
{
	struct needs_fragments m;
	__u8 mac[6];

	if (p->outer_src || p->has_options || !p->has_mac)
		return drop(DROP_TOO_BIG);
	if (p->is_client && rewrite(skb, p, 0, p->asked, p->asked_port))
		return drop(DROP_KERNEL);
	if (bpf_skb_load_bytes(skb, 0, &m.eth, sizeof(m.eth)) || bpf_skb_load_bytes(skb, ETH_HLEN, &m.about, sizeof(m.about) + sizeof(m.start)))
		return drop(DROP_KERNEL);
	if (!(m.about.frag_off & bpf_htons(DONT_FRAGMENT)))
		return drop(DROP_TOO_BIG);
	if (bpf_skb_change_tail(skb, MESSAGE_BYTES, 0))
		return drop(DROP_KERNEL);
	__builtin_memcpy(mac, m.eth.h_dest, 6);
	__builtin_memcpy(m.eth.h_dest, m.eth.h_source, 6);
	__builtin_memcpy(m.eth.h_source, mac, 6);
	m.ip = (struct iphdr){ .version = 4, .ihl = 5, .tot_len = bpf_htons(MESSAGE_BYTES - ETH_HLEN), .ttl = 64, .protocol = IPPROTO_ICMP, .saddr = p->dst, .daddr = p->src };
	m.ip.check = fold(bpf_csum_diff(NULL, 0, (__be32 *)&m.ip, sizeof(m.ip), 0));
	m.type = UNREACHABLE;
	m.code = FRAGMENTATION_NEEDED;
	m.check = 0;
	m.unused = 0;
	m.mtu = bpf_htons(room);
	m.check = fold(bpf_csum_diff(NULL, 0, (__be32 *)&m.type, sizeof(m) - offsetof(struct needs_fragments, type), 0));
	if (bpf_skb_store_bytes(skb, 0, &m.eth, MESSAGE_BYTES, 0))
		return drop(DROP_KERNEL);
	return bpf_redirect(skb->ifindex, 0);
}

#endif
