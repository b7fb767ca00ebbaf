/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Console device with one port (virtio 1.2, 5.3): queue 0 carries input, queue 1 output.
 *
 * Output goes to the back end on the I/O thread, chain by chain; a chain is returned only when all of it was handed over, so
 * nothing is lost on this side. Input crosses from the main thread to the I/O thread through a
 * small ring with one writer and one reader. When the ring is full the back end is told how little was taken; as soon as the
 * guest has made room, it hears input_ready().
 *
 * Input that comes before the guest's driver is there waits in the ring; a reset of the device drops it.
 */

#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "devices/virtio/devices.h"
#include "hypervisor/error.h"
#include "hypervisor/fd.h"

#define TYPE_CONSOLE 3
#define QUEUE_SIZE 256
#define FEATURE_SIZE (1ull << 0)

enum {
        QUEUE_INPUT,
        QUEUE_OUTPUT,
        N_QUEUES,
};

#define RING_BYTES 4096u /* power of 2 */

/* virtio 1.2, 5.3.4; little-endian */
struct console_config {
        uint16_t columns, rows;
        uint32_t max_ports, emergency_write;
};

struct vconsole {
        struct virtio_dev vd;
        struct chardev *chr;
        iothread *thread;
        _Atomic uint32_t size; /* columns | rows << 16: both change at once */
        _Atomic uint64_t bytes_in, bytes_out;

        /* Input, from the main thread (head) to the I/O thread (tail; the main thread's while the device is stopped). */
        uint8_t ring[RING_BYTES];
        _Atomic uint32_t head, tail;
        _Atomic bool starved; /* the back end waits for input_ready() */
        int input_fd;         /* wakes the I/O thread */

        /* Of the I/O thread. */
        struct io_watch watch_input, watch_kick[N_QUEUES];
        struct iovec iov[QUEUE_SIZE];
};

static struct vconsole *of_vd(struct virtio_dev *vd) {
        return (struct vconsole *) vd;
}

/* Input ring */

static uint32_t ring_used(const struct vconsole *c) {
        return atomic_load(&c->head) - atomic_load(&c->tail);
}

static size_t ring_put(struct vconsole *c, const uint8_t *data, size_t len) {
        uint32_t head = atomic_load_explicit(&c->head, memory_order_relaxed), at, first;
        uint32_t room = RING_BYTES - ring_used(c);

        len = MIN(len, room);
        at = head % RING_BYTES;
        first = MIN((uint32_t) len, RING_BYTES - at);
        memcpy(c->ring + at, data, first);
        memcpy(c->ring, data + first, len - first);
        /* Pairs with the load in ring_used() by the reader: the bytes come first. */
        atomic_store(&c->head, head + (uint32_t) len);
        return len;
}

static uint32_t ring_take(struct vconsole *c, const struct iovec *iov, size_t n) {
        uint32_t tail = atomic_load_explicit(&c->tail, memory_order_relaxed);
        uint32_t have = ring_used(c), at = tail % RING_BYTES, first = MIN(have, RING_BYTES - at);
        uint32_t done;

        done = (uint32_t) iov_copy_in(iov, n, 0, c->ring + at, first);
        if (done == first)
                done += (uint32_t) iov_copy_in(iov, n, first, c->ring, have - first);
        /* Pairs with the load in ring_used() by the writer: the bytes were copied before their place is free. */
        atomic_store(&c->tail, tail + done);
        return done;
}

/* With the sequentially consistent accesses of head, tail and starved, either the reader sees the flag or the writer, which looks
 * again after setting it, sees the room. */
static void tell_ready(struct vconsole *c) {
        if (ring_used(c) < RING_BYTES && atomic_exchange(&c->starved, false))
                c->chr->ops->input_ready(c->chr);
}

/* Back end: main thread */

static size_t on_input(void *opaque, const uint8_t *data, size_t len) {
        struct vconsole *c = opaque;
        uint64_t one = 1;
        size_t done = ring_put(c, data, len);

        if (done < len) {
                atomic_store(&c->starved, true);
                done += ring_put(c, data + done, len - done);
                if (done == len)
                        atomic_store(&c->starved, false);
        }
        if (done > 0)
                (void) !write(c->input_fd, &one, sizeof(one));

        return done;
}

