/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A queue pair's rings in the hands of the kernel (devices/vhost/net.h), which moves frames between them and the tap without us. Each
 * pair's thread gives its rings away and takes them back, and no ring is ever in two hands: user space lets go first, the kernel says
 * where it has stopped.
 *
 * The kernel has the rings whenever there is no reason against it (enum vnet_reason). Reasons come and go with what is asked of the
 * device: limits, a capture, a link that is down, a filter that the tap cannot have. A driver's filter becomes a program of the tap's, so
 * it holds in the kernel, too.
 *
 * A tap tells those who wait for it of its end as it tells them of each frame. So that the end of an interface is not noticed before
 * somebody else has the rings: nobody is to be woken for each frame.
 */

#include "devices/virtio/net.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "hypervisor/error.h"
#include "hypervisor/fd.h"

static struct virtq *queue(struct vnet_pair *pair, unsigned i) {
        return i == 0 ? pair->rx.q : pair->tx.q;
}

bool vnet_kernel_wanted(const struct vnet_pair *pair) {
        const struct vnet *net = pair->net;

        /* What the kernel writes to guest memory is not noted anywhere. */
        return pair->kernel.back.fd >= 0 && atomic_load(&net->user) == 0 && !pair->dead &&
               pair->rx.q->ready && pair->tx.q->ready && !pair->rx.q->broken &&
               !pair->tx.q->broken && !gmem_tracks_dirty(net->vd.mem);
}

static int call_fd(struct vnet_pair *pair, struct virtq *q) {
        struct virtio_dev *vd = &pair->net->vd;
        int fd = vd->transport->queue_interrupt_fd ? vd->transport->queue_interrupt_fd(vd, q) : -1;

        return fd >= 0 ? fd : pair->kernel.calls.fd;
}

/* A ring that cannot be had back is touched no more: nobody knows where it is. */
static void take_back(struct vnet_pair *pair, unsigned i) {
        struct vhost *v = &pair->kernel.back.vhost;
        uint16_t next = 0;

        if (v->ops->stop(v, i, &next) == 0)
                vhost_resume(queue(pair, i), next);
        else
                vnet_pair_broken(pair, queue(pair, i), "the kernel does not give a ring back");
}

static int start_rings(struct vnet_pair *pair) {
        struct vhost *v = &pair->kernel.back.vhost;
        int r = v->ops->set_features(v, pair->net->vd.features);

        if (r == 0)
                r = v->ops->set_memory(v, pair->net->vd.mem);
        for (unsigned i = 0; r == 0 && i < 2; i++) {
                struct virtq *q = queue(pair, i);
                struct vhost_ring ring = {
                        i, q, q->kick_fd, call_fd(pair, q), pair->kernel.faults.fd,
                };

                r = v->ops->start(v, &ring);
                if (r < 0 && i == 1)
                        take_back(pair, 0);
        }
        return r;
}

static void unwatch(struct vnet_pair *pair) {
        iothread_unwatch(pair->thread, &pair->kernel.faults);
        iothread_unwatch(pair->thread, &pair->kernel.calls);
}

static int watch(struct vnet_pair *pair) {
        struct vnet_kernel *k = &pair->kernel;
        int r = iothread_watch(pair->thread, &k->faults, EPOLLIN);

        if (r < 0)
                return r;
        r = iothread_watch(pair->thread, &k->calls, EPOLLIN);
        if (r < 0)
                iothread_unwatch(pair->thread, &k->faults);
        return r;
}

static int fail(struct vnet_pair *pair, int r) {
        struct vnet *net = pair->net;

        /* Other pairs notice when they are started or switched. */
        if (!(atomic_fetch_or(&net->user, VNET_REASON_FAILED) & VNET_REASON_FAILED) &&
            net->kernel_failed)
                net->kernel_failed(net->kernel_failed_opaque, net->vd.id, -r);
        return r;
}

int vnet_kernel_take(struct vnet_pair *pair) {
        int r = watch(pair);

        if (r < 0)
                return fail(pair, r);
        vnet_statistics_enter(pair->net);
        r = start_rings(pair);
        if (r < 0) {
                vnet_statistics_leave(pair->net);
                unwatch(pair);
                return fail(pair, r);
        }
        pair->kernel.serving = true;
        atomic_fetch_add(&pair->net->n_switches, 1);
        /* What the driver has told user space, or was asked not to tell. */
        virtio_queue_kick(pair->rx.q);
        virtio_queue_kick(pair->tx.q);
        return 0;
}

