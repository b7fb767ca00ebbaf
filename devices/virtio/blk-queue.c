/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * One queue of a block device and the thread that serves it.
 *
 * A kick makes the thread take all chains there are into slots, hand them to the engine in one batch, collect what is finished at
 * once and interrupt the guest at most once. A completion makes it return what is finished, and go on taking chains if it had run
 * out of slots. With poll_us the thread then looks at the ring and at what is in flight for a while before it sleeps, and the driver need not
 * kick it meanwhile. One wake-up does a bounded number of rounds, because a busy guest must not keep the thread from requests of the main
 * thread.
 */

#include "devices/virtio/blk.h"
#include "hypervisor/error.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <unistd.h>

#define MAX_SLOTS 1024u
#define MAX_ROUNDS 16
#define QUIESCE_LIMIT_MS 30000
#define LIMITED (-1) /* beside the conditions of virtq.h */

/* There is one (have_slot()). */
static struct vblk_slot *slot_take(struct vblk_queue *bq) {
        struct vblk_slot *s = bq->free;

        if (s) {
                bq->free = s->next;
                return s;
        }
        s = &bq->slots[bq->n_touched];
        s->queue = bq;
        s->chain.iov = bq->iovs + (size_t) bq->n_touched * bq->max_iov;
        s->chain.iov_max = (uint16_t) bq->max_iov;
        bq->n_touched++;
        return s;
}

void vblk_slot_give_back(struct vblk_queue *bq, struct vblk_slot *s) {
        s->next = bq->free;
        bq->free = s;
}

static void return_chain(struct vblk_queue *bq, struct vblk_slot *s, uint32_t used_len) {
        if (!bq->dropping)
                virtq_push(bq->q, s->chain.token, used_len);
        vblk_slot_give_back(bq, s);
}

void vblk_slot_taken(struct vblk_queue *bq, struct vblk_slot *s) {
        if (G_LIKELY(!bq->in_order))
                return;
        s->answered = false;
        s->next = NULL;
        if (bq->oldest)
                bq->newest->next = s;
        else
                bq->oldest = s;
        bq->newest = s;
}

void vblk_slot_answered(struct vblk_queue *bq, struct vblk_slot *s, uint32_t used_len) {
        if (G_LIKELY(!bq->in_order)) {
                return_chain(bq, s, used_len);
                return;
        }
        s->answered = true;
        s->used_len = used_len;
        while (bq->oldest && bq->oldest->answered) {
                s = bq->oldest;
                bq->oldest = s->next;
                return_chain(bq, s, s->used_len);
        }
}

/* The guest broke the rules: answers no more, whatever is still in flight, until it resets the device. */
static void give_up(struct vblk_queue *bq, const char *why) {
        struct virtio_dev *vd = &bq->blk->vd;

        bq->dropping = true;
        bq->q->broken = true;
        iothread_unwatch(bq->thread, &bq->kick);
        vd->transport->needs_reset(vd, why);
}

static bool have_slot(const struct vblk_queue *bq) {
        return bq->free || bq->n_touched < bq->n_slots;
}

/* Takes chains until there are no more, no more slots, or a ringful: what is answered at once gives its slot back, so slots alone
 * bound nothing. VIRTQ_E_EMPTY, VIRTQ_E_BROKEN, LIMITED, or 0: there may be more. */
static int take_chains(struct vblk_queue *bq) {
        const char *why = "a bad descriptor chain in a block queue";

        for (unsigned i = 0; i < bq->n_slots && have_slot(bq); i++) {
                struct vblk_slot *s = slot_take(bq);
                int r = virtq_pop(bq->q, &s->chain);

                if (r == 0 && vblk_queue_must_wait(bq, &s->chain)) {
                        virtq_unpop(bq->q, s->chain.token);
                        vblk_slot_give_back(bq, s);
                        return LIMITED;
                }
                if (r == 0 && vblk_request_begin(s, &why))
                        continue;
                vblk_slot_give_back(bq, s);
                if (r == VIRTQ_E_EMPTY)
                        return r;
                give_up(bq, why);
                return VIRTQ_E_BROKEN;
        }
        return 0;
}

