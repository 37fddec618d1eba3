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
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>
#include <signal.h>

#define MAX_LINKS 256
#define FRAME_MAX 2048
/* Bounds memory and models a router's buffer: a queue longer than this drops at the tail. */
#define QUEUE_MAX 4096

struct frame {
	struct frame *next;
	uint64_t due_ns;
	uint32_t len;
	uint8_t data[FRAME_MAX];
};

struct side {
	int fd;
	struct frame *head, *tail; /* frames on their way to this side, in order of arrival there */
	uint32_t queued;
	uint64_t delivered, dropped;
	uint64_t free_at_ns; /* when the transmitter of this direction is idle again */
};

struct link {
	char id[128];
	struct side side[2];
	uint64_t delay_ns, jitter_ns;
	uint32_t loss_ppm, rate_kbit;
	int up;
};

static struct link links[MAX_LINKS];
static int nlinks;
static struct frame *pool;
static uint64_t rng = 0x9e3779b97f4a7c15ull;

static uint64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

static uint64_t rnd64(uint64_t below)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return below ? rng % below : 0;
}

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

static void enqueue(struct link *l, struct side *to, struct frame *f)
{
	uint64_t now = now_ns(), start = to->free_at_ns > now ? to->free_at_ns : now;
	uint64_t jitter = l->jitter_ns ? rnd64(2 * l->jitter_ns) : 0;

	if (l->rate_kbit)
		start += (uint64_t)f->len * 8000000ull / l->rate_kbit;
	to->free_at_ns = start;
	f->due_ns = start + l->delay_ns + jitter - (l->jitter_ns < l->delay_ns ? l->jitter_ns : l->delay_ns);
	/* Frames of one direction stay in order: jitter varies the delay, it does not reorder. */
	if (to->tail && f->due_ns < to->tail->due_ns)
		f->due_ns = to->tail->due_ns;
	f->next = NULL;
	if (to->tail)
		to->tail->next = f;
	else
		to->head = f;
	to->tail = f;
	to->queued++;
}

static struct frame *take(void)
{
	struct frame *f = pool;

	if (f) {
		pool = f->next;
		return f;
	}
	return malloc(sizeof(struct frame));
}

static void give(struct frame *f)
{
	f->next = pool;
	pool = f;
}

static void receive(struct link *l, int from)
{
	struct side *to = &l->side[!from];

	for (int i = 0; i < 64; i++) {
		struct frame *f = take();
		ssize_t n;

		if (!f)
			return;
		n = read(l->side[from].fd, f->data, FRAME_MAX);
		if (n <= 0) {
			give(f);
			return;
		}
		f->len = (uint32_t)n;
		if (!l->up || to->queued >= QUEUE_MAX || (l->loss_ppm && rnd64(1000000) < l->loss_ppm)) {
			to->dropped++;
			give(f);
			continue;
		}
		enqueue(l, to, f);
	}
}

/* Sends what is due; returns when the next frame of any link is, or 0. */
static uint64_t flush(void)
{
	uint64_t next = 0, now = now_ns();

	for (int i = 0; i < nlinks; i++) {
		for (int s = 0; s < 2; s++) {
			struct side *to = &links[i].side[s];

			while (to->head && to->head->due_ns <= now) {
				struct frame *f = to->head;

				to->head = f->next;
				if (!to->head)
					to->tail = NULL;
				to->queued--;
				/* A full tap drops, as a wire would. */
				if (links[i].up && write(to->fd, f->data, f->len) >= 0)
					to->delivered++;
				else
					to->dropped++;
				give(f);
			}
			if (to->head && (!next || to->head->due_ns < next))
				next = to->head->due_ns;
		}
	}
	return next;
}

static struct link *find(const char *id)
{
	for (int i = 0; i < nlinks; i++)
		if (!strcmp(links[i].id, id))
			return &links[i];
	return NULL;
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
	} else if (!strcmp(verb, "set") && sscanf(buf, "%*s %*s %llu %llu %llu %llu", &delay, &jitter, &loss, &rate) == 4) {
		l->delay_ns = delay * 1000;
		l->jitter_ns = jitter * 1000;
		l->loss_ppm = (uint32_t)loss;
		l->rate_kbit = (uint32_t)rate;
	} else
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

int main(int argc, char **argv)
{
	char line[1024];
	int home, ep, timer, ctl;

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
	while (fgets(line, sizeof(line), stdin) && line[0] != '\n') {
		char na[128], ia[32], nb[128], ib[32];
		unsigned long long delay, jitter, loss, rate;
		int up;
		struct link *l = &links[nlinks];

		if (nlinks == MAX_LINKS || sscanf(line, "%127s %127s %31s %127s %31s %llu %llu %llu %llu %d", l->id, na, ia, nb, ib, &delay, &jitter, &loss, &rate, &up) != 10) {
			fprintf(stderr, "wan: cannot read: %s", line);
			return 2;
		}
		l->delay_ns = delay * 1000;
		l->jitter_ns = jitter * 1000;
		l->loss_ppm = (uint32_t)loss;
		l->rate_kbit = (uint32_t)rate;
		l->up = up;
		l->side[0].fd = open_tap(na, ia);
		l->side[1].fd = open_tap(nb, ib);
		for (int s = 0; s < 2; s++) {
			struct epoll_event e = { .events = EPOLLIN, .data.u32 = (uint32_t)(nlinks * 2 + s) };

			epoll_ctl(ep, EPOLL_CTL_ADD, l->side[s].fd, &e);
		}
		nlinks++;
	}
	if (setns(home, CLONE_NEWNET))
		die("return to", "own namespace");
	ctl = control_socket(argv[1]);
	struct epoll_event e = { .events = EPOLLIN, .data.u32 = 0xfffffffe };
	epoll_ctl(ep, EPOLL_CTL_ADD, ctl, &e);
	e.data.u32 = 0xffffffff;
	epoll_ctl(ep, EPOLL_CTL_ADD, timer, &e);
	signal(SIGPIPE, SIG_IGN);
	printf("ready\n");
	fflush(stdout);
	for (;;) {
		struct epoll_event got[64];
		int n = epoll_wait(ep, got, 64, -1);
		uint64_t next;

		for (int i = 0; i < n; i++) {
			uint32_t w = got[i].data.u32;

			if (w == 0xfffffffe)
				control(ctl);
			else if (w == 0xffffffff)
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
