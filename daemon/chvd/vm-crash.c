/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What follows a crash, if the VM's policy is to restart it: it is started again after a second, after two when that
 * did not last, and so on up to about a minute; a run that lasted for some minutes is held for good, and the next
 * crash begins with a second again. Who starts, powers off or deletes the VM meanwhile takes it out of our hands.
 */

#include "daemon/chvd/vm-private.h"
#include "daemon/chvd/vm-run.h"

#define FIRST_DELAY_MS 1000
#define MAX_DOUBLINGS 6
#define CALM_US (5 * 60 * G_USEC_PER_SEC)

static gboolean on_time(gpointer data) {
        ChvdVm *vm = data;
        g_autoptr(GError) error = NULL;

        vm->crash_timer = 0;
        if (chvd_vm_start(vm, vm->owner, /* paused= */ false, CHVD_START_TIMEOUT_S,
                          /* done= */ NULL, /* data= */ NULL, /* ret_job= */ NULL, &error)) {
                vm->crash_start = true;
                return G_SOURCE_REMOVE;
        }
        g_debug("VM '%s': %s", chvd_vm_name(vm), error->message);
        chvd_vm_crash_restart(vm);
        return G_SOURCE_REMOVE;
}

void chvd_vm_crash_restart(ChvdVm *vm) {
        unsigned delay;

        if (vm->context->stopping)
                return;
        if (vm->booted_at && g_get_monotonic_time() - vm->booted_at > CALM_US)
                vm->n_crashes = 0;
        vm->booted_at = 0;
        delay = FIRST_DELAY_MS << MIN(vm->n_crashes, MAX_DOUBLINGS);
        vm->n_crashes++;
        chvd_vm_event(vm, "restarting",
                      g_variant_new_parsed("{'delay': <%u>}", (guint32) delay / 1000));
        g_clear_handle_id(&vm->crash_timer, g_source_remove);
        vm->crash_timer = g_timeout_add(delay, on_time, vm);
}

void chvd_vm_crash_forget(ChvdVm *vm) {
        g_clear_handle_id(&vm->crash_timer, g_source_remove);
        vm->crash_start = false;
}
