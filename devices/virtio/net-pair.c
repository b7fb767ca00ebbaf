/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A receive and a transmit queue, the port's descriptor that belongs to them, and the thread that moves frames between them.
 *
 * The port is watched only for what can be used at the moment: for reading while the guest has buffers, for writing while a frame
 * could not be sent, and otherwise not at all, because a descriptor in error would keep waking the thread. A direction that has reached
 * its limits waits for a timer and for nothing else.
 *
 * Where the kernel moves the frames (net-kernel.c) the thread has nothing to do.
 */

#include "devices/virtio/net.h"
#include "hypervisor/error.h"
#include "hypervisor/fd.h"

#include <errno.h>
#include <sys/epoll.h>

static void run_rx(struct vnet_pair *pair) {
        if (vnet_steers(pair->net))
                vnet_steer_run(pair);
        else
                vnet_rx_run(pair);
}

static void update_watch(struct vnet_pair *pair) {
        uint32_t events = (pair->rx.hungry || pair->rx.limited ? 0 : EPOLLIN) |
                          (pair->tx.blocked ? EPOLLOUT : 0);

        if (pair->dead)
                events = 0;
        if (events == pair->port_events)
                return;
        if (events == 0)
                iothread_unwatch(pair->thread, &pair->port);
        else if ((pair->port_events == 0
                                  ? iothread_watch(pair->thread, &pair->port, events)
                                  : iothread_modify(pair->thread, &pair->port, events)) < 0) {
                vnet_pair_died(pair);
                return;
        }
        pair->port_events = events;
}

void vnet_pair_died(struct vnet_pair *pair) {
        if (pair->port_events != 0)
                iothread_unwatch(pair->thread, &pair->port);
        pair->port_events = 0;
        pair->dead = true;
        vnet_port_died(pair->net);
}

void vnet_pair_broken(struct vnet_pair *pair, struct virtq *q, const char *why) {
        q->broken = true;
        pair->net->vd.transport->needs_reset(&pair->net->vd, why);
}

static void on_port(struct io_watch *w, uint32_t events) {
        struct vnet_pair *pair = w->opaque;

        if (events & EPOLLOUT) {
                pair->tx.blocked = false;
                vnet_tx_run(pair);
        }
        if (events & (EPOLLIN | EPOLLERR | EPOLLHUP) && !pair->rx.hungry && !pair->rx.limited)
                run_rx(pair);
        /* Still there after reading found nothing wrong: it would never end. */
        if (events & (EPOLLERR | EPOLLHUP) && !(events & EPOLLIN) && !pair->dead)
                vnet_pair_died(pair);
        update_watch(pair);
}

static void on_rx_kick(struct io_watch *w, uint32_t events) {
        struct vnet_pair *pair = w->opaque;

        virtio_queue_clear_kick(pair->rx.q);
        if (pair->rx.hungry && !pair->rx.limited)
                run_rx(pair);
        update_watch(pair);
}

static void on_tx_kick(struct io_watch *w, uint32_t events) {
        struct vnet_pair *pair = w->opaque;

        virtio_queue_clear_kick(pair->tx.q);
        if (!pair->tx.blocked && !pair->tx.limited)
                vnet_tx_run(pair);
        update_watch(pair);
}

void vnet_pair_wait(struct vnet_pair *pair, struct io_timer *timer, bool *limited, uint64_t ns) {
        *limited = true;
        /* Without a timer only new limits would end the wait. */
        if (!timer->thread || io_timer_arm(timer, ns) < 0)
                vnet_pair_died(pair);
}

static void on_rx_timer(void *opaque) {
        struct vnet_pair *pair = opaque;

        pair->rx.limited = false;
        run_rx(pair);
        update_watch(pair);
}

static void on_tx_timer(void *opaque) {
        struct vnet_pair *pair = opaque;

        pair->tx.limited = false;
        if (!pair->tx.blocked)
                vnet_tx_run(pair);
        update_watch(pair);
}

static int start_timer(struct vnet_pair *pair, struct io_timer *timer) {
        return timer->watch.fd < 0 || timer->thread ? 0 : io_timer_start(timer, pair->thread);
}

