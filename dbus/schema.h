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
        CHV_OPT_SIZE,   /* bytes; K, M, G, T suffixes in option strings */
        CHV_OPT_STRING, /* min and max are lengths in bytes */
        CHV_OPT_PATH,   /* a string that names a file */
        CHV_OPT_STRV,   /* min and max are lengths of each */
        CHV_OPT_MAC,
        CHV_OPT_HEX, /* u16 written in hex */
        CHV_OPT_CONSOLE_MODE,
        CHV_OPT_CONSOLE_FILE,   /* path of mode "file"; in option strings it sets the mode too */
        CHV_OPT_CONSOLE_SOCKET, /* path of mode "socket", the same */
        CHV_OPT_TOPOLOGY,
        CHV_OPT_FEATURES, /* CPU features: a set of switches, today "amx" */
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
        const char *key;   /* in JSON and a{sv}: "boot_vcpus" */
        const char *cli;   /* in option strings: "boot"; NULL: same as key */
        const char *alias; /* another key read in all codecs, never written; NULL */
        ChvOptType type;
        const char *fallback; /* default as text, NULL: none */
        uint64_t min, max;    /* inclusive; both 0: the type's own range */
        bool power_of_2;
        bool live;           /* may be changed while the machine runs */
        const char *choices; /* the words a string or mode may be, separated by spaces; NULL: any */
        const char *unit;    /* "bytes", NULL */
        const char *doc;     /* one line */
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
        const char *later; /* keys of the reference that this version refuses unless they say "off", separated by spaces */
        size_t offset; /* of the section in ChvConfig; of a list: of the pointer, which a size_t count follows */
        size_t size; /* of one element */
} ChvSection;

const ChvSection *chv_schema(size_t *ret_n);
const ChvSection *chv_schema_section(const char *key_or_cli);

/* Whole sections of the reference that this version refuses, as in ChvSection.later. */
const char *chv_schema_later(void);

/* What the values of an option are called in help and messages: "on|off", "size", "path" … */
const char *chv_option_placeholder(const ChvOption *option);

/* The range that a number, or the length of a string, must be in. */
void chv_option_range(const ChvOption *option, uint64_t *ret_min, uint64_t *ret_max);
