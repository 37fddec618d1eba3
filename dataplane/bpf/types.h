/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* Shapes shared with user space; `dataplane/transit/layout.ts` is their twin, and a test compares both with the BTF of the object. */
#ifndef PROXIMA_TYPES_H
#define PROXIMA_TYPES_H

/* Addresses and ports are in network order, everything else in the host's. */
struct vpc_addr {
	__u32 vni;
	__be32 addr;
};

struct endpoint {
	__be32 droplet;	 /* the substrate address of its host; 0 = here */
	__u32 ifindex;	 /* here: the host's side of its interface */
	__u8 mac[6];
	__u8 is_tap;	 /* here: a VM's tap, which has no peer to redirect to */
	__u8 pad;
};

/* What stands at the host's side of a pod's interface: all that the pod may claim to be. */
struct port {
	__u32 ifindex; /* in `port_slots`, whose slot may be another interface's: 0 = nobody's */
	__u32 vni;
	__be32 addr;
	__u8 mac[6];
	__u8 pad[2];
};

/* Most interfaces and droplets have a slot of an array of their own, which costs a tenth of a hash; the others are in the hash alone. */
#define SLOTS 1024

struct prefix_key {
	__u32 bits; /* 32 for the vni, and those of the address */
	__be32 vni; /* in network order, as longest-prefix tables compare from the first bit */
	__be32 addr;
};

#define PREFIX_VPC 1
#define PREFIX_NETWORK 2
#define PREFIX_ROUTE 3
#define PREFIX_DIVIDED 4 /* a network, on a divider of its VPC */
#define MAX_HOPS 8

struct prefix {
	__u8 kind;
	__u8 hops;
	__u8 pad[2];
	__be32 hop[MAX_HOPS]; /* substrate addresses: of a VPC its dividers, of a network its bouncers, of a route the relay */
};

struct droplet {
	__u8 via_tunnel; /* reached over the WireGuard device */
	__u8 has_mac;	 /* on the LAN itself, not behind a router */
	__u8 mac[6];
};

struct droplet_slot {
	__be32 addr; /* 0 = nobody's */
	struct droplet droplet;
};

struct front_key {
	__be32 addr;
	__be16 port;
	__u8 proto;
	__u8 pad;
};

#define FRONT_SLOTS 64

struct backend {
	__be32 addr;
	__be16 port;
	__u16 pad;
};

struct front {
	__u32 vni;
	__u16 application;
	__u16 slots; /* 0 or FRONT_SLOTS: the backends, each as often as it weighs */
	struct backend slot[FRONT_SLOTS];
};

/* A scaled endpoint: an address and port inside a VPC that stands for backends in it. Its value is a `front`. */
struct scaled_key {
	__u32 vni;
	__be32 addr;
	__be16 port;
	__u8 proto;
	__u8 pad;
};

/* One connection of a client, as the front sees it. */
struct flow_key {
	__be32 client;
	__be32 addr;
	__be16 client_port;
	__be16 port;
	__u8 proto;
	__u8 pad[3];
};

struct flow {
	__be32 backend;
	__be16 backend_port;
	__u16 client_region;
};

/* The same connection inside the VPC: who the pod answers. */
struct reply_key {
	__u32 vni;
	__be32 pod;
	__be32 client;
	__be16 pod_port;
	__be16 client_port;
	__u8 proto;
	__u8 pad[3];
};

struct reply {
	__be32 droplet;	 /* where the request came from; 0 = this droplet's own front */
	__be32 front;	 /* on the front: the address and port that the client asked */
	__be16 front_port;
	__u16 application;
	__u16 client_region;
	__u16 pad;
	__u64 syn_ack_ns; /* when the answer to a SYN left; 0 = the handshake is over */
};

struct count_key {
	__u16 application;
	__u16 client_region;
};

struct count {
	__u64 connections;
	__u64 packets_in;
	__u64 bytes_in;
	__u64 bytes_out;
	__u64 rtt_ns; /* sum over `rtts` handshakes */
	__u64 rtts;
};

struct region_key {
	__u32 bits;
	__be32 addr;
};

struct config {
	__u32 lan_ifindex;
	__be32 lan_addr;
	__u32 tunnel_ifindex; /* 0 = no relay here */
	__be32 tunnel_addr;
	__u32 uplink_ifindex; /* 0 = no front here */
	__u32 has_scaled;     /* 0 = no packet needs to be looked up for one */
	/* The largest IP packet of a VPC, bytes: over the LAN, the tunnel, and both on the way to another site. */
	__u16 lan_room, tunnel_room, far_room;
	/* Which programs are attached and why, for who looks: numbers of `dataplane/transit/modes.ts`. */
	__u8 lan_mode, lan_reason, front_mode, front_reason;
	__u8 is_veth; /* the LAN's: its other end wakes for frames that are redirected to it, not for those that are sent back (Linux 6.18) */
	__u8 pad;
};

_Static_assert(sizeof(struct endpoint) == 16, "endpoint");
_Static_assert(sizeof(struct port) == 20, "port");
_Static_assert(sizeof(struct droplet_slot) == 12, "droplet_slot");
_Static_assert(sizeof(struct prefix) == 36, "prefix");
_Static_assert(sizeof(struct front) == 8 + 8 * FRONT_SLOTS, "front");
_Static_assert(sizeof(struct flow_key) == 16, "flow_key");
_Static_assert(sizeof(struct reply_key) == 20, "reply_key");
_Static_assert(sizeof(struct reply) == 24, "reply");
_Static_assert(sizeof(struct count) == 48, "count");
_Static_assert(sizeof(struct config) == 36, "config");

#endif
