// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/*
 * The data plane of one droplet. Four ways in, each a tcx program:
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

char LICENSE[] SEC("license") = "GPL";

#define NOT_OURS (-2)
#define ARPOP_REQUEST 1
#define ARPOP_REPLY 2
#define FRAGMENT 0x3fff

static const __u8 gateway_mac[6] = { 0x02, 0x70, 0x78, 0x00, 0x00, 0x01 };

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
};

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

	if (bpf_skb_load_bytes(skb, p->inner, &ip, sizeof(ip)))
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
	if (bpf_skb_load_bytes(skb, p->inner + ip.ihl * 4, port, sizeof(port)))
		return DROP_MALFORMED;
	p->sport = port[0];
	p->dport = port[1];
	if (ip.protocol == IPPROTO_TCP)
		bpf_skb_load_bytes(skb, p->inner + ip.ihl * 4 + 13, &p->tcp_flags, 1);
	return 0;
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

	if (bpf_skb_load_bytes(skb, at, &ip, sizeof(ip)))
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
	__u32 hash = bpf_get_hash_recalc(skb);
	struct tunnel_headers h;
	struct ethhdr eth;

	if (bpf_skb_load_bytes(skb, 0, &eth, sizeof(eth)))
		return drop(DROP_MALFORMED);
	if (bpf_skb_adjust_room(skb, ROOM_BYTES, BPF_ADJ_ROOM_MAC, flags))
		return drop(DROP_KERNEL);
	fill_tunnel(&h, p->vni, via_tunnel ? p->cfg->tunnel_addr : p->cfg->lan_addr, to, skb->len - ETH_HLEN, hash);
	if (bpf_skb_store_bytes(skb, ETH_HLEN, &h, sizeof(h), 0) || bpf_skb_store_bytes(skb, ETH_HLEN + TUNNEL_BYTES, &eth, sizeof(eth), 0))
		return drop(DROP_KERNEL);
	return transmit(skb, p, via_tunnel);
}

/* Takes the tunnel headers off; afterwards the packet begins with its own Ethernet header. */
static __always_inline int decapsulate(struct __sk_buff *skb, struct packet *p)
{
	__u32 outer = p->has_mac ? ETH_HLEN : 0;
	struct ethhdr eth;

	if (bpf_skb_load_bytes(skb, p->inner - ETH_HLEN, &eth, sizeof(eth)))
		return -1;
	if (bpf_skb_adjust_room(skb, -(__s32)(p->inner - outer), BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO))
		return -1;
	if (!p->has_mac && bpf_skb_change_head(skb, ETH_HLEN, 0))
		return -1;
	p->has_mac = 1;
	p->inner = ETH_HLEN;
	p->outer_src = 0;
	return bpf_skb_store_bytes(skb, 0, &eth, sizeof(eth), 0);
}

static __always_inline int send_to(struct __sk_buff *skb, struct packet *p, __be32 to)
{
	struct droplet *d = bpf_map_lookup_elem(&droplets, &to);
	int via_tunnel = d && d->via_tunnel;

	if (via_tunnel && !p->cfg->tunnel_ifindex)
		return drop(DROP_NO_ROUTE);
	return p->outer_src ? pass_on(skb, p, to, via_tunnel) : encapsulate(skb, p, to, via_tunnel);
}

