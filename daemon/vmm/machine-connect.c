/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Devices that other processes serve: disks and networks over vhost-user, networks of passt. A connection that is lost is told by an event;
 * chvd then makes another and passes it with Connect. A network's link is down in between.
 *
 * What is lost is told by the threads that find out. They are ended before the devices they belong to are freed.
 */

#include <string.h>
#include <unistd.h>

#include "daemon/vmm/machine-private.h"
#include "dbus/error.h"

static void back_end_free(gpointer data) {
        MachineBackEnd *b = data;

        net_stream_free(b->stream);
        g_free(b);
}

GPtrArray *machine_back_ends_new(void) {
        return g_ptr_array_new_with_free_func(back_end_free);
}

void machine_end_streams(Machine *machine) {
        for (unsigned i = 0; i < machine->back_ends->len; i++) {
                MachineBackEnd *b = machine->back_ends->pdata[i];

                b->stream = net_stream_free(b->stream);
        }
}

static MachineBackEnd *
back_end_new(Machine *machine, const char *fd_name, const char *id, const char *source) {
        MachineBackEnd *b = g_new0(MachineBackEnd, 1);

        b->machine = machine;
        b->fd_name = fd_name;
        b->id = id;
        b->source = source;
        g_ptr_array_add(machine->back_ends, b);
        return b;
}

static void on_connection(void *opaque, const char *id, bool connected, const char *why) {
        MachineBackEnd *b = opaque;
        struct virtio_dev *net = g_atomic_pointer_get(&b->net);
        GVariantDict dict;

        if (net)
                virtio_net_set_link(net, connected);
        g_variant_dict_init(&dict, NULL);
        g_variant_dict_insert(&dict, "id", "s", b->id);
        if (why)
                g_variant_dict_insert(&dict, "message", "s", why);
        events_post(b->machine->parts.events, b->source, connected ? "connected" : "disconnected",
                    g_variant_dict_end(&dict));
}

bool machine_add_vhost_disk(Machine *machine, size_t index, GError **error) {
        const ChvDiskConfig *disk = &machine->parts.config->disks[index];
        const char *name = machine_fd_name(machine, CHV_RESOURCE_VHOST_USER, disk, 0);
        MachineBackEnd *b = back_end_new(machine, name, disk->pci.id, "vhost-user");
        struct vhost_user_device_config config = {
                .id = disk->pci.id,
                .socket = fd_table_dup(machine->parts.fds, name, error),
                .num_queues = disk->num_queues,
                .queue_size = disk->queue_size,
                .readonly = disk->readonly,
                .hook = { machine->parts.io_thread_start, NULL },
                .changed = on_connection,
                .opaque = b,
        };

        if (config.socket < 0)
                return false;
        b->served = vhost_user_blk_new(machine->memory, &config, error);
        return machine_add_virtio(
                        machine, b->served, &disk->pci, disk->pci.pci_segment == 0, "disks", index,
                        error);
}

bool machine_add_vhost_net(
                Machine *machine, size_t index, const uint8_t mac[static 6], GError **error) {
        const ChvNetConfig *net = &machine->parts.config->net[index];
        const char *name = machine_fd_name(machine, CHV_RESOURCE_VHOST_USER, net, 0);
        MachineBackEnd *b = back_end_new(machine, name, net->pci.id, "vhost-user");
        struct vhost_user_net_config config = {
                .device = {
                        .id = net->pci.id,
                        .socket = fd_table_dup(machine->parts.fds, name, error),
                        .num_queues = net->num_queues / 2,
                        .queue_size = net->queue_size,
                        .hook = { machine->parts.io_thread_start, NULL },
                        .changed = on_connection,
                        .opaque = b,
                },
                .mtu = net->mtu,
                .offload_tso = net->offload_tso,
                .offload_ufo = net->offload_ufo,
                .offload_csum = net->offload_csum,
        };

        if (config.device.socket < 0)
                return false;
        (void) memcpy(config.mac, mac, sizeof(config.mac));
        b->served = vhost_user_net_new(machine->memory, &config, error);
        return machine_add_virtio(
                        machine, b->served, &net->pci, /* bar32= */ false, "net", index, error);
}

int machine_open_stream(Machine *machine, const ChvNetConfig *net, GError **error) {
        const char *name = machine_fd_name(machine, CHV_RESOURCE_PASST, net, 0);
        MachineBackEnd *b = back_end_new(machine, name, net->pci.id, "passt");
        struct net_stream_config config = {
                .id = net->pci.id,
                .socket = fd_table_dup(machine->parts.fds, name, error),
                .hook = { machine->parts.io_thread_start, NULL },
                .changed = on_connection,
                .opaque = b,
        };
        int port;

        if (config.socket < 0)
                return -1;
        b->stream = net_stream_new(&config, &port, error);
        return b->stream ? port : -1;
}

void machine_join_stream(Machine *machine, const char *id, struct virtio_dev *vd) {
        for (unsigned i = 0; i < machine->back_ends->len; i++) {
                MachineBackEnd *b = machine->back_ends->pdata[i];

                if (!b->stream || !g_str_equal(b->id, id))
                        continue;
                g_atomic_pointer_set(&b->net, vd);
                /* It may have gone before anybody could be told. */
                if (vd && !net_stream_is_connected(b->stream))
                        virtio_net_set_link(vd, false);
        }
}

static bool is_connected(const MachineBackEnd *b) {
        if (b->stream)
                return net_stream_is_connected(b->stream);
        return !b->served || vhost_user_device_is_connected(b->served);
}

bool machine_connect(Machine *machine, const char *name, int fd, bool *ret_taken, GError **error) {
        *ret_taken = false;
        for (unsigned i = 0; i < machine->back_ends->len; i++) {
                const MachineBackEnd *b = machine->back_ends->pdata[i];

                if (!g_str_equal(b->fd_name, name))
                        continue;
                *ret_taken = !is_connected(b);
                if (*ret_taken)
                        return b->stream ? net_stream_connect(b->stream, fd, error)
                                         : vhost_user_device_connect(b->served, fd, error);
                (void) close(fd);
                return true;
        }
        (void) close(fd);
        g_set_error(error, CHV_ERROR, CHV_ERROR_NO_SUCH_DEVICE, "there is no connection '%s'",
                    name);
        return false;
}

void machine_tell_connections(Machine *machine) {
        for (unsigned i = 0; i < machine->back_ends->len; i++) {
                MachineBackEnd *b = machine->back_ends->pdata[i];

                if (!is_connected(b))
                        on_connection(b, b->id, false, "it was lost before");
        }
}
