/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <gio/gio.h>
#include <sys/types.h>

/* What a message is about. Each kind has a fixed MESSAGE_ID, an entry in data/systemd/chvd.catalog and a line in chvd(8). */
typedef enum {
        CHVD_LOG_CREATED,
        CHVD_LOG_DELETED,
        CHVD_LOG_RENAMED,
        CHVD_LOG_STARTED,
        CHVD_LOG_STOPPED,
        CHVD_LOG_FAILED,
        CHVD_LOG_START_FAILED,
        CHVD_LOG_RESTARTING,
        CHVD_LOG_BROKEN, /* a stored definition */
        CHVD_LOG_DENIED,
        CHVD_LOG_RELOADED,
        CHVD_LOG_CONFIGURATION,
        CHVD_LOG_HOST_SHUTDOWN,
        CHVD_LOG_MAX,
} ChvdLogKind;

/* 32 hexadecimal digits. */
const char *chvd_log_id(ChvdLogKind kind);

/* A message for the administrator: to the journal with fields when standard error is the journal, else plain. vm and uuid may be NULL. What is in it of guests,
 * workers and clients can't drive a terminal. Any thread. */
void chvd_log(ChvdLogKind kind, const char *vm, const char *uuid, const char *format, ...)
                G_GNUC_PRINTF(4, 5);

/* What is worth a message of the events of source vm; nothing for others. */
void chvd_log_event(const char *vm, const char *uuid, const char *event, GVariant *properties);

/* A call that was refused; why is the whole message. vm and action may be NULL. Callers who go on and on are not told of one by one. Main thread. */
void chvd_log_denied(
                const char *vm,
                uid_t caller,
                const char *method,
                const char *action,
                const char *why);
