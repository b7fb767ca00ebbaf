/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The virtio network device (virtio 1.2, 5.1): features, configuration space and life of an interface whose frames its pairs'
 * threads move to and from a port, which is a tap.
 *
 * Only the pairs that the driver has switched on are attached to the port, so that the host sends no frame to a queue nobody reads.
 * The control queue's thread switches them while the device is active; whoever starts and stops the device stops that queue
 * first, so there is one such party at a time.
 */

#include "devices/virtio/net.h"
#include "devices/net/tap.h"
#include "hypervisor/error.h"
#include "hypervisor/fd.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#define TYPE_NET 1
#define STATE_VERSION 3u
#define STATE_TYPE "(uuub" VNET_FILTER_TYPE VNET_RSS_TYPE ")"
#define BIT(f) (1ull << VNET_F_##f)

static struct vnet *to_vnet(struct virtio_dev *vd) {
        return (struct vnet *) vd;
}

bool vnet_link_is_up(const struct vnet *net) {
        return atomic_load_explicit(&net->link, memory_order_relaxed) &&
               !atomic_load_explicit(&net->port_dead, memory_order_relaxed);
}

void vnet_port_died(struct vnet *net) {
        if (!atomic_exchange(&net->port_dead, true))
                net->vd.transport->config_changed(&net->vd);
}

void virtio_net_set_link(struct virtio_dev *vd, bool up) {
        struct vnet *net = to_vnet(vd);

        if (atomic_exchange(&net->link, up) == up)
                return;
        vnet_kernel_avoid(net, VNET_REASON_LINK, !up);
        if (vd->transport)
                vd->transport->config_changed(vd);
}

unsigned vnet_offloads_of(uint64_t features) {
        return (features & BIT(GUEST_CSUM) ? NET_OFFLOAD_CSUM : 0) |
               (features & BIT(GUEST_TSO4) ? NET_OFFLOAD_TSO4 : 0) |
               (features & BIT(GUEST_TSO6) ? NET_OFFLOAD_TSO6 : 0) |
               (features & BIT(GUEST_ECN) ? NET_OFFLOAD_ECN : 0) |
               (features & BIT(GUEST_UFO) ? NET_OFFLOAD_UFO : 0);
}

void vnet_show_mac(struct vnet *net) {
        uint64_t mac = 0;

        memcpy(&mac, net->filter.mac, sizeof(net->filter.mac));
        atomic_store(&net->shown_mac, mac);
}

static void net_config_read(struct virtio_dev *vd, unsigned offset, void *data, unsigned len) {
        struct vnet *net = to_vnet(vd);
        bool hashes = net->vd.config_len > VNET_SPACE_PLAIN, steers = hashes && net->n_pairs > 1;
        struct vnet_space space = {
                .status = GUINT16_TO_LE(
                                (vnet_link_is_up(net) ? VNET_S_LINK_UP : 0) |
                                (atomic_load(&net->announce.pending) ? VNET_S_ANNOUNCE : 0)),
                .max_pairs = GUINT16_TO_LE(net->n_pairs),
                .mtu = GUINT16_TO_LE(net->mtu),
                .rss_max_key = hashes ? VNET_HASH_KEY_MAX : 0,
                .rss_max_table = GUINT16_TO_LE(steers ? VNET_RSS_TABLE_MAX : 0),
                .hash_types = GUINT32_TO_LE(hashes ? VNET_HASH_TYPES : 0),
        };

        uint64_t mac = atomic_load(&net->shown_mac);

        assert(offset + len <= sizeof(space));

        memcpy(space.mac, &mac, sizeof(space.mac));
        memcpy(data, (char *) &space + offset, len);
}

