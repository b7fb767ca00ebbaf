/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Staying with a VM at its console. A console closes when the VM's process ends; that may be its end, or a reboot,
 * after which there is a new process with a console of the same name. The VM's state tells which, but the closing can
 * be heard before the change of state: then the change is waited for, a little.
 */

#include "chvctl/session.h"

#include <gio/gunixfdlist.h>

#include "chvctl/console.h"
#include "dbus/error.h"

#define SETTLE_MS 2000

int session_open(Bus *bus, const char *path, const char *console, GError **error) {
        g_auto(GVariantDict) dict = G_VARIANT_DICT_INIT(NULL);
        g_autoptr(GUnixFDList) fds = NULL;
        g_autoptr(GVariant) reply = NULL;
        gint32 handle;

        if (bus->options->read_only)
                g_variant_dict_insert(&dict, "read-only", "b", TRUE);
        if (bus->options->force)
                g_variant_dict_insert(&dict, "force", "b", TRUE);
        if (bus->options->no_replay)
                g_variant_dict_insert(&dict, "replay", "b", FALSE);
        reply = bus_call_with_fds(
                        bus, path, VM_INTERFACE, "OpenConsole",
                        g_variant_new("(s@a{sv})", console, g_variant_dict_end(&dict)), "(h)",
                        /* fds= */ NULL, &fds, error);
        if (!reply)
                return -1;
        g_variant_get(reply, "(h)", &handle);
        if (!fds) {
                g_set_error(error, CHV_ERROR, CHV_ERROR_FAILED, "the bus carries no descriptors");
                return -1;
        }
        return g_unix_fd_list_get(fds, handle, error);
}

/* Whether it runs (again) after its console was closed. */
static bool runs_again(VmWatch *watch, bool *ret_runs, GError **error) {
        for (;;) {
                ChvVmState state = vm_watch_state(watch);
                g_autoptr(GError) reason = NULL;
                bool settled = state == CHV_VM_STATE_RUNNING || state == CHV_VM_STATE_PAUSED;

                *ret_runs = false;
                if (vm_watch_is_off(watch))
                        return true;
                if (vm_watch_wait(watch, /* any_change= */ true, settled ? SETTLE_MS : 0, &reason))
                        continue;
                if (settled && g_error_matches(reason, CHV_ERROR, CHV_ERROR_TIMED_OUT)) {
                        *ret_runs = true;
                        return true;
                }
                g_propagate_error(error, g_steal_pointer(&reason));
                return false;
        }
}

static bool
reopen(Bus *bus,
       VmWatch *watch,
       const char *path,
       const char *console,
       int *ret_fd,
       GError **error) {
        for (;;) {
                g_autoptr(GError) reason = NULL;
                ChvVmState state;
                bool runs;

                /* What has been told already counts first. */
                while (g_main_context_iteration(/* context= */ NULL, /* may_block= */ FALSE))
                        ;
                state = vm_watch_state(watch);
                if (state == CHV_VM_STATE_RUNNING || state == CHV_VM_STATE_PAUSED ||
                    state == CHV_VM_STATE_STARTING) {
                        *ret_fd = session_open(bus, path, console, &reason);
                        if (*ret_fd >= 0)
                                return true;
                }
                if (!runs_again(watch, &runs, error))
                        return false;
                if (vm_watch_is_off(watch)) {
                        *ret_fd = -1;
                        return true;
                }
                if (runs && reason) {
                        /* It runs on, so the console was taken away from us alone. */
                        g_propagate_error(error, g_steal_pointer(&reason));
                        return false;
                }
        }
}

bool session_stay(
                Bus *bus,
                VmWatch *watch,
                const char *path,
                const char *console,
                int fd,
                bool *ret_off,
                GError **error) {
        while (fd >= 0) {
                ConsoleEnd end = console_attach(bus, path, console, fd, bus->options->read_only);

                if (end != CONSOLE_CLOSED) {
                        *ret_off = false;
                        return true;
                }
                if (!reopen(bus, watch, path, console, &fd, error))
                        return false;
        }
        *ret_off = true;
        return true;
}
