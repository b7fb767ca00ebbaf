/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <gio/gio.h>
#include <stdbool.h>
#include <sys/types.h>

/*
 * What the worker gives up, and when (sandbox.c has the stages). Linked with sanitizers or coverage the program keeps its
 * rights, because those write files and need calls of their own.
 */

/* What happens on a system call that no filter allows. */
typedef enum {
        SANDBOX_SECCOMP_OFF,   /* there are no filters */
        SANDBOX_SECCOMP_LOG,   /* it is done, and the kernel writes it to the audit log */
        SANDBOX_SECCOMP_ERRNO, /* it fails with EPERM */
        SANDBOX_SECCOMP_ON,    /* the process says which call it was and dies of SIGSYS */
} SandboxSeccomp;

typedef struct {
        SandboxSeccomp seccomp;
        bool detach; /* the process goes on in a child, which has a namespace of its own */
        bool has_user;
        uid_t uid; /* with has_user: taken on in stage 1 */
        gid_t gid;
} SandboxConfig;

/* "on", "log", "errno" or "off". */
bool sandbox_seccomp_from_string(const char *text, SandboxSeccomp *ret);

/* "UID:GID" in decimal; root and what is no user are refused. */
bool sandbox_user_from_string(const char *text, SandboxConfig *config);

/* Stage 1. First thing in the process, while it has one thread; descriptors above standard error are closed.
 * With detach it returns in the child only (detach.h). */
bool sandbox_enter(const SandboxConfig *config, GError **error);

/* Stage 2. Filters the calls of every thread there is and will be. Before anything from outside is parsed. idle_fd: of ours, and of
 * no use for writing, like a socket that listens. */
bool sandbox_filter(int idle_fd, GError **error);

/* From stage 2 on: a forbidden call is told here, too; NULL: nowhere. Main thread. */
void sandbox_set_connection(GDBusConnection *connection);

/* Stage 3, on the thread itself; a thread that cannot be filtered ends the process. Any number of calls on the main
 * thread. opaque is not used. */
void sandbox_main_thread(void);
void sandbox_vcpu_thread(void *opaque);
void sandbox_io_thread(void *opaque);
