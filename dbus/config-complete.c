/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What a configuration leaves to the machine: identifiers, addresses and whatever follows from other options. A
 * completed configuration is complete for ever: written down, it gives the same machine at every start.
 */

#include <stdio.h>
#include <string.h>

#include "dbus/config.h"
#include "dbus/value.h"

static bool id_taken(const ChvConfig *config, const char *id) {
        for (size_t i = 0; i < config->n_disks; i++)
                if (g_strcmp0(config->disks[i].pci.id, id) == 0)
                        return true;
        for (size_t i = 0; i < config->n_net; i++)
                if (g_strcmp0(config->net[i].pci.id, id) == 0)
                        return true;
        return g_strcmp0(config->rng.pci.id, id) == 0 || g_strcmp0(config->console.pci.id, id) == 0;
}

/* One counter for all kinds, as in the reference: _disk0, _net1. */
static void complete_id(ChvConfig *config, ChvPciCommon *pci, const char *kind, unsigned *counter) {
        while (!pci->id) {
                char id[32];

                snprintf(id, sizeof(id), "_%s%u", kind, (*counter)++);
                if (!id_taken(config, id))
                        pci->id = chv_arena_strdup(config->arena, id);
        }
}

static void complete_mac(ChvConfig *config, ChvNetConfig *net) {
        guint32 high = g_random_int(), low = g_random_int();
        char mac[18];

        if (!net->mac_filter)
                net->mac_filter = chv_arena_strdup(
                                config->arena, net->mac && !net->vhost_user ? "on" : "off");
        if (net->mac)
                return;
        /* Locally administered, not a group. */
        snprintf(mac, sizeof(mac), "%02x:%02x:%02x:%02x:%02x:%02x", (high & 0xfc) | 0x02,
                 high >> 8 & 0xff, high >> 16 & 0xff, low & 0xff, low >> 8 & 0xff,
                 low >> 16 & 0xff);
        net->mac = chv_arena_strdup(config->arena, mac);
}

bool chv_disk_lock_full(const ChvDiskConfig *disk) {
        return g_strcmp0(disk->lock_granularity, "full") == 0;
}

bool chv_net_is_passt(const ChvNetConfig *net) {
        return g_strcmp0(net->backend, "passt") == 0;
}

bool chv_net_wants_vhost(const ChvNetConfig *net) {
        /* The kernel does not look at source addresses, knows split rings only, and does not hash frames. */
        return !chv_net_is_passt(net) && !net->vhost_user && !net->pci.packed && !net->rss &&
               g_strcmp0(net->vhost, "off") != 0 && g_strcmp0(net->mac_filter, "on") != 0;
}

void chv_config_prefer_passt(ChvConfig *config, size_t i) {
        ChvNetConfig *net = &config->net[i];
        bool of_tap = g_strcmp0(net->tap, "vmtap%d") != 0 || net->bridge || net->ip || net->mask ||
                      net->host_mac || net->num_queues != 2 || net->rss ||
                      g_strcmp0(net->vhost, "on") == 0 || net->vhost_user;

        if (!net->backend && !of_tap)
                net->backend = chv_arena_strdup(config->arena, "passt");
}

void chv_config_complete(ChvConfig *config) {
        unsigned counter = 0;

        if (config->cpus.max_vcpus == 0)
                config->cpus.max_vcpus = config->cpus.boot_vcpus;
        for (size_t i = 0; i < config->n_disks; i++)
                complete_id(config, &config->disks[i].pci, "disk", &counter);
        for (size_t i = 0; i < config->n_net; i++) {
                complete_id(config, &config->net[i].pci, "net", &counter);
                complete_mac(config, &config->net[i]);
        }
        if (!config->platform.uuid) {
                g_autofree char *uuid = g_uuid_string_random();

                config->platform.uuid = chv_arena_strdup(config->arena, uuid);
        }
}

void chv_config_resolve_paths(ChvConfig *config, const char *directory) {
        size_t n;
        const ChvSection *sections = chv_schema(&n);

        for (size_t i = 0; i < n; i++)
                for (size_t j = 0; j < chv_section_count(&sections[i], config); j++) {
                        char *element = chv_section_element(&sections[i], config, j);

                        for (size_t k = 0; k < sections[i].n_options; k++) {
                                const ChvOption *option = &sections[i].options[k];
                                char **path = (char **) (void *) (element + option->offset);
                                g_autofree char *whole = NULL;

                                if (option->type != CHV_OPT_PATH &&
                                    option->type != CHV_OPT_CONSOLE_FILE &&
                                    option->type != CHV_OPT_CONSOLE_SOCKET)
                                        continue;
                                if (!*path || g_path_is_absolute(*path))
                                        continue;
                                whole = g_canonicalize_filename(*path, directory);
                                *path = chv_arena_strdup(config->arena, whole);
                        }
                }
}
