/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A network whose frames a vhost-user back end moves (virtio 1.2, 5.1): a switch in user space mostly. Offloads and mergeable buffers are
 * as the back end has them; MAC address, MTU, link and number of pairs are the configuration's. The link is up as long as there is
 * a back end.
 *
 * The protocol knows nothing of a control queue: it is ours, and all that it takes is how many pairs the driver uses, which the back
 * end is told by enabling their rings, and that an announcement was made. Receive modes, addresses and VLANs are not offered, as
 * nobody would filter. The driver is asked to announce itself whenever the network may have forgotten where it is: after another back end has
 * taken over, a pause and a restore.
 */

#include "devices/vhost/user-device.h"

#include <limits.h>
#include <string.h>
#include <sys/epoll.h>

#include "devices/guard.h"
#include "devices/virtio/net-wire.h"

#define TYPE_NET 1
#define BIT(f) (1ull << VNET_F_##f)

#define OWN (BIT(MAC) | BIT(STATUS) | BIT(CTRL_VQ) | BIT(GUEST_ANNOUNCE))
#define UFO (BIT(GUEST_UFO) | BIT(HOST_UFO))
#define GUEST_TSO (BIT(GUEST_TSO4) | BIT(GUEST_TSO6))
#define HOST_TSO (BIT(HOST_TSO4) | BIT(HOST_TSO6))
#define ECN (BIT(GUEST_ECN) | BIT(HOST_ECN))

struct vuser_net {
        struct vuser v; /* first */
        struct vnet_space space;

        /* Of the device's thread; active_pairs changes only there, or while that has nothing to do. */
        unsigned active_pairs;
        struct io_watch kick; /* of the control queue; its fd is -1: it is not served */
        struct iovec iov[IOV_MAX];

        bool restored; /* to be announced when it is served */
};

static struct vuser_net *to_net(const struct vuser *v) {
        return (struct vuser_net *) v;
}

/* Status, in the configuration that the driver sees. */
static void change_status(struct vuser *v, uint16_t set, uint16_t clear) {
        struct vnet_space *space = (struct vnet_space *) v->config;
        uint16_t old;

        {
                GUARD(&v->lock);
                old = GUINT16_FROM_LE(space->status);
                space->status = GUINT16_TO_LE((old & ~clear) | set);
        }
        if (((old & ~clear) | set) != old && v->vd.transport)
                v->vd.transport->config_changed(&v->vd);
}

static uint16_t announcement(const struct vuser *v) {
        return virtio_has(&v->vd, VNET_F_GUEST_ANNOUNCE) ? VNET_S_ANNOUNCE : 0;
}

/* The back end */

static const char *inspect(struct vuser *v, uint64_t features, uint8_t *config) {
        struct vnet_space space = to_net(v)->space;

        if (v->n_queues > 1 && !(features & BIT(MQ)))
                return "the back end has one queue pair, and num_queues is more";
        if (space.mtu != 0 && (!(features & BIT(MTU)) || !vhost_user_takes_mtu(&v->back)))
                return "the back end takes no MTU, and mtu is given";
        space.status = GUINT16_TO_LE(VNET_S_LINK_UP | (v->offered ? announcement(v) : 0));
        memcpy(config, &space, sizeof(space));
        return NULL;
}

static unsigned n_served(const struct vuser *v) {
        return 2u * (virtio_has(&v->vd, VNET_F_MQ) ? v->n_queues : 1);
}

static bool is_off(const struct vuser *v, unsigned ring) {
        return ring / 2 >= to_net(v)->active_pairs;
}

static int prepare(struct vuser *v) {
        return virtio_has(&v->vd, VNET_F_MTU)
                               ? vhost_user_set_mtu(&v->back, GUINT16_FROM_LE(to_net(v)->space.mtu))
                               : 0;
}

static void lost(struct vuser *v) {
        change_status(v, 0, VNET_S_LINK_UP);
}

/* The control queue (5.1.6.5) */

/* Without a connection the next back end hears of it. */
static bool set_pairs(struct vuser *v, unsigned n) {
        unsigned old = to_net(v)->active_pairs;

        if (!virtio_has(&v->vd, VNET_F_MQ) || n < 1 || n > v->n_queues)
                return false;
        to_net(v)->active_pairs = n;
        for (unsigned i = 2 * MIN(old, n); v->running && i < 2 * MAX(old, n); i++)
                if (v->vd.queues[i].ready && vhost_user_enable(&v->back, i, n > old) < 0)
                        vuser_lose(v, v->back.fault);
        return true;
}

static bool execute(struct vuser *v, const uint8_t *command, uint32_t len) {
        if (len >= 4 && command[0] == VNET_CLASS_MQ && command[1] == VNET_MQ_PAIRS_SET)
                return set_pairs(v, command[2] | (unsigned) command[3] << 8);
        if (len < 2 || command[0] != VNET_CLASS_ANNOUNCE || command[1] != VNET_ANNOUNCE_ACK ||
            !virtio_has(&v->vd, VNET_F_GUEST_ANNOUNCE))
                return false;
        change_status(v, 0, VNET_S_ANNOUNCE);
        return true;
}

