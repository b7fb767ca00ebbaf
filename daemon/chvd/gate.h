/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <gio/gio.h>
#include <sys/types.h>

#include "daemon/chvd/authority.h"

/* Lets calls of skeleton through to its handlers only when the authority permits. subject says whom a call is about; it
 * is asked in the main thread while skeleton is exported. */
typedef void (*ChvdSubjectFunc)(gpointer data, ChvdSubject *ret_subject);
void chvd_gate_install(
                GDBusInterfaceSkeleton *skeleton,
                ChvdAuthority *authority,
                ChvdSubjectFunc subject,
                gpointer data);

/* The uid behind a call that came through the gate. */
uid_t chvd_gate_caller(GDBusMethodInvocation *invocation);