/* A request starts one more at most (needs_flush()), so this comes to an end. Returns how many are over. */
static unsigned collect(struct vblk_queue *bq) {
        unsigned n = 0;

        bq->now = throttle_clock();
        do
                n += engine_reap(bq->engine);
        while (engine_is_ready(bq->engine));
        return n;
}

/* The ring is empty. False: more has come. */
static bool let_kick(struct vblk_queue *bq) {
        bq->silent = iothread_will_look(bq->thread) || engine_must_look(bq->engine);
        return bq->silent || !virtq_enable_notify(bq->q);
}

static void serve(struct vblk_queue *bq) {
        struct virtq *q = bq->q;
        int rounds, r = 0;

        bq->starved = false;
        bq->silent = false;
        if (bq->limited)
                return;
        bq->now = throttle_clock();
        virtq_disable_notify(q);
        for (rounds = 0; rounds < MAX_ROUNDS; rounds++) {
                r = take_chains(bq);
                engine_submit(bq->engine);
                (void) collect(bq);
                if (r == VIRTQ_E_BROKEN)
                        return;
                if (r == LIMITED || (r == VIRTQ_E_EMPTY && let_kick(bq)))
                        break;
                if (r == 0 && !have_slot(bq)) {
                        bq->starved = true;
                        break;
                }
                virtq_disable_notify(q);
        }
        virtio_queue_flush(&bq->blk->vd, q);
        if (rounds == MAX_ROUNDS)
                virtio_queue_kick(q);
}

void vblk_queue_retry(struct vblk_queue *bq) {
        bq->limited = false;
        if (!bq->dropping)
                serve(bq);
}

static void on_timer(void *opaque) {
        vblk_queue_retry(opaque);
}

static void on_kick(struct io_watch *w, uint32_t events) {
        struct vblk_queue *bq = w->opaque;

        serve(bq);
}

static unsigned finish(struct vblk_queue *bq) {
        unsigned n = collect(bq);

        if (bq->dropping)
                return n;
        if (bq->starved)
                serve(bq);
        else
                virtio_queue_flush(&bq->blk->vd, bq->q);
        return n;
}

static void on_finished(struct io_watch *w, uint32_t events) {
        (void) finish(w->opaque);
}

static enum io_look on_look(struct io_poller *p) {
        struct vblk_queue *bq = p->opaque;
        bool found = (engine_has_news(bq->engine) || engine_must_look(bq->engine)) &&
                     finish(bq) > 0;

        if (!bq->dropping && !bq->starved && !bq->limited && virtq_pending(bq->q) > 0) {
                serve(bq);
                found = true;
        }
        if (!found)
                return engine_must_look(bq->engine) ? IO_LOOK_BUSY : IO_LOOK_NOTHING;
        vblk_count(&bq->stats.looks, 1);
        return IO_LOOK_FOUND;
}

static bool before_sleep(struct io_poller *p) {
        struct vblk_queue *bq = p->opaque;

        if (!bq->silent || bq->dropping)
                return false;
        bq->silent = false;
        return virtq_enable_notify(bq->q);
}

static void on_posted(struct io_watch *w, uint32_t events) {
        struct vblk_queue *bq = w->opaque;

        engine_clear_posts(bq->engine);
        on_finished(w, events);
}

static void start_looking(struct vblk_queue *bq) {
        bq->poller = (struct io_poller){
                .look = on_look,
                .before_sleep = before_sleep,
                .opaque = bq,
                .limit = bq->blk->poll_us * 1000ull,
        };
        if (bq->poller.limit > 0 || bq->blk->iopoll)
                iothread_add_poller(bq->thread, &bq->poller);
}

