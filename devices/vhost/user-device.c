/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A virtio device that another process serves. A thread of its own does all the talking; vCPUs only leave word of what they want,
 * read a copy of the configuration, and are never kept waiting but by a reset or a pause, which have to know that the rings are left
 * alone: those wait for at most VHOST_USER_STOP_TIMEOUT_MS, whatever the thread waits for, as the first thing that goes wrong ends the connection.
 *
 * Doorbells and interrupts are the driver's and KVM's own eventfds, so in between nothing of a request passes through this
 * process. A queue whose interrupt has no eventfd at the time (MSI-X is off) gets one that the thread listens to.
 *
 * When the connection is lost, the driver waits: its requests stay in the rings. With another connection the rings go on where the
 * used ring says, and the back end is given the record that the old one has kept of what is in flight. Where requests are done in any
 * order and there is no such record, nobody can tell which of those under way are done; to do one again that is done would write to
 * buffers that the driver has given to another. So the device then needs a reset, unless it was idle. Features that the driver has accepted
 * must be there again.
 */

#include "devices/vhost/user-device.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "devices/guard.h"
#include "hypervisor/error.h"
#include "hypervisor/fd.h"

#define F_INDIRECT_DESC (1ull << 28)
#define F_EVENT_IDX (1ull << 29)
#define STATE_VERSION 2u
#define STATE_TYPE "(utu)"

static struct vuser *to_vuser(struct virtio_dev *vd) {
        return (struct vuser *) vd;
}

/* Rings that are the back end's. */
static unsigned n_served(const struct vuser *v) {
        return v->kind->n_served ? v->kind->n_served(v) : v->vd.n_queues;
}

/* Any thread. */
static void nudge(struct vuser *v) {
        (void) eventfd_write(v->nudge.fd, 1);
}

/* On the thread */

static void tell(struct vuser *v, const char *why) {
        bool connected = v->back.socket >= 0;

        atomic_store(&v->connected, connected);
        atomic_fetch_add(connected ? &v->connections : &v->losses, 1);
        if (!connected && v->kind->lost)
                v->kind->lost(v);
        if (v->changed)
                v->changed(v->opaque, v->vd.id, connected, why);
}

/* The back end is gone, and all that there is to know of a ring is in guest memory. */
static void leave_ring(struct vuser *v, struct virtq *q) {
        vhost_resume_from_used(q);
        if (v->spoiled || !v->kind->keep_inflight || v->back.inflight_fd >= 0 ||
            vhost_ring_is_idle(q))
                return;
        v->spoiled = true;
        v->vd.transport->needs_reset(
                        &v->vd, "its back end has ended with requests under way, and kept no "
                                "record of them");
}

static void unwatch_peer(struct vuser *v) {
        if (v->peer.fd >= 0)
                iothread_unwatch(v->thread, &v->peer);
        v->peer.fd = -1;
}

void vuser_lose(struct vuser *v, const char *why) {
        unwatch_peer(v);
        if (v->back.socket >= 0)
                vhost_user_close(&v->back, why);
        for (unsigned i = 0; v->running && i < n_served(v); i++)
                if (v->vd.queues[i].ready)
                        leave_ring(v, &v->vd.queues[i]);
        v->running = false;
        if (v->offered)
                tell(v, v->back.fault);
}

static int call_fd(struct vuser *v, struct virtq *q) {
        const struct virtio_transport_ops *t = v->vd.transport;
        int fd = t->queue_interrupt_fd ? t->queue_interrupt_fd(&v->vd, q) : -1;

        return fd >= 0 ? fd : v->calls.fd;
}

static int send_written(struct vuser *v) {
        uint8_t bytes[VUSER_CONFIG_MAX];
        unsigned from, len;

        {
                GUARD(&v->lock);
                from = v->written_from;
                len = v->written_to - from;
                memcpy(bytes, v->config + from, len);
        }
        return len > 0 ? vhost_user_set_config(&v->back, from, bytes, len) : 0;
}

static int start_rings(struct vuser *v) {
        struct vhost *vhost = &v->back.vhost;
        int r;

        r = vhost->ops->set_features(vhost, v->vd.features & ~v->kind->own_features);
        if (r == 0 && v->kind->prepare)
                r = v->kind->prepare(v);
        if (r == 0)
                r = vhost->ops->set_memory(vhost, v->vd.mem);
        if (r == 0)
                r = send_written(v);
        if (r == 0 && v->kind->keep_inflight)
                r = vhost_user_keep_inflight(&v->back, v->n_queues, v->queue_size);
        for (unsigned i = 0; r == 0 && i < n_served(v); i++) {
                struct virtq *q = &v->vd.queues[i];
                struct vhost_ring ring = { i, q, q->kick_fd, call_fd(v, q), /* fault_fd= */ -1 };

                ring.off = v->kind->is_off && v->kind->is_off(v, i);
                if (q->ready)
                        r = vhost->ops->start(vhost, &ring);
        }
        return r;
}