/* Feature bits that need one of others. */
bool vnet_features_fit(uint64_t features) {
        static const struct {
                uint64_t bit, one_of;
        } rules[] = {
                { BIT(GUEST_TSO4), BIT(GUEST_CSUM) },
                { BIT(GUEST_TSO6), BIT(GUEST_CSUM) },
                { BIT(GUEST_ECN), BIT(GUEST_TSO4) | BIT(GUEST_TSO6) },
                { BIT(GUEST_UFO), BIT(GUEST_CSUM) },
                { BIT(HOST_TSO4), BIT(CSUM) },
                { BIT(HOST_TSO6), BIT(CSUM) },
                { BIT(HOST_ECN), BIT(HOST_TSO4) | BIT(HOST_TSO6) },
                { BIT(HOST_UFO), BIT(CSUM) },
                { BIT(MQ), BIT(CTRL_VQ) },
                { BIT(GUEST_ANNOUNCE), BIT(CTRL_VQ) },
                { BIT(CTRL_RX), BIT(CTRL_VQ) },
                { BIT(CTRL_VLAN), BIT(CTRL_VQ) },
                { BIT(CTRL_RX_EXTRA), BIT(CTRL_VQ) },
                { BIT(CTRL_MAC_ADDR), BIT(CTRL_VQ) },
                { BIT(HASH_REPORT), BIT(CTRL_VQ) },
                { BIT(RSS), BIT(CTRL_VQ) },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(rules); i++)
                if (features & rules[i].bit && !(features & rules[i].one_of))
                        return false;
        return true;
}

static bool net_negotiated(struct virtio_dev *vd, uint64_t features) {
        struct vnet *net = to_vnet(vd);

        if (!vnet_features_fit(features))
                return false;
        net->offloads = vnet_offloads_of(features);
        net->active_pairs = 1;
        atomic_store(&net->announce.pending, false);
        net->restored = false;
        vnet_filter_reset(&net->filter, net->mac, features & BIT(CTRL_VLAN));
        vnet_rss_reset(&net->rss);
        vnet_show_mac(net);
        return true;
}

static void stop_pairs(struct vnet *net) {
        /* First, because it starts and stops the others. */
        vnet_announce_stop(net);
        vnet_ctrl_stop(net);
        for (unsigned i = 0; i < net->active_pairs; i++)
                vnet_pair_stop(net->pairs[i]);
}

static int start_pairs(struct vnet *net) {
        int r = 0;

        for (unsigned i = 0; r >= 0 && i < net->active_pairs; i++)
                r = vnet_pair_start(net->pairs[i]);
        if (r >= 0)
                r = vnet_ctrl_start(net);
        if (r < 0)
                stop_pairs(net);
        return r;
}

static void net_deactivate(struct virtio_dev *vd) {
        struct vnet *net = to_vnet(vd);

        stop_pairs(net);
        (void) vnet_set_pairs(net, 1);
        vnet_kernel_unfilter(net);
        net->offloads = 0;
}

/* One pair is active, or after a restore what was then; those beyond the first are not attached yet. */
static int net_activate(struct virtio_dev *vd) {
        struct vnet *net = to_vnet(vd);
        /* Without several pairs the second one's queue is the control queue, whatever a saved state says. */
        unsigned n = vnet_has_several(net) ? net->active_pairs : 1;
        int r;

        net->active_pairs = 1;
        atomic_store(&net->port_dead, false);
        vnet_kernel_prepare(net);
        r = net->port->set_offloads(net->pairs[0]->fd, net->offloads);
        if (r >= 0)
                r = vnet_set_pairs(net, n);
        if (r >= 0) {
                vnet_kernel_filter(net);
                r = start_pairs(net);
        }
        if (r < 0)
                net_deactivate(vd);
        else if (net->restored)
                vnet_announce(net);
        net->restored = false;
        return r;
}

static bool net_pause(struct virtio_dev *vd, GError **error) {
        if (vd->active)
                stop_pairs(to_vnet(vd));
        return true;
}

static void net_resume(struct virtio_dev *vd) {
        if (!vd->active)
                return;
        if (start_pairs(to_vnet(vd)) < 0)
                vd->transport->needs_reset(vd, "the network device could not be resumed");
        else
                vnet_announce(to_vnet(vd));
}

static GVariant *net_save(struct virtio_dev *vd) {
        struct vnet *net = to_vnet(vd);

        return g_variant_new(
                        "(uuub@" VNET_FILTER_TYPE "@" VNET_RSS_TYPE ")", STATE_VERSION,
                        net->active_pairs, net->offloads, (gboolean) atomic_load(&net->link),
                        vnet_filter_save(&net->filter), vnet_rss_save(&net->rss));
}