static int watch(struct vblk_queue *bq) {
        struct io_watch *all[] = { &bq->kick, &bq->finished, &bq->posted };

        bq->kick = (struct io_watch){ bq->q->kick_fd, on_kick, bq };
        bq->finished = (struct io_watch){ engine_poll_fd(bq->engine), on_finished, bq };
        bq->posted = (struct io_watch){ engine_post_fd(bq->engine), on_posted, bq };
        for (size_t i = 0; i < G_N_ELEMENTS(all); i++) {
                /* Each kick is an event of its own then, and nobody has to read them off. */
                uint32_t events = all[i] == &bq->kick ? EPOLLIN | EPOLLET : EPOLLIN;
                int r = all[i]->fd < 0 ? 0 : iothread_watch(bq->thread, all[i], events);

                if (r < 0) {
                        while (i-- > 0)
                                if (all[i]->fd >= 0)
                                        iothread_unwatch(bq->thread, all[i]);
                        return r;
                }
        }
        return 0;
}

static void unwatch(struct vblk_queue *bq) {
        iothread_remove_poller(bq->thread, &bq->poller);
        /* give_up() has done the first already. */
        if (!bq->dropping)
                iothread_unwatch(bq->thread, &bq->kick);
        if (bq->finished.fd >= 0)
                iothread_unwatch(bq->thread, &bq->finished);
        if (bq->posted.fd >= 0)
                iothread_unwatch(bq->thread, &bq->posted);
}

static int start_here(void *opaque) {
        struct vblk_queue *bq = opaque;
        int r;

        if (bq->serving || bq->q->broken)
                return 0;
        bq->dropping = false;
        bq->in_order = virtio_has(&bq->blk->vd, VIRTIO_F_IN_ORDER);
        r = watch(bq);
        if (r < 0)
                return r;
        r = vblk_queue_start_timer(bq);
        if (r < 0) {
                unwatch(bq);
                return r;
        }
        start_looking(bq);
        bq->serving = true;
        /* Chains that came before the watch, or whose kick was consumed before a pause. */
        serve(bq);
        return 0;
}

static int stop_here(void *opaque) {
        struct vblk_queue *bq = opaque;

        if (!bq->serving)
                return 0;
        unwatch(bq);
        vblk_queue_stop_timer(bq);
        bq->dropping = true;
        bq->serving = false;
        return engine_drain(bq->engine, /* timeout_ms= */ -1);
}

static int quiesce_here(void *opaque) {
        struct vblk_queue *bq = opaque;
        int r;

        if (!bq->serving)
                return 0;
        bq->now = throttle_clock();
        r = engine_drain(bq->engine, QUIESCE_LIMIT_MS);
        if (!bq->dropping)
                virtio_queue_flush(&bq->blk->vd, bq->q);
        if (r < 0)
                return r;
        unwatch(bq);
        vblk_queue_stop_timer(bq);
        bq->serving = false;
        return 0;
}

static int drain_here(void *opaque) {
        struct vblk_queue *bq = opaque;
        int r;

        bq->now = throttle_clock();
        r = engine_drain(bq->engine, QUIESCE_LIMIT_MS);
        if (!bq->serving || bq->dropping)
                return r;
        virtio_queue_flush(&bq->blk->vd, bq->q);
        if (bq->starved)
                serve(bq);
        return r;
}

int vblk_queue_start(struct vblk_queue *bq) {
        return iothread_call(bq->thread, start_here, bq);
}

void vblk_queue_stop(struct vblk_queue *bq) {
        (void) iothread_call(bq->thread, stop_here, bq);
}

int vblk_queue_quiesce(struct vblk_queue *bq) {
        return iothread_call(bq->thread, quiesce_here, bq);
}

int vblk_queue_drain(struct vblk_queue *bq) {
        return iothread_call(bq->thread, drain_here, bq);
}

static int bind_engine(void *opaque) {
        struct vblk_queue *bq = opaque;

        return engine_start(bq->engine);
}

static size_t iovs_size(const struct vblk_queue *bq) {
        return (size_t) bq->n_slots * bq->max_iov * sizeof(struct iovec);
}