static void start(struct vuser *v) {
        int r;

        if (v->running || v->spoiled || v->back.socket < 0)
                return;
        r = start_rings(v);
        v->running = true;
        if (r < 0) {
                vuser_lose(v, g_strerror(-r));
                return;
        }
        /* Doorbells may have been heard by a back end that is no more, and interrupts lost with it. */
        for (unsigned i = 0; i < n_served(v); i++) {
                struct virtq *q = &v->vd.queues[i];

                if (!q->ready)
                        continue;
                virtio_queue_kick(q);
                v->vd.transport->queue_interrupt(&v->vd, q);
        }
}

static void stop(struct vuser *v) {
        struct vhost *vhost = &v->back.vhost;
        int r = 0;

        if (!v->running)
                return;
        v->back.timeout_ms = VHOST_USER_STOP_TIMEOUT_MS;
        for (unsigned i = 0; r == 0 && i < n_served(v); i++) {
                struct virtq *q = &v->vd.queues[i];
                uint16_t next;

                if (!q->ready)
                        continue;
                r = vhost->ops->stop(vhost, i, &next);
                if (r == 0)
                        vhost_resume(q, next);
                else
                        vhost_resume_from_used(q);
        }
        v->back.timeout_ms = VHOST_USER_TIMEOUT_MS;
        if (r < 0) {
                vuser_lose(v, g_strerror(-r));
                return;
        }
        v->running = false;
        vhost_user_forget_inflight(&v->back);
}

/* Our own queues are served whether there is a back end or not: a driver may wait for an answer and do nothing else. */
static void serve(struct vuser *v) {
        if (v->kind->serve)
                v->kind->serve(v);
}

static void leave(struct vuser *v) {
        if (v->kind->leave)
                v->kind->leave(v);
}

static void on_nudge(struct io_watch *w, uint32_t events) {
        struct vuser *v = w->opaque;
        eventfd_t n;

        (void) eventfd_read(w->fd, &n);
        if (!atomic_load(&v->want))
                return;
        serve(v);
        if (!v->running)
                start(v);
        else if (send_written(v) < 0)
                vuser_lose(v, /* why= */ NULL);
}

static void on_calls(struct io_watch *w, uint32_t events) {
        struct vuser *v = w->opaque;
        eventfd_t n;

        (void) eventfd_read(w->fd, &n);
        for (unsigned i = 0; i < n_served(v); i++)
                if (v->vd.queues[i].ready)
                        v->vd.transport->queue_interrupt(&v->vd, &v->vd.queues[i]);
}

/* Nothing that it says now has been asked for. */
static void on_peer(struct io_watch *w, uint32_t events) {
        vuser_lose(w->opaque, events & (EPOLLHUP | EPOLLRDHUP)
                                              ? "the back end has closed the connection"
                                              : "the back end breaks the protocol");
}

struct connect_call {
        struct vuser *v;
        int socket;
        const char *why;
};

/* For a driver that has seen another back end. */
static const char *unfit(const struct vuser *v, uint64_t features) {
        uint64_t ring = (F_INDIRECT_DESC | F_EVENT_IDX) & ~v->vd.withheld;
        uint64_t promised = v->vd.features ?: v->vd.device_features | ring;

        if ((promised & ~v->kind->own_features & ~features) != 0)
                return "the back end lacks features that the driver was promised";
        return NULL;
}

static unsigned back_config_len(const struct vuser *v) {
        return v->kind->own_config ? 0 : v->kind->config_len;
}

static const char *examine(struct vuser *v, uint8_t config[VUSER_CONFIG_MAX]) {
        const char *why = NULL;

        memset(config, 0, VUSER_CONFIG_MAX);
        if (back_config_len(v) > 0 &&
            vhost_user_get_config(&v->back, config, back_config_len(v)) < 0)
                return v->back.fault;
        if (v->kind->inspect)
                why = v->kind->inspect(v, v->back.features, config);
        if (!why && v->offered)
                why = unfit(v, v->back.features);
        return why;
}

/* What the driver has written stays. */
static bool take_config(struct vuser *v, uint8_t config[VUSER_CONFIG_MAX]) {
        bool differs;
        GUARD(&v->lock);

        memcpy(config + v->written_from, v->config + v->written_from,
               v->written_to - v->written_from);
        differs = memcmp(v->config, config, VUSER_CONFIG_MAX) != 0;
        memcpy(v->config, config, VUSER_CONFIG_MAX);
        return differs;
}