static bool net_restore(struct virtio_dev *vd, GVariant *state, GError **error) {
        struct vnet *net = to_vnet(vd);
        uint32_t version = 0, pairs = 0, offloads = 0;
        g_autoptr(GVariant) filter = NULL, rss = NULL;
        gboolean link = TRUE;
        const char *wrong = NULL;

        if (!g_variant_is_of_type(state, G_VARIANT_TYPE(STATE_TYPE)))
                wrong = "is damaged";
        else
                g_variant_get(state, "(uuub@" VNET_FILTER_TYPE "@" VNET_RSS_TYPE ")", &version,
                              &pairs, &offloads, &link, &filter, &rss);
        if (!wrong && version != STATE_VERSION)
                wrong = "has an unknown version";
        else if (!wrong && (pairs == 0 || pairs > net->n_pairs))
                wrong = "has more queue pairs than the device";
        else if (!wrong && (offloads & ~vnet_offloads_of(vd->device_features)) != 0)
                wrong = "needs offloads that the host's interface lacks";
        else if (!wrong && !vnet_filter_restore(&net->filter, filter))
                wrong = "has a damaged filter";
        else if (!wrong && !vnet_rss_restore(&net->rss, rss, vnet_has_several(net) ? pairs : 1))
                wrong = "has a damaged table of queues";
        if (wrong) {
                g_set_error(error, HV_ERROR, HV_ERROR_STATE, "the state of network device %s %s",
                            vd->id, wrong);
                return false;
        }
        vnet_show_mac(net);
        net->restored = true;
        net->active_pairs = pairs;
        net->offloads = offloads;
        atomic_store(&net->link, link);
        return true;
}

static int net_set_throttle(struct virtio_dev *vd, const struct throttle_config *config) {
        struct vnet *net = to_vnet(vd);
        bool limits = config->bandwidth.size > 0 || config->ops.size > 0;
        int r = 0;

        /* Timers first: when there is no room for them, the limits stay as they are. */
        for (unsigned i = 0; r >= 0 && limits && i < net->n_pairs; i++)
                r = vnet_pair_expect_limits(net->pairs[i]);
        if (r < 0)
                return r;
        throttle_set(&net->rx_limits, config);
        throttle_set(&net->tx_limits, config);
        vnet_kernel_avoid(net, VNET_REASON_LIMITS, limits);
        for (unsigned i = 0; i < net->n_pairs; i++)
                vnet_pair_limits_changed(net->pairs[i]);
        return 0;
}

/* Takes c. */
static void set_capture(struct vnet *net, capture *c) {
        for (unsigned i = 0; i < net->n_pairs; i++)
                if (net->pairs[i])
                        vnet_pair_set_capture(net->pairs[i], NULL);
        if (net->capture)
                vnet_add_captured(net, net->captured);
        net->capture = capture_free(net->capture);
        vnet_kernel_avoid(net, VNET_REASON_CAPTURE, c);
        /* Before there was anything to end. */
        if (c && capture_has_ended(c))
                vnet_kernel_avoid(net, VNET_REASON_CAPTURE, false);
        for (unsigned i = 0; c && i < net->n_pairs; i++)
                vnet_pair_set_capture(net->pairs[i], c);
        net->capture = c;
}

static void on_capture_ended(void *opaque) {
        vnet_kernel_avoid(opaque, VNET_REASON_CAPTURE, false);
}

bool virtio_net_capture(
                struct virtio_dev *vd, const struct capture_config *config, GError **error) {
        struct capture_config own = config ? *config : (struct capture_config){ .fd = -1 };
        capture *c;

        own.ended = on_capture_ended;
        own.ended_opaque = vd;
        c = config ? capture_new(&own, error) : NULL;
        if (config && !c)
                return false;
        set_capture(to_vnet(vd), c);
        return true;
}

static void net_vector_changed(struct virtio_dev *vd, struct virtq *q) {
        struct vnet *net = to_vnet(vd);
        size_t pair = (size_t) (q - vd->queues) / 2;

        if (net->has_kernel && pair < net->n_pairs)
                vnet_pair_rebind(net->pairs[pair]);
}

