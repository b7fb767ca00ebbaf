/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Messages with fields, so that "journalctl CHV_VM=web1" tells a machine's story and programs find a kind of message by
 * its MESSAGE_ID, whatever it says. The kinds and their ids are for ever: an id that means something else tomorrow is
 * worse than none. GLib's writer takes the fields to the journal if standard error leads there, and prints the text
 * otherwise.
 *
 * Refusals can be caused at will by anybody on the bus, so they have a budget; what is beyond it is counted and told
 * with the next one.
 */

#include "daemon/chvd/log.h"

#include <stdbool.h>
#include <string.h>

#define DENIED_BURST 20
#define DENIED_EVERY_US (3 * G_USEC_PER_SEC) /* one more */
#define MAX_TEXT 1024
#define MAX_FIELDS 8

static const struct {
        const char *id;
        GLogLevelFlags level;
} kinds[] = {
        [CHVD_LOG_CREATED] = { "30ee3bfef1984a23aa369fe6a67461d1", G_LOG_LEVEL_MESSAGE },
        [CHVD_LOG_DELETED] = { "327e22934d194985b1abedab377e2a87", G_LOG_LEVEL_MESSAGE },
        [CHVD_LOG_RENAMED] = { "7f45915f307545e4956526e9af2fc49f", G_LOG_LEVEL_MESSAGE },
        [CHVD_LOG_STARTED] = { "1407f2b4dee445b09ace88a1ab8ed5de", G_LOG_LEVEL_MESSAGE },
        [CHVD_LOG_STOPPED] = { "df28f7b80b12426ea4d5b8eceed5d387", G_LOG_LEVEL_MESSAGE },
        [CHVD_LOG_FAILED] = { "c788e3323a6d4c67bb7da684d47c93b9", G_LOG_LEVEL_WARNING },
        [CHVD_LOG_START_FAILED] = { "e27f4583ce43464f8b586ee298d4f9b9", G_LOG_LEVEL_WARNING },
        [CHVD_LOG_RESTARTING] = { "56370140e32441088f6b76a4e2d7f1d6", G_LOG_LEVEL_MESSAGE },
        [CHVD_LOG_BROKEN] = { "b991183308c745629da8ce90eb502d63", G_LOG_LEVEL_WARNING },
        [CHVD_LOG_DENIED] = { "2db39c3959604bf5a8aa325ffbd75463", G_LOG_LEVEL_MESSAGE },
        [CHVD_LOG_RELOADED] = { "03b5805981cf45ef8c502fef1e758a35", G_LOG_LEVEL_MESSAGE },
        [CHVD_LOG_HOST_SHUTDOWN] = { "1310bdb7a311432b97d41379b7543e19", G_LOG_LEVEL_MESSAGE },
        [CHVD_LOG_CONFIGURATION] = { "840815148ef74279a2084ba2d3ff8e35", G_LOG_LEVEL_WARNING },
};

G_STATIC_ASSERT(G_N_ELEMENTS(kinds) == CHVD_LOG_MAX);

const char *chvd_log_id(ChvdLogKind kind) {
        return kinds[kind].id;
}

/* Takes text over. */
static char *clean(char *text) {
        char *valid = g_utf8_make_valid(text, (gssize) strnlen(text, MAX_TEXT));

        g_free(text);
        for (char *p = valid; *p; p++)
                if (g_ascii_iscntrl(*p))
                        *p = '?';
        return valid;
}

static void add(GLogField *fields, gsize *n, const char *key, const char *value) {
        if (!value || !value[0])
                return;
        g_assert(*n < MAX_FIELDS);
        fields[(*n)++] = (GLogField){ key, value, -1 };
}

static gsize
start(GLogField *fields, ChvdLogKind kind, const char *text, const char *vm, const char *uuid) {
        gsize n = 0;

        add(fields, &n, "MESSAGE", text);
        add(fields, &n, "PRIORITY", kinds[kind].level == G_LOG_LEVEL_WARNING ? "4" : "5");
        add(fields, &n, "MESSAGE_ID", kinds[kind].id);
        add(fields, &n, "CHV_VM", vm);
        add(fields, &n, "CHV_VM_UUID", uuid);
        return n;
}

