/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Rules across options (reference 1.15), in the order of the sections. One function a section; each message begins
 * with the option at fault. Types and ranges have been checked by the reader; a rule here may rely on them, but not
 * on chv_config_complete(): what is automatic may still be missing.
 */

#include <gio/gio.h>
#include <string.h>

#include "dbus/config.h"
#include "dbus/value.h"

static bool check_payload(const ChvPayloadConfig *payload, GError **error) {
        if (payload->firmware && payload->kernel)
                return chv_invalid(error, "payload.firmware: excludes payload.kernel");
        if (!payload->firmware && !payload->kernel)
                return chv_invalid(
                                error, "payload.kernel: neither a kernel nor a firmware is given");
        return true;
}

static bool check_topology(const ChvCpusConfig *cpus, uint32_t max, GError **error) {
        uint64_t product = (uint64_t) cpus->topology.threads_per_core *
                           cpus->topology.cores_per_die * cpus->topology.dies_per_package *
                           cpus->topology.packages;

        if (product == 0)
                return true;
#ifdef __x86_64__
        if (cpus->topology.threads_per_core > 2)
                return chv_invalid(
                                error, "cpus.topology: %u threads per core; at most 2 are possible",
                                cpus->topology.threads_per_core);
#endif
        if (product != max)
                return chv_invalid(
                                error,
                                "cpus.topology: makes %" G_GUINT64_FORMAT
                                " vCPUs, but cpus.max_vcpus is %u",
                                product, max);
        return true;
}

static bool check_cpus(const ChvCpusConfig *cpus, GError **error) {
        uint32_t max = cpus->max_vcpus ? cpus->max_vcpus : cpus->boot_vcpus;
        g_autofree bool *pinned = g_new0(bool, max);

        if (max < cpus->boot_vcpus)
                return chv_invalid(
                                error,
                                "cpus.max_vcpus: %u is less than cpus.boot_vcpus, which is %u", max,
                                cpus->boot_vcpus);
        if (!check_topology(cpus, max, error))
                return false;
        for (size_t i = 0; i < cpus->n_affinity; i++) {
                uint32_t vcpu = cpus->affinity[i].vcpu;

                if (vcpu >= max)
                        return chv_invalid(error, "cpus.affinity: there is no vCPU %u", vcpu);
                if (pinned[vcpu])
                        return chv_invalid(error, "cpus.affinity: vCPU %u is named twice", vcpu);
                pinned[vcpu] = true;
        }
        return true;
}

static bool check_memory(const ChvMemoryConfig *memory, uint8_t phys_bits, GError **error) {
        uint64_t page = memory->hugepages && memory->hugepage_size ? memory->hugepage_size : 4096;

        if (memory->hugepage_size && !memory->hugepages)
                return chv_invalid(error, "memory.hugepage_size: needs memory.hugepages");
        if (memory->shared && memory->mergeable)
                return chv_invalid(error, "memory.mergeable: not with memory.shared");
        if (memory->size % page != 0)
                return chv_invalid(
                                error,
                                "memory.size: %" G_GUINT64_FORMAT
                                " is not a multiple of the page size, %" G_GUINT64_FORMAT,
                                memory->size, page);
        if (memory->size >> phys_bits != 0)
                return chv_invalid(
                                error,
                                "memory.size: %" G_GUINT64_FORMAT
                                " does not fit in %u address bits (cpus.max_phys_bits)",
                                memory->size, phys_bits);
        return true;
}

/* Another process maps the guest's memory. */
static bool check_shared(const ChvMemoryConfig *memory, const char *where, GError **error) {
        if (memory->shared || memory->hugepages)
                return true;
        return chv_invalid(error, "%s.vhost_user: needs memory.shared=on", where);
}

/* Who serves the disk decides on all that is not asked of it. */
static bool check_vhost_disk(const ChvDiskConfig *disk, const char *where, GError **error) {
        const struct {
                const char *key;
                bool given;
        } others[] = {
                { "path", disk->path },
                { "direct", disk->direct },
                { "serial", disk->serial },
                { "image_type", disk->image_type },
                { "queue_affinity", disk->n_queue_affinity > 0 },
                { "rate_limit_group", disk->rate_limit_group },
                { "bw_size", disk->limiter.bw.size > 0 },
                { "ops_size", disk->limiter.ops.size > 0 },
                { "packed", disk->pci.packed },
                { "in_order", disk->in_order },
                { "poll", disk->poll > 0 },
                { "registered_buffers", disk->registered_buffers },
                { "lock_granularity", disk->lock_granularity },
                { "iopoll", disk->iopoll },
        };

        if (!disk->vhost_socket)
                return chv_invalid(error, "%s.vhost_socket: is missing", where);
        for (size_t i = 0; i < G_N_ELEMENTS(others); i++)
                if (others[i].given)
                        return chv_invalid(
                                        error, "%s.%s: not with vhost_user", where, others[i].key);
        return true;
}

