/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "devices/block/request.h"
#include "hypervisor/memory.h"
#include <glib.h>

/*
 * What moves the bytes: one engine per queue, used by one thread. Requests are collected with engine_queue(), handed to the
 * kernel together with engine_submit(), and answered by engine_reap().
 */

enum engine_kind {
        ENGINE_AUTO, /* io_uring where the host permits it, else synchronous */
        ENGINE_URING,
        ENGINE_SYNC,
        ENGINE_KIND_MAX,
        ENGINE_KIND_INVALID = -22,
};

const char *engine_kind_to_string(enum engine_kind kind);
enum engine_kind engine_kind_from_string(const char *s);

struct engine;

/* At most depth requests at a time. fd is the descriptor that most requests will use (not owned; must outlive the engine), or
 * -1. Any thread; may come before the thread that will use the engine exists. */
struct engine *engine_new(enum engine_kind kind, unsigned depth, int fd, GError **error);

/* Pins mem and registers it with io_uring, so that requests of one buffer in it are spared the look-up of its pages. Before
 * engine_start(); mem keeps its regions as long as the engine. HV_ERROR_UNSUPPORTED without io_uring. */
bool engine_register_memory(struct engine *e, const gmem *mem, GError **error);

/* Has transfers of fd (as of engine_new(), O_DIRECT) completed by polling the device instead of by interrupts: io_uring's IOPOLL. Tries
 * it with a read. Before engine_register_memory() and engine_start(). HV_ERROR_UNSUPPORTED without io_uring. */
bool engine_poll_device(struct engine *e, GError **error);

/* Transfers so far that went to registered memory, and that were polled for. Any thread. */
uint64_t engine_count_fixed(const struct engine *e);
uint64_t engine_count_polled(const struct engine *e);

/* Binds the engine to the calling thread; first call on it from there. 0 or negative errno. */
int engine_start(struct engine *e);

/* Nothing may be in flight. Any thread, when the engine's own no longer uses it. NULL is fine. Returns NULL. */
struct engine *engine_free(struct engine *e);

/* Readable when engine_reap() has something to do, unless engine_is_ready() says so; -1: never, because every request is over when
 * engine_submit() returns. */
int engine_poll_fd(const struct engine *e);

/* Something is finished that was started by done() during the last engine_reap(), or could not be given to the kernel by it: the descriptor
 * does not tell of that. */
bool engine_is_ready(const struct engine *e);

/* Whether something has finished, or may have, as far as memory tells: no system call. engine_reap() then. */
bool engine_has_news(const struct engine *e);

/* Transfers are under way that only engine_reap() sees the end of, by looking at the device: nothing wakes anybody for them. */
bool engine_must_look(const struct engine *e);

/* Adds req (req->fd set by the image) to the next batch. */
void engine_queue(struct engine *e, struct block_req *req);

/* The same for buffers that the descriptor's O_DIRECT would refuse: through a buffer of the engine's own, before it
 * returns. offset and len must still be aligned. */
void engine_queue_bounced(struct engine *e, struct block_req *req);

/* The same, for writes whose bytes are looked at before they go: check sees a copy that the buffers' owner cannot change. What it does not
 * return 0 for is not written, and ends the request with that. */
typedef int engine_check_fn(void *opaque, uint64_t offset, const void *data, size_t len);
void engine_queue_checked(
                struct engine *e, struct block_req *req, engine_check_fn *check, void *opaque);

/* Ends req without doing it, with 0 or negative errno. */
void engine_answer(struct engine *e, struct block_req *req, int result);

/* Requests may be finished by other threads, too. Before the engine's own thread watches it. 0 or negative errno. */
int engine_accept_posts(struct engine *e);

/* Readable when other threads have finished something: engine_clear_posts(), then engine_reap(). -1: they may not. */
int engine_post_fd(const struct engine *e);
void engine_clear_posts(struct engine *e);

/* req is somebody else's from now on, and counts as in flight until engine_post(). On the engine's thread. */
void engine_defer(struct engine *e, struct block_req *req);

/* Ends a deferred req with 0 or negative errno. Any thread; once, and then neither req nor e is touched any more. */
void engine_post(struct engine *e, struct block_req *req, int result);

/* Starts what was queued, with one system call. Never fails: what the kernel refuses to take is done synchronously. */
void engine_submit(struct engine *e);

/* Calls done() of what is finished, and submits what done() started. Returns how many. */
unsigned engine_reap(struct engine *e);

/* Requests queued whose done() was not called. */
unsigned engine_in_flight(const struct engine *e);

/* Submits and reaps until nothing is in flight. timeout_ms -1 waits for ever. 0 or -ETIMEDOUT. */
int engine_drain(struct engine *e, int timeout_ms);
