// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/*
 * The data plane of one droplet. Four ways in, each a tcx program, the LAN's and the uplink's with an XDP half that is attached where it pays:
 *
 *   from_pod     the host's side of a pod's interface: ARP answered here, source checked, then towards its destination
 *   from_lan     the site's network: Geneve from other droplets of the site
 *   from_tunnel  the WireGuard device (no Ethernet header): Geneve from other sites' relays
 *   from_uplink  the front: a client's packet for an address that stands for backends in a VPC
 *
 * and one way on, `forward`: deliver here, or send to the droplet, bouncer or relay that knows more. An address outside the VPC is only
 * ever reached as an answer: whoever passes a client's packet on remembers where it came from.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/pkt_cls.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <stddef.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include "types.h"
#include "verdict.h"
#include "maps.h"
#include "geneve.h"
#include "packet.h"
#include "tunnel.h"
#include "balance.h"
#include "scaled.h"
#include "size.h"
#include "xdp.h"
#include "forward.h"
#include "arp.h"

char LICENSE[] SEC("license") = "GPL";

SEC("tcx/ingress")
int from_pod(struct __sk_buff *skb)
{
	struct packet p = { .cfg = configuration(), .inner = ETH_HLEN, .has_mac = 1 };
	struct port *self = port_of(skb->ifindex);
	void *data, *end;
	int bad;

	if (!p.cfg || !self)
		return drop(DROP_UNKNOWN_PORT);
	if (skb->protocol == bpf_htons(ETH_P_ARP))
		return answer_arp(skb, self);
	if (skb->protocol != bpf_htons(ETH_P_IP))
		return TC_ACT_SHOT; /* IPv6 chatter of a starting guest is no event worth counting */
	linear(skb, ETH_HLEN + IP_AND_TCP);
	data = (void *)(long)skb->data;
	end = (void *)(long)skb->data_end;
	bad = parse(data, end, &p);
	if (bad)
		return drop(bad);
	if (data + ETH_HLEN > end || !is_same_mac(data + ETH_ALEN, self->mac) || p.src != self->addr)
		return drop(DROP_SPOOFED);
	p.vni = self->vni;
	if (p.cfg->has_scaled) {
		bad = call_scaled(skb, &p);
		if (bad)
			return drop(bad);
	}
	return forward(skb, &p);
}

/* Remembers, for a client's packet that is passed on, where answers have to go. */
static __always_inline void learn(const void *data, const void *end, struct packet *p)
{
	const void *sender = data + ((p->inner - ETH_HLEN + ETH_ALEN) & FURTHEST);
	struct reply value = { .droplet = p->outer_src }, *known;
	struct reply_key key;

	if (sender + ETH_ALEN > end || !is_same_mac(sender, front_mac))
		return;
	reply_key(&key, p->vni, p->dst, p->dport, p->src, p->sport, p->proto);
	known = bpf_map_lookup_elem(&replies, &key);
	if (known && known->droplet == p->outer_src)
		return;
	bpf_map_update_elem(&replies, &key, &value, BPF_ANY);
}

/* Takes a packet's tunnel headers in: 0, NOT_OURS, or the reason to drop it. */
static __always_inline int parse_tunnel(const void *data, const void *end, struct packet *p)
{
	const struct tunnel_headers *h = data + (p->has_mac ? ETH_HLEN : 0);
	struct droplet *sender;

	if ((const void *)(h + 1) > end || *(const __u8 *)h != 0x45 || h->ip.protocol != IPPROTO_UDP || h->udp.dest != bpf_htons(GENEVE_PORT))
		return NOT_OURS;
	if (h->ip.daddr != p->cfg->lan_addr && h->ip.daddr != p->cfg->tunnel_addr)
		return NOT_OURS; /* between two other relays: the kernel routes it */
	p->outer_src = h->ip.saddr;
	sender = droplet_of(p->outer_src);
	/* A relay's address is believed from the tunnel only, where keys vouch for it; a droplet's from the LAN only. */
	if (!sender || !sender->via_tunnel != !!p->has_mac)
		return DROP_NOT_BELIEVED;
	if ((h->ip.frag_off & bpf_htons(FRAGMENT)) || h->geneve.protocol != bpf_htons(GENEVE_ETHERNET) || (h->geneve.ver_opt_len & 0xc0) || (h->geneve.flags & GENEVE_CRITICAL))
		return DROP_UNSUPPORTED;
	p->vni = bpf_ntohl(h->geneve.vni) >> 8;
	p->inner = (p->has_mac ? ETH_HLEN : 0) + sizeof(*h) + (h->geneve.ver_opt_len & 0x3f) * 4 + ETH_HLEN;
	return 0;
}

static __always_inline int from_tunnel_headers(struct __sk_buff *skb, struct packet *p)
{
	const __u32 usual = ETH_HLEN + ROOM_BYTES + IP_AND_TCP;
	int bad;

	linear(skb, usual);
	bad = parse_tunnel((void *)(long)skb->data, (void *)(long)skb->data_end, p);
	if (bad == NOT_OURS)
		return TC_ACT_OK;
	if (bad)
		return drop(bad);
	linear(skb, p->inner + IP_AND_TCP);
	bad = parse((void *)(long)skb->data, (void *)(long)skb->data_end, p);
	if (bad)
		return drop(bad);
	learn((void *)(long)skb->data, (void *)(long)skb->data_end, p);
	return forward(skb, p);
}