static bool
check_rate_limit(const ChvRateLimit *limit, const char *where, const char *prefix, GError **error) {
        const char *given = limit->size > 0             ? "size"
                            : limit->one_time_burst > 0 ? "one_time_burst"
                                                        : "refill_time";
        const char *missing = limit->size == 0          ? "size"
                              : limit->refill_time == 0 ? "refill_time"
                                                        : NULL;

        if (!missing || (limit->size | limit->one_time_burst | limit->refill_time) == 0)
                return true;
        return chv_invalid(error, "%s.%s_%s: needs %s_%s", where, prefix, given, prefix, missing);
}

bool chv_limiter_validate(const ChvRateLimiter *limiter, const char *where, GError **error) {
        return check_rate_limit(&limiter->bw, where, "bw", error) &&
               check_rate_limit(&limiter->ops, where, "ops", error);
}

static bool check_groups(const ChvConfig *config, GError **error) {
        for (size_t i = 0; i < config->n_rate_limit_groups; i++) {
                const ChvRateLimitGroup *group = &config->rate_limit_groups[i];
                g_autofree char *where =
                                g_strdup_printf("rate_limit_groups[%" G_GSIZE_FORMAT "]", i);

                if (!group->id)
                        return chv_invalid(error, "%s.id: is missing", where);
                if (!chv_limiter_validate(&group->limiter, where, error))
                        return false;
                if (group->limiter.bw.size == 0 && group->limiter.ops.size == 0)
                        return chv_invalid(
                                        error, "%s: neither bw_size nor ops_size is given", where);
                if (chv_config_rate_limit_group(config, group->id) != group) {
                        g_autofree char *quoted = chv_quote_text(group->id);

                        return chv_invalid(
                                        error, "%s.id: %s is the name of a group already", where,
                                        quoted);
                }
        }
        return true;
}

static bool check_disk_limits(
                const ChvConfig *config,
                const ChvDiskConfig *disk,
                const char *where,
                GError **error) {
        g_autofree char *quoted = NULL;

        if (!chv_limiter_validate(&disk->limiter, where, error))
                return false;
        if (!disk->rate_limit_group)
                return true;
        if (disk->limiter.bw.size > 0 || disk->limiter.ops.size > 0)
                return chv_invalid(
                                error, "%s.rate_limit_group: excludes limits of the disk's own",
                                where);
        if (chv_config_rate_limit_group(config, disk->rate_limit_group))
                return true;
        quoted = chv_quote_text(disk->rate_limit_group);
        return chv_invalid(error, "%s.rate_limit_group: there is no group %s", where, quoted);
}

static bool
check_engine(const ChvMemoryConfig *memory,
             const ChvDiskConfig *disk,
             const char *where,
             GError **error) {
        if (disk->registered_buffers && disk->disable_io_uring)
                return chv_invalid(error, "%s.registered_buffers: not without io_uring", where);
        if (disk->iopoll && disk->disable_io_uring)
                return chv_invalid(error, "%s.iopoll: not without io_uring", where);
        if (disk->iopoll && !disk->direct)
                return chv_invalid(error, "%s.iopoll: needs direct=on", where);
        if (disk->registered_buffers && memory->mergeable)
                return chv_invalid(
                                error,
                                "%s.registered_buffers: not with memory.mergeable, as pinned pages "
                                "cannot be merged",
                                where);
        return true;
}

