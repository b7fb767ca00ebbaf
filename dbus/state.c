/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The life of a VM as one table (reference 2.4): a row for each state with its name on the bus, the states that may
 * follow it and the verbs that a client may use in it. Whoever changes a state asks this table first; there is no
 * second list of transitions anywhere.
 *
 *   created ──> starting ──> running <──> paused
 *                  ^  │         │           │
 *                  │  └─────> stopping <────┘        (any state with a worker may end in failed)
 *                  │            │
 *                  └──────── shutdown, failed
 *
 * A start that fails before there is a guest goes back to where it came from. Stopping is left out when the guest
 * powers itself off and its worker ends on its own; a reboot goes from stopping straight to starting.
 */

#include "dbus/state.h"

#include <string.h>

#define S(x) (1u << CHV_VM_STATE_##x)
#define V(x) (1u << CHV_VM_VERB_##x)

static const struct {
        const char *name;
        unsigned next;  /* states */
        unsigned verbs; /* what a client may ask for */
} states[] = {
        [CHV_VM_STATE_CREATED] = {
                "created",
                S(STARTING),
                V(START) | V(DELETE) | V(RESIZE) | V(ADD_DEVICE) | V(REMOVE_DEVICE) |
                                V(SET_CONFIG) | V(RENAME),
        },
        [CHV_VM_STATE_STARTING] = {
                "starting",
                S(RUNNING) | S(PAUSED) | S(STOPPING) | S(SHUTDOWN) | S(FAILED) | S(CREATED),
                V(POWER_OFF) | V(OPEN_CONSOLE),
        },
        [CHV_VM_STATE_RUNNING] = {
                "running",
                S(PAUSED) | S(STOPPING) | S(SHUTDOWN) | S(FAILED),
                V(SHUTDOWN) | V(POWER_OFF) | V(REBOOT) | V(RESET) | V(PAUSE) | V(OPEN_CONSOLE) |
                                V(COUNTERS) | V(NMI) | V(RESIZE) | V(ADD_DEVICE) | V(REMOVE_DEVICE),
        },
        [CHV_VM_STATE_PAUSED] = {
                "paused",
                S(RUNNING) | S(STOPPING) | S(SHUTDOWN) | S(FAILED),
                V(POWER_OFF) | V(REBOOT) | V(RESET) | V(RESUME) | V(OPEN_CONSOLE) | V(COUNTERS) |
                                V(RESIZE) | V(ADD_DEVICE) | V(REMOVE_DEVICE),
        },
        [CHV_VM_STATE_STOPPING] = {
                "stopping",
                S(STARTING) | S(SHUTDOWN) | S(FAILED),
                0,
        },
        [CHV_VM_STATE_SHUTDOWN] = {
                "shutdown",
                S(STARTING),
                V(START) | V(DELETE) | V(RESIZE) | V(ADD_DEVICE) | V(REMOVE_DEVICE) |
                                V(SET_CONFIG) | V(RENAME),
        },
        /* A failed VM may still have a worker that holds its resources: powering off ends that too. */
        [CHV_VM_STATE_FAILED] = {
                "failed",
                S(STARTING) | S(STOPPING) | S(SHUTDOWN),
                V(START) | V(POWER_OFF) | V(DELETE) | V(RESIZE) | V(ADD_DEVICE) |
                                V(REMOVE_DEVICE) | V(SET_CONFIG) | V(RENAME),
        },
};

static const char *const verbs[] = {
        [CHV_VM_VERB_START] = "start",
        [CHV_VM_VERB_SHUTDOWN] = "shutdown",
        [CHV_VM_VERB_POWER_OFF] = "power-off",
        [CHV_VM_VERB_REBOOT] = "reboot",
        [CHV_VM_VERB_RESET] = "reset",
        [CHV_VM_VERB_PAUSE] = "pause",
        [CHV_VM_VERB_RESUME] = "resume",
        [CHV_VM_VERB_DELETE] = "delete",
        [CHV_VM_VERB_OPEN_CONSOLE] = "open-console",
        [CHV_VM_VERB_COUNTERS] = "counters",
        [CHV_VM_VERB_NMI] = "nmi",
        [CHV_VM_VERB_RESIZE] = "resize",
        [CHV_VM_VERB_ADD_DEVICE] = "add-device",
        [CHV_VM_VERB_REMOVE_DEVICE] = "remove-device",
        [CHV_VM_VERB_SET_CONFIG] = "set-config",
        [CHV_VM_VERB_RENAME] = "rename",
};

G_STATIC_ASSERT(G_N_ELEMENTS(states) == CHV_VM_STATE_MAX);
G_STATIC_ASSERT(G_N_ELEMENTS(verbs) == CHV_VM_VERB_MAX);

static bool state_exists(ChvVmState state) {
        return (int) state >= 0 && state < CHV_VM_STATE_MAX;
}

const char *chv_vm_state_to_string(ChvVmState state) {
        return state_exists(state) ? states[state].name : NULL;
}

ChvVmState chv_vm_state_from_string(const char *s) {
        if (!s)
                return CHV_VM_STATE_INVALID;
        for (size_t i = 0; i < G_N_ELEMENTS(states); i++)
                if (strcmp(s, states[i].name) == 0)
                        return (ChvVmState) i;
        return CHV_VM_STATE_INVALID;
}

bool chv_vm_state_may_follow(ChvVmState from, ChvVmState to) {
        return state_exists(from) && state_exists(to) && (states[from].next & (1u << to)) != 0;
}

const char *chv_vm_verb_to_string(ChvVmVerb verb) {
        return (int) verb >= 0 && verb < CHV_VM_VERB_MAX ? verbs[verb] : NULL;
}

bool chv_vm_verb_allowed(ChvVmVerb verb, ChvVmState state) {
        return (int) verb >= 0 && verb < CHV_VM_VERB_MAX && state_exists(state) &&
               (states[state].verbs & (1u << verb)) != 0;
}
