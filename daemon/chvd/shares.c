/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What a VM has of the host, by systemd's names for it: options of CreateVM and SetOptions, properties of the object,
 * lines of the record, properties of the unit. A row for each is all there is to it; only memory has words of its own
 * for how much: "auto" is what the guest has and what its process needs besides, "infinity" is no limit.
 */

#include "daemon/chvd/shares.h"

#include <string.h>

#include "daemon/chvd/options.h"
#include "dbus/error.h"

#define NONE UINT64_MAX /* what systemd takes for no limit, and for no weight of its own */
#define MIB (UINT64_C(1) << 20)

/* Beside the guest's memory, in every process: the program, rings and buffers; for each vCPU its state in the kernel. */
#define BASE_OVERHEAD (64 * MIB)
#define VCPU_OVERHEAD (1 * MIB)
/* Page tables, twice (the host's and the processor's second level), and as much again for what KVM notes of each page. */
#define PAGES_OVERHEAD_SHIFT 7

static const struct {
        const char *option;
        const char *key; /* in records */
        uint64_t min, max, fallback;
        const char *unit;   /* property of a unit */
        uint64_t factor;    /* from the option's value to the unit's */
        bool always, fixed; /* set for each; not while it runs */
} rows[] = {
        [CHVD_SHARE_CPU_WEIGHT] = { "cpu-weight", "CPUWeight", 1, 10000, 100, "CPUWeight", 1 },
        [CHVD_SHARE_CPU_QUOTA] = { "cpu-quota", "CPUQuota", 0, 1000000, 0, "CPUQuotaPerSecUSec",
                                   10000 },
        [CHVD_SHARE_MEMORY_MAX] = { "memory-max", "MemoryMax", MIB, NONE, NONE, "MemoryMax", 1 },
        [CHVD_SHARE_IO_WEIGHT] = { "io-weight", "IOWeight", 1, 10000, 100, "IOWeight", 1 },
        [CHVD_SHARE_TASKS_MAX] = { "tasks-max", "TasksMax", 8, 1000000, 4096, "TasksMax", 1, true },
        [CHVD_SHARE_SHUTDOWN_TIMEOUT] = { "shutdown-timeout", "ShutdownTimeout", 1, 3600, 90,
                                          "TimeoutStopUSec", G_USEC_PER_SEC, true, true },
};

G_STATIC_ASSERT(G_N_ELEMENTS(rows) == CHVD_SHARE_MAX);

static bool in_range(unsigned i, uint64_t value) {
        return value >= rows[i].min && value <= rows[i].max;
}

static bool refuse(unsigned i, const char *value, GError **error) {
        if (i == CHVD_SHARE_MEMORY_MAX)
                g_set_error(error, CHV_ERROR, CHV_ERROR_INVALID_CONFIG,
                            "options: 'memory-max' is %.64s, which is none of 'auto', 'infinity' "
                            "and bytes (t), 1 MiB or more",
                            value);
        else
                g_set_error(error, CHV_ERROR, CHV_ERROR_INVALID_CONFIG,
                            "options: '%s' is %.64s, not from %" G_GUINT64_FORMAT
                            " to %" G_GUINT64_FORMAT,
                            rows[i].option, value, rows[i].min, rows[i].max);
        return false;
}

/* *ret stays as it is when there is no such option. */
static bool read_option(unsigned i, GVariant *options, uint64_t *ret) {
        g_autoptr(GVariant) value =
                        g_variant_lookup_value(options, rows[i].option, /* expected_type= */ NULL);
        uint64_t n = NONE;

        if (!value)
                return true;
        if (g_variant_is_of_type(value, G_VARIANT_TYPE_UINT32))
                n = g_variant_get_uint32(value);
        else if (g_variant_is_of_type(value, G_VARIANT_TYPE_UINT64))
                n = g_variant_get_uint64(value);
        else if (!g_variant_is_of_type(value, G_VARIANT_TYPE_STRING))
                return false;
        else if (g_str_equal(g_variant_get_string(value, /* length= */ NULL), "auto"))
                n = CHVD_MEMORY_AUTO;
        else if (!g_str_equal(g_variant_get_string(value, /* length= */ NULL), "infinity"))
                return false;
        if (!in_range(i, n))
                return false;
        *ret = n == rows[i].fallback ? 0 : n;
        return true;
}