static bool
check_disk(const ChvDiskConfig *disk, uint32_t vcpus, const char *where, GError **error) {
        if (disk->vhost_user && !check_vhost_disk(disk, where, error))
                return false;
        if (!disk->vhost_user && disk->vhost_socket)
                return chv_invalid(error, "%s.vhost_socket: needs vhost_user=on", where);
        if (!disk->vhost_user && !disk->path)
                return chv_invalid(error, "%s.path: is missing", where);
        if (disk->num_queues > vcpus)
                return chv_invalid(
                                error, "%s.num_queues: %u queues, but only %u vCPUs at boot", where,
                                disk->num_queues, vcpus);
        for (size_t i = 0; i < disk->n_queue_affinity; i++) {
                uint16_t queue = disk->queue_affinity[i].queue_index;

                if (queue >= disk->num_queues)
                        return chv_invalid(
                                        error, "%s.queue_affinity: there is no queue %u", where,
                                        queue);
                for (size_t j = 0; j < i; j++)
                        if (disk->queue_affinity[j].queue_index == queue)
                                return chv_invalid(
                                                error, "%s.queue_affinity: queue %u is named twice",
                                                where, queue);
        }
        return true;
}

static bool check_console(const ChvConsoleConfig *console, const char *where, GError **error) {
        if (console->mode == CHV_CONSOLE_FILE && !console->path)
                return chv_invalid(error, "%s.file: is missing", where);
        if (console->mode == CHV_CONSOLE_SOCKET && !console->path)
                return chv_invalid(error, "%s.socket: is missing", where);
        return true;
}

static bool check_consoles(const ChvConfig *config, GError **error) {
        if (!check_console(&config->serial, "serial", error) ||
            !check_console(&config->console, "console", error) ||
            !check_console(&config->debug_console, "debug_console", error))
                return false;
        if (config->serial.mode == CHV_CONSOLE_SOCKET &&
            config->console.mode == CHV_CONSOLE_SOCKET &&
            strcmp(config->serial.path, config->console.path) == 0)
                return chv_invalid(error, "console.socket: is the serial port's socket already");
        return true;
}

/* Every row that names a file: the service's working directory means nothing to whoever wrote it. */
static bool
check_paths(const ChvSection *section, const void *element, const char *where, GError **error) {
        for (size_t i = 0; i < section->n_options; i++) {
                const ChvOption *option = &section->options[i];
                g_autoptr(GVariant) value = NULL;

                if (option->type != CHV_OPT_PATH && option->type != CHV_OPT_CONSOLE_FILE &&
                    option->type != CHV_OPT_CONSOLE_SOCKET)
                        continue;
                value = chv_value_get(option, element);
                if (!value)
                        continue;
                g_variant_ref_sink(value);
                if (!g_path_is_absolute(g_variant_get_string(value, NULL))) {
                        g_autofree char *quoted = chv_quote_text(g_variant_get_string(value, NULL));

                        return chv_invalid(
                                        error, "%s.%s: %s is not an absolute path", where,
                                        option->key, quoted);
                }
        }
        return true;
}

const ChvRateLimitGroup *chv_config_rate_limit_group(const ChvConfig *config, const char *id) {
        for (size_t i = 0; i < config->n_rate_limit_groups; i++)
                if (g_strcmp0(config->rate_limit_groups[i].id, id) == 0)
                        return &config->rate_limit_groups[i];
        return NULL;
}

typedef struct {
        GHashTable *ids;   /* id -> where */
        GHashTable *slots; /* segment << 8 | slot -> where */
        GPtrArray *places; /* owns the texts above */
        uint16_t segments;
} Devices;

static bool
check_id(Devices *devices, const char *id, const char *fixed, const char *where, GError **error) {
        g_autofree char *quoted = NULL;
        const char *other;

        if (!id)
                return true;
        quoted = chv_quote_text(id);
        if (g_str_has_prefix(id, "__") && g_strcmp0(id, fixed) != 0)
                return chv_invalid(
                                error, "%s.id: %s: names that begin with '__' are reserved", where,
                                quoted);
        for (const char *p = id; *p; p++)
                if (!g_ascii_isalnum(*p) && !strchr("._-", *p))
                        return chv_invalid(
                                        error,
                                        "%s.id: %s may hold only letters, digits, '.', '_' and '-'",
                                        where, quoted);
        other = g_hash_table_lookup(devices->ids, id);
        if (other)
                return chv_invalid(
                                error, "%s.id: %s is the name of %s already", where, quoted, other);
        g_hash_table_insert(devices->ids, (gpointer) id, (gpointer) where);
        return true;
}

