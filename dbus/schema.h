/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

/* The table of options, for whoever lists them: chvctl's help, shell completion, the manual. */

typedef enum {
        CHV_OPT_BOOL,
        CHV_OPT_U8,
        CHV_OPT_U16,
        CHV_OPT_S16,
        CHV_OPT_U32,
        CHV_OPT_U64,
        CHV_OPT_SIZE, /* bytes; K, M, G, T suffixes in option strings */
        CHV_OPT_STRING,
        CHV_OPT_STRV,
        CHV_OPT_MAC,
        CHV_OPT_HEX, /* u16 written in hex */
        CHV_OPT_CONSOLE_MODE,
        CHV_OPT_TOPOLOGY,
        CHV_OPT_CPU_AFFINITY,
        CHV_OPT_QUEUE_AFFINITY,
        CHV_OPT_TYPE_MAX,
} ChvOptType;

typedef enum {
        CHV_OPT_BY_WORKER, /* plain value */
        CHV_OPT_BY_BROKER, /* names a host resource that chvd opens */
        CHV_OPT_BY_MANAGER /* used by chvd itself */
} ChvOptResolver;

typedef struct {
        const char *key; /* in JSON and a{sv}: "boot_vcpus" */
        const char *cli; /* in option strings: "boot"; NULL: same as key */
        ChvOptType type;
        const char *fallback; /* default as text, NULL: none */
        uint64_t min, max;    /* inclusive; both 0: the type's own range */
        bool power_of_2;
        const char *unit; /* "bytes", NULL */
        const char *doc;  /* one line */
        ChvOptResolver resolver;
        size_t offset; /* in the section's struct */
} ChvOption;

typedef struct {
        const char *key; /* "disks" */
        const char *cli; /* "disk" */
        bool list;       /* may be given several times */
        bool bare;       /* option string is the value itself (payload) */
        const char *doc;
        const ChvOption *options;
        size_t n_options;
        size_t offset; /* of the section in ChvConfig */
        size_t size;   /* of one element */
} ChvSection;

const ChvSection *chv_schema(size_t *ret_n);
const ChvSection *chv_schema_section(const char *key_or_cli);
