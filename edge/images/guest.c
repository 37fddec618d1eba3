/*
 * The VM image's one process. It does what the agent says on the virtio-serial port (edge/agent/vm/channel.ts has the words), and serves a page.
 * Nothing here starts a program: under emulation that costs more than all the rest of an answer, of a start, of an arrival from elsewhere.
 *
 *   guest PORT CHANNEL      CHANNEL: the device, or - for standard input and output. The clock, the name and the power are touched by process 1 only.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/reboot.h>
#include <time.h>
#include <unistd.h>
#include "guest.h"

/* An agent that is away leaves a port that is always "ready" and never says anything. */
#define AWAY_MS 100
#define WORDS 9

static int in, out;

static void say(const char *text)
{
	/* Nobody listens while the agent is away; it asks again when it is back. */
	(void)!write(out, text, strlen(text));
}

/* config address prefix gateway mac mtu name site epoch */
static void on_config(char **w)
{
	struct place place = { .address = w[1], .prefix = atoi(w[2]), .gateway = w[3], .mac = w[4], .mtu = atoi(w[5]) };
	struct timespec now = { .tv_sec = atoll(w[8]) };
	char page[512];

	if (getpid() == 1) {
		clock_settime(CLOCK_REALTIME, &now);
		sethostname(w[6], strlen(w[6]));
	}
	if (configure(&place) != 0) {
		fprintf(stderr, "guest: the address %s/%s cannot be set\n", w[1], w[2]);
		return;
	}
	snprintf(page, sizeof(page), "{\"pod\":\"%s\",\"site\":\"%s\",\"kind\":\"vm\"}\n", w[6], w[7]);
	serve_page(page);
	say("configured\n");
}

/* probe number kind port path: asked from a process of its own, since this one may be who answers. */
static void on_probe(char **w, int words)
{
	char result[64];
	int failed;

	if (fork() != 0)
		return;
	failed = strcmp(w[2], "http") == 0 ? get(atoi(w[3]), words > 4 ? w[4] : "/") : reach(atoi(w[3]));
	snprintf(result, sizeof(result), "result %.20s %s\n", w[1], failed ? "failed" : "ok");
	say(result);
	_exit(0);
}

static void on_line(char *line)
{
	char *w[WORDS], *rest = line;
	int words = 0;

	while (words < WORDS && (w[words] = strsep(&rest, " ")) != NULL)
		words++;
	if (words == 9 && strcmp(w[0], "config") == 0)
		on_config(w);
	else if (words >= 4 && strcmp(w[0], "probe") == 0)
		on_probe(w, words);
	else if (words == 1 && strcmp(w[0], "poweroff") == 0) {
		if (getpid() == 1)
			reboot(RB_POWER_OFF);
		exit(0);
	}
}

/* 0 = nobody is there. */
static int listen_to(void)
{
	static char text[1024];
	static size_t length;
	ssize_t n = read(in, text + length, sizeof(text) - 1 - length);
	char *end;

	if (n <= 0)
		return 0;
	length += n;
	text[length] = 0;
	while ((end = strchr(text, '\n')) != NULL) {
		*end = 0;
		on_line(text);
		length -= end + 1 - text;
		memmove(text, end + 1, length + 1);
	}
	if (length == sizeof(text) - 1)
		length = 0; /* no line is that long */
	return 1;
}

int main(int argc, char **argv)
{
	if (argc != 3) {
		fprintf(stderr, "usage: guest PORT CHANNEL\n");
		return 2;
	}
	in = strcmp(argv[2], "-") == 0 ? 0 : open(argv[2], O_RDWR | O_CLOEXEC);
	out = in == 0 ? 1 : in;
	if (in < 0) {
		perror(argv[2]);
		return 1;
	}
	signal(SIGCHLD, SIG_IGN); /* nobody waits for a probe */
	serve_start(atoi(argv[1]));
	say("hello\n");
	for (int here = 1;;) {
		int events = serve_turn(here ? in : -1, here ? -1 : AWAY_MS);

		here = !here || events == 0 || ((events & POLLIN) != 0 && listen_to());
	}
}