static __always_inline int deliver(struct __sk_buff *skb, struct packet *p, struct endpoint *e)
{
	__u32 ifindex = e->ifindex;
	__u8 is_tap = e->is_tap;
	struct ethhdr eth;

	__builtin_memcpy(eth.h_dest, e->mac, 6);
	__builtin_memcpy(eth.h_source, gateway_mac, 6);
	eth.h_proto = bpf_htons(ETH_P_IP);
	if (p->outer_src && decapsulate(skb, p))
		return drop(DROP_KERNEL);
	if (bpf_skb_store_bytes(skb, 0, &eth, sizeof(eth), 0))
		return drop(DROP_KERNEL);
	return is_tap ? bpf_redirect(ifindex, 0) : bpf_redirect_peer(ifindex, 0);
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

static __always_inline struct count *count_of(__u16 application, __u16 client_region)
{
	struct count_key key = { .application = application, .client_region = client_region };
	struct count *c = bpf_map_lookup_elem(&counts, &key);

	if (!c) {
		struct count none = {};

		bpf_map_update_elem(&counts, &key, &none, BPF_NOEXIST);
		c = bpf_map_lookup_elem(&counts, &key);
	}
	return c;
}

/* An answer leaves by the front that the client asked, with that front's address. */
static __always_inline int answer_client(struct __sk_buff *skb, struct packet *p, struct reply *r)
{
	struct count *c = count_of(r->application, r->client_region);
	__be32 front = r->front;
	__be16 front_port = r->front_port;

	if (p->has_options)
		return drop(DROP_UNSUPPORTED);
	if (c)
		c->bytes_out += skb->len;
	if ((p->tcp_flags & 0x12) == 0x12)
		r->syn_ack_ns = bpf_ktime_get_ns();
	if (p->outer_src && decapsulate(skb, p))
		return drop(DROP_KERNEL);
	if (rewrite(skb, p, 1, front, front_port))
		return drop(DROP_KERNEL);
	return bpf_redirect_neigh(p->cfg->uplink_ifindex, NULL, 0, 0);
}

/* The way on for a packet of a VPC, in a tunnel or not yet. */
static __always_inline int forward(struct __sk_buff *skb, struct packet *p)
{
	struct vpc_addr key = { .vni = p->vni, .addr = p->dst };
	struct endpoint *e = bpf_map_lookup_elem(&endpoints, &key);
	struct reply_key rk;
	struct prefix *x;
	struct reply *r;

	if (e)
		return e->ifindex ? deliver(skb, p, e) : send_to(skb, p, e->droplet);
	x = prefix_of(p->vni, p->dst);
	if (x) {
		__u32 n = x->hops;
		__be32 to;

		/* What a bouncer or relay does not know ends here: passing it on could only bring it back. */
		if (x->kind == PREFIX_VPC || n == 0 || n > MAX_HOPS || (x->kind == PREFIX_NETWORK && p->outer_src))
			return drop(DROP_NO_ROUTE);
		to = x->hop[(bpf_get_hash_recalc(skb) % n) & (MAX_HOPS - 1)];
		if (to == p->cfg->lan_addr || to == p->outer_src)
			return drop(DROP_NO_ROUTE);
		return send_to(skb, p, to);
	}
	reply_key(&rk, p->vni, p->src, p->sport, p->dst, p->dport, p->proto);
	r = bpf_map_lookup_elem(&replies, &rk);
	if (!r)
		return drop(DROP_NO_ROUTE);
	return r->droplet ? send_to(skb, p, r->droplet) : answer_client(skb, p, r);
}

static __always_inline int is_same_mac(const __u8 *a, const __u8 *b)
{
	int difference = 0;

#pragma unroll
	for (int i = 0; i < 6; i++)
		difference |= a[i] ^ b[i];
	return difference == 0;
}

static __always_inline int answer_arp(struct __sk_buff *skb, struct port *self)
{
	struct {
		struct ethhdr eth;
		__be16 hardware, protocol;
		__u8 hardware_len, protocol_len;
		__be16 op;
		__u8 sha[6];
		__be32 spa;
		__u8 tha[6];
		__be32 tpa;
	} __attribute__((packed)) a;
	__be32 asked;

	if (bpf_skb_load_bytes(skb, 0, &a, sizeof(a)))
		return drop(DROP_MALFORMED);
	/* A pod that probes or announces its own address must hear nothing. */
	if (a.op != bpf_htons(ARPOP_REQUEST) || a.tpa == self->addr || a.spa != self->addr)
		return TC_ACT_SHOT;
	asked = a.tpa;
	__builtin_memcpy(a.eth.h_dest, self->mac, 6);
	__builtin_memcpy(a.eth.h_source, gateway_mac, 6);
	a.op = bpf_htons(ARPOP_REPLY);
	__builtin_memcpy(a.sha, gateway_mac, 6);
	__builtin_memcpy(a.tha, self->mac, 6);
	a.tpa = a.spa;
	a.spa = asked;
	if (bpf_skb_store_bytes(skb, 0, &a, sizeof(a), 0))
		return drop(DROP_KERNEL);
	return bpf_redirect(skb->ifindex, 0);
}

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
	if (bpf_skb_load_bytes(skb, ETH_ALEN, mac, 6) || !is_same_mac(mac, self->mac) || p.src != self->addr)
		return drop(DROP_SPOOFED);
	p.vni = self->vni;
	return forward(skb, &p);
}

