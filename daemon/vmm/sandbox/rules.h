/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <seccomp.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/vmm/sandbox/filter.h"

/* Which filters allow a call. A thread inherits the filters of the one that started it, so each set holds those it grows from. */
enum {
        IN_BASE = 1 << SANDBOX_FILTER_BASE,
        IN_MAIN = IN_BASE | 1 << SANDBOX_FILTER_MAIN,
        IN_IO = IN_MAIN | 1 << SANDBOX_FILTER_IO,
        IN_VCPU = IN_MAIN | 1 << SANDBOX_FILTER_VCPU,
        IN_ALL = IN_IO | IN_VCPU,
};

typedef struct {
        int call; /* __NR_*; negative: this architecture has none */
        unsigned in;
        uint32_t action; /* SCMP_ACT_ALLOW or an errno */
        struct scmp_arg_cmp arg;
        bool has_arg;
        bool rare; /* no test makes this call; its comment says why it is here */
} SandboxRule;

/* Constant after the first call, which is the main thread's. */
const SandboxRule *sandbox_rules(size_t *ret_n);