static int64_t serve_command(struct virtio_dev *vd, struct virtq *q, struct virtq_chain *chain) {
        uint8_t command[4] = { 0 }, ack = VNET_ERR;

        if (chain->write_len == 0) {
                virtq_push(q, chain->token, 0);
                return 1;
        }
        (void) iov_copy_out(chain->iov, chain->n_read, 0, command, sizeof(command));
        if (execute((struct vuser *) vd, command, chain->read_len))
                ack = VNET_OK;
        (void) iov_copy_in(chain->iov + chain->n_read, chain->n_write, 0, &ack, 1);
        virtq_mark_written(q, chain, 1);
        virtq_push(q, chain->token, 1);
        return 1;
}

static void serve_control(struct vuser_net *net) {
        struct virtq_chain chain = { .iov = net->iov, .iov_max = G_N_ELEMENTS(net->iov) };

        virtio_queue_serve(&net->v.vd, &net->v.vd.queues[n_served(&net->v)], &chain, serve_command);
}

static void on_kick(struct io_watch *w, uint32_t events) {
        struct vuser_net *net = w->opaque;

        virtio_queue_clear_kick(&net->v.vd.queues[n_served(&net->v)]);
        serve_control(net);
}

static void serve(struct vuser *v) {
        struct vuser_net *net = to_net(v);

        if (net->kick.fd >= 0 || !virtio_has(&v->vd, VNET_F_CTRL_VQ))
                return;
        net->kick = (struct io_watch){ v->vd.queues[n_served(v)].kick_fd, on_kick, net };
        if (iothread_watch(v->thread, &net->kick, EPOLLIN) < 0) {
                net->kick.fd = -1;
                v->vd.transport->needs_reset(&v->vd, "its control queue cannot be served");
                return;
        }
        if (net->restored)
                change_status(v, announcement(v), 0);
        net->restored = false;
        serve_control(net);
}

static void leave(struct vuser *v) {
        struct vuser_net *net = to_net(v);

        if (net->kick.fd >= 0)
                iothread_unwatch(v->thread, &net->kick);
        net->kick.fd = -1;
}

/* Life */

static void reset(struct vuser *v) {
        to_net(v)->active_pairs = 1;
        to_net(v)->restored = false;
        change_status(v, 0, VNET_S_ANNOUNCE);
}

static bool negotiated(struct virtio_dev *vd, uint64_t features) {
        return vnet_features_fit(features);
}

static uint32_t save(const struct vuser *v) {
        return to_net(v)->active_pairs;
}

static bool restore(struct vuser *v, uint32_t pairs) {
        if (pairs < 1 || pairs > v->n_queues)
                return false;
        to_net(v)->active_pairs = pairs;
        to_net(v)->restored = true;
        return true;
}

static void resumed(struct vuser *v) {
        change_status(v, announcement(v), 0);
}

static const struct vuser_kind kind = {
        .name = "vhost-user-net",
        .type = TYPE_NET,
        .features = BIT(CSUM) | BIT(GUEST_CSUM) | BIT(MTU) | GUEST_TSO | HOST_TSO | ECN | UFO |
                    BIT(MRG_RXBUF) | BIT(MQ),
        .own_features = OWN,
        .rings = 2,
        .own_queues = 1,
        .config_len = sizeof(struct vnet_space),
        .own_config = true,
        .inspect = inspect,
        .n_served = n_served,
        .is_off = is_off,
        .prepare = prepare,
        .serve = serve,
        .leave = leave,
        .lost = lost,
        .reset = reset,
        .negotiated = negotiated,
        .save = save,
        .restore = restore,
        .resumed = resumed,
};

/* Of what could be offered, what the configuration wants and a driver may accept all of (5.1.3.1). */
static uint64_t wanted(const struct vhost_user_net_config *config, uint64_t bits) {
        if (!config->offload_csum)
                bits &= ~(BIT(CSUM) | BIT(GUEST_CSUM));
        if (!config->offload_tso)
                bits &= ~(GUEST_TSO | HOST_TSO);
        if (!config->offload_ufo)
                bits &= ~UFO;
        if (!(bits & BIT(CSUM)))
                bits &= ~(HOST_TSO | BIT(HOST_UFO));
        if (!(bits & BIT(GUEST_CSUM)))
                bits &= ~(GUEST_TSO | BIT(GUEST_UFO));
        if (!(bits & HOST_TSO))
                bits &= ~BIT(HOST_ECN);
        if (!(bits & GUEST_TSO))
                bits &= ~BIT(GUEST_ECN);
        if (config->mtu == 0)
                bits &= ~BIT(MTU);
        if (config->device.num_queues == 1)
                bits &= ~BIT(MQ);
        return bits;
}

struct virtio_dev *
vhost_user_net_new(const gmem *mem, const struct vhost_user_net_config *config, GError **error) {
        struct vuser_net *net = g_new0(struct vuser_net, 1);
        struct virtio_dev *vd;

        memcpy(net->space.mac, config->mac, sizeof(net->space.mac));
        net->space.max_pairs = GUINT16_TO_LE(config->device.num_queues);
        net->space.mtu = GUINT16_TO_LE(config->mtu);
        net->active_pairs = 1;
        net->kick.fd = -1;
        vd = vuser_init(&net->v, mem, &kind, &config->device, error);
        if (vd)
                vd->device_features = wanted(config, vd->device_features);
        return vd;
}
