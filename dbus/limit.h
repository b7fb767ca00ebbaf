/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

/* What a VM may have of the host: options of CreateVM and SetOptions, properties of its object, settings of chvctl. */
typedef enum {
        CHV_LIMIT_CPU_WEIGHT,
        CHV_LIMIT_CPU_QUOTA,  /* percent of one CPU; 0: none */
        CHV_LIMIT_MEMORY_MAX, /* bytes; UINT64_MAX: none */
        CHV_LIMIT_IO_WEIGHT,
        CHV_LIMIT_TASKS_MAX,
        CHV_LIMIT_SHUTDOWN_TIMEOUT, /* seconds */
        CHV_LIMIT_MAX,
} ChvLimitId;

typedef struct {
        const char *key;      /* "cpu-weight" */
        const char *property; /* "CPUWeight", in records too */
        uint64_t min, max;
        uint64_t fallback; /* what it is when not set, and what takes it back; may be out of the range */
        const char *values; /* what a setting of chvctl may be, for help: "1..10000" */
        const char *words;  /* of these, the words, separated by spaces; beside "default" */
        const char *doc;
} ChvLimit;

const ChvLimit *chv_limit(ChvLimitId id);
/* NULL: there is none of this name. */
const ChvLimit *chv_limit_find(const char *key);
bool chv_limit_accepts(const ChvLimit *limit, uint64_t value);
/* Whether the value is no limit at all. */
bool chv_limit_is_infinite(const ChvLimit *limit, uint64_t value);

/* The text behind "key=" to an option's value, floating. "" and "default" are the default. CHV_ERROR_INVALID_CONFIG names the key. */
GVariant *chv_limit_parse(const ChvLimit *limit, const char *text, GError **error);
/* A property's value in the form that chv_limit_parse() reads; sizes are exact. */
char *chv_limit_format(const ChvLimit *limit, uint64_t value);
