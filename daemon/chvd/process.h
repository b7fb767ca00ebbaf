/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <gio/gio.h>
#include <stdbool.h>
#include <sys/types.h>

#include "daemon/chvd/context.h"

/*
 * The process of one worker, whoever its parent is: a transient unit of systemd where there is one (process-unit.h), else a plain
 * process of its own session (process-child.h). It outlives chvd; a later chvd adopts it by its handle. Main thread only.
 */
typedef struct ChvdProcess ChvdProcess;

/* How a process ended. */
typedef struct {
        bool known; /* false: it was not ours to wait for, and nobody could say */
        int status; /* as of waitpid() */
} ChvdExit;

typedef struct {
        /* It runs, or with an error (borrowed, in CHV_ERROR) it does not and never will. Told once, never from within chvd_process_start(). */
        void (*started)(gpointer data, const GError *error);
        /* It has gone. Told once, last, after a started() without error. */
        void (*exited)(gpointer data, const ChvdExit *exit);
} ChvdProcessOps;

typedef struct {
        const char *vm;          /* name of the VM */
        const char *uuid;        /* and its UUID; NULL: none */
        const char *const *argv; /* of chv-vmm, whose path is the first of them; NULL-terminated */
        int channel; /* listening socket, which becomes its standard input; borrowed until started() or chvd_process_free() */
        bool pins_memory; /* the guest's, for io_uring */
        GVariant *limits; /* a{sv}, what is asked of its unit or control group: systemd's own property names; NULL: nothing */
} ChvdProcessSetup;

/* Never fails at once: what goes wrong is told by started(). */
ChvdProcess *chvd_process_start(
                const ChvdContext *context,
                const ChvdProcessSetup *setup,
                const ChvdProcessOps *ops,
                gpointer data);

/* A process that another chvd started, by what chvd_process_handle() said there; started() is told as above (an error: it has gone; in
 * CHV_ERROR_CANCELLED: it ended well). */
ChvdProcess *chvd_process_adopt(
                const ChvdContext *context,
                const char *handle,
                const ChvdProcessOps *ops,
                gpointer data);

/* One line of printable text that names this process and no other for as long as the host is up. NULL before started(). */
const char *chvd_process_handle(const ChvdProcess *process);
/* 0: not started, or gone. */
pid_t chvd_process_pid(const ChvdProcess *process);
/* "chv-NAME.service"; "" when it is no unit. */
const char *chvd_process_unit(const ChvdProcess *process);

/* Whether limits can be set: it is a unit, or has a control group of its own. */
bool chvd_process_has_limits(const ChvdProcess *process);

/* SIGKILL for it and all it started. exited() follows. */
void chvd_process_kill(ChvdProcess *process);

/* Changes limits of a running one, names and types as in the set-up. CHV_ERROR_NOT_SUPPORTED: not here. done may be NULL. */
void chvd_process_set_limits(
                ChvdProcess *process,
                GVariant *limits,
                void (*done)(gpointer data, const GError *error),
                gpointer data);

/* Forgets it: nothing is told any more. The process goes on. */
void chvd_process_free(ChvdProcess *process);
