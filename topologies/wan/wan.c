// SPDX-License-Identifier: Apache-2.0
/*
 * WAN emulation for kernels without netem: every delayed link of a lab is a pair of taps, one in each node's network namespace, and this
 * one process carries the frames between them with delay, jitter, loss and rate, per direction.
 *
 * Standard input, one link a line, then an empty line:
 *   <id> <netns a> <if a> <netns b> <if b> <delay us> <jitter us> <loss ppm> <rate kbit, 0 = none> <up, 0 or 1>
 * It prints "ready" when all taps are up. Control socket (SOCK_DGRAM at argv[1]):
 *   "set <id> <delay us> <jitter us> <loss ppm> <rate kbit>", "up <id>", "down <id>"; it answers "ok" or "error ...".
 *   "count <id>"; it answers "ok <a to b delivered> <a to b dropped> <b to a delivered> <b to a dropped>" in frames.
 * The taps are persistent: when this process is killed they lose their carrier and keep their addresses and routes, and the next one
 * takes them over.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include "link.h"

/* What epoll reports besides the sides of the links, whose number is twice the link's, plus one for the second side. */
#define CONTROL 0xfffffffeu
#define TIMER 0xffffffffu

static void die(const char *what, const char *name)
{
	fprintf(stderr, "wan: %s %s: %s\n", what, name, strerror(errno));
	exit(1);
}

static int open_tap(const char *netns, const char *name)
{
	char path[512];
	struct ifreq req = { 0 };
	int ns, fd;

	snprintf(path, sizeof(path), "/run/netns/%s", netns);
	ns = open(path, O_RDONLY | O_CLOEXEC);
	if (ns < 0)
		die("namespace", path);
	if (setns(ns, CLONE_NEWNET))
		die("enter", path);
	close(ns);
	fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		die("open", "/dev/net/tun");
	req.ifr_flags = IFF_TAP | IFF_NO_PI;
	snprintf(req.ifr_name, IFNAMSIZ, "%s", name);
	if (ioctl(fd, TUNSETIFF, &req))
		die("tap", name);
	if (ioctl(fd, TUNSETPERSIST, 1))
		die("keep", name);
	return fd;
}

static void control(int fd)
{
	char buf[512], id[128], verb[16], counts[128];
	struct sockaddr_un peer;
	socklen_t plen = sizeof(peer);
	unsigned long long delay, jitter, loss, rate;
	const char *answer = "ok";
	ssize_t n = recvfrom(fd, buf, sizeof(buf) - 1, 0, (struct sockaddr *)&peer, &plen);
	struct link *l;

	if (n <= 0)
		return;
	buf[n] = 0;
	if (sscanf(buf, "%15s %127s", verb, id) != 2)
		answer = "error expected: VERB LINK";
	else if (!(l = find(id)))
		answer = "error no such link";
	else if (!strcmp(verb, "up"))
		l->up = 1;
	else if (!strcmp(verb, "down"))
		l->up = 0;
	else if (!strcmp(verb, "count")) {
		snprintf(counts, sizeof(counts), "ok %llu %llu %llu %llu", (unsigned long long)l->side[1].delivered, (unsigned long long)l->side[1].dropped,
			 (unsigned long long)l->side[0].delivered, (unsigned long long)l->side[0].dropped);
		answer = counts;
	} else if (!strcmp(verb, "set") && sscanf(buf, "%*s %*s %llu %llu %llu %llu", &delay, &jitter, &loss, &rate) == 4)
		impair(l, delay, jitter, loss, rate);
	else
		answer = "error expected: up LINK, down LINK, count LINK or set LINK DELAY JITTER LOSS RATE";
	if (plen > sizeof(sa_family_t))
		sendto(fd, answer, strlen(answer), 0, (struct sockaddr *)&peer, plen);
}

static int control_socket(const char *path)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	snprintf(at.sun_path, sizeof(at.sun_path), "%s", path);
	unlink(path);
	if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof(at)))
		die("control socket", path);
	return fd;
}

