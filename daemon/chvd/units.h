/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <gio/gio.h>
#include <stdbool.h>

/* The systemd of the bus that is served, if it has one, and whether the processes of VMs are to be units of it. Main thread only, if not said otherwise. */
typedef struct ChvdUnits ChvdUnits;

typedef enum {
        CHVD_UNITS_AUTO, /* "auto": where there is a systemd */
        CHVD_UNITS_YES,  /* "yes": or VMs do not start */
        CHVD_UNITS_NO,   /* "no": never */
        CHVD_UNITS_MAX,
        CHVD_UNITS_INVALID = -22,
} ChvdUnitsMode;

ChvdUnitsMode chvd_units_mode_from_string(const char *text);

#define CHVD_UNITS_BUS_NAME "org.freedesktop.systemd1"
#define CHVD_UNITS_PATH "/org/freedesktop/systemd1"
#define CHVD_UNITS_MANAGER "org.freedesktop.systemd1.Manager"
#define CHVD_UNITS_UNIT "org.freedesktop.systemd1.Unit"

/* What is asked on the bus after this is answered after it is known whether there is a systemd. */
ChvdUnits *chvd_units_new(GDBusConnection *bus, ChvdUnitsMode mode);
void chvd_units_free(ChvdUnits *units);

/* Starts a transient unit with these properties (a(sv), floating is fine) and waits until systemd has taken it on. `input` is what
 * handle 0 of the properties stands for. False: *ret_absent, there is no systemd on the bus; or *error has what systemd said, or
 * G_IO_ERROR_CANCELLED. Not on the main thread. */
bool chvd_units_start_transient(
                GDBusConnection *bus,
                const char *unit,
                GVariant *properties,
                int input,
                GCancellable *cancellable,
                bool *ret_absent,
                GError **error);

/* Whether new processes are to be units; NULL: no. */
bool chvd_units_wanted(const ChvdUnits *units);
GDBusConnection *chvd_units_bus(const ChvdUnits *units);
