/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* Which backend a client's packet goes to; the same for the front in XDP and in tc, and for pods that call a scaled endpoint. */
#ifndef PROXIMA_BALANCE_H
#define PROXIMA_BALANCE_H

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

static __always_inline __u16 region_of(__be32 client)
{
	struct region_key key = { .bits = 32, .addr = client };
	__u32 *id = bpf_map_lookup_elem(&regions, &key);

	return id ? (__u16)*id : 0;
}

static __always_inline struct front *front_of(const struct packet *p)
{
	struct front_key key = { .addr = p->dst, .port = p->dport, .proto = p->proto };

	return bpf_map_lookup_elem(&fronts, &key);
}

/* Remembers whom the backend's answers are for, and measures the round trip from the answer to a SYN to what follows it. */
static __always_inline void expect_answer(const struct packet *p, const struct front *front, const struct flow *flow, struct count *c)
{
	struct reply reply = {}, *before;
	struct reply_key key;

	reply_key(&key, front->vni, flow->backend, flow->backend_port, p->src, p->sport, p->proto);
	before = bpf_map_lookup_elem(&replies, &key);
	if (before && before->front == p->dst && before->front_port == p->dport) {
		if (before->syn_ack_ns && (p->tcp_flags & 0x12) == 0x10) {
			if (c) {
				c->rtt_ns += bpf_ktime_get_ns() - before->syn_ack_ns;
				c->rtts++;
			}
			before->syn_ack_ns = 0;
		}
		return;
	}
	reply.front = p->dst;
	reply.front_port = p->dport;
	reply.application = front->application;
	reply.client_region = flow->client_region;
	bpf_map_update_elem(&replies, &key, &reply, BPF_ANY);
}

/* Fills `flow` with the connection's backend; 0, or the reason to drop. */
static __always_inline int balance(const struct packet *p, const struct front *front, __u32 bytes, struct flow *flow)
{
	struct flow_key key = { .client = p->src, .client_port = p->sport, .addr = p->dst, .port = p->dport, .proto = p->proto };
	struct flow *known = bpf_map_lookup_elem(&flows, &key);
	struct count *c;

	if (known && !is_opening(p)) {
		*flow = *known;
		c = count_of(front->application, flow->client_region);
	} else {
		__u32 slot = mix(p->src, (__u32)p->sport << 16 | p->dport) % FRONT_SLOTS;

		if (!front->slots)
			return DROP_NO_BACKEND;
		flow->backend = front->slot[slot].addr;
		flow->backend_port = front->slot[slot].port;
		flow->client_region = region_of(p->src);
		bpf_map_update_elem(&flows, &key, flow, BPF_ANY);
		c = count_of(front->application, flow->client_region);
		if (c)
			c->connections++;
	}
	if (c) {
		c->packets_in++;
		c->bytes_in += bytes;
	}
	expect_answer(p, front, flow, c);
	return 0;
}

#endif
