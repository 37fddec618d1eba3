/* A web server with one page, as JSON, for GET and HEAD of /. `Served` counts the answers since its start. It forks for nobody. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include "guest.h"

#define CONNECTIONS 64
#define HEAD_MAX 2048
#define IDLE_SECONDS 10

struct connection {
	int fd;
	int length;
	time_t since;
	char head[HEAD_MAX];
};

static struct connection table[CONNECTIONS];
static int used;
static char page[1024];
static int page_length;
static unsigned long served;
static int listener = -1;

static time_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
	return t.tv_sec;
}

void serve_page(const char *text)
{
	page_length = (int)strnlen(text, sizeof(page));
	memcpy(page, text, page_length);
}

/*
 * One write, one close: the answer and its end leave in one segment, since `more` holds the first back for the second. It is smaller than any
 * socket buffer. Not where something may be left unread: closing then resets, and what is held back would be lost.
 */
static void answer(int fd, const char *head, int more)
{
	char out[sizeof(page) + 256];
	int is_head = strncmp(head, "HEAD ", 5) == 0;
	int is_get = strncmp(head, "GET ", 4) == 0;
	const char *path = strchr(head, ' ');
	int found = path != NULL && path[1] == '/' && (path[2] == ' ' || path[2] == '?' || path[2] == '\r');
	int n;

	if (!is_get && !is_head)
		n = snprintf(out, sizeof(out), "HTTP/1.0 405 Method Not Allowed\r\nAllow: GET, HEAD\r\nContent-Length: 0\r\n\r\n");
	else if (!found)
		n = snprintf(out, sizeof(out), "HTTP/1.0 404 Not Found\r\nContent-Length: 0\r\n\r\n");
	else {
		n = snprintf(out, sizeof(out), "HTTP/1.0 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\nServed: %lu\r\nConnection: close\r\n\r\n", page_length, ++served);
		if (is_get) {
			memcpy(out + n, page, page_length);
			n += page_length;
		}
	}
	/* A client that went away needs no answer. */
	(void)!send(fd, out, n, MSG_NOSIGNAL | MSG_DONTWAIT | more);
}

static void drop(int i)
{
	close(table[i].fd);
	table[i] = table[--used];
}

/* Whether the connection is done with: answered, ended or too long. */
static int receive(struct connection *c)
{
	int n = (int)recv(c->fd, c->head + c->length, HEAD_MAX - 1 - c->length, MSG_DONTWAIT);

	if (n < 0)
		return errno != EAGAIN && errno != EINTR;
	if (n == 0)
		return 1;
	c->length += n;
	c->head[c->length] = 0;
	if (strstr(c->head, "\r\n\r\n") == NULL)
		return c->length == HEAD_MAX - 1;
	answer(c->fd, c->head, c->length < HEAD_MAX - 1 ? MSG_MORE : 0);
	return 1;
}

/* The request is there already when the kernel hands a connection over, so most need no second look. */
static void accept_all(void)
{
	while (used < CONNECTIONS) {
		struct connection *c = &table[used];

		c->fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (c->fd < 0)
			return;
		c->length = 0;
		c->since = now();
		used++;
		if (receive(c))
			drop(used - 1);
	}
}

void serve_start(int port)
{
	struct sockaddr_in any = { .sin_family = AF_INET, .sin_port = htons(port) };
	int on = 1, seconds = 1;

	listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	setsockopt(listener, IPPROTO_TCP, TCP_DEFER_ACCEPT, &seconds, sizeof(seconds));
	if (bind(listener, (struct sockaddr *)&any, sizeof(any)) != 0 || listen(listener, 256) != 0) {
		perror("serve");
		exit(1);
	}
}

int serve_turn(int other, int timeout_ms)
{
	struct pollfd wait[CONNECTIONS + 2] = { { .fd = other, .events = POLLIN }, { .fd = used < CONNECTIONS ? listener : -1, .events = POLLIN } };
	int limit = used == 0 || (timeout_ms >= 0 && timeout_ms < 1000) ? timeout_ms : 1000;

	for (int i = 0; i < used; i++)
		wait[i + 2] = (struct pollfd){ .fd = table[i].fd, .events = POLLIN };
	int ready = poll(wait, used + 2, limit);
	/* From the last: dropping one moves only what was looked at. */
	for (int i = used - 1; i >= 0; i--)
		if ((ready > 0 && wait[i + 2].revents != 0 && receive(&table[i])) || now() - table[i].since > IDLE_SECONDS)
			drop(i);
	if (ready > 0 && wait[1].revents != 0)
		accept_all();
	return ready > 0 ? wait[0].revents : 0;
}

static int connected(int port)
{
	struct sockaddr_in here = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct timeval limit = { .tv_sec = 2 };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	return connect(fd, (struct sockaddr *)&here, sizeof(here)) == 0 ? fd : -1;
}

int reach(int port)
{
	return connected(port) < 0;
}

int get(int port, const char *path)
{
	char text[512];
	int n = snprintf(text, sizeof(text), "GET %s HTTP/1.0\r\nHost: localhost\r\n\r\n", path);
	int fd = connected(port);

	if (fd < 0 || n >= (int)sizeof(text) || send(fd, text, n, MSG_NOSIGNAL) != n)
		return 1;
	n = (int)recv(fd, text, sizeof(text) - 1, MSG_WAITALL);
	text[n < 0 ? 0 : n] = 0;
	return strncmp(text, "HTTP/1.", 7) != 0 || (text[9] != '2' && text[9] != '3');
}