/* Remembers, for a client's packet that is passed on, where answers have to go. */
static __always_inline void learn(struct packet *p)
{
	struct reply_key key;
	struct reply value = { .droplet = p->outer_src };

	if (prefix_of(p->vni, p->src))
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

	if (bpf_skb_load_bytes(skb, outer, &h, sizeof(h)))
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
	learn(p);
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

static __always_inline __u16 region_of(__be32 client)
{
	struct region_key key = { .bits = 32, .addr = client };
	__u32 *id = bpf_map_lookup_elem(&regions, &key);

	return id ? (__u16)*id : 0;
}

static __always_inline __u32 mix(__u32 a, __u32 b)
{
	a ^= b * 0x9e3779b1u;
	a ^= a >> 16;
	a *= 0x85ebca6bu;
	a ^= a >> 13;
	return a;
}

SEC("tcx/ingress")
int from_uplink(struct __sk_buff *skb)
{
	struct packet p = { .cfg = configuration(), .inner = ETH_HLEN, .has_mac = 1 };
	struct front_key fk = {};
	struct flow_key key = {};
	struct reply_key rk;
	struct reply reply = {};
	struct front *front;
	struct flow *known, flow;
	struct reply *before;
	struct count *c;

	if (!p.cfg || skb->protocol != bpf_htons(ETH_P_IP) || parse(skb, &p))
		return TC_ACT_OK;
	fk.addr = p.dst;
	fk.port = p.dport;
	fk.proto = p.proto;
	front = bpf_map_lookup_elem(&fronts, &fk);
	if (!front)
		return TC_ACT_OK;
	if (p.has_options)
		return drop(DROP_UNSUPPORTED);
	key.client = p.src;
	key.client_port = p.sport;
	key.addr = p.dst;
	key.port = p.dport;
	key.proto = p.proto;
	known = bpf_map_lookup_elem(&flows, &key);
	/* A SYN begins anew: the client may reuse a port, and a drained backend must get no new connection. */
	if (known && !(p.proto == IPPROTO_TCP && (p.tcp_flags & 0x12) == 0x02)) {
		flow = *known;
	} else {
		__u32 slot = mix(p.src, (__u32)p.sport << 16 | p.dport) % FRONT_SLOTS;

		if (!front->slots)
			return drop(DROP_NO_BACKEND);
		flow.backend = front->slot[slot].addr;
		flow.backend_port = front->slot[slot].port;
		flow.client_region = region_of(p.src);
		bpf_map_update_elem(&flows, &key, &flow, BPF_ANY);
		c = count_of(front->application, flow.client_region);
		if (c)
			c->connections++;
	}
	p.vni = front->vni;
	c = count_of(front->application, flow.client_region);
	reply_key(&rk, p.vni, flow.backend, flow.backend_port, p.src, p.sport, p.proto);
	before = bpf_map_lookup_elem(&replies, &rk);
	if (before && before->front == p.dst && before->front_port == p.dport) {
		if (before->syn_ack_ns && (p.tcp_flags & 0x12) == 0x10) {
			if (c) {
				c->rtt_ns += bpf_ktime_get_ns() - before->syn_ack_ns;
				c->rtts++;
			}
			before->syn_ack_ns = 0;
		}
	} else {
		reply.front = p.dst;
		reply.front_port = p.dport;
		reply.application = front->application;
		reply.client_region = flow.client_region;
		bpf_map_update_elem(&replies, &rk, &reply, BPF_ANY);
	}
	if (c) {
		c->packets_in++;
		c->bytes_in += skb->len;
	}
	if (rewrite(skb, &p, 0, flow.backend, flow.backend_port))
		return drop(DROP_KERNEL);
	return forward(skb, &p);
}