static int start_timers(struct vnet_pair *pair) {
        int r = vnet_steers(pair->net) ? io_timer_open(&pair->rx.timer) : 0;

        if (r >= 0)
                r = start_timer(pair, &pair->rx.timer);

        return r < 0 ? r : start_timer(pair, &pair->tx.timer);
}

static void stop_timers(struct vnet_pair *pair) {
        io_timer_stop(&pair->rx.timer);
        io_timer_stop(&pair->tx.timer);
        pair->rx.limited = pair->tx.limited = false;
}

static int prepare_here(void *opaque) {
        struct vnet_pair *pair = opaque;
        int r = io_timer_open(&pair->rx.timer);

        if (r >= 0)
                r = io_timer_open(&pair->tx.timer);
        return r < 0 || !pair->serving ? r : start_timers(pair);
}

static int retry_here(void *opaque) {
        struct vnet_pair *pair = opaque;

        if (pair->rx.limited)
                on_rx_timer(pair);
        if (pair->tx.limited)
                on_tx_timer(pair);
        return 0;
}

static int take_filter(void *opaque) {
        struct vnet_pair *pair = opaque;

        pair->filter = pair->net->filter;
        return 0;
}

void vnet_pair_set_filter(struct vnet_pair *pair) {
        (void) iothread_call(pair->thread, take_filter, pair);
}

static int take_rss(void *opaque) {
        struct vnet_pair *pair = opaque;

        pair->rss = pair->net->rss;
        /* With a table nobody waits for buffers of its own queue. */
        if (pair->serving && !pair->rx.limited) {
                run_rx(pair);
                update_watch(pair);
        }
        return 0;
}

void vnet_pair_set_rss(struct vnet_pair *pair) {
        (void) iothread_call(pair->thread, take_rss, pair);
}

struct capture_call {
        struct vnet_pair *pair;
        capture *capture;
};

static int take_capture(void *opaque) {
        struct capture_call *call = opaque;

        call->pair->capture = call->capture;
        return 0;
}

void vnet_pair_set_capture(struct vnet_pair *pair, capture *c) {
        struct capture_call call = { pair, c };

        (void) iothread_call(pair->thread, take_capture, &call);
}

int vnet_pair_expect_limits(struct vnet_pair *pair) {
        return iothread_call(pair->thread, prepare_here, pair);
}

void vnet_pair_limits_changed(struct vnet_pair *pair) {
        (void) iothread_call(pair->thread, retry_here, pair);
}

/* In user space. */
static int start_moving(struct vnet_pair *pair) {
        int r = iothread_watch(pair->thread, &pair->rx.kick, EPOLLIN);

        if (r < 0)
                return r;
        r = iothread_watch(pair->thread, &pair->tx.kick, EPOLLIN);
        if (r < 0) {
                iothread_unwatch(pair->thread, &pair->rx.kick);
                return r;
        }
        r = start_timers(pair);
        if (r < 0) {
                stop_timers(pair);
                iothread_unwatch(pair->thread, &pair->rx.kick);
                iothread_unwatch(pair->thread, &pair->tx.kick);
                return r;
        }
        pair->tx.blocked = false;
        if (vnet_steers(pair->net))
                vnet_steer_open(pair, true);
        /* Buffers and frames that came before the watches, or whose kick was consumed before a pause. */
        run_rx(pair);
        vnet_tx_run(pair);
        update_watch(pair);
        return 0;
}

static void stop_moving(struct vnet_pair *pair) {
        iothread_unwatch(pair->thread, &pair->rx.kick);
        iothread_unwatch(pair->thread, &pair->tx.kick);
        if (pair->port_events != 0)
                iothread_unwatch(pair->thread, &pair->port);
        pair->port_events = 0;
        stop_timers(pair);
        if (vnet_steers(pair->net))
                vnet_steer_open(pair, false);
        else
                vnet_rx_give_back(pair);
}

static int start_here(void *opaque) {
        struct vnet_pair *pair = opaque;
        int r;

        if (pair->serving)
                return 0;
        pair->rx.kick = (struct io_watch){ pair->rx.q->kick_fd, on_rx_kick, pair };
        pair->tx.kick = (struct io_watch){ pair->tx.q->kick_fd, on_tx_kick, pair };
        pair->port = (struct io_watch){ pair->fd, on_port, pair };
        pair->dead = false;
        pair->filter = pair->net->filter;
        pair->rss = pair->net->rss;
        r = vnet_kernel_wanted(pair) ? vnet_kernel_take(pair) : -1;
        if (r < 0)
                r = start_moving(pair);
        pair->serving = r == 0;
        return r;
}

