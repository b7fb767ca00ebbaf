/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Filters of system calls: made from the rules on the main thread, loaded on any. */

typedef enum {
        SANDBOX_FILTER_BASE,
        SANDBOX_FILTER_MAIN,
        SANDBOX_FILTER_IO,
        SANDBOX_FILTER_VCPU,
        SANDBOX_FILTER_MAX
} SandboxFilterKind;

typedef struct {
        struct sock_filter *program;
        uint16_t n;
} SandboxFilter;

/* A program for the kernel, never freed. action: what becomes of a call without a rule, SCMP_ACT_*. */
bool filter_compile(
                SandboxFilterKind kind, uint32_t action, SandboxFilter *ret_filter, GError **error);

/* For this thread, or for every thread of the process. 0 or negative errno. Any thread; no allocation. */
int filter_load(const SandboxFilter *filter, bool all_threads);