static void on_resized(void *opaque, uint16_t columns, uint16_t rows) {
        struct vconsole *c = opaque;
        uint32_t size = columns | (uint32_t) rows << 16;

        if (atomic_exchange(&c->size, size) != size && c->vd.transport)
                c->vd.transport->config_changed(&c->vd);
}

static const struct chardev_frontend_ops frontend_ops = {
        .input = on_input,
        .resized = on_resized,
};

/* Queues: I/O thread */

static int64_t serve_input(struct virtio_dev *vd, struct virtq *q, struct virtq_chain *chain) {
        struct vconsole *c = of_vd(vd);
        uint32_t done;

        if (ring_used(c) == 0)
                return -EAGAIN;

        done = ring_take(c, chain->iov + chain->n_read, chain->n_write);
        virtq_mark_written(q, chain, done);
        virtq_push(q, chain->token, done);
        atomic_fetch_add_explicit(&c->bytes_in, done, memory_order_relaxed);
        return done;
}

static int64_t serve_output(struct virtio_dev *vd, struct virtq *q, struct virtq_chain *chain) {
        struct vconsole *c = of_vd(vd);

        for (size_t i = 0; i < chain->n_read; i++)
                c->chr->ops->write(c->chr, chain->iov[i].iov_base, chain->iov[i].iov_len);

        virtq_push(q, chain->token, 0);
        atomic_fetch_add_explicit(&c->bytes_out, chain->read_len, memory_order_relaxed);
        return chain->read_len;
}

static void serve_queue(struct vconsole *c, unsigned i) {
        struct virtq_chain chain = { .iov = c->iov, .iov_max = G_N_ELEMENTS(c->iov) };

        virtio_queue_serve(
                        &c->vd, &c->vd.queues[i], &chain,
                        i == QUEUE_INPUT ? serve_input : serve_output);
}

static void on_watch_input(struct io_watch *w, uint32_t events) {
        struct vconsole *c = w->opaque;
        uint64_t n;

        (void) !read(c->input_fd, &n, sizeof(n));
        serve_queue(c, QUEUE_INPUT);
        tell_ready(c);
}

static void on_kick(struct io_watch *w, uint32_t events) {
        struct vconsole *c = w->opaque;
        unsigned i = (unsigned) (w - c->watch_kick);

        virtio_queue_clear_kick(&c->vd.queues[i]);
        serve_queue(c, i);
        if (i == QUEUE_INPUT)
                tell_ready(c);
}

/* Life */

static int stop(void *opaque) {
        struct vconsole *c = opaque;

        iothread_unwatch(c->thread, &c->watch_input);
        for (unsigned i = 0; i < N_QUEUES; i++)
                iothread_unwatch(c->thread, &c->watch_kick[i]);
        return 0;
}

static int start(void *opaque) {
        struct vconsole *c = opaque;
        int r = iothread_watch(c->thread, &c->watch_input, EPOLLIN);

        for (unsigned i = 0; r == 0 && i < N_QUEUES; i++) {
                c->watch_kick[i].fd = c->vd.queues[i].kick_fd;
                r = iothread_watch(c->thread, &c->watch_kick[i], EPOLLIN);
        }
        if (r < 0)
                (void) stop(c);
        return r;
}

static int vconsole_activate(struct virtio_dev *vd) {
        return iothread_call(of_vd(vd)->thread, start, vd);
}

static bool vconsole_pause(struct virtio_dev *vd, GError **error) {
        (void) iothread_call(of_vd(vd)->thread, stop, vd);
        return true;
}

static void vconsole_resume(struct virtio_dev *vd) {
        if (vconsole_activate(vd) < 0)
                vd->transport->needs_reset(vd, "resuming failed");
}

static void vconsole_deactivate(struct virtio_dev *vd) {
        struct vconsole *c = of_vd(vd);

        (void) iothread_call(c->thread, stop, c);
        /* The I/O thread is out of it: the reader's side of the ring is ours. */
        atomic_store(&c->tail, atomic_load(&c->head));
        tell_ready(c);
}

