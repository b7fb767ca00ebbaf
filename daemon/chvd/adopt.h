/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <gio/gio.h>

#include "daemon/chvd/context.h"
#include "daemon/chvd/run-record.h"
#include "daemon/chvd/worker.h"

/* Takes over the runs that another chvd has left. Main thread only. */
typedef struct ChvdAdoption ChvdAdoption;

/* What became of a run. */
typedef struct {
        const ChvdRun *run;
        ChvdWorker *worker; /* to be taken over; NULL: the run is over, and nothing of it is left */
        ChvVmState state;
        const char *reason;
        GVariant *devices; /* a(sssa{sv}), with a worker */
        bool preserve;     /* the worker was told to keep a machine that fails */
} ChvdAdopted;

typedef struct {
        void (*adopted)(gpointer data, const char *name, const ChvdAdopted *adopted);
        /* There is a record that can't be understood: the VM may run, and nobody may start it. */
        void (*broken)(gpointer data, const char *name, const GError *error);
        /* That was all. Told once, never from within chvd_adoption_new(). */
        void (*done)(gpointer data);
} ChvdAdoptionOps;

ChvdAdoption *
chvd_adoption_new(const ChvdContext *context, const ChvdAdoptionOps *ops, gpointer data);
/* What has not been taken over by then is left as it is. */
void chvd_adoption_free(ChvdAdoption *adoption);
