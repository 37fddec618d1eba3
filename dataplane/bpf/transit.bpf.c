// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/*
 * The data plane of one droplet. Four ways in, each a tcx program, the last with an XDP half:
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
#include "xdp.h"
#include "scaled.h"
#include "forward.h"
#include "arp.h"

char LICENSE[] SEC("license") = "GPL";

SEC("tcx/ingress")
int from_pod(struct __sk_buff *skb)
{
	struct packet p = { .cfg = configuration(), .inner = ETH_HLEN, .has_mac = 1 };
	__u32 ifindex = skb->ifindex;
	struct port *self = bpf_map_lookup_elem(&ports, &ifindex);
	__u8 mac[6];
	int bad;

	if (!p.cfg || !self)
		return drop(DROP_UNKNOWN_PORT);
	if (skb->protocol == bpf_htons(ETH_P_ARP))
		return answer_arp(skb, self);
	if (skb->protocol != bpf_htons(ETH_P_IP))
		return TC_ACT_SHOT; /* IPv6 chatter of a starting guest is no event worth counting */
	bad = parse(skb, &p);
	if (bad)
		return drop(bad);
	if (read_bytes(skb, ETH_ALEN, mac, 6) || !is_same_mac(mac, self->mac) || p.src != self->addr)
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
static __always_inline void learn(struct __sk_buff *skb, struct packet *p)
{
	struct reply_key key;
	struct reply value = { .droplet = p->outer_src };

	__u8 sender[6];

	if (read_bytes(skb, p->inner - ETH_HLEN + ETH_ALEN, sender, 6) || !is_same_mac(sender, front_mac))
		return;
	reply_key(&key, p->vni, p->dst, p->dport, p->src, p->sport, p->proto);
	struct reply *known = bpf_map_lookup_elem(&replies, &key);
	if (known && known->droplet == p->outer_src)
		return;
	bpf_map_update_elem(&replies, &key, &value, BPF_ANY);
}

static __always_inline int from_tunnel_headers(struct __sk_buff *skb, struct packet *p)
{
	__u32 outer = p->has_mac ? ETH_HLEN : 0;
	struct tunnel_headers h;
	struct droplet *sender;
	int bad;

	if (read_bytes(skb, outer, &h, sizeof(h)))
		return NOT_OURS;
	if (h.ip.version != 4 || h.ip.ihl != 5 || h.ip.protocol != IPPROTO_UDP || h.udp.dest != bpf_htons(GENEVE_PORT))
		return NOT_OURS;
	if (h.ip.daddr != p->cfg->lan_addr && h.ip.daddr != p->cfg->tunnel_addr)
		return NOT_OURS; /* between two other relays: the kernel routes it */
	sender = bpf_map_lookup_elem(&droplets, &h.ip.saddr);
	/* A relay's address is believed from the tunnel only, where keys vouch for it; a droplet's from the LAN only. */
	if (!sender || !sender->via_tunnel != !!p->has_mac)
		return drop(DROP_NOT_BELIEVED);
	if ((h.ip.frag_off & bpf_htons(FRAGMENT)) || h.geneve.protocol != bpf_htons(GENEVE_ETHERNET) || (h.geneve.ver_opt_len & 0xc0) || (h.geneve.flags & GENEVE_CRITICAL))
		return drop(DROP_UNSUPPORTED);
	p->vni = bpf_ntohl(h.geneve.vni) >> 8;
	p->outer_src = h.ip.saddr;
	p->inner = outer + sizeof(h) + (h.geneve.ver_opt_len & 0x3f) * 4 + ETH_HLEN;
	bad = parse(skb, p);
	if (bad)
		return drop(bad);
	learn(skb, p);
	return forward(skb, p);
}

SEC("tcx/ingress")
int from_lan(struct __sk_buff *skb)
{
	struct packet p = { .cfg = configuration(), .has_mac = 1 };
	int verdict;

	if (!p.cfg || skb->protocol != bpf_htons(ETH_P_IP))
		return TC_ACT_OK;
	verdict = from_tunnel_headers(skb, &p);
	return verdict == NOT_OURS ? TC_ACT_OK : verdict;
}

SEC("tcx/ingress")
int from_tunnel(struct __sk_buff *skb)
{
	struct packet p = { .cfg = configuration(), .has_mac = 0 };
	int verdict;

	if (!p.cfg)
		return TC_ACT_OK;
	verdict = from_tunnel_headers(skb, &p);
	return verdict == NOT_OURS ? TC_ACT_OK : verdict;
}

SEC("tcx/ingress")
int from_uplink(struct __sk_buff *skb)
{
	struct packet p = { .cfg = configuration(), .inner = ETH_HLEN, .has_mac = 1, .is_client = 1 };
	struct handed_on *note = (void *)(long)skb->data_meta;
	struct flow flow = {};
	struct front *front;
	int bad;

	if (!p.cfg || skb->protocol != bpf_htons(ETH_P_IP) || parse(skb, &p))
		return TC_ACT_OK;
	if ((void *)(note + 1) <= (void *)(long)skb->data && note->magic == HANDED_ON) {
		p.vni = note->vni;
		note->magic = 0; /* the note stays with the packet, wherever that goes */
		return forward(skb, &p);
	}
	front = front_of(&p);
	if (!front)
		return TC_ACT_OK;
	if (p.has_options)
		return drop(DROP_UNSUPPORTED);
	bad = balance(&p, front, skb->len, &flow);
	if (bad)
		return drop(bad);
	p.vni = front->vni;
	if (rewrite(skb, &p, 0, flow.backend, flow.backend_port))
		return drop(DROP_KERNEL);
	return forward(skb, &p);
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
