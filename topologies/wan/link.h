/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The links of the WAN emulator and the frames on their way: delay, jitter, loss and rate are decided when a frame arrives at one side, and it
 * leaves at the other when it is due. Nothing here allocates once the pool holds as many frames as were ever under way.
 */
#pragma once
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

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

static void impair(struct link *l, uint64_t delay_us, uint64_t jitter_us, uint64_t loss_ppm, uint64_t rate_kbit)
{
	l->delay_ns = delay_us * 1000;
	l->jitter_ns = jitter_us * 1000;
	l->loss_ppm = (uint32_t)loss_ppm;
	l->rate_kbit = (uint32_t)rate_kbit;
}

static struct link *find(const char *id)
{
	for (int i = 0; i < nlinks; i++)
		if (!strcmp(links[i].id, id))
			return &links[i];
	return NULL;
}