static int connect_here(void *opaque) {
        struct connect_call *c = opaque;
        struct vuser *v = c->v;
        uint8_t config[VUSER_CONFIG_MAX];
        int r;

        if (v->back.socket >= 0) {
                stop(v);
                unwatch_peer(v);
        }
        if (vhost_user_open(&v->back, c->socket, v->n_queues, back_config_len(v)) < 0)
                c->why = v->back.fault;
        else
                c->why = examine(v, config);
        if (c->why) {
                vhost_user_close(&v->back, c->why);
                return -EPROTO;
        }
        v->peer.fd = v->back.socket;
        r = iothread_watch(v->thread, &v->peer, EPOLLIN | EPOLLRDHUP);
        if (r < 0) {
                v->peer.fd = -1;
                vhost_user_close(&v->back, c->why = "it cannot be listened to");
                return r;
        }
        if (take_config(v, config) && v->offered)
                v->vd.transport->config_changed(&v->vd);
        if (!v->offered)
                return 0;
        tell(v, /* why= */ NULL);
        /* Not here: that may take long, and somebody waits for this. */
        nudge(v);
        return 0;
}

/* A call that others wait for is not to wait for the back end either. */
static int call_in_a_hurry(struct vuser *v, int (*fn)(void *opaque)) {
        eventfd_t n;
        int r;

        (void) eventfd_write(v->hurry, 1);
        r = iothread_call(v->thread, fn, v);
        (void) eventfd_read(v->hurry, &n);
        return r;
}

static int stop_here(void *opaque) {
        stop(opaque);
        leave(opaque);
        return 0;
}

static int reset_here(void *opaque) {
        struct vuser *v = opaque;

        stop(v);
        leave(v);
        vhost_user_forget_inflight(&v->back);
        v->spoiled = false;
        if (v->kind->reset)
                v->kind->reset(v);
        GUARD(&v->lock);
        v->written_from = v->written_to = 0;
        return 0;
}

static int leave_here(void *opaque) {
        struct vuser *v = opaque;

        stop(v);
        leave(v);
        unwatch_peer(v);
        vhost_user_clear(&v->back);
        return 0;
}

static int watch_here(void *opaque) {
        struct vuser *v = opaque;
        int r = iothread_watch(v->thread, &v->nudge, EPOLLIN);

        return r < 0 ? r : iothread_watch(v->thread, &v->calls, EPOLLIN);
}

/* Of any thread */

static int vuser_activate(struct virtio_dev *vd) {
        atomic_store(&to_vuser(vd)->want, true);
        nudge(to_vuser(vd));
        return 0;
}

static void vuser_deactivate(struct virtio_dev *vd) {
        struct vuser *v = to_vuser(vd);

        atomic_store(&v->want, false);
        (void) call_in_a_hurry(v, reset_here);
}

static bool vuser_pause(struct virtio_dev *vd, GError **error) {
        struct vuser *v = to_vuser(vd);

        atomic_store(&v->want, false);
        (void) call_in_a_hurry(v, stop_here);
        return true;
}

static void vuser_resume(struct virtio_dev *vd) {
        struct vuser *v = to_vuser(vd);

        if (!vd->active)
                return;
        (void) vuser_activate(vd);
        if (v->kind->resumed)
                v->kind->resumed(v);
}

static bool vuser_negotiated(struct virtio_dev *vd, uint64_t features) {
        const struct vuser_kind *kind = to_vuser(vd)->kind;

        return !kind->negotiated || kind->negotiated(vd, features);
}

static void vuser_config_read(struct virtio_dev *vd, unsigned offset, void *data, unsigned len) {
        struct vuser *v = to_vuser(vd);
        GUARD(&v->lock);

        memcpy(data, v->config + offset, len);
}

static void
vuser_config_write(struct virtio_dev *vd, unsigned offset, const void *data, unsigned len) {
        struct vuser *v = to_vuser(vd);

        if (v->kind->own_config)
                return;
        {
                GUARD(&v->lock);
                memcpy(v->config + offset, data, len);
                if (v->written_from == v->written_to)
                        v->written_from = v->written_to = offset;
                v->written_from = MIN(v->written_from, offset);
                v->written_to = MAX(v->written_to, offset + len);
        }
        nudge(v);
}

static GVariant *vuser_save(struct virtio_dev *vd) {
        const struct vuser *v = to_vuser(vd);

        return g_variant_new(
                        STATE_TYPE, STATE_VERSION, vd->device_features,
                        v->kind->save ? v->kind->save(v) : 0);
}

static bool vuser_restore(struct virtio_dev *vd, GVariant *state, GError **error) {
        struct vuser *v = to_vuser(vd);
        uint32_t number;

        if (!state_fits(vd->id, state, STATE_TYPE, STATE_VERSION, error))
                return false;
        g_variant_get_child(state, 2, "u", &number);
        if (!v->kind->restore || v->kind->restore(v, number))
                return true;
        g_set_error(error, HV_ERROR, HV_ERROR_STATE, "the state of device %s is damaged", vd->id);
        return false;
}

