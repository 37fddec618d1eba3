/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* The way on: deliver here, or send to who knows more. */
#ifndef PROXIMA_FORWARD_H
#define PROXIMA_FORWARD_H

static const __u8 gateway_mac[6] = { 0x02, 0x70, 0x78, 0x00, 0x00, 0x01 };

static __always_inline int deliver(struct __sk_buff *skb, struct packet *p, struct endpoint *e)
{
	__u32 ifindex = e->ifindex;
	__u8 is_tap = e->is_tap;
	struct ethhdr eth;

	__builtin_memcpy(eth.h_dest, e->mac, 6);
	__builtin_memcpy(eth.h_source, gateway_mac, 6);
	eth.h_proto = bpf_htons(ETH_P_IP);
	if (p->outer_src ? decapsulate(skb, p, &eth) : bpf_skb_store_bytes(skb, 0, &eth, sizeof(eth), 0))
		return drop(DROP_KERNEL);
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
	struct ethhdr eth = { .h_proto = bpf_htons(ETH_P_IP) }; /* its addresses are for the neighbour table */

	if (p->has_options)
		return drop(DROP_UNSUPPORTED);
	if (c)
		c->bytes_out += skb->len;
	if ((p->tcp_flags & 0x12) == 0x12)
		r->syn_ack_ns = bpf_ktime_get_ns();
	if (p->outer_src && decapsulate(skb, p, &eth))
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
		to = x->hop[(flow_hash(p) % n) & (MAX_HOPS - 1)];
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

#endif