static void net_free(struct virtio_dev *vd) {
        struct vnet *net = to_vnet(vd);

        if (net->pairs[0]) {
                vnet_kernel_unfilter(net);
                vnet_announce_stop(net);
                vnet_ctrl_stop(net);
        }
        io_timer_close(&net->announce.timer);
        set_capture(net, NULL);
        /* Each may use another's queue. */
        for (unsigned i = 0; i < net->n_pairs; i++)
                if (net->pairs[i])
                        vnet_pair_stop(net->pairs[i]);
        for (unsigned i = 0; i < net->n_pairs; i++)
                vnet_pair_free(net->pairs[i]);
        g_free(net->pairs);
        vnet_statistics_clear(net);
        virtio_dev_release(vd);
        g_free(net);
}

static const struct virtio_dev_ops net_ops = {
        .negotiated = net_negotiated,
        .config_read = net_config_read,
        .activate = net_activate,
        .deactivate = net_deactivate,
        .pause = net_pause,
        .resume = net_resume,
        .save = net_save,
        .restore = net_restore,
        .set_throttle = net_set_throttle,
        .counters = vnet_counters,
        .vector_changed = net_vector_changed,
        .free = net_free,
};

static bool check_config(const struct virtio_net_config *config, GError **error) {
        const char *wrong = NULL;

        if (config->n_pairs == 0 || config->n_pairs > VNET_MAX_PAIRS)
                wrong = "num_queues must be from 2 to 1022";
        else if (config->queue_size < 2 || config->queue_size > VIRTQ_SIZE_MAX ||
                 (config->queue_size & (config->queue_size - 1)) != 0)
                wrong = "queue_size must be a power of 2 from 2 to 32768";
        else if (config->mtu != 0 && config->mtu < 1280)
                wrong = "mtu must be 1280 or more";
        else if (config->mac[0] & 1)
                wrong = "mac must not be a multicast address";
        else if (!config->offload_csum && (config->offload_tso || config->offload_ufo))
                wrong = "offload_tso and offload_ufo need offload_csum";
        if (!wrong)
                return true;
        g_set_error(error, HV_ERROR, HV_ERROR_INVALID, "network device %s: %s", config->id, wrong);
        return false;
}

static uint64_t offered(const struct vnet *net, const struct virtio_net_config *config) {
        unsigned can = config->offload_csum ? net->port->offloads(config->tap_fds[0]) : 0;
        uint64_t bits = BIT(MAC) | BIT(STATUS) | BIT(CTRL_VQ) | BIT(MRG_RXBUF) | BIT(CTRL_RX) |
                        BIT(CTRL_VLAN) | BIT(CTRL_RX_EXTRA) | BIT(GUEST_ANNOUNCE) |
                        1ull << VIRTIO_F_IN_ORDER;

        if (!config->mac_filter)
                bits |= BIT(CTRL_MAC_ADDR);
        if (config->mtu != 0)
                bits |= BIT(MTU);
        if (config->n_pairs > 1)
                bits |= BIT(MQ) | (config->rss ? BIT(RSS) : 0);
        if (config->rss)
                bits |= BIT(HASH_REPORT);
        if (can & NET_OFFLOAD_CSUM)
                bits |= BIT(CSUM) | BIT(GUEST_CSUM) | BIT(CTRL_GUEST_OFFLOADS);
        if (config->offload_tso && can & NET_OFFLOAD_TSO4)
                bits |= BIT(GUEST_TSO4) | BIT(GUEST_TSO6) | BIT(GUEST_ECN) | BIT(HOST_TSO4) |
                        BIT(HOST_TSO6) | BIT(HOST_ECN);
        if (config->offload_ufo && can & NET_OFFLOAD_UFO)
                bits |= BIT(GUEST_UFO) | BIT(HOST_UFO);
        return bits;
}

/* Checks all descriptors; they must be of one interface. */
static bool adopt_ports(struct vnet *net, const struct virtio_net_config *config, GError **error) {
        for (unsigned i = 0; i < config->n_pairs; i++) {
                char name[NET_NAME_LEN];

                if (!net->port->adopt(config->tap_fds[i], config->n_pairs > 1, name, error)) {
                        g_prefix_error(error, "network device %s: ", config->id);
                        return false;
                }
                if (i == 0)
                        memcpy(net->name, name, sizeof(name));
                if (strcmp(net->name, name) != 0) {
                        g_set_error(error, HV_ERROR, HV_ERROR_INVALID,
                                    "network device %s: its descriptors are of two interfaces, %s "
                                    "and %s",
                                    config->id, net->name, name);
                        return false;
                }
        }
        return true;
}