static int tell(const char *path, const char *message)
{
	struct sockaddr_un self = { .sun_family = AF_UNIX }, at = { .sun_family = AF_UNIX };
	struct timeval patience = { .tv_sec = 2 };
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	char buf[512];
	ssize_t n;

	snprintf(at.sun_path, sizeof(at.sun_path), "%s", path);
	/* Binding only the family gives an abstract address of the kernel's choice, so that there is somewhere to answer to. */
	if (fd < 0 || bind(fd, (struct sockaddr *)&self, sizeof(sa_family_t)) || connect(fd, (struct sockaddr *)&at, sizeof(at)))
		die("reach", path);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	if (send(fd, message, strlen(message), 0) < 0)
		die("tell", path);
	n = recv(fd, buf, sizeof(buf) - 1, 0);
	if (n <= 0)
		die("answer from", path);
	buf[n] = 0;
	puts(buf);
	return strncmp(buf, "ok", 2) != 0;
}

static void watch(int ep, int fd, uint32_t which)
{
	struct epoll_event e = { .events = EPOLLIN, .data.u32 = which };

	if (epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e))
		die("watch", "a descriptor");
}

/* One link of standard input: 1 when there was one, 0 at the end, -1 when the line says something else. */
static int read_link(int ep)
{
	char line[1024], na[128], ia[32], nb[128], ib[32];
	unsigned long long delay, jitter, loss, rate;
	struct link *l = &links[nlinks];

	if (!fgets(line, sizeof(line), stdin) || line[0] == '\n')
		return 0;
	if (nlinks == MAX_LINKS ||
	    sscanf(line, "%127s %127s %31s %127s %31s %llu %llu %llu %llu %d", l->id, na, ia, nb, ib, &delay, &jitter, &loss, &rate, &l->up) != 10) {
		fprintf(stderr, "wan: cannot read: %s", line);
		return -1;
	}
	impair(l, delay, jitter, loss, rate);
	l->side[0].fd = open_tap(na, ia);
	l->side[1].fd = open_tap(nb, ib);
	for (uint32_t s = 0; s < 2; s++)
		watch(ep, l->side[s].fd, (uint32_t)nlinks * 2 + s);
	nlinks++;
	return 1;
}

static void serve(int ep, int ctl, int timer)
{
	for (;;) {
		struct epoll_event got[64];
		int n = epoll_wait(ep, got, 64, -1);
		uint64_t next;

		for (int i = 0; i < n; i++) {
			uint32_t w = got[i].data.u32;

			if (w == CONTROL)
				control(ctl);
			else if (w == TIMER)
				continue;
			else if (got[i].events & (EPOLLERR | EPOLLHUP)) /* the tap was deleted: an error that never ends */
				epoll_ctl(ep, EPOLL_CTL_DEL, links[w / 2].side[w % 2].fd, NULL);
			else
				receive(&links[w / 2], (int)(w % 2));
		}
		next = flush();
		/* An absolute time of zero would disarm the timer; that is what "nothing queued" wants. */
		struct itimerspec at = { .it_value = { .tv_sec = (time_t)(next / 1000000000ull), .tv_nsec = (long)(next % 1000000000ull) } };
		timerfd_settime(timer, TFD_TIMER_ABSTIME, &at, NULL);
	}
}

int main(int argc, char **argv)
{
	int home, ep, timer, ctl, more;

	if (argc == 4 && !strcmp(argv[1], "--tell"))
		return tell(argv[2], argv[3]);
	if (argc != 2) {
		fprintf(stderr, "usage: wan CONTROL_SOCKET < links\n");
		return 2;
	}
	home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	ep = epoll_create1(EPOLL_CLOEXEC);
	timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	/* The default slack of 50 us is fine on a server and coarse against a 500 us link. */
	prctl(PR_SET_TIMERSLACK, 1000, 0, 0, 0);
	while ((more = read_link(ep)) > 0)
		;
	if (more < 0)
		return 2;
	if (setns(home, CLONE_NEWNET))
		die("return to", "own namespace");
	ctl = control_socket(argv[1]);
	watch(ep, ctl, CONTROL);
	watch(ep, timer, TIMER);
	signal(SIGPIPE, SIG_IGN);
	printf("ready\n");
	fflush(stdout);
	serve(ep, ctl, timer);
}
