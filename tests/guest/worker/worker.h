/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "dbus/config.h"
#include "dbus/generated.h"

/*
 * A real chv-vmm for tests: started as chvd starts it, spoken to over the private interface, with its
 * guest's text (the debug console, lib/report.c) collected and its events and exit status noted. Every wait has a limit and fails the test.
 */

typedef struct Worker Worker;

Worker *worker_new(void);

/* With an argument, and variables instead of the caller's; either may be NULL. "--detach" is followed to where it leads. */
Worker *worker_new_with(const char *argument, char **environment);

/* Closes the connection, as a chvd that dies does; and makes another, which ends the one there is. */
void worker_disconnect(Worker *worker);
void worker_connect(Worker *worker);

/* Kills the process if it still runs. */
void worker_free(Worker *worker);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Worker, worker_free)

/* Adds a descriptor for Boot under a name; takes it. */
void worker_add_fd(Worker *worker, const char *name, int fd);

/* Boots the configuration, given as the text of an a{sv}, with guest as its kernel. */
bool worker_boot(Worker *worker, const char *guest, const char *config, GError **error);

ChvVmm *worker_proxy(Worker *worker);

/* Waits until the guest has said text; fails the test when it does not in time, or when a check in the guest failed. */
void worker_expect(Worker *worker, const char *text);

/* All that the guest said so far. */
const char *worker_output(Worker *worker);

/* A client of another console; -1 and error when it cannot be had. */
int worker_open_console(Worker *worker, const char *console, const char *options, GError **error);

/* Waits for an event "source/event" since the last call that returned it; the properties a{sv} if asked. */
void worker_expect_event(Worker *worker, const char *name, GVariant **ret_properties);
unsigned worker_count_events(Worker *worker, const char *name);

/* Waits for the end of the process; returns its wait status. */
int worker_wait(Worker *worker);
bool worker_alive(Worker *worker);
pid_t worker_pid(Worker *worker);

/* Runs the main loop for ms milliseconds. */
void worker_idle(unsigned ms);
