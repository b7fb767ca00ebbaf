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

/* By ChvLimitId; what they are called and may be is in dbus/limit.c. */
static const struct {
        const char *unit;   /* property of a unit */
        uint64_t factor;    /* from the option's value to the unit's */
        bool always, fixed; /* set for each; not while it runs */
} rows[] = {
        [CHV_LIMIT_CPU_WEIGHT] = { "CPUWeight", 1 },
        [CHV_LIMIT_CPU_QUOTA] = { "CPUQuotaPerSecUSec", 10000 },
        [CHV_LIMIT_MEMORY_MAX] = { "MemoryMax", 1 },
        [CHV_LIMIT_IO_WEIGHT] = { "IOWeight", 1 },
        [CHV_LIMIT_TASKS_MAX] = { "TasksMax", 1, true },
        [CHV_LIMIT_SHUTDOWN_TIMEOUT] = { "TimeoutStopUSec", G_USEC_PER_SEC, true, true },
};

G_STATIC_ASSERT(G_N_ELEMENTS(rows) == CHV_LIMIT_MAX);

static bool refuse(unsigned i, const char *text, GError **error) {
        g_autofree char *value = chv_quote_text(text);

        if (i == CHV_LIMIT_MEMORY_MAX)
                g_set_error(error, CHV_ERROR, CHV_ERROR_INVALID_CONFIG,
                            "options: 'memory-max' is %s, which is none of 'auto', 'infinity' "
                            "and bytes (t), 1 MiB or more",
                            value);
        else
                g_set_error(error, CHV_ERROR, CHV_ERROR_INVALID_CONFIG,
                            "options: '%s' is %s, not from %" G_GUINT64_FORMAT
                            " to %" G_GUINT64_FORMAT,
                            chv_limit(i)->key, value, chv_limit(i)->min, chv_limit(i)->max);
        return false;
}

/* *ret stays as it is when there is no such option. */
static bool read_option(unsigned i, GVariant *options, uint64_t *ret) {
        g_autoptr(GVariant) value = g_variant_lookup_value(
                        options, chv_limit(i)->key, /* expected_type= */ NULL);
        const char *word = NULL;
        uint64_t n = NONE;

        if (!value)
                return true;
        if (i != CHV_LIMIT_MEMORY_MAX && g_variant_is_of_type(value, G_VARIANT_TYPE_UINT32))
                n = g_variant_get_uint32(value);
        else if (g_variant_is_of_type(value, G_VARIANT_TYPE_UINT64))
                n = g_variant_get_uint64(value);
        else if (g_variant_is_of_type(value, G_VARIANT_TYPE_STRING))
                word = g_variant_get_string(value, /* length= */ NULL);
        else
                return false;
        if (g_strcmp0(word, "auto") == 0)
                n = CHVD_MEMORY_AUTO;
        else if (word ? !g_str_equal(word, "infinity") : !chv_limit_accepts(chv_limit(i), n))
                return false;
        *ret = n == chv_limit(i)->fallback ? 0 : n;
        return true;
}

bool chvd_shares_update(ChvdShares *shares, GVariant *options, GError **error) {
        for (unsigned i = 0; i < CHV_LIMIT_MAX; i++)
                if (!read_option(i, options, &shares->values[i])) {
                        g_autoptr(GVariant) value =
                                        g_variant_lookup_value(options, chv_limit(i)->key, NULL);
                        g_autofree char *text = g_variant_is_of_type(value, G_VARIANT_TYPE_STRING)
                                                                ? g_variant_dup_string(value, NULL)
                                                                : g_variant_print(value, false);

                        return refuse(i, text, error);
                }
        return true;
}

bool chvd_shares_equal(const ChvdShares *a, const ChvdShares *b) {
        return memcmp(a->values, b->values, sizeof(a->values)) == 0;
}

static uint64_t value_of(const ChvdShares *shares, unsigned i, const ChvConfig *config) {
        uint64_t value = shares->values[i];

        if (i == CHV_LIMIT_MEMORY_MAX && value == CHVD_MEMORY_AUTO)
                return config->memory.size + (config->memory.size >> PAGES_OVERHEAD_SHIFT) +
                       BASE_OVERHEAD + config->cpus.boot_vcpus * VCPU_OVERHEAD;
        return value ?: chv_limit(i)->fallback;
}

void chvd_shares_show(const ChvdShares *shares, const ChvConfig *config, ChvVm *skeleton) {
        uint64_t values[CHV_LIMIT_MAX];

        for (unsigned i = 0; i < CHV_LIMIT_MAX; i++)
                values[i] = value_of(shares, i, config);
        chv_vm_set_cpuweight(skeleton, (guint32) values[CHV_LIMIT_CPU_WEIGHT]);
        chv_vm_set_cpuquota(skeleton, (guint32) values[CHV_LIMIT_CPU_QUOTA]);
        chv_vm_set_memory_max(skeleton, values[CHV_LIMIT_MEMORY_MAX]);
        chv_vm_set_memory_max_auto(
                        skeleton, shares->values[CHV_LIMIT_MEMORY_MAX] == CHVD_MEMORY_AUTO);
        chv_vm_set_ioweight(skeleton, (guint32) values[CHV_LIMIT_IO_WEIGHT]);
        chv_vm_set_tasks_max(skeleton, (guint32) values[CHV_LIMIT_TASKS_MAX]);
        chv_vm_set_shutdown_timeout(skeleton, (guint32) values[CHV_LIMIT_SHUTDOWN_TIMEOUT]);
}

GVariant *chvd_shares_limits(const ChvdShares *shares, const ChvConfig *config, bool running) {
        GVariantBuilder limits;

        g_variant_builder_init(&limits, G_VARIANT_TYPE_VARDICT);
        for (unsigned i = 0; i < CHV_LIMIT_MAX; i++) {
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

        for (unsigned i = 0; i < CHV_LIMIT_MAX; i++)
                if (shares->values[i] == CHVD_MEMORY_AUTO)
                        g_string_append_printf(text, "%s=auto\n", chv_limit(i)->property);
                else if (shares->values[i] > 0)
                        g_string_append_printf(
                                        text, "%s=%" G_GUINT64_FORMAT "\n", chv_limit(i)->property,
                                        shares->values[i]);
        return g_string_free(text, /* free_segment= */ FALSE);
}

void chvd_shares_read(ChvdShares *shares, GKeyFile *file, const char *group, GPtrArray *warnings) {
        for (unsigned i = 0; i < CHV_LIMIT_MAX; i++) {
                g_autofree char *text = g_key_file_get_value(
                                file, group, chv_limit(i)->property, /* error= */ NULL);
                guint64 value;

                if (!text)
                        continue;
                if (i == CHV_LIMIT_MEMORY_MAX && g_str_equal(text, "auto"))
                        shares->values[i] = CHVD_MEMORY_AUTO;
                else if (g_ascii_string_to_unsigned(
                                         text, 10, chv_limit(i)->min, chv_limit(i)->max, &value,
                                         /* error= */ NULL))
                        shares->values[i] = value == chv_limit(i)->fallback ? 0 : value;
                else if (warnings) {
                        g_autofree char *quoted = chv_quote_text(text);

                        g_ptr_array_add(warnings, g_strdup_printf("%s=%s is not understood",
                                                                  chv_limit(i)->property, quoted));
                }
        }
}