bool chvd_shares_update(ChvdShares *shares, GVariant *options, GError **error) {
        for (unsigned i = 0; i < CHVD_SHARE_MAX; i++)
                if (!read_option(i, options, &shares->values[i])) {
                        g_autoptr(GVariant) value =
                                        g_variant_lookup_value(options, rows[i].option, NULL);
                        g_autofree char *text = g_variant_print(value, /* type_annotate= */ false);

                        return refuse(i, text, error);
                }
        return true;
}

bool chvd_shares_equal(const ChvdShares *a, const ChvdShares *b) {
        return memcmp(a->values, b->values, sizeof(a->values)) == 0;
}

static uint64_t value_of(const ChvdShares *shares, unsigned i, const ChvConfig *config) {
        uint64_t value = shares->values[i];

        if (i == CHVD_SHARE_MEMORY_MAX && value == CHVD_MEMORY_AUTO)
                return config->memory.size + (config->memory.size >> PAGES_OVERHEAD_SHIFT) +
                       BASE_OVERHEAD + config->cpus.boot_vcpus * VCPU_OVERHEAD;
        return value ?: rows[i].fallback;
}

void chvd_shares_show(const ChvdShares *shares, const ChvConfig *config, ChvVm *skeleton) {
        uint64_t values[CHVD_SHARE_MAX];

        for (unsigned i = 0; i < CHVD_SHARE_MAX; i++)
                values[i] = value_of(shares, i, config);
        chv_vm_set_cpuweight(skeleton, (guint32) values[CHVD_SHARE_CPU_WEIGHT]);
        chv_vm_set_cpuquota(skeleton, (guint32) values[CHVD_SHARE_CPU_QUOTA]);
        chv_vm_set_memory_max(skeleton, values[CHVD_SHARE_MEMORY_MAX]);
        chv_vm_set_memory_max_auto(
                        skeleton, shares->values[CHVD_SHARE_MEMORY_MAX] == CHVD_MEMORY_AUTO);
        chv_vm_set_ioweight(skeleton, (guint32) values[CHVD_SHARE_IO_WEIGHT]);
        chv_vm_set_tasks_max(skeleton, (guint32) values[CHVD_SHARE_TASKS_MAX]);
        chv_vm_set_shutdown_timeout(skeleton, (guint32) values[CHVD_SHARE_SHUTDOWN_TIMEOUT]);
}

GVariant *chvd_shares_limits(const ChvdShares *shares, const ChvConfig *config, bool running) {
        GVariantBuilder limits;

        g_variant_builder_init(&limits, G_VARIANT_TYPE_VARDICT);
        for (unsigned i = 0; i < CHVD_SHARE_MAX; i++) {
                bool set = shares->values[i] > 0 || rows[i].always;
                uint64_t value = value_of(shares, i, config);

                if (running ? rows[i].fixed : !set)
                        continue;
                g_variant_builder_add(
                                &limits, "{sv}", rows[i].unit,
                                g_variant_new_uint64(
                                                !set || value == NONE ? NONE
                                                                      : value * rows[i].factor));
        }
        return g_variant_builder_end(&limits);
}

char *chvd_shares_to_text(const ChvdShares *shares) {
        GString *text = g_string_new(NULL);

        for (unsigned i = 0; i < CHVD_SHARE_MAX; i++)
                if (shares->values[i] == CHVD_MEMORY_AUTO)
                        g_string_append_printf(text, "%s=auto\n", rows[i].key);
                else if (shares->values[i] > 0)
                        g_string_append_printf(
                                        text, "%s=%" G_GUINT64_FORMAT "\n", rows[i].key,
                                        shares->values[i]);
        return g_string_free(text, /* free_segment= */ FALSE);
}

void chvd_shares_read(ChvdShares *shares, GKeyFile *file, const char *group, GPtrArray *warnings) {
        for (unsigned i = 0; i < CHVD_SHARE_MAX; i++) {
                g_autofree char *text =
                                g_key_file_get_value(file, group, rows[i].key, /* error= */ NULL);
                guint64 value;

                if (!text)
                        continue;
                if (i == CHVD_SHARE_MEMORY_MAX && g_str_equal(text, "auto"))
                        shares->values[i] = CHVD_MEMORY_AUTO;
                else if (g_ascii_string_to_unsigned(
                                         text, 10, rows[i].min, MIN(rows[i].max, CHVD_MEMORY_AUTO),
                                         &value, /* error= */ NULL))
                        shares->values[i] = value == rows[i].fallback ? 0 : value;
                else if (warnings)
                        g_ptr_array_add(warnings, g_strdup_printf("%s=%.64s is not understood",
                                                                  rows[i].key, text));
        }
}
