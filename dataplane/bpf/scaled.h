/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* Scaled endpoints are resolved at the calling pod's host, both ways: nobody else on the way has to know that they exist. */
#ifndef PROXIMA_SCALED_H
#define PROXIMA_SCALED_H

#define SCALED_TRIES 8

/* Any slot's backend but the caller itself, which could not tell its own answer from its call. */
static __always_inline int choose_backend(const struct packet *p, const struct front *service, struct backend *to)
{
	__u32 slot = mix(p->src ^ p->dst, (__u32)p->sport << 16 | p->dport);

	if (!service->slots)
		return 0;
	for (int i = 0; i < SCALED_TRIES; i++) {
		*to = service->slot[(slot + i) % FRONT_SLOTS];
		if (to->addr != p->src)
			return 1;
	}
	return 0;
}

/* A pod's packet: 0, or the reason to drop. */
static __always_inline int call_scaled(struct __sk_buff *skb, struct packet *p)
{
	struct scaled_key sk = { .vni = p->vni, .addr = p->dst, .port = p->dport, .proto = p->proto };
	struct backend called = { .addr = p->dst, .port = p->dport }, to = {}, *known;
	struct front *service;
	struct reply_key key;

	if (p->proto != IPPROTO_TCP && p->proto != IPPROTO_UDP)
		return 0;
	service = bpf_map_lookup_elem(&scaled, &sk);
	reply_key(&key, p->vni, p->src, p->sport, p->dst, p->dport, p->proto);
	if (!service) {
		/* The pod talks to this address itself now; an earlier call from the same port must not rename it. */
		if (p->proto == IPPROTO_UDP || is_opening(p))
			bpf_map_delete_elem(&scaled_answers, &key);
		return 0;
	}
	if (p->has_options)
		return DROP_UNSUPPORTED;
	known = bpf_map_lookup_elem(&scaled_flows, &key);
	if (known && !is_opening(p)) {
		to = *known;
	} else {
		if (!choose_backend(p, service, &to))
			return DROP_NO_BACKEND;
		bpf_map_update_elem(&scaled_flows, &key, &to, BPF_ANY);
	}
	reply_key(&key, p->vni, p->src, p->sport, to.addr, to.port, p->proto);
	known = bpf_map_lookup_elem(&scaled_answers, &key);
	if (!known || known->addr != called.addr || known->port != called.port)
		bpf_map_update_elem(&scaled_answers, &key, &called, BPF_ANY);
	return rewrite(skb, p, 0, to.addr, to.port) ? DROP_KERNEL : 0;
}

/* A packet for a pod of this host: what answers a call gets the name that was called. */
static __always_inline int answer_scaled(struct __sk_buff *skb, struct packet *p)
{
	struct reply_key key;
	struct backend *called;

	if ((p->proto != IPPROTO_TCP && p->proto != IPPROTO_UDP) || p->has_options)
		return 0;
	reply_key(&key, p->vni, p->dst, p->dport, p->src, p->sport, p->proto);
	called = bpf_map_lookup_elem(&scaled_answers, &key);
	return called ? rewrite(skb, p, 1, called->addr, called->port) : 0;
}

#endif
