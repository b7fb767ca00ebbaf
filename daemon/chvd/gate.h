/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <gio/gio.h>
#include <sys/types.h>

#include "daemon/chvd/authority.h"

/* Says whom a call is about. Called in the main thread while the skeleton is exported; what it returns is read before anything else
 * happens. The call's parameters are as the client sent them: of the right types and no more. */
typedef void (*ChvdSubjectFunc)(
                gpointer data, GDBusMethodInvocation *invocation, ChvdSubject *ret_subject);

/* A new skeleton of one of the generated types (CHV_TYPE_VM_SKELETON …), whose handlers are reached only by calls that the authority
 * permits. */
gpointer
chvd_gate_new(GType skeleton_type,
              ChvdAuthority *authority,
              ChvdSubjectFunc subject,
              gpointer data);

/* The uid behind a call that came through the gate. */
uid_t chvd_gate_caller(GDBusMethodInvocation *invocation);
