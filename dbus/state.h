/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <glib.h>
#include <stdbool.h>

/* The states of a VM and what may follow what: one table (reference 2.4). */
typedef enum {
        CHV_VM_STATE_CREATED, /* "created": defined, never started or powered off and ready to start */
        CHV_VM_STATE_STARTING, /* "starting": its worker is being built */
        CHV_VM_STATE_RUNNING,  /* "running" */
        CHV_VM_STATE_PAUSED,   /* "paused" */
        CHV_VM_STATE_STOPPING, /* "stopping": its worker is ending */
        CHV_VM_STATE_SHUTDOWN, /* "shutdown": was running and is off */
        CHV_VM_STATE_FAILED,   /* "failed": its worker crashed or the guest broke the machine */
        CHV_VM_STATE_MAX,
        CHV_VM_STATE_INVALID = -22,
} ChvVmState;

const char *chv_vm_state_to_string(ChvVmState state);
ChvVmState chv_vm_state_from_string(const char *s);
bool chv_vm_state_may_follow(ChvVmState from, ChvVmState to);

/* What a client can ask for, and in which states it may. */
typedef enum {
        CHV_VM_VERB_START,
        CHV_VM_VERB_SHUTDOWN,
        CHV_VM_VERB_POWER_OFF,
        CHV_VM_VERB_REBOOT,
        CHV_VM_VERB_RESET,
        CHV_VM_VERB_PAUSE,
        CHV_VM_VERB_RESUME,
        CHV_VM_VERB_DELETE,
        CHV_VM_VERB_OPEN_CONSOLE,
        CHV_VM_VERB_COUNTERS,
        CHV_VM_VERB_NMI,
        CHV_VM_VERB_RESIZE,
        CHV_VM_VERB_ADD_DEVICE,
        CHV_VM_VERB_REMOVE_DEVICE,
        CHV_VM_VERB_SET_CONFIG,
        CHV_VM_VERB_RENAME,
        CHV_VM_VERB_MAX,
        CHV_VM_VERB_INVALID = -22,
} ChvVmVerb;

const char *chv_vm_verb_to_string(ChvVmVerb verb);
bool chv_vm_verb_allowed(ChvVmVerb verb, ChvVmState state);