static int stop_here(void *opaque) {
        struct vnet_pair *pair = opaque;

        if (!pair->serving)
                return 0;
        pair->serving = false;
        if (pair->kernel.serving)
                vnet_kernel_release(pair);
        else
                stop_moving(pair);
        return 0;
}

static void change_hands(struct vnet_pair *pair) {
        if (pair->kernel.serving)
                vnet_kernel_release(pair);
        else
                stop_moving(pair);
        if (vnet_kernel_wanted(pair) && vnet_kernel_take(pair) == 0)
                return;
        if (start_moving(pair) == 0)
                return;
        pair->serving = false;
        vnet_pair_broken(pair, pair->rx.q, "its queues cannot be watched");
}

static int switch_here(void *opaque) {
        struct vnet_pair *pair = opaque;

        if (pair->serving && pair->kernel.serving != vnet_kernel_wanted(pair))
                change_hands(pair);
        return 0;
}

void vnet_pair_switch(struct vnet_pair *pair) {
        (void) iothread_call(pair->thread, switch_here, pair);
}

static int rebind_here(void *opaque) {
        struct vnet_pair *pair = opaque;

        if (pair->serving && pair->kernel.serving)
                change_hands(pair);
        return 0;
}

void vnet_pair_rebind(struct vnet_pair *pair) {
        (void) iothread_call(pair->thread, rebind_here, pair);
}

int vnet_pair_start(struct vnet_pair *pair) {
        return iothread_call(pair->thread, start_here, pair);
}

void vnet_pair_stop(struct vnet_pair *pair) {
        (void) iothread_call(pair->thread, stop_here, pair);
}

struct vnet_pair *
vnet_pair_new(struct vnet *net,
              unsigned index,
              int fd,
              int vhost_fd,
              const struct virtio_net_config *config,
              GError **error) {
        struct vnet_pair *pair = g_new0(struct vnet_pair, 1);
        g_autofree char *name = g_strdup_printf("%.7s_qp%u", config->id, index);
        struct iothread_config tc = {
                .name = name,
                .thread_start = config->hook.thread_start,
                .opaque = config->hook.opaque,
        };

        pair->net = net;
        pair->index = index;
        pair->fd = fd;
        pair->kernel.back.fd = pair->kernel.faults.fd = pair->kernel.calls.fd = -1;
        pair->rx.q = &net->vd.queues[2 * index];
        pthread_mutex_init(&pair->rx.lock, NULL);
        pair->tx.q = &net->vd.queues[2 * index + 1];
        io_timer_init(&pair->rx.timer, on_rx_timer, pair);
        io_timer_init(&pair->tx.timer, on_tx_timer, pair);
        if ((throttle_limits(&net->rx_limits) && io_timer_open(&pair->rx.timer) < 0) ||
            (throttle_limits(&net->tx_limits) && io_timer_open(&pair->tx.timer) < 0)) {
                hv_error_errno(error, errno, "creating the timers of network device %s",
                               config->id);
                pair->kernel.back.fd = vhost_fd;
                return vnet_pair_free(pair);
        }
        if (!vnet_kernel_init(pair, chv_steal_fd(&vhost_fd), error)) {
                g_prefix_error(error, "network device %s: ", config->id);
                return vnet_pair_free(pair);
        }
        pair->thread = iothread_new(&tc, error);
        return pair->thread ? pair : vnet_pair_free(pair);
}

struct vnet_pair *vnet_pair_free(struct vnet_pair *pair) {
        if (!pair)
                return NULL;
        if (pair->thread)
                vnet_pair_stop(pair);
        pair->thread = iothread_free(pair->thread);
        vnet_kernel_clear(pair);
        io_timer_close(&pair->rx.timer);
        io_timer_close(&pair->tx.timer);
        chv_closep(&pair->fd);
        pthread_mutex_destroy(&pair->rx.lock);
        g_free(pair);
        return NULL;
}
