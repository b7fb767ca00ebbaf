/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Signals to the process, which become calls of the service on the main thread. systemd stops a unit with SIGTERM. machinectl
 * tells the process of a machine what an init would understand: SIGRTMIN+4 to power off, SIGINT to reboot. Their default
 * would kill the guest. GLib watches no real-time signals, so that one has a handler here, which wakes the main thread.
 */

#include "daemon/vmm/signals.h"

#include <errno.h>
#include <glib-unix.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/eventfd.h>

#include "dbus/error.h"

#define POWER_OFF_SIGNAL (SIGRTMIN + 4) /* systemd(1) */

static int wake = -1; /* written by the handler, on whichever thread */

static void on_power_off_signal(int signal) {
        int saved = errno;

        (void) eventfd_write(wake, 1);
        errno = saved;
}

static gboolean on_wake(gint fd, GIOCondition condition, gpointer data) {
        eventfd_t n;

        if (eventfd_read(fd, &n) == 0)
                vmm_service_terminate(data);
        return G_SOURCE_CONTINUE;
}

static gboolean on_terminate(gpointer data) {
        vmm_service_terminate(data);
        return G_SOURCE_CONTINUE;
}

static gboolean on_interrupt(gpointer data) {
        vmm_service_restart(data);
        return G_SOURCE_CONTINUE;
}

bool signals_watch(VmmService *service, GError **error) {
        struct sigaction action = { .sa_handler = on_power_off_signal, .sa_flags = SA_RESTART };

        (void) sigemptyset(&action.sa_mask);
        wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (wake < 0 || sigaction(POWER_OFF_SIGNAL, &action, /* oldact= */ NULL) < 0) {
                g_set_error(error, CHV_ERROR, CHV_ERROR_FAILED, "watching signals: %s",
                            g_strerror(errno));
                return false;
        }
        (void) g_unix_fd_add(wake, G_IO_IN, on_wake, service);
        (void) g_unix_signal_add(SIGTERM, on_terminate, service);
        (void) g_unix_signal_add(SIGINT, on_interrupt, service);
        return true;
}