static void vuser_counters(struct virtio_dev *vd, device_counter_fn *fn, void *opaque) {
        struct vuser *v = to_vuser(vd);

        fn(opaque, "backend_connections", atomic_load(&v->connections));
        fn(opaque, "backend_losses", atomic_load(&v->losses));
}

static void vuser_free(struct virtio_dev *vd) {
        struct vuser *v = to_vuser(vd);

        if (v->thread)
                (void) call_in_a_hurry(v, leave_here);
        v->thread = iothread_free(v->thread);
        chv_closep(&v->nudge.fd);
        chv_closep(&v->calls.fd);
        chv_closep(&v->hurry);
        vhost_user_clear(&v->back);
        pthread_mutex_destroy(&v->lock);
        virtio_dev_release(vd);
        g_free(v);
}

static const struct virtio_dev_ops vuser_ops = {
        .negotiated = vuser_negotiated,
        .config_read = vuser_config_read,
        .config_write = vuser_config_write,
        .activate = vuser_activate,
        .deactivate = vuser_deactivate,
        .pause = vuser_pause,
        .resume = vuser_resume,
        .save = vuser_save,
        .restore = vuser_restore,
        .counters = vuser_counters,
        .free = vuser_free,
};

static bool prepare(struct vuser *v, const struct io_thread_hook *hook, GError **error) {
        g_autofree char *name = g_strdup_printf("vhost-%s", v->vd.id);
        struct iothread_config config = {
                .name = name,
                .thread_start = hook->thread_start,
                .opaque = hook->opaque,
        };
        int r;

        v->nudge = (struct io_watch){ eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), on_nudge, v };
        v->calls = (struct io_watch){ eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), on_calls, v };
        v->peer = (struct io_watch){ -1, on_peer, v };
        v->hurry = v->back.hurry_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (v->nudge.fd < 0 || v->calls.fd < 0 || v->hurry < 0)
                return hv_error_errno(error, errno, "%s: creating a wake-up", v->vd.id);
        v->thread = iothread_new(&config, error);
        if (!v->thread)
                return false;
        r = iothread_call(v->thread, watch_here, v);
        return r == 0 || hv_error_errno(error, -r, "%s: watching a wake-up", v->vd.id);
}

bool vhost_user_device_connect(struct virtio_dev *vd, int socket, GError **error) {
        struct vuser *v = to_vuser(vd);
        struct connect_call call = { .v = v, .socket = socket };

        if (iothread_call(v->thread, connect_here, &call) == 0)
                return true;
        g_set_error(error, HV_ERROR, HV_ERROR_FAILED, "%s: vhost_socket: %s", vd->id, call.why);
        return false;
}

bool vhost_user_device_is_connected(const struct virtio_dev *vd) {
        return atomic_load(&((const struct vuser *) vd)->connected);
}

static bool memory_is_shared(const gmem *mem) {
        for (size_t i = 0; i < gmem_n_regions(mem); i++)
                if (gmem_region(mem, i)->fd < 0)
                        return false;
        return true;
}

struct virtio_dev *
vuser_init(struct vuser *v,
           const gmem *mem,
           const struct vuser_kind *kind,
           const struct vhost_user_device_config *config,
           GError **error) {
        autofd socket = config->socket;

        assert(kind->config_len <= VUSER_CONFIG_MAX);
        virtio_dev_init(&v->vd, &vuser_ops, kind->name, config->id, kind->type, mem,
                        config->num_queues * kind->rings + kind->own_queues, config->queue_size);
        v->kind = kind;
        v->n_queues = config->num_queues;
        v->queue_size = config->queue_size;
        v->readonly = config->readonly;
        v->changed = config->changed;
        v->opaque = config->opaque;
        pthread_mutex_init(&v->lock, NULL);
        vhost_user_init(&v->back);
        v->nudge.fd = v->calls.fd = v->peer.fd = v->hurry = -1;
        if (!memory_is_shared(mem)) {
                g_set_error(error, HV_ERROR, HV_ERROR_INVALID,
                            "%s: vhost_user: guest memory is not shared", config->id);
                vuser_free(&v->vd);
                return NULL;
        }
        if (!prepare(v, &config->hook, error) ||
            !vhost_user_device_connect(&v->vd, chv_steal_fd(&socket), error)) {
                vuser_free(&v->vd);
                return NULL;
        }
        v->vd.config_len = kind->config_len;
        v->vd.device_features = (v->back.features & kind->features) | kind->own_features;
        v->vd.withheld = (F_INDIRECT_DESC | F_EVENT_IDX) & ~v->back.features;
        v->offered = true;
        atomic_store(&v->connected, true);
        atomic_store(&v->connections, 1);
        return &v->vd;
}