SEC("tcx/ingress")
int from_lan(struct __sk_buff *skb)
{
	struct packet p = { .cfg = configuration(), .has_mac = 1 };

	return p.cfg && skb->protocol == bpf_htons(ETH_P_IP) ? from_tunnel_headers(skb, &p) : TC_ACT_OK;
}

SEC("tcx/ingress")
int from_tunnel(struct __sk_buff *skb)
{
	struct packet p = { .cfg = configuration(), .has_mac = 0 };

	return p.cfg ? from_tunnel_headers(skb, &p) : TC_ACT_OK;
}

SEC("tcx/ingress")
int from_uplink(struct __sk_buff *skb)
{
	struct packet p = { .cfg = configuration(), .inner = ETH_HLEN, .has_mac = 1, .is_client = 1 };
	struct handed_on *note;
	struct flow flow = {};
	struct front *front;
	int bad;

	if (!p.cfg || skb->protocol != bpf_htons(ETH_P_IP))
		return TC_ACT_OK;
	note = (void *)(long)skb->data_meta;
	if ((void *)(note + 1) <= (void *)(long)skb->data && note->magic == HANDED_ON) {
		p.vni = note->vni;
		p.asked = note->asked;
		p.asked_port = note->asked_port;
		note->magic = 0; /* the note stays with the packet, wherever that goes */
	}
	linear(skb, ETH_HLEN + IP_AND_TCP);
	if (parse((void *)(long)skb->data, (void *)(long)skb->data_end, &p))
		return TC_ACT_OK;
	if (p.asked)
		return forward(skb, &p);
	front = front_of(&p);
	if (!front)
		return TC_ACT_OK;
	if (p.has_options)
		return drop(DROP_UNSUPPORTED);
	bad = balance(&p, front, skb->len, &flow);
	if (bad)
		return drop(bad);
	p.vni = front->vni;
	p.asked = p.dst;
	p.asked_port = p.dport;
	if (rewrite(skb, &p, 0, flow.backend, flow.backend_port))
		return drop(DROP_KERNEL);
	return forward(skb, &p);
}

/*
 * The bouncer's way before the kernel makes a socket buffer: what is for another droplet of the LAN, and what is for nobody, ends here. All
 * else is for `from_lan`: what ends on this host, leaves by another device, is larger than the wire or has a checksum to be finished, and
 * SYNs, which it may have to change.
 */
SEC("xdp.frags")
int from_lan_xdp(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct packet p = { .cfg = configuration(), .has_mac = 1 };
	struct ethhdr *eth = data;
	struct endpoint *e = NULL;
	struct reply *r = NULL;
	struct droplet *next;
	__be32 to = 0;
	int bad;

	if (!p.cfg || (void *)(eth + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP))
		return XDP_PASS;
	bad = parse_tunnel(data, end, &p);
	if (bad == NOT_OURS)
		return XDP_PASS;
	if (bad) {
		drop(bad);
		return XDP_DROP;
	}
	if (parse(data, end, &p) || (p.tcp_flags & TCP_SYN) || !is_finished(data, end, &p))
		return XDP_PASS;
	bad = way_on(&p, &to, &e, &r);
	if (!bad && (!to || is_via_tunnel(&p, to)))
		return XDP_PASS;
	next = bad ? NULL : droplet_of(to);
	if (!bad && (!next || !next->has_mac || (eth->h_dest[0] & 1) || bpf_xdp_get_buff_len(ctx) - p.inner > (p.is_far ? p.cfg->far_room : p.cfg->lan_room)))
		return XDP_PASS;
	if (!bad) {
		learn(data, end, &p);
		bad = bounce(data, end, &p, next, to);
	}
	if (!bad)
		return p.cfg->is_veth ? bpf_redirect(ctx->ingress_ifindex, 0) : XDP_TX;
	drop(bad);
	return XDP_DROP;
}

/* The front's first half before the kernel makes a socket buffer: what is no work of ours costs little, and what has no backend ends here. */
SEC("xdp")
int from_uplink_xdp(struct xdp_md *ctx)
{
	struct packet p = { .inner = ETH_HLEN, .has_mac = 1 };
	struct flow flow = {};
	struct front *front;
	int bad;

	/* Whatever this cannot do, `from_uplink` does. */
	if (!parse_xdp(ctx, &p))
		return XDP_PASS;
	front = front_of(&p);
	if (!front || bpf_xdp_adjust_meta(ctx, -(int)sizeof(struct handed_on)))
		return XDP_PASS;
	bad = balance(&p, front, (__u32)(ctx->data_end - ctx->data), &flow);
	if (bad) {
		drop(bad);
		return XDP_DROP;
	}
	if (rewrite_xdp(ctx, &p, front->vni, flow.backend, flow.backend_port)) {
		drop(DROP_MALFORMED);
		return XDP_DROP;
	}
	return XDP_PASS;
}