static bool
make_pairs(struct vnet *net,
           const struct virtio_net_config *config,
           int *fds,
           int *vhosts,
           GError **error) {
        for (unsigned i = 0; i < net->n_pairs; i++) {
                int r = i > 0 ? net->port->attach(fds[i], false) : 0;

                if (r < 0)
                        return hv_error_errno(error, -r, "detaching queue %u of %s", i, net->name);
                net->pairs[i] = vnet_pair_new(
                                net, i, chv_steal_fd(&fds[i]),
                                vhosts ? chv_steal_fd(&vhosts[i]) : -1, config, error);
                if (!net->pairs[i])
                        return false;
        }
        return true;
}

static void close_all(const int *fds, unsigned n) {
        for (unsigned i = 0; fds && i < n; i++)
                chv_closep(&(int){ fds[i] });
}

static void close_given(const struct virtio_net_config *config, const int *fds, const int *vhosts) {
        close_all(fds, config->n_pairs);
        close_all(vhosts, config->n_pairs);
}

static void init(struct vnet *net, const struct virtio_net_config *config, const gmem *mem) {
        memcpy(net->mac, config->mac, sizeof(net->mac));
        net->mac_filter = config->mac_filter;
        net->mtu = config->mtu;
        net->n_pairs = config->n_pairs;
        net->patience = VNET_PATIENCE;
        net->active_pairs = 1;
        net->pairs = g_new0(struct vnet_pair *, net->n_pairs);
        net->kernel_failed = config->kernel_failed;
        net->kernel_failed_opaque = config->kernel_failed_opaque;
        vnet_statistics_init(net, config->statistics_fds);
        vnet_announce_init(net);
        /* With one pair nobody competes. */
        throttle_init(&net->rx_limits, net->n_pairs > 1, &config->limits);
        throttle_init(&net->tx_limits, net->n_pairs > 1, &config->limits);
        atomic_init(&net->user, (throttle_limits(&net->rx_limits) ? VNET_REASON_LIMITS : 0) |
                                                (net->mac_filter ? VNET_REASON_SPOOFING : 0));
        vnet_filter_reset(&net->filter, net->mac, /* vlans = */ false);
        vnet_show_mac(net);
        atomic_init(&net->link, true);
        virtio_dev_init(&net->vd, &net_ops, "virtio-net", config->id, TYPE_NET, mem,
                        2u * config->n_pairs + 1, config->queue_size);
        net->vd.config_len = config->rss ? sizeof(struct vnet_space) : VNET_SPACE_PLAIN;
        net->vd.device_features = offered(net, config);
}

struct virtio_dev *
vnet_new(const gmem *mem,
         const struct virtio_net_config *config,
         const struct net_port_ops *port,
         GError **error) {
        g_autofree int *fds = g_memdup2(config->tap_fds, config->n_pairs * sizeof(int));
        g_autofree int *vhosts = config->vhost_fds ? g_memdup2(config->vhost_fds,
                                                               config->n_pairs * sizeof(int))
                                                   : NULL;
        struct vnet *net = g_new0(struct vnet, 1);
        bool ok;

        net->port = port;
        if (!check_config(config, error) || !adopt_ports(net, config, error)) {
                close_given(config, fds, vhosts);
                close_all(config->statistics_fds, VIRTIO_NET_STATISTICS);
                g_free(net);
                return NULL;
        }

        init(net, config, mem);
        ok = make_pairs(net, config, fds, vhosts, error);
        close_given(config, fds, vhosts);
        if (!ok) {
                net_free(&net->vd);
                return NULL;
        }
        net->vd.withheld = vnet_kernel_withheld(net);
        return &net->vd;
}

struct virtio_dev *
virtio_net_new(const gmem *mem, const struct virtio_net_config *config, GError **error) {
        return vnet_new(mem, config, net_tap_ops_for(config->tap_fds[0]), error);
}
