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

/* How sure it is that a rule is needed: what the test of dead rules asks of it. */
typedef enum {
        SANDBOX_RULE_SURE, /* a worker's tests always make this call, on each kind of thread that is not the main one */
        SANDBOX_RULE_CHANCE, /* likewise, but not in every run: its comment says what decides */
        SANDBOX_RULE_RARE,   /* no test makes this call; its comment says why it is here */
} SandboxRuleUse;

typedef struct {
        int call; /* __NR_*; negative: this architecture has none */
        unsigned in;
        uint32_t action; /* SCMP_ACT_ALLOW or an errno */
        struct scmp_arg_cmp args[2];
        unsigned n_args;
        bool own_process; /* and argument 0 is the process itself */
        SandboxRuleUse use;
} SandboxRule;

/* Constant after the first call, which is the main thread's. */
const SandboxRule *sandbox_rules(size_t *ret_n);
