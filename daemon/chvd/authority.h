/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <gio/gio.h>
#include <stdbool.h>
#include <sys/types.h>

/* Whom a call is about. */
typedef struct {
        const char *vm; /* name; NULL: no VM */
        bool owned;     /* owner is valid */
        uid_t owner;
} ChvdSubject;

/* A method's row in the table of authority. */
typedef struct {
        const char *interface, *method;
        const char *action; /* polkit action; NULL: open to every caller */
} ChvdAuthorityRow;

typedef struct ChvdAuthority ChvdAuthority;

ChvdAuthority *chvd_authority_new(bool session);
void chvd_authority_free(ChvdAuthority *authority);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(ChvdAuthority, chvd_authority_free)

/* NULL: no row, and the call is refused. */
const ChvdAuthorityRow *chvd_authority_row(const char *interface, const char *method);

/* The rule alone: may caller do what row stands for on subject, in a service that runs as self? */
bool chvd_authority_permits(
                bool session,
                uid_t self,
                uid_t caller,
                const ChvdAuthorityRow *row,
                const ChvdSubject *subject);

/* Finds out who sent invocation and whether they may. The subject is read during the call only. Main thread. */
void chvd_authority_check_async(
                ChvdAuthority *authority,
                GDBusMethodInvocation *invocation,
                const ChvdSubject *subject,
                GAsyncReadyCallback callback,
                gpointer data);
/* CHV_ERROR_ACCESS_DENIED names the method and the action. */
bool chvd_authority_check_finish(
                ChvdAuthority *authority, GAsyncResult *result, uid_t *ret_caller, GError **error);
