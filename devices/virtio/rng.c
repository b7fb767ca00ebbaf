/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Entropy device (virtio 1.2, 5.4): one queue of buffers to be filled.
 *
 * Bytes come from the source descriptor, and from getrandom(2) when there is none or it has
 * nothing right now: the guest gets at least one byte for each buffer (5.4.6.1) and the thread never waits. A
 * request is cut at a limit, and the queue's budget bounds what one wake-up does, so a guest that
 * asks without end costs no more than its thread's share.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/random.h>

#include "devices/virtio/devices.h"
#include "hypervisor/error.h"
#include "hypervisor/fd.h"

#define TYPE_RNG 4
#define QUEUE_SIZE 256
#define REQUEST_MAX (64u << 10)

struct vrng {
        struct virtio_dev vd;
        int source_fd;
        iothread *thread;
        _Atomic uint64_t bytes;

        /* Of the I/O thread. */
        struct io_watch kick;
        struct iovec iov[QUEUE_SIZE];
};

static struct vrng *of_vd(struct virtio_dev *vd) {
        return (struct vrng *) vd;
}

static size_t fill(struct vrng *r, void *to, size_t len) {
        ssize_t n = r->source_fd >= 0 ? read(r->source_fd, to, len) : -1;

        if (n <= 0)
                n = getrandom(to, len, GRND_NONBLOCK);
        return n > 0 ? (size_t) n : 0;
}

static int64_t serve(struct virtio_dev *vd, struct virtq *q, struct virtq_chain *chain) {
        const struct iovec *iov = chain->iov + chain->n_read;
        struct vrng *r = of_vd(vd);
        uint32_t done = 0;

        for (size_t i = 0; i < chain->n_write && done < REQUEST_MAX; i++) {
                size_t want = MIN(iov[i].iov_len, REQUEST_MAX - done);
                size_t n = fill(r, iov[i].iov_base, want);

                done += (uint32_t) n;
                if (n < want)
                        break;
        }

        virtq_mark_written(q, chain, done);
        virtq_push(q, chain->token, done);
        atomic_fetch_add_explicit(&r->bytes, done, memory_order_relaxed);
        return done;
}

static void on_kick(struct io_watch *w, uint32_t events) {
        struct vrng *r = w->opaque;
        struct virtq_chain chain = { .iov = r->iov, .iov_max = G_N_ELEMENTS(r->iov) };

        virtio_queue_clear_kick(&r->vd.queues[0]);
        virtio_queue_serve(&r->vd, &r->vd.queues[0], &chain, serve);
}

static int start(void *opaque) {
        struct vrng *r = opaque;

        r->kick.fd = r->vd.queues[0].kick_fd;
        return iothread_watch(r->thread, &r->kick, EPOLLIN);
}

static int stop(void *opaque) {
        struct vrng *r = opaque;

        iothread_unwatch(r->thread, &r->kick);
        return 0;
}

static int vrng_activate(struct virtio_dev *vd) {
        return iothread_call(of_vd(vd)->thread, start, vd);
}

static void vrng_deactivate(struct virtio_dev *vd) {
        (void) iothread_call(of_vd(vd)->thread, stop, vd);
}

static bool vrng_pause(struct virtio_dev *vd, GError **error) {
        vrng_deactivate(vd);
        return true;
}

static void vrng_resume(struct virtio_dev *vd) {
        if (vrng_activate(vd) < 0)
                vd->transport->needs_reset(vd, "resuming failed");
}

static void vrng_config_read(struct virtio_dev *vd, unsigned offset, void *data, unsigned len) {
        /* 5.4.4: no configuration; config_len is 0. */
}

static void vrng_counters(struct virtio_dev *vd, device_counter_fn *fn, void *opaque) {
        fn(opaque, "bytes", atomic_load(&of_vd(vd)->bytes));
}

static void vrng_free(struct virtio_dev *vd) {
        struct vrng *r = of_vd(vd);

        chv_closep(&r->source_fd);
        virtio_dev_release(vd);
        g_free(r);
}

static const struct virtio_dev_ops ops = {
        .config_read = vrng_config_read,
        .activate = vrng_activate,
        .deactivate = vrng_deactivate,
        .pause = vrng_pause,
        .resume = vrng_resume,
        .counters = vrng_counters,
        .free = vrng_free,
};

struct virtio_dev *
virtio_rng_new(const gmem *mem, const char *id, int source_fd, iothread *thread, GError **error) {
        autofd source = source_fd;
        struct vrng *r;
        int flags;

        if (source >= 0) {
                flags = fcntl(source, F_GETFL);
                if (flags < 0 || fcntl(source, F_SETFL, flags | O_NONBLOCK) < 0) {
                        hv_error_errno(error, errno, "%s: the source of entropy", id);
                        return NULL;
                }
        }

        r = g_new0(struct vrng, 1);
        virtio_dev_init(&r->vd, &ops, "virtio-rng", id, TYPE_RNG, mem, 1, QUEUE_SIZE);
        r->vd.device_features = 1ull << VIRTIO_F_IN_ORDER;
        r->source_fd = chv_steal_fd(&source);
        r->thread = thread;
        r->kick = (struct io_watch){ .fd = -1, .ready = on_kick, .opaque = r };
        return &r->vd;
}
