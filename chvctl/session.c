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

/* Waits for a change of state, as long as that may take or, if the state is one to stay in, for a moment. *ret_changed: there was one. */
static bool await_change(VmWatch *watch, bool stays, bool *ret_changed, GError **error) {
        g_autoptr(GError) reason = NULL;

        *ret_changed = vm_watch_wait(watch, /* any_change= */ true, stays ? SETTLE_MS : 0, &reason);
        if (*ret_changed || g_error_matches(reason, CHV_ERROR, CHV_ERROR_TIMED_OUT))
                return true;
        g_propagate_error(error, g_steal_pointer(&reason));
        return false;
}

static bool is_up(ChvVmState state) {
        return state == CHV_VM_STATE_RUNNING || state == CHV_VM_STATE_PAUSED;
}

/* The console of the VM's next process; *ret_fd is -1 when there is none to come. */
static bool
reopen(Bus *bus,
       VmWatch *watch,
       const char *path,
       const char *console,
       int *ret_fd,
       GError **error) {
        bool known = !is_up(vm_watch_state(watch));

        *ret_fd = -1;
        while (!vm_watch_is_off(watch)) {
                bool up = is_up(vm_watch_state(watch)), changed;
                g_autoptr(GError) reason = NULL;

                if (known && up) {
                        *ret_fd = session_open(bus, path, console, &reason);
                        if (*ret_fd >= 0)
                                return true;
                }
                if (!await_change(watch, up, &changed, error))
                        return false;
                /* It runs on, so the console was taken from us alone. */
                if (!changed && known && reason) {
                        g_propagate_error(error, g_steal_pointer(&reason));
                        return false;
                }
                known = true;
        }
        return true;
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