static bool
check_slot(Devices *devices, const ChvPciCommon *pci, const char *where, GError **error) {
        gpointer key;
        const char *other;

        if (pci->pci_segment >= devices->segments)
                return chv_invalid(
                                error,
                                "%s.pci_segment: there is no segment %u (platform.num_pci_segments "
                                "is %u)",
                                where, pci->pci_segment, devices->segments);
        if (pci->pci_device_id < 0)
                return true;
        if (pci->pci_device_id == 0 && pci->pci_segment == 0)
                return chv_invalid(error, "%s.pci_device_id: slot 0 is the host bridge's", where);
        key = GUINT_TO_POINTER((guint) pci->pci_segment << 8 | (guint) pci->pci_device_id);
        other = g_hash_table_lookup(devices->slots, key);
        if (other)
                return chv_invalid(
                                error, "%s.pci_device_id: slot %d is taken by %s", where,
                                pci->pci_device_id, other);
        g_hash_table_insert(devices->slots, key, (gpointer) where);
        return true;
}

/* The device's place on PCI, when elements of the section have one. */
static const ChvPciCommon *
element_pci(const ChvSection *section, const void *element, const char **ret_fixed) {
        for (size_t i = 0; i + 1 < section->n_options; i++)
                if (strcmp(section->options[i].key, "id") == 0 &&
                    strcmp(section->options[i + 1].key, "pci_segment") == 0) {
                        *ret_fixed = section->options[i].fallback;
                        return (const void *) ((const char *) element + section->options[i].offset - offsetof(ChvPciCommon, id));
                }
        return NULL;
}

/* What holds for the elements of every section. */
static bool check_elements(const ChvConfig *config, Devices *devices, GError **error) {
        size_t n;
        const ChvSection *sections = chv_schema(&n);

        for (size_t i = 0; i < n; i++)
                for (size_t j = 0; j < chv_section_count(&sections[i], config); j++) {
                        const void *element = chv_section_element(&sections[i], config, j);
                        const char *fixed = NULL;
                        const ChvPciCommon *pci = element_pci(&sections[i], element, &fixed);
                        char *where = sections[i].list ? g_strdup_printf("%s[%" G_GSIZE_FORMAT "]",
                                                                         sections[i].key, j)
                                                       : g_strdup(sections[i].key);

                        g_ptr_array_add(devices->places, where);
                        if (!check_paths(&sections[i], element, where, error))
                                return false;
                        if (pci && (!check_id(devices, pci->id, fixed, where, error) ||
                                    !check_slot(devices, pci, where, error)))
                                return false;
                }
        return true;
}

static bool check_devices(const ChvConfig *config, GError **error) {
        g_autoptr(GHashTable) ids = g_hash_table_new(g_str_hash, g_str_equal);
        g_autoptr(GHashTable) slots = g_hash_table_new(NULL, NULL);
        g_autoptr(GPtrArray) places = g_ptr_array_new_with_free_func(g_free);
        Devices devices = { ids, slots, places, config->platform.num_pci_segments };

        for (size_t i = 0; i < config->n_disks; i++) {
                g_autofree char *where = g_strdup_printf("disks[%" G_GSIZE_FORMAT "]", i);

                if (!check_disk(&config->disks[i], config->cpus.boot_vcpus, where, error) ||
                    !check_engine(&config->memory, &config->disks[i], where, error) ||
                    !check_disk_limits(config, &config->disks[i], where, error))
                        return false;
                if (config->disks[i].vhost_user && !check_shared(&config->memory, where, error))
                        return false;
        }
        for (size_t i = 0; i < config->n_net; i++) {
                g_autofree char *where = g_strdup_printf("net[%" G_GSIZE_FORMAT "]", i);

                if (!chv_net_validate(&config->net[i], config->cpus.boot_vcpus, where, error))
                        return false;
                if (config->net[i].vhost_user && !check_shared(&config->memory, where, error))
                        return false;
        }
        return check_elements(config, &devices, error);
}

bool chv_config_validate(const ChvConfig *config, GError **error) {
        if (!check_payload(&config->payload, error) || !check_cpus(&config->cpus, error) ||
            !check_memory(&config->memory, config->cpus.max_phys_bits, error) ||
            !check_consoles(config, error) || !check_groups(config, error) ||
            !check_devices(config, error))
                return false;
        if (config->platform.uuid && !g_uuid_string_is_valid(config->platform.uuid)) {
                g_autofree char *quoted = chv_quote_text(config->platform.uuid);

                return chv_invalid(error, "platform.system_uuid: %s is not a UUID", quoted);
        }
        return true;
}