/* Few of them are ever touched, and a huge page for those few would be most of what this process needs. */
static bool allocate_iovs(struct vblk_queue *bq, GError **error) {
        void *p = mmap(NULL, iovs_size(bq), PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

        if (p == MAP_FAILED)
                return hv_error_errno(error, errno, "mapping a block queue's buffer lists");
        (void) madvise(p, iovs_size(bq), MADV_NOHUGEPAGE);
        bq->iovs = p;
        return true;
}

static bool
start_thread(struct vblk_queue *bq,
             unsigned index,
             const struct virtio_blk_config *config,
             GError **error) {
        g_autofree char *name = g_strdup_printf("%.8s_q%u", config->id, index);
        struct iothread_config tc = {
                .name = name,
                .thread_start = config->hook.thread_start,
                .opaque = config->hook.opaque,
        };
        int r;

        for (size_t i = 0; i < config->n_affinity; i++)
                if (config->affinity[i].queue == index) {
                        tc.host_cpus = config->affinity[i].host_cpus;
                        tc.n_host_cpus = config->affinity[i].n_host_cpus;
                }
        bq->thread = iothread_new(&tc, error);
        if (!bq->thread)
                return false;
        r = iothread_call(bq->thread, bind_engine, bq);
        return r >= 0 || hv_error_errno(error, -r, "starting queue %u of %s", index, config->id);
}

static bool
make_engine(struct vblk_queue *bq, const struct virtio_blk_config *config, GError **error) {
        bool needs_uring = config->iopoll || config->registered_buffers;
        enum engine_kind kind = config->no_io_uring ? ENGINE_SYNC
                                : needs_uring       ? ENGINE_URING
                                                    : ENGINE_AUTO;
        const char *option = config->iopoll ? "iopoll" : "registered_buffers";

        bq->engine = engine_new(kind, bq->n_slots, bq->blk->image->main_fd, error);
        if (bq->engine && (!config->iopoll || engine_poll_device(bq->engine, error))) {
                option = "registered_buffers";
                if (!config->registered_buffers ||
                    engine_register_memory(bq->engine, bq->q->mem, error))
                        return true;
        }
        if (needs_uring)
                g_prefix_error(error, "disk %s: %s=on: ", config->id, option);
        return false;
}

bool vblk_queue_init(
                struct vblk_queue *bq,
                struct vblk *blk,
                unsigned index,
                const struct virtio_blk_config *config,
                GError **error) {
        bq->blk = blk;
        bq->q = &blk->vd.queues[index];
        io_timer_init(&bq->timer, on_timer, bq);
        if (throttle_limits(blk->throttle)) {
                int r = io_timer_open(&bq->timer);

                if (r < 0)
                        return hv_error_errno(error, -r, "creating a timer for %s", config->id);
        }
        bq->n_slots = MIN(config->queue_size, MAX_SLOTS);
        /* Room for seg_max, header and status, and never more than one system call takes. */
        bq->max_iov = MIN((unsigned) config->queue_size, (unsigned) IOV_MAX);
        bq->slots = g_new0(struct vblk_slot, bq->n_slots);
        if (!allocate_iovs(bq, error))
                return false;
        if (!make_engine(bq, config, error))
                return false;
        if (blk->image->accepts_posts) {
                int r = engine_accept_posts(bq->engine);

                if (r < 0)
                        return hv_error_errno(error, -r, "making a wake-up for %s", config->id);
        }
        return start_thread(bq, index, config, error);
}

void vblk_queue_release(struct vblk_queue *bq) {
        if (bq->thread)
                vblk_queue_stop(bq);
        bq->thread = iothread_free(bq->thread);
        /* Queues behind one that could not be made have none. */
        if (bq->timer.expired)
                io_timer_close(&bq->timer);
        bq->engine = engine_free(bq->engine);
        if (bq->iovs)
                (void) munmap(bq->iovs, iovs_size(bq));
        bq->iovs = NULL;
        g_clear_pointer(&bq->slots, g_free);
}
