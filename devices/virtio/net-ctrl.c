/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The control queue of a network device (virtio 1.2, 5.1.6.5), on the first pair's thread.
 *
 * What the driver says is kept in the device and brought to each pair's thread before it is answered. What is unknown, was not
 * negotiated or is not whole is an error, and changes nothing.
 */

#include "devices/virtio/net.h"

#include <string.h>
#include <sys/epoll.h>

#define MAX_COMMANDS 64

struct command {
        uint8_t class, number;
        uint8_t data[8];
        size_t len; /* of data, of which the rest is in the chain */
        const struct virtq_chain *chain;
};

static int set_active(struct vnet *net, unsigned n) {
        int r;

        for (; net->active_pairs > n; net->active_pairs--) {
                struct vnet_pair *pair = net->pairs[net->active_pairs - 1];

                vnet_pair_stop(pair);
                (void) net->port->attach(pair->fd, false);
        }
        for (; net->active_pairs < n; net->active_pairs++) {
                struct vnet_pair *pair = net->pairs[net->active_pairs];

                r = net->port->attach(pair->fd, true);
                if (r < 0)
                        return r;
                r = vnet_pair_start(pair);
                if (r < 0) {
                        (void) net->port->attach(pair->fd, false);
                        return r;
                }
        }
        return 0;
}

int vnet_set_pairs(struct vnet *net, unsigned n) {
        bool filter = net->programmed && n != net->active_pairs;
        int r;

        if (filter)
                vnet_kernel_unfilter(net);
        r = set_active(net, n);
        if (filter)
                vnet_kernel_filter(net);
        return r;
}

/* Pairs that are to serve do before frames go to them, and those that are not serve until none does. */
static bool set_rss(struct vnet *net, const struct vnet_rss *rss, unsigned n_pairs) {
        unsigned before = net->active_pairs;

        if (n_pairs > before && vnet_set_pairs(net, n_pairs) < 0) {
                (void) vnet_set_pairs(net, before);
                return false;
        }
        net->rss = *rss;
        for (unsigned i = 0; i < net->active_pairs; i++)
                vnet_pair_set_rss(net->pairs[i]);
        return vnet_set_pairs(net, n_pairs) >= 0;
}

static bool set_pairs(struct vnet *net, const struct command *c) {
        unsigned n = c->data[0] | (unsigned) c->data[1] << 8;
        struct vnet_rss rss = net->rss;

        if (c->len < 2 || !virtio_has(&net->vd, VNET_F_MQ) || n < 1 || n > net->n_pairs)
                return false;
        if (!rss.steering)
                return vnet_set_pairs(net, n) >= 0;
        rss.steering = false;
        return set_rss(net, &rss, n);
}

static bool configure_rss(struct vnet *net, const struct command *c) {
        uint8_t data[VNET_RSS_BYTES];
        size_t len = MIN(c->len, sizeof(data));
        unsigned n_pairs = net->active_pairs;
        struct vnet_rss rss;

        (void) iov_copy_out(c->chain->iov, c->chain->n_read, 2, data, len);
        if (c->number == VNET_MQ_RSS_CONFIG)
                return virtio_has(&net->vd, VNET_F_RSS) &&
                       vnet_rss_set(&rss, data, len, net->n_pairs, &n_pairs) &&
                       set_rss(net, &rss, n_pairs);
        return virtio_has(&net->vd, VNET_F_HASH_REPORT) && vnet_rss_set_hash(&rss, data, len) &&
               set_rss(net, &rss, n_pairs);
}

static bool set_queues(struct vnet *net, const struct command *c) {
        switch (c->number) {
        case VNET_MQ_PAIRS_SET:
                return set_pairs(net, c);
        case VNET_MQ_RSS_CONFIG:
        case VNET_MQ_HASH_CONFIG:
                return configure_rss(net, c);
        default:
                return false;
        }
}

static bool set_offloads(struct vnet *net, const struct command *c) {
        uint64_t bits;
        unsigned offloads;

        memcpy(&bits, c->data, sizeof(bits));
        bits = GUINT64_FROM_LE(bits);
        if (!virtio_has(&net->vd, VNET_F_CTRL_GUEST_OFFLOADS) || (bits & ~net->vd.features) != 0)
                return false;
        offloads = vnet_offloads_of(bits);
        if (net->port->set_offloads(net->pairs[0]->fd, offloads) < 0)
                return false;
        net->offloads = offloads;
        return true;
}

static void set_filter(struct vnet *net, const struct vnet_filter *filter) {
        net->filter = *filter;
        vnet_kernel_filter(net);
        for (unsigned i = 0; i < net->active_pairs; i++)
                vnet_pair_set_filter(net->pairs[i]);
}

static bool set_mode(struct vnet *net, const struct command *c) {
        struct vnet_filter filter = net->filter;
        unsigned needs = c->number >= VNET_RX_ALLUNI ? VNET_F_CTRL_RX_EXTRA : VNET_F_CTRL_RX;

        if (c->number >= VNET_RX_MODES || c->len < 1 || !virtio_has(&net->vd, needs))
                return false;
        filter.modes[c->number] = c->data[0] != 0;
        set_filter(net, &filter);
        return true;
}

/* A number and so many addresses, from *offset of the data on. */
static bool read_macs(const struct command *c, size_t *offset, struct vnet_macs *ret) {
        uint32_t n;
        size_t kept;

        if (*offset + sizeof(n) > c->len)
                return false;
        (void) iov_copy_out(c->chain->iov, c->chain->n_read, 2 + *offset, &n, sizeof(n));
        n = GUINT32_FROM_LE(n);
        *offset += sizeof(n);
        if (n > (c->len - *offset) / 6)
                return false;
        kept = 6 * MIN(n, VNET_MACS_MAX);
        *ret = (struct vnet_macs){ .n = n };
        (void) iov_copy_out(c->chain->iov, c->chain->n_read, 2 + *offset, ret->mac, kept);
        *offset += (size_t) n * 6;
        return true;
}

