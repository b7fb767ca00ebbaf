/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * VMs that start with the host: in the order of their numbers and then of their names, each when the one before has
 * started or failed to, and its delay is over. A failure is told as that of any start is, and is no reason not to start
 * the others. A VM that somebody has started, deleted or is changing meanwhile is passed over.
 */

#include "daemon/chvd/autostart.h"

#include <string.h>

#include "daemon/chvd/log.h"
#include "daemon/chvd/timer.h"
#include "daemon/chvd/vm-run.h"

struct ChvdAutostart {
        unsigned refs; /* ours, and that of a start under way */
        GPtrArray *names;
        unsigned next;
        ChvdAutostartFind find;
        void (*done)(gpointer data);
        gpointer data;
        guint timer;
        unsigned delay; /* of the one under way */
};

static void unref(ChvdAutostart *autostart) {
        if (--autostart->refs > 0)
                return;
        g_ptr_array_unref(autostart->names);
        g_free(autostart);
}

static int compare(gconstpointer a, gconstpointer b) {
        const ChvdVm *x = *(ChvdVm *const *) a, *y = *(ChvdVm *const *) b;
        unsigned i = chvd_vm_policy(x)->start_order, j = chvd_vm_policy(y)->start_order;

        return i != j ? (i > j) - (i < j) : strcmp(chvd_vm_name(x), chvd_vm_name(y));
}

static gboolean on_time(gpointer data);

static gboolean on_done(gpointer data) {
        ChvdAutostart *autostart = data;

        autostart->timer = 0;
        autostart->done(autostart->data);
        return G_SOURCE_REMOVE;
}

static void go_on(ChvdAutostart *autostart, unsigned delay_s) {
        if (!autostart->find)
                return;
        if (autostart->next == autostart->names->len)
                autostart->timer = g_idle_add(on_done, autostart);
        else
                autostart->timer = delay_s > 0 ? chvd_timer_new(delay_s, on_time, autostart)
                                               : g_idle_add(on_time, autostart);
}

static void on_started(gpointer data, const char *job_path, const GError *error) {
        ChvdAutostart *autostart = data;

        go_on(autostart, error ? 0 : autostart->delay);
        unref(autostart);
}

static gboolean on_time(gpointer data) {
        ChvdAutostart *autostart = data;
        const char *name = g_ptr_array_index(autostart->names, autostart->next++);
        ChvdVm *vm = autostart->find(autostart->data, name);
        g_autoptr(GError) error = NULL;

        autostart->timer = 0;
        if (!vm || (chvd_vm_state(vm) != CHV_VM_STATE_CREATED &&
                    chvd_vm_state(vm) != CHV_VM_STATE_SHUTDOWN)) {
                go_on(autostart, /* delay_s= */ 0);
                return G_SOURCE_REMOVE;
        }
        autostart->delay = chvd_vm_policy(vm)->start_delay;
        autostart->refs++;
        if (!chvd_vm_start(vm, chvd_vm_owner(vm), /* paused= */ false, CHVD_START_TIMEOUT_S,
                           on_started, autostart, /* ret_job= */ NULL, &error)) {
                chvd_log(CHVD_LOG_START_FAILED, name, chvd_vm_definition(vm)->config->platform.uuid,
                         "VM '%s' was not started with the service: %s", name, error->message);
                on_started(autostart, /* job_path= */ NULL, error);
        }
        return G_SOURCE_REMOVE;
}

ChvdAutostart *chvd_autostart_new(
                const GPtrArray *vms,
                ChvdAutostartFind find,
                void (*done)(gpointer data),
                gpointer data) {
        ChvdAutostart *autostart = g_new0(ChvdAutostart, 1);
        g_autoptr(GPtrArray) chosen = g_ptr_array_new();

        autostart->refs = 1;
        autostart->names = g_ptr_array_new_with_free_func(g_free);
        autostart->find = find;
        autostart->done = done;
        autostart->data = data;
        for (unsigned i = 0; i < vms->len; i++)
                if (chvd_vm_policy(g_ptr_array_index(vms, i))->autostart)
                        g_ptr_array_add(chosen, g_ptr_array_index(vms, i));
        g_ptr_array_sort(chosen, compare);
        for (unsigned i = 0; i < chosen->len; i++)
                g_ptr_array_add(autostart->names,
                                g_strdup(chvd_vm_name(g_ptr_array_index(chosen, i))));
        go_on(autostart, /* delay_s= */ 0);
        return autostart;
}

void chvd_autostart_free(ChvdAutostart *autostart) {
        if (!autostart)
                return;
        g_clear_handle_id(&autostart->timer, g_source_remove);
        autostart->find = NULL;
        unref(autostart);
}
