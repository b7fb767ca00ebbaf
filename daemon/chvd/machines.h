/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <gio/gio.h>
#include <stdbool.h>
#include <sys/types.h>

/* The running VMs that systemd-machined is told of, so that machinectl knows them. Whatever it answers, VMs run. Main thread only; NULL: it is told nothing. */
typedef struct ChvdMachines ChvdMachines;

/* What it is told of one; copied. */
typedef struct {
        const char *name;
        const char *uuid; /* NULL: none */
        const char *unit; /* of its process; "": none, and it is not told, as it would take the unit of chvd for the machine's */
        pid_t pid;
        const int *interfaces; /* indices of those of the host that are its own */
        size_t n_interfaces;
} ChvdMachine;

/* Nothing is told before chvd_machines_set_enabled(). */
ChvdMachines *chvd_machines_new(GDBusConnection *bus);
/* What has been told stays told. */
void chvd_machines_free(ChvdMachines *machines);

/* Off: no more is told. On: so is what was not, or could not be. */
void chvd_machines_set_enabled(ChvdMachines *machines, bool enabled);

/* It runs, since just now or already when this chvd came. In place of one of its name. */
void chvd_machines_add(ChvdMachines *machines, const ChvdMachine *machine);
/* It runs no more, which machined sees for itself. */
void chvd_machines_remove(ChvdMachines *machines, const char *name);

/* Whether machined takes such a name: that of a host, with labels of letters, digits and inner hyphens. */
bool chvd_machines_name_fits(const char *name);
