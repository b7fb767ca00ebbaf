/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What has to be opened before a worker can build a configuration's machine. The order is fixed: what boots, then
 * devices in the order of the configuration. Names of descriptors are made from ids, not from places in a list, so
 * that they stay right when a device in front goes away.
 */

#include "dbus/config.h"

static void resource_clear(gpointer data) {
        ChvResource *resource = data;

        g_free((char *) resource->option);
        g_free((char *) resource->fd_name);
}

/* Takes over the two names. */
static void add(GArray *list, ChvResource resource, char *option, char *fd_name) {
        resource.option = option;
        resource.fd_name = fd_name;
        g_array_append_val(list, resource);
}

static void
add_payload(GArray *list,
            ChvResourceKind kind,
            const char *key,
            const char *path,
            const ChvPayloadConfig *payload) {
        if (path)
                add(list,
                    (ChvResource){ .kind = kind,
                                   .path = path,
                                   .readonly = true,
                                   .config = payload },
                    g_strdup_printf("payload.%s", key), g_strdup_printf("payload/%s", key));
}

static void add_vhost_disk(GArray *list, const ChvDiskConfig *disk, size_t index) {
        add(list,
            (ChvResource){
                            .kind = CHV_RESOURCE_VHOST_USER,
                            .path = disk->vhost_socket,
                            .config = disk,
            },
            g_strdup_printf("disks[%" G_GSIZE_FORMAT "].vhost_socket", index),
            g_strdup_printf("disks/%s", disk->pci.id));
}

static void add_disk(GArray *list, const ChvDiskConfig *disk, size_t index) {
        if (disk->vhost_user) {
                add_vhost_disk(list, disk, index);
                return;
        }
        add(list,
            (ChvResource){
                            .kind = CHV_RESOURCE_DISK,
                            .path = disk->path,
                            .readonly = disk->readonly,
                            .direct = disk->direct,
                            .lock_full = chv_disk_lock_full(disk),
                            .config = disk,
            },
            g_strdup_printf("disks[%" G_GSIZE_FORMAT "].path", index),
            g_strdup_printf("disks/%s", disk->pci.id));
}

static void add_net(GArray *list, const ChvNetConfig *net, size_t index) {
        if (net->vhost_user) {
                add(list,
                    (ChvResource){
                                    .kind = CHV_RESOURCE_VHOST_USER,
                                    .path = net->vhost_socket,
                                    .listens = g_strcmp0(net->vhost_mode, "server") == 0,
                                    .config = net,
                    },
                    g_strdup_printf("net[%" G_GSIZE_FORMAT "].vhost_socket", index),
                    g_strdup_printf("net/%s/0", net->pci.id));
                return;
        }
        if (chv_net_is_passt(net)) {
                add(list, (ChvResource){ .kind = CHV_RESOURCE_PASST, .config = net },
                    g_strdup_printf("net[%" G_GSIZE_FORMAT "].backend", index),
                    g_strdup_printf("net/%s/0", net->pci.id));
                return;
        }
        for (unsigned pair = 0; pair < net->num_queues / 2u; pair++)
                add(list,
                    (ChvResource){
                                    .kind = CHV_RESOURCE_TAP,
                                    .path = net->tap,
                                    .config = net,
                                    .index = pair,
                    },
                    g_strdup_printf("net[%" G_GSIZE_FORMAT "].tap", index),
                    g_strdup_printf("net/%s/%u", net->pci.id, pair));
}

static void add_console(GArray *list, const ChvConsoleConfig *console, const char *key) {
        bool is_file = console->mode == CHV_CONSOLE_FILE;

        if (is_file || console->mode == CHV_CONSOLE_SOCKET)
                add(list,
                    (ChvResource){
                                    .kind = is_file ? CHV_RESOURCE_OUTPUT : CHV_RESOURCE_SOCKET,
                                    .path = console->path,
                                    .config = console,
                    },
                    g_strdup_printf("%s.%s", key, is_file ? "file" : "socket"), g_strdup(key));
}

GArray *chv_config_resources(const ChvConfig *config) {
        const ChvPayloadConfig *payload = &config->payload;
        GArray *list = g_array_new(
                        /* zero_terminated= */ FALSE, /* clear= */ FALSE, sizeof(ChvResource));

        g_array_set_clear_func(list, resource_clear);
        add_payload(list, CHV_RESOURCE_FIRMWARE, "firmware", payload->firmware, payload);
        add_payload(list, CHV_RESOURCE_KERNEL, "kernel", payload->kernel, payload);
        /* A firmware finds what it boots on its own; the reference ignores the rest then. */
        if (!payload->firmware)
                add_payload(list, CHV_RESOURCE_INITRAMFS, "initramfs", payload->initramfs, payload);
        for (size_t i = 0; i < config->n_disks; i++)
                add_disk(list, &config->disks[i], i);
        for (size_t i = 0; i < config->n_net; i++)
                add_net(list, &config->net[i], i);
        add(list,
            (ChvResource){
                            .kind = CHV_RESOURCE_RNG,
                            .path = config->rng.src,
                            .readonly = true,
                            .config = &config->rng,
            },
            g_strdup("rng.src"), g_strdup("rng"));
        add_console(list, &config->serial, "serial");
        add_console(list, &config->console, "console");
        add_console(list, &config->debug_console, "debug_console");
        return list;
}
