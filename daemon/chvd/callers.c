/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The uids of the clients of a bus. A unique name is never given to a second client, and who has it never changes its uid, so an answer
 * stays true and is kept: one question a client, not one a call. What is kept is bounded; the client that is forgotten is asked about again.
 *
 * A bus drops its own answers while the queue towards their receiver is full, which a client can bring about by flooding that receiver
 * (dbus-daemon allows 64 descriptors on the way). An answer that does not come soon is therefore asked for again.
 */

#include "daemon/chvd/callers.h"

#include <stdbool.h>
#include <stdint.h>

#define MAX_KEPT 512
#define ANSWER_MS 2000
#define TRIES 12

struct ChvdCallers {
        GHashTable *known; /* sender → uid */
        GHashTable *asked; /* sender → Question */
        GCancellable *cancellable;
};

typedef struct {
        ChvdCallerTold told;
        gpointer data;
} Waiter;

typedef struct {
        ChvdCallers *callers;
        GDBusConnection *bus;
        char *sender;
        unsigned tries;
        GArray *waiters;
} Question;

static void question_free(gpointer data) {
        Question *question = data;

        g_object_unref(question->bus);
        g_free(question->sender);
        g_array_unref(question->waiters);
        g_free(question);
}

ChvdCallers *chvd_callers_new(void) {
        ChvdCallers *callers = g_new0(ChvdCallers, 1);

        callers->known = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
        callers->asked = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, question_free);
        callers->cancellable = g_cancellable_new();
        return callers;
}

void chvd_callers_free(ChvdCallers *callers) {
        if (!callers)
                return;
        g_cancellable_cancel(callers->cancellable);
        g_object_unref(callers->cancellable);
        g_hash_table_unref(callers->asked);
        g_hash_table_unref(callers->known);
        g_free(callers);
}

static void on_uid(GObject *source, GAsyncResult *result, gpointer data);

static void send(Question *question) {
        question->tries++;
        g_dbus_connection_call(
                        question->bus, "org.freedesktop.DBus", "/org/freedesktop/DBus",
                        "org.freedesktop.DBus", "GetConnectionUnixUser",
                        g_variant_new("(s)", question->sender), G_VARIANT_TYPE("(u)"),
                        G_DBUS_CALL_FLAGS_NONE, ANSWER_MS, question->callers->cancellable, on_uid,
                        question);
}

static void keep(ChvdCallers *callers, const char *sender, uid_t uid) {
        if (g_hash_table_size(callers->known) >= MAX_KEPT)
                g_hash_table_remove_all(callers->known);
        (void) g_hash_table_insert(callers->known, g_strdup(sender), GUINT_TO_POINTER(uid));
}

static void on_uid(GObject *source, GAsyncResult *result, gpointer data) {
        Question *question = data;
        g_autoptr(GError) error = NULL;
        g_autoptr(GVariant) reply =
                        g_dbus_connection_call_finish(G_DBUS_CONNECTION(source), result, &error);
        uint32_t uid = (uint32_t) -1;

        /* Freed, with the question. */
        if (g_error_matches(error, G_IO_ERROR, G_IO_ERROR_CANCELLED))
                return;
        if (g_error_matches(error, G_IO_ERROR, G_IO_ERROR_TIMED_OUT) && question->tries < TRIES)
                return send(question);
        (void) g_hash_table_steal(question->callers->asked, question->sender);
        if (reply) {
                g_variant_get(reply, "(u)", &uid);
                keep(question->callers, question->sender, uid);
        }
        for (unsigned i = 0; i < question->waiters->len; i++) {
                const Waiter *waiter = &g_array_index(question->waiters, Waiter, i);

                waiter->told(waiter->data, uid, error);
        }
        question_free(question);
}

void chvd_callers_ask(
                ChvdCallers *callers,
                GDBusConnection *bus,
                const char *sender,
                ChvdCallerTold told,
                gpointer data) {
        Question *question = g_hash_table_lookup(callers->asked, sender);
        const Waiter waiter = { told, data };
        gpointer uid;

        if (g_hash_table_lookup_extended(callers->known, sender, /* orig_key= */ NULL, &uid))
                return told(data, GPOINTER_TO_UINT(uid), /* error= */ NULL);
        if (question) {
                (void) g_array_append_val(question->waiters, waiter);
                return;
        }
        question = g_new0(Question, 1);
        question->callers = callers;
        question->bus = g_object_ref(bus);
        question->sender = g_strdup(sender);
        question->waiters = g_array_new(false, false, sizeof(Waiter));
        (void) g_array_append_val(question->waiters, waiter);
        (void) g_hash_table_insert(callers->asked, question->sender, question);
        send(question);
}