static void vconsole_config_read(struct virtio_dev *vd, unsigned offset, void *data, unsigned len) {
        uint32_t size = atomic_load(&of_vd(vd)->size);
        struct console_config config = {
                .columns = GUINT16_TO_LE(size & 0xffff),
                .rows = GUINT16_TO_LE(size >> 16),
                .max_ports = GUINT32_TO_LE(1),
        };

        memcpy(data, (const uint8_t *) &config + offset, len);
}

/* Version, size, input not yet taken by the guest. */
#define STATE_VERSION 1
#define STATE_TYPE "(uuay)"

static GVariant *vconsole_save(struct virtio_dev *vd) {
        struct vconsole *c = of_vd(vd);
        uint32_t tail = atomic_load(&c->tail), n = ring_used(c);
        uint8_t input[RING_BYTES];

        for (uint32_t i = 0; i < n; i++)
                input[i] = c->ring[(tail + i) % RING_BYTES];

        return g_variant_new(
                        "(uu@ay)", STATE_VERSION, atomic_load(&c->size),
                        g_variant_new_fixed_array(G_VARIANT_TYPE_BYTE, input, n, 1));
}

static bool vconsole_restore(struct virtio_dev *vd, GVariant *state, GError **error) {
        struct vconsole *c = of_vd(vd);
        g_autoptr(GVariant) input = NULL;
        const uint8_t *data;
        uint32_t version, size;
        uint64_t one = 1;
        size_t n;

        if (!state_fits(vd->id, state, STATE_TYPE, STATE_VERSION, error))
                return false;

        g_variant_get(state, "(uu@ay)", &version, &size, &input);
        data = g_variant_get_fixed_array(input, &n, 1);
        if (n > RING_BYTES) {
                g_set_error(error, HV_ERROR, HV_ERROR_STATE, "%s: state has too much input",
                            vd->id);
                return false;
        }

        atomic_store(&c->tail, 0);
        atomic_store(&c->head, 0);
        (void) ring_put(c, data, n);
        if (n > 0)
                (void) !write(c->input_fd, &one, sizeof(one));
        atomic_store(&c->size, size);
        return true;
}

static void vconsole_counters(struct virtio_dev *vd, device_counter_fn *fn, void *opaque) {
        fn(opaque, "input_bytes", atomic_load(&of_vd(vd)->bytes_in));
        fn(opaque, "output_bytes", atomic_load(&of_vd(vd)->bytes_out));
}

static void vconsole_free(struct virtio_dev *vd) {
        struct vconsole *c = of_vd(vd);

        c->chr->frontend = NULL;
        c->chr->frontend_opaque = NULL;
        chv_closep(&c->input_fd);
        virtio_dev_release(vd);
        g_free(c);
}

static const struct virtio_dev_ops ops = {
        .config_read = vconsole_config_read,
        .activate = vconsole_activate,
        .deactivate = vconsole_deactivate,
        .pause = vconsole_pause,
        .resume = vconsole_resume,
        .save = vconsole_save,
        .restore = vconsole_restore,
        .counters = vconsole_counters,
        .free = vconsole_free,
};

struct virtio_dev *virtio_console_new(
                const gmem *mem,
                const char *id,
                struct chardev *chr,
                iothread *thread,
                GError **error) {
        struct vconsole *c;
        int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

        if (fd < 0) {
                hv_error_errno(error, errno, "%s: creating an eventfd", id);
                return NULL;
        }

        c = g_new0(struct vconsole, 1);
        virtio_dev_init(&c->vd, &ops, "virtio-console", id, TYPE_CONSOLE, mem, N_QUEUES,
                        QUEUE_SIZE);
        c->vd.device_features = FEATURE_SIZE | 1ull << VIRTIO_F_IN_ORDER;
        c->vd.config_len = sizeof(struct console_config);
        c->chr = chr;
        c->thread = thread;
        c->input_fd = fd;
        c->watch_input = (struct io_watch){ .fd = fd, .ready = on_watch_input, .opaque = c };
        for (unsigned i = 0; i < N_QUEUES; i++)
                c->watch_kick[i] = (struct io_watch){ .fd = -1, .ready = on_kick, .opaque = c };
        chr->frontend = &frontend_ops;
        chr->frontend_opaque = c;
        return &c->vd;
}
