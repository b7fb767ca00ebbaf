/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The table of a VM's limits, for the service, which holds its process to them, and for the client, which says what they
 * may be. Settings are read as option strings are: sizes end in K, M, G or T, and nothing is guessed.
 */

#include "dbus/limit.h"

#include <string.h>

#include "dbus/value.h"

#define MIB (UINT64_C(1) << 20)

static const ChvLimit table[] = {
        [CHV_LIMIT_CPU_WEIGHT] = { "cpu-weight", "CPUWeight", 1, 10000, 100, "1..10000", "",
                                   "its part of the processors when there are not enough" },
        [CHV_LIMIT_CPU_QUOTA] = { "cpu-quota", "CPUQuota", 0, 1000000, 0, "0..1000000%|infinity",
                                  "infinity", "what it may have of the processors, 100% is one" },
        /* The two largest numbers have a meaning of their own. */
        [CHV_LIMIT_MEMORY_MAX] = { "memory-max", "MemoryMax", MIB, UINT64_MAX - 2, UINT64_MAX,
                                   "size|auto|infinity", "auto infinity",
                                   "memory of its process, the guest's included" },
        [CHV_LIMIT_IO_WEIGHT] = { "io-weight", "IOWeight", 1, 10000, 100, "1..10000", "",
                                  "its part of the disks when there is not enough" },
        [CHV_LIMIT_TASKS_MAX] = { "tasks-max", "TasksMax", 8, 1000000, 4096, "8..1000000", "",
                                  "threads of its process" },
        [CHV_LIMIT_SHUTDOWN_TIMEOUT] = { "shutdown-timeout", "ShutdownTimeout", 1, 3600, 90,
                                         "1..3600", "",
                                         "seconds to power off in when its unit stops; from its "
                                         "next start on" },
};

G_STATIC_ASSERT(G_N_ELEMENTS(table) == CHV_LIMIT_MAX);

const ChvLimit *chv_limit(ChvLimitId id) {
        g_assert(id < CHV_LIMIT_MAX);
        return &table[id];
}

const ChvLimit *chv_limit_find(const char *key) {
        for (unsigned i = 0; i < CHV_LIMIT_MAX; i++)
                if (strcmp(table[i].key, key) == 0)
                        return &table[i];
        return NULL;
}

bool chv_limit_accepts(const ChvLimit *limit, uint64_t value) {
        return value == limit->fallback || (value >= limit->min && value <= limit->max);
}

bool chv_limit_is_infinite(const ChvLimit *limit, uint64_t value) {
        return value == limit->fallback && chv_word_in(limit->words, "infinity");
}

static bool is_size(const ChvLimit *limit) {
        return limit == &table[CHV_LIMIT_MEMORY_MAX];
}

static bool is_percentage(const ChvLimit *limit) {
        return limit == &table[CHV_LIMIT_CPU_QUOTA];
}

/* Not floating. *error does not name the key. */
static GVariant *parse_number(const ChvLimit *limit, const char *text, GError **error) {
        const ChvOption option = { .type = is_size(limit) ? CHV_OPT_SIZE : CHV_OPT_U64 };
        bool percent = is_percentage(limit) && g_str_has_suffix(text, "%");
        g_autofree char *digits = g_strndup(text, strlen(text) - (percent ? 1 : 0));
        g_autoptr(GVariant) number = chv_text_parse(&option, digits, error);
        uint64_t value;

        if (!number)
                return NULL;
        value = g_variant_get_uint64(g_variant_ref_sink(number));
        if (value < limit->min || value > limit->max) {
                g_autofree char *quoted = chv_quote_text(text);

                if (is_size(limit))
                        chv_invalid(error, "%s is %s", quoted,
                                    value > limit->max ? "too large" : "less than 1M");
                else
                        chv_invalid(error,
                                    "%s is not from %" G_GUINT64_FORMAT " to %" G_GUINT64_FORMAT,
                                    quoted, limit->min, limit->max);
                return NULL;
        }
        return g_steal_pointer(&number);
}

GVariant *chv_limit_parse(const ChvLimit *limit, const char *text, GError **error) {
        g_autoptr(GVariant) number = NULL;
        bool word = chv_word_in(limit->words, text);
        uint64_t value = limit->fallback;

        if (!word && text[0] && strcmp(text, "default") != 0) {
                number = parse_number(limit, text, error);
                if (!number) {
                        g_prefix_error(error, "%s: ", limit->key);
                        return NULL;
                }
                value = g_variant_get_uint64(number);
        }
        if (!is_size(limit))
                return g_variant_new_uint32((guint32) value);
        if (number)
                return g_variant_new_uint64(value);
        return g_variant_new_string(word ? text : "infinity");
}

char *chv_limit_format(const ChvLimit *limit, uint64_t value) {
        static const ChvOption size = { .type = CHV_OPT_SIZE };

        if (chv_limit_is_infinite(limit, value))
                return g_strdup("infinity");
        if (is_size(limit)) {
                g_autoptr(GVariant) bytes = g_variant_ref_sink(g_variant_new_uint64(value));

                return chv_text_format(&size, bytes);
        }
        return g_strdup_printf("%" G_GUINT64_FORMAT "%s", value, is_percentage(limit) ? "%" : "");
}