static bool set_macs(struct vnet *net, const struct command *c) {
        struct vnet_filter filter = net->filter;
        size_t offset = 0;

        if (!virtio_has(&net->vd, VNET_F_CTRL_RX) || !read_macs(c, &offset, &filter.uni) ||
            !read_macs(c, &offset, &filter.multi))
                return false;
        set_filter(net, &filter);
        return true;
}

static bool set_mac(struct vnet *net, const struct command *c) {
        struct vnet_filter filter = net->filter;

        if (!virtio_has(&net->vd, VNET_F_CTRL_MAC_ADDR) || c->len < 6 || c->data[0] & 1)
                return false;
        memcpy(filter.mac, c->data, 6);
        set_filter(net, &filter);
        vnet_show_mac(net);
        return true;
}

static bool set_vlan(struct vnet *net, const struct command *c) {
        struct vnet_filter filter = net->filter;

        if (!virtio_has(&net->vd, VNET_F_CTRL_VLAN) || c->number > VNET_VLAN_DEL || c->len < 2 ||
            !vnet_filter_set_vlan(
                            &filter, c->data[0] | (unsigned) c->data[1] << 8,
                            c->number == VNET_VLAN_ADD))
                return false;
        set_filter(net, &filter);
        return true;
}

static bool acknowledge(struct vnet *net) {
        atomic_store(&net->announce.pending, false);
        return virtio_has(&net->vd, VNET_F_GUEST_ANNOUNCE);
}

static bool execute(struct vnet *net, const struct command *c) {
        switch (c->class) {
        case VNET_CLASS_RX:
                return set_mode(net, c);
        case VNET_CLASS_MAC:
                if (c->number == VNET_MAC_TABLE_SET)
                        return set_macs(net, c);
                return c->number == VNET_MAC_ADDR_SET && set_mac(net, c);
        case VNET_CLASS_VLAN:
                return set_vlan(net, c);
        case VNET_CLASS_ANNOUNCE:
                return c->number == VNET_ANNOUNCE_ACK && acknowledge(net);
        case VNET_CLASS_MQ:
                return set_queues(net, c);
        case VNET_CLASS_OFFLOADS:
                return c->number == VNET_OFFLOADS_SET && c->len >= 8 && set_offloads(net, c);
        default:
                return false;
        }
}

/* False: there is no room for an answer. */
static bool answer(struct vnet *net, const struct virtq_chain *chain) {
        struct command c = { .chain = chain };
        uint8_t start[2 + sizeof(c.data)] = { 0 };
        uint8_t ack = VNET_ERR;

        if (chain->write_len == 0)
                return false;
        (void) iov_copy_out(chain->iov, chain->n_read, 0, start, sizeof(start));
        c.class = start[0];
        c.number = start[1];
        memcpy(c.data, start + 2, sizeof(c.data));
        c.len = chain->read_len > 2 ? chain->read_len - 2 : 0;
        if (chain->read_len >= 2 && execute(net, &c))
                ack = VNET_OK;
        (void) iov_copy_in(chain->iov + chain->n_read, chain->n_write, 0, &ack, 1);
        virtq_mark_written(net->ctrl.q, chain, 1);
        virtq_push(net->ctrl.q, chain->token, 1);
        return true;
}

static void broken(struct vnet *net) {
        net->ctrl.q->broken = true;
        net->vd.transport->needs_reset(&net->vd, "a bad descriptor chain in the control queue");
}

static void serve(struct vnet *net) {
        struct virtq *q = net->ctrl.q;
        struct virtq_chain chain = { .iov = net->ctrl.iov, .iov_max = IOV_MAX };
        int left = MAX_COMMANDS;

        if (q->broken)
                return;
        for (; left > 0; left--) {
                int r = virtq_pop(q, &chain);

                if (r == VIRTQ_E_EMPTY && !virtq_enable_notify(q))
                        break;
                if (r == VIRTQ_E_BROKEN || (r == 0 && !answer(net, &chain))) {
                        broken(net);
                        return;
                }
        }
        virtio_queue_flush(&net->vd, q);
        if (left == 0)
                virtio_queue_kick(q);
}

static void on_kick(struct io_watch *w, uint32_t events) {
        struct vnet *net = w->opaque;

        virtio_queue_clear_kick(net->ctrl.q);
        serve(net);
}

static int start_here(void *opaque) {
        struct vnet *net = opaque;
        int r;

        if (net->ctrl.serving)
                return 0;
        net->ctrl.kick = (struct io_watch){ net->ctrl.q->kick_fd, on_kick, net };
        r = iothread_watch(net->pairs[0]->thread, &net->ctrl.kick, EPOLLIN);
        if (r < 0)
                return r;
        net->ctrl.serving = true;
        serve(net);
        return 0;
}

static int stop_here(void *opaque) {
        struct vnet *net = opaque;

        if (net->ctrl.serving)
                iothread_unwatch(net->pairs[0]->thread, &net->ctrl.kick);
        net->ctrl.serving = false;
        return 0;
}

int vnet_ctrl_start(struct vnet *net) {
        unsigned index = 2 * (vnet_has_several(net) ? net->n_pairs : 1);

        net->ctrl.q = virtio_has(&net->vd, VNET_F_CTRL_VQ) ? &net->vd.queues[index] : NULL;
        return net->ctrl.q ? iothread_call(net->pairs[0]->thread, start_here, net) : 0;
}

void vnet_ctrl_stop(struct vnet *net) {
        (void) iothread_call(net->pairs[0]->thread, stop_here, net);
}
