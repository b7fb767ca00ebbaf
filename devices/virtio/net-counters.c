/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What a network device has done. User space counts as it goes. The kernel does not tell its back ends' users what it moves; the
 * interface counts, whoever moves it. So while the kernel has a pair or more, its part is what the interface has counted since,
 * less what user space has in the same time. Frames that are not taken off the interface, because the guest has no buffers or its filter
 * does not let them through, are the interface's drops then and none of the device's.
 */

#include "devices/virtio/net.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hypervisor/fd.h"

enum {
        TO_BYTES,
        TO_FRAMES,
        FROM_BYTES,
        FROM_FRAMES,
};

static uint64_t get(const atomic_uint_least64_t *counter) {
        return atomic_load_explicit(counter, memory_order_relaxed);
}

/* As the interface has it. False: it is gone, or cannot be asked. */
static bool read_there(const struct vnet *net, uint64_t ret[VIRTIO_NET_STATISTICS]) {
        for (unsigned i = 0; i < VIRTIO_NET_STATISTICS; i++) {
                char text[32];
                ssize_t n = net->statistics.fds[i] < 0 ? -1
                                                       : pread(net->statistics.fds[i], text,
                                                               sizeof(text) - 1, 0);

                if (n <= 0)
                        return false;
                text[n] = '\0';
                ret[i] = strtoull(text, NULL, 10);
        }
        return true;
}

/* What user space has taken from the interface, and given to it. */
static void sum_here(const struct vnet *net, uint64_t ret[VIRTIO_NET_STATISTICS]) {
        memset(ret, 0, VIRTIO_NET_STATISTICS * sizeof(ret[0]));
        for (unsigned i = 0; i < net->n_pairs; i++) {
                const struct vnet_counters *rx = &net->pairs[i]->rx.n, *tx = &net->pairs[i]->tx.n;

                ret[TO_BYTES] += get(&rx->bytes);
                ret[TO_FRAMES] += get(&rx->frames) + get(&rx->drops) + get(&rx->refused);
                ret[FROM_BYTES] += get(&tx->bytes);
                ret[FROM_FRAMES] += get(&tx->frames);
        }
        ret[FROM_BYTES] += get(&net->announce.bytes);
        ret[FROM_FRAMES] += get(&net->announce.frames);
}

/* The lock is held. */
static void add_moved(const struct vnet *net, uint64_t sums[VIRTIO_NET_STATISTICS]) {
        const struct vnet_statistics *s = &net->statistics;
        uint64_t there[VIRTIO_NET_STATISTICS], here[VIRTIO_NET_STATISTICS];

        if (!read_there(net, there))
                return;
        sum_here(net, here);
        for (unsigned i = 0; i < VIRTIO_NET_STATISTICS; i++) {
                uint64_t all = there[i] - s->since_there[i], ours = here[i] - s->since_here[i];

                /* The two are not read at one moment. */
                if (there[i] >= s->since_there[i] && all > ours)
                        sums[i] += all - ours;
        }
}

void vnet_statistics_init(struct vnet *net, const int *fds) {
        pthread_mutex_init(&net->statistics.lock, NULL);
        for (unsigned i = 0; i < VIRTIO_NET_STATISTICS; i++)
                net->statistics.fds[i] = fds ? fds[i] : -1;
}

void vnet_statistics_clear(struct vnet *net) {
        for (unsigned i = 0; i < VIRTIO_NET_STATISTICS; i++)
                chv_closep(&net->statistics.fds[i]);
        pthread_mutex_destroy(&net->statistics.lock);
}

void vnet_statistics_enter(struct vnet *net) {
        struct vnet_statistics *s = &net->statistics;

        pthread_mutex_lock(&s->lock);
        if (s->n_kernel++ == 0) {
                if (!read_there(net, s->since_there))
                        memset(s->since_there, 0xff, sizeof(s->since_there));
                sum_here(net, s->since_here);
        }
        pthread_mutex_unlock(&s->lock);
}

void vnet_statistics_leave(struct vnet *net) {
        struct vnet_statistics *s = &net->statistics;

        pthread_mutex_lock(&s->lock);
        if (--s->n_kernel == 0)
                add_moved(net, s->moved);
        pthread_mutex_unlock(&s->lock);
}

static unsigned get_moved(struct vnet *net, uint64_t ret[VIRTIO_NET_STATISTICS]) {
        struct vnet_statistics *s = &net->statistics;
        unsigned n;

        pthread_mutex_lock(&s->lock);
        n = s->n_kernel;
        memcpy(ret, s->moved, sizeof(s->moved));
        if (n > 0)
                add_moved(net, ret);
        pthread_mutex_unlock(&s->lock);
        return n;
}

void vnet_add_captured(struct vnet *net, uint64_t sums[2]) {
        uint64_t frames, drops;

        capture_counters(net->capture, &frames, &drops);
        sums[0] += frames;
        sums[1] += drops;
}

static void add(uint64_t sums[4], const struct vnet_counters *n) {
        sums[0] += get(&n->bytes);
        sums[1] += get(&n->frames);
        sums[2] += get(&n->drops);
        sums[3] += get(&n->refused);
}

void vnet_counters(struct virtio_dev *vd, device_counter_fn *fn, void *opaque) {
        struct vnet *net = (struct vnet *) vd;
        uint64_t rx[4] = { 0 }, tx[4] = { 0 }, moved[VIRTIO_NET_STATISTICS];
        uint64_t steered = 0, captured[2] = { net->captured[0], net->captured[1] };
        unsigned n_kernel = get_moved(net, moved);

        for (unsigned i = 0; i < net->n_pairs; i++) {
                add(rx, &net->pairs[i]->rx.n);
                add(tx, &net->pairs[i]->tx.n);
                steered += get(&net->pairs[i]->rx.n.steered);
        }
        if (net->capture)
                vnet_add_captured(net, captured);
        fn(opaque, "rx_bytes", rx[0] + moved[TO_BYTES]);
        fn(opaque, "rx_frames", rx[1] + moved[TO_FRAMES]);
        fn(opaque, "rx_drops", rx[2]);
        fn(opaque, "rx_filtered", rx[3]);
        fn(opaque, "tx_bytes", tx[0] + moved[FROM_BYTES]);
        fn(opaque, "tx_frames", tx[1] + moved[FROM_FRAMES]);
        fn(opaque, "tx_drops", tx[2]);
        fn(opaque, "tx_spoofed", tx[3]);
        fn(opaque, "captured_frames", captured[0]);
        fn(opaque, "captured_drops", captured[1]);
        if (net->vd.device_features >> VNET_F_RSS & 1)
                fn(opaque, "rx_steered", steered);
        if (!net->has_kernel)
                return;
        fn(opaque, "vhost_pairs", n_kernel);
        fn(opaque, "vhost_frames", moved[TO_FRAMES] + moved[FROM_FRAMES]);
        fn(opaque, "vhost_switches", atomic_load(&net->n_switches));
}
