/* What the parts of the VM image's one process share. */
#ifndef PROXIMA_GUEST_H
#define PROXIMA_GUEST_H

/* network.c: gives eth0 this and nothing else; 0 = done. */
struct place {
	const char *address, *gateway, *mac;
	int prefix, mtu;
};
int configure(const struct place *place);

/* serve.c: a web server with one page. `serve_turn` waits up to `timeout_ms` (-1 = for ever) for requests, or for `other` (-1 = none) to have
 * something to say, and returns poll's events of `other`. `get` asks a local server, from a process of its own: 0 = 2xx or 3xx. */
void serve_start(int port);
void serve_page(const char *text);
int serve_turn(int other, int timeout_ms);
int get(int port, const char *path);
int reach(int port);

#endif
