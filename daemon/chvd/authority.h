/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <gio/gio.h>
#include <stdbool.h>
#include <sys/types.h>

struct ChvdQuota;

/* Whom a call is about. */
typedef struct {
        const char *vm; /* name; NULL: no VM */
        bool owned;     /* owner is valid */
        uid_t owner;
        const char *device; /* id; NULL: no device of the VM */
} ChvdSubject;

/* A method's row in the table of authority. */
typedef struct {
        const char *interface, *method;
        const char *action; /* polkit action; NULL: open to every caller */
        bool owner;         /* open to the VM's owner */
} ChvdAuthorityRow;

/* The action of who has chvd open things of the host with its own rights; no method has it for its row. */
#define CHVD_ACTION_HOST_ACCESS "org.cloudhypervisor.host-access"

typedef struct ChvdAuthority ChvdAuthority;

/* The quota is borrowed: questions to polkit are charged to who asks them. */
ChvdAuthority *chvd_authority_new(bool session, struct ChvdQuota *quota);
void chvd_authority_free(ChvdAuthority *authority);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(ChvdAuthority, chvd_authority_free)

/* NULL: no row, and the call is refused. */
const ChvdAuthorityRow *chvd_authority_row(const char *interface, const char *method);

/* The rule alone, without polkit: may caller do what row stands for on subject, in a service that runs as self? */
bool chvd_authority_permits(
                bool session,
                uid_t self,
                uid_t caller,
                const ChvdAuthorityRow *row,
                const ChvdSubject *subject);

/* Finds out who sent invocation and whether they may; polkit is asked when nothing else lets them. The subject is read during the
 * call only. Main thread. */
void chvd_authority_check_async(
                ChvdAuthority *authority,
                GDBusMethodInvocation *invocation,
                const ChvdSubject *subject,
                GAsyncReadyCallback callback,
                gpointer data);
/* The same for one action more of a call that has been let in, with the caller's uid from then. Ends with
 * chvd_authority_check_finish() too. */
void chvd_authority_check_action_async(
                ChvdAuthority *authority,
                GDBusMethodInvocation *invocation,
                uid_t caller,
                const char *action,
                const ChvdSubject *subject,
                GAsyncReadyCallback callback,
                gpointer data);
/* CHV_ERROR_ACCESS_DENIED and CHV_ERROR_NEEDS_INTERACTION name the method and the action. */
bool chvd_authority_check_finish(
                ChvdAuthority *authority, GAsyncResult *result, uid_t *ret_caller, GError **error);
