/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Networks, from their configuration and the descriptors that came with it: taps or a stream of passt's, and for taps the kernel's back
 * ends, if there are any.
 */

#include "daemon/vmm/machine-private.h"

#include <stdio.h>
#include <unistd.h>

#include "dbus/error.h"

static bool parse_mac(const char *text, uint8_t mac[static 6]) {
        unsigned b[6];

        if (!text ||
            sscanf(text, "%2x:%2x:%2x:%2x:%2x:%2x", &b[0], &b[1], &b[2], &b[3], &b[4], &b[5]) != 6)
                return false;
        for (unsigned i = 0; i < 6; i++)
                mac[i] = (uint8_t) b[i];
        return true;
}

static void close_all(int *fds, unsigned n) {
        for (unsigned i = 0; i < n; i++)
                if (fds[i] >= 0)
                        (void) close(fds[i]);
}

static bool open_ports(Machine *machine, const ChvNetConfig *net, int *fds, GError **error) {
        for (unsigned i = 0; i < net->num_queues / 2u; i++) {
                fds[i] = chv_net_is_passt(net)
                                         ? machine_open_stream(machine, net, error)
                                         : fd_table_dup(machine->parts.fds,
                                                        machine_fd_name(machine, CHV_RESOURCE_TAP,
                                                                        net, i),
                                                        error);
                if (fds[i] < 0) {
                        close_all(fds, i);
                        return false;
                }
        }
        return true;
}

/* What chvd could open of "net/ID/NAME/0" and so on; the rest is -1. False: nothing at all. */
static bool
open_named(Machine *machine, const ChvNetConfig *net, const char *name, int *fds, unsigned n) {
        bool found = false;

        for (unsigned i = 0; i < n; i++) {
                g_autofree char *key = g_strdup_printf("net/%s/%s/%u", net->pci.id, name, i);

                fds[i] = fd_table_get(machine->parts.fds, key) < 0
                                         ? -1
                                         : fd_table_dup(machine->parts.fds, key, /* error= */ NULL);
                found = found || fds[i] >= 0;
        }
        return found;
}

static void on_kernel_failed(void *opaque, const char *id, int errnum) {
        Machine *machine = opaque;
        GVariantDict dict;

        g_variant_dict_init(&dict, NULL);
        g_variant_dict_insert(&dict, "id", "s", id);
        g_variant_dict_insert(&dict, "message", "s", g_strerror(errnum));
        events_post(machine->parts.events, "net", "vhost-failed", g_variant_dict_end(&dict));
}

bool machine_add_net(Machine *machine, size_t index, GError **error) {
        const ChvNetConfig *net = &machine->parts.config->net[index];
        bool passt = chv_net_is_passt(net);
        unsigned n_pairs = net->num_queues / 2;
        g_autofree int *fds = g_new(int, n_pairs), *vhosts = g_new(int, n_pairs);
        int statistics[VIRTIO_NET_STATISTICS];
        struct virtio_net_config config = {
                .id = net->pci.id,
                .tap_fds = fds,
                .n_pairs = (uint16_t) n_pairs,
                .queue_size = net->queue_size,
                .mac_filter = g_strcmp0(net->mac_filter, "on") == 0,
                .mtu = net->mtu,
                .offload_tso = net->offload_tso,
                .offload_ufo = net->offload_ufo,
                .offload_csum = net->offload_csum,
                .rss = net->rss,
                .limits = machine_limits(&net->limiter),
                .hook = { machine->parts.io_thread_start, NULL },
                .kernel_failed = on_kernel_failed,
                .kernel_failed_opaque = machine,
        };
        struct virtio_dev *vd;

        if (!parse_mac(net->mac, config.mac)) {
                g_set_error(error, CHV_ERROR, CHV_ERROR_INVALID_CONFIG, "%s.mac: not a MAC address",
                            net->pci.id);
                return false;
        }
        if (net->vhost_user)
                return machine_add_vhost_net(machine, index, config.mac, error);
        if (!open_ports(machine, net, fds, error))
                return false;
        if (chv_net_wants_vhost(net) && open_named(machine, net, "vhost", vhosts, n_pairs))
                config.vhost_fds = vhosts;
        if (config.vhost_fds &&
            open_named(machine, net, "statistics", statistics, VIRTIO_NET_STATISTICS))
                config.statistics_fds = statistics;
        vd = (passt ? virtio_net_stream_new : virtio_net_new)(machine->memory, &config, error);
        if (passt)
                machine_join_stream(machine, net->pci.id, vd);
        return machine_add_virtio(machine, vd, &net->pci, /* bar32= */ false, "net", index, error);
}
