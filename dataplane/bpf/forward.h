/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* The way on: deliver here, or send to who knows more. */
#ifndef PROXIMA_FORWARD_H
#define PROXIMA_FORWARD_H

static __always_inline int send_to(struct __sk_buff *skb, struct packet *p, __be32 to)
{
	int via_tunnel = is_via_tunnel(p, to);
	__u32 room = via_tunnel ? p->cfg->tunnel_room : p->is_far ? p->cfg->far_room : p->cfg->lan_room;

	if (RARELY(skb->len - p->inner > room)) {
		struct packet copy = *p; /* so that the one in hand stays in registers */

		if (is_too_big(skb, &copy, room))
			return too_big(skb, &copy, room);
	}
	if (RARELY(p->tcp_flags & TCP_SYN) && !p->has_options && clamp_segments(skb, p->inner + sizeof(struct iphdr), room - sizeof(struct iphdr) - sizeof(struct tcphdr)))
		return drop(DROP_KERNEL);
	return p->outer_src ? pass_on(skb, p, to, via_tunnel) : encapsulate(skb, p, to, via_tunnel);
}

static __always_inline int deliver(struct __sk_buff *skb, struct packet *p, struct endpoint *e)
{
	__u32 ifindex = e->ifindex;
	__u8 is_tap = e->is_tap;
	struct ethhdr *eth;

	if (p->outer_src && decapsulate(skb, p))
		return drop(DROP_KERNEL);
	eth = (void *)(long)skb->data;
	if ((void *)(eth + 1) > (void *)(long)skb->data_end)
		return drop(DROP_KERNEL);
	write_mac(eth->h_dest, e->mac);
	write_mac(eth->h_source, gateway_mac);
	eth->h_proto = bpf_htons(ETH_P_IP);
	if (p->cfg->has_scaled && answer_scaled(skb, p))
		return drop(DROP_KERNEL);
	return is_tap ? bpf_redirect(ifindex, 0) : bpf_redirect_peer(ifindex, 0);
}

/* An answer leaves by the front that the client asked, with that front's address. */
static __always_inline int answer_client(struct __sk_buff *skb, struct packet *p, struct reply *r)
{
	struct count *c = count_of(r->application, r->client_region);
	__be32 front = r->front;
	__be16 front_port = r->front_port;
	struct ethhdr *eth;

	if (p->has_options)
		return drop(DROP_UNSUPPORTED);
	if (c)
		c->bytes_out += skb->len;
	if ((p->tcp_flags & 0x12) == 0x12)
		r->syn_ack_ns = bpf_ktime_get_ns();
	if (p->outer_src && decapsulate(skb, p))
		return drop(DROP_KERNEL);
	eth = (void *)(long)skb->data;
	if ((void *)(eth + 1) > (void *)(long)skb->data_end)
		return drop(DROP_KERNEL);
	eth->h_proto = bpf_htons(ETH_P_IP); /* its addresses are for the neighbour table */
	if (rewrite(skb, p, 1, front, front_port))
		return drop(DROP_KERNEL);
	return bpf_redirect_neigh(p->cfg->uplink_ifindex, NULL, 0, 0);
}

/* Where a packet of a VPC goes: to the droplet `to`, an endpoint `e`, or as the answer `r`; or the reason to drop it. */
static __always_inline int way_on(struct packet *p, __be32 *to, struct endpoint **e, struct reply **r)
{
	struct vpc_addr key = { .vni = p->vni, .addr = p->dst };
	struct reply_key rk;
	struct prefix *x;

	*e = bpf_map_lookup_elem(&endpoints, &key);
	if (USUALLY(*e)) {
		*to = (*e)->droplet;
		return 0;
	}
	x = prefix_of(p->vni, p->dst);
	if (x) {
		__u32 n = x->hops;

		/* What a bouncer or relay does not know ends here: passing it on could only bring it back. A divider knows networks, and passes on. */
		if (n == 0 || n > MAX_HOPS || (p->outer_src && (x->kind == PREFIX_VPC || x->kind == PREFIX_NETWORK)))
			return DROP_NO_ROUTE;
		*to = x->hop[((__u64)flow_hash(p) * n) >> 32];
		p->is_far = x->kind == PREFIX_ROUTE || x->kind == PREFIX_VPC; /* where a divider sends it, only the divider knows */
		return *to == p->cfg->lan_addr || *to == p->outer_src ? DROP_NO_ROUTE : 0;
	}
	reply_key(&rk, p->vni, p->src, p->sport, p->dst, p->dport, p->proto);
	*r = bpf_map_lookup_elem(&replies, &rk);
	if (!*r)
		return DROP_NO_ROUTE;
	*to = (*r)->droplet;
	return 0;
}

/* The way on for a packet of a VPC, in a tunnel or not yet. */
static __always_inline int forward(struct __sk_buff *skb, struct packet *p)
{
	struct endpoint *e = NULL;
	struct reply *r = NULL;
	__be32 to = 0;
	int bad = way_on(p, &to, &e, &r);

	if (bad)
		return drop(bad);
	if (to)
		return send_to(skb, p, to);
	if (e)
		return deliver(skb, p, e);
	return r ? answer_client(skb, p, r) : drop(DROP_NO_ROUTE);
}

#endif
