/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <sys/syscall.h>

/* What a worker does about a forbidden system call: it says which and dies. */

/* The call by which it dies: no filter lets the process live after it, and no program makes it. */
#define REPORT_LAST_CALL __NR_kexec_load

/* From now on a forbidden call is the process's last. Before the filters, whose signal it handles. idle_fd: what the event is written to
 * while there is no channel, in vain. */
bool report_install(int idle_fd, GError **error);

/* Event "sandbox/forbidden-call" {"message": s} goes to fd, a connected D-Bus peer; -1: there is none. Main thread. */
void report_set_channel(int fd);

/* What this thread is called in reports; a constant string. Threads without a name are the libraries'. */
void report_name_thread(const char *name);

/* "chv-vmm: sandbox: NAME thread WHAT" to standard error and the event channel, and SIGSYS. Any thread, any time. */
_Noreturn void report_and_die(const char *what);