void chvd_log(ChvdLogKind kind, const char *vm, const char *uuid, const char *format, ...) {
        g_autofree char *text = NULL;
        GLogField fields[MAX_FIELDS];
        va_list args;

        va_start(args, format);
        text = clean(g_strdup_vprintf(format, args));
        va_end(args);
        g_log_structured_array(kinds[kind].level, fields, start(fields, kind, text, vm, uuid));
}

/* The reason that comes with an event, with a colon before it. */
static char *reason_of(GVariant *properties) {
        const char *reason = "";

        (void) g_variant_lookup(properties, "reason", "&s", &reason);
        return g_strconcat(reason[0] ? ": " : "", reason, NULL);
}

void chvd_log_event(const char *vm, const char *uuid, const char *event, GVariant *properties) {
        g_autofree char *reason = reason_of(properties);
        const char *text = "";
        guint32 delay = 0;

        if (g_str_equal(event, "created"))
                chvd_log(CHVD_LOG_CREATED, vm, uuid, "VM '%s' was created", vm);
        else if (g_str_equal(event, "deleted"))
                chvd_log(CHVD_LOG_DELETED, vm, uuid, "VM '%s' was deleted", vm);
        else if (g_str_equal(event, "started"))
                chvd_log(CHVD_LOG_STARTED, vm, uuid, "VM '%s' has started", vm);
        else if (g_str_equal(event, "start-failed"))
                chvd_log(CHVD_LOG_START_FAILED, vm, uuid, "VM '%s' was not started%s", vm, reason);
        else if (g_str_equal(event, "renamed")) {
                (void) g_variant_lookup(properties, "to", "&s", &text);
                chvd_log(CHVD_LOG_RENAMED, vm, uuid, "VM '%s' is now called '%s'", vm, text);
        } else if (g_str_equal(event, "restarting")) {
                (void) g_variant_lookup(properties, "delay", "u", &delay);
                chvd_log(CHVD_LOG_RESTARTING, vm, uuid, "VM '%s' is started again in %u s", vm,
                         delay);
        } else if (g_str_equal(event, "stopped")) {
                bool failed;

                (void) g_variant_lookup(properties, "state", "&s", &text);
                failed = g_str_equal(text, "failed");
                chvd_log(failed ? CHVD_LOG_FAILED : CHVD_LOG_STOPPED, vm, uuid, "VM '%s' has %s%s",
                         vm, failed ? "failed" : "stopped", reason);
        }
}

/* True: this one may be told. */
static bool take_token(void) {
        static gint64 full_at; /* when the budget will be whole again */
        gint64 now = g_get_monotonic_time();

        if (full_at - now > (DENIED_BURST - 1) * DENIED_EVERY_US)
                return false;
        full_at = MAX(full_at, now) + DENIED_EVERY_US;
        return true;
}

void chvd_log_denied(
                const char *vm,
                uid_t caller,
                const char *method,
                const char *action,
                const char *why) {
        static unsigned untold;
        g_autofree char *text = NULL, *uid = g_strdup_printf("%u", caller);
        GLogField fields[MAX_FIELDS];
        gsize n;

        if (!take_token()) {
                untold++;
                return;
        }
        text = clean(untold ? g_strdup_printf("%s (and %u calls more before)", why, untold)
                            : g_strdup(why));
        untold = 0;
        n = start(fields, CHVD_LOG_DENIED, text, vm, /* uuid= */ NULL);
        add(fields, &n, "CHV_CALLER_UID", uid);
        add(fields, &n, "CHV_METHOD", method);
        add(fields, &n, "CHV_ACTION", action);
        g_log_structured_array(kinds[CHVD_LOG_DENIED].level, fields, n);
}