void vnet_kernel_release(struct vnet_pair *pair) {
        pair->kernel.serving = false;
        for (unsigned i = 0; i < 2; i++)
                take_back(pair, i);
        unwatch(pair);
        vnet_statistics_leave(pair->net);
        atomic_fetch_add(&pair->net->n_switches, 1);
}

static void on_fault(struct io_watch *w, uint32_t events) {
        struct vnet_pair *pair = w->opaque;
        eventfd_t n;

        (void) eventfd_read(w->fd, &n);
        vnet_pair_broken(pair, pair->rx.q, "the kernel has found a bad descriptor chain");
        pair->tx.q->broken = true;
        vnet_pair_switch(pair);
}

static void on_call(struct io_watch *w, uint32_t events) {
        struct vnet_pair *pair = w->opaque;
        struct virtio_dev *vd = &pair->net->vd;
        eventfd_t n;

        (void) eventfd_read(w->fd, &n);
        vd->transport->queue_interrupt(vd, pair->rx.q);
        vd->transport->queue_interrupt(vd, pair->tx.q);
}

bool vnet_kernel_init(struct vnet_pair *pair, int vhost_fd, GError **error) {
        struct vnet_kernel *k = &pair->kernel;

        k->back.fd = k->faults.fd = k->calls.fd = -1;
        if (vhost_fd < 0)
                return true;
        if (!vhost_net_open(&k->back, vhost_fd, pair->fd, error))
                return false;
        k->faults = (struct io_watch){ eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), on_fault, pair };
        k->calls = (struct io_watch){ eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), on_call, pair };
        if (k->faults.fd < 0 || k->calls.fd < 0)
                return hv_error_errno(error, errno, "creating a wake-up");
        pair->net->has_kernel = true;
        return true;
}

uint64_t vnet_kernel_withheld(const struct vnet *net) {
        uint64_t lacks = 0;

        for (unsigned i = 0; i < net->n_pairs; i++)
                if (net->pairs[i]->kernel.back.fd >= 0)
                        lacks |= vhost_net_lacks(&net->pairs[i]->kernel.back);
        return lacks;
}

void vnet_kernel_clear(struct vnet_pair *pair) {
        if (pair->kernel.back.fd >= 0)
                vhost_net_close(&pair->kernel.back);
        chv_closep(&pair->kernel.faults.fd);
        chv_closep(&pair->kernel.calls.fd);
}

void vnet_kernel_prepare(struct vnet *net) {
        bool can = true;

        for (unsigned i = 0; i < net->n_pairs; i++) {
                const struct vhost_net *back = &net->pairs[i]->kernel.back;

                can = can && (back->fd < 0 || vhost_net_can(back, net->vd.features));
        }
        vnet_kernel_avoid(net, VNET_REASON_FAILED, false);
        vnet_kernel_avoid(net, VNET_REASON_FEATURES, !can);
        vnet_kernel_avoid(net, VNET_REASON_LINK, !vnet_link_is_up(net));
}

void vnet_kernel_avoid(struct vnet *net, enum vnet_reason reason, bool on) {
        unsigned before = on ? atomic_fetch_or(&net->user, reason)
                             : atomic_fetch_and(&net->user, ~(unsigned) reason);

        if (!net->has_kernel || ((before & reason) != 0) == on)
                return;
        for (unsigned i = 0; i < net->n_pairs; i++)
                if (net->pairs[i])
                        vnet_pair_switch(net->pairs[i]);
}

void vnet_kernel_filter(struct vnet *net) {
        struct sock_fprog program = { .filter = net->program };
        int n;

        if (!net->has_kernel || atomic_load(&net->user) & VNET_REASON_SPOOFING)
                return;
        n = vnet_program_make(&net->filter, net->program);
        program.len = (unsigned short) MAX(n, 0);
        /* In place of the one before, so that there is no time without. */
        if (n > 0 && net->port->set_program &&
            net->port->set_program(net->pairs[0]->fd, &program) >= 0)
                net->programmed = true;
        else
                vnet_kernel_unfilter(net);
        vnet_kernel_avoid(net, VNET_REASON_FILTER, n != 0 && !net->programmed);
}

void vnet_kernel_unfilter(struct vnet *net) {
        if (net->programmed)
                (void) net->port->set_program(net->pairs[0]->fd, NULL);
        net->programmed = false;
}
