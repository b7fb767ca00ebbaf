/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * GDBus reads messages in a thread of its own, as fast as they come, and queues them for the main loop, however many there are. So a
 * client that sends faster than it is served would fill the service's memory, and its table of descriptors, which is worse: the kernel
 * drops the descriptors of the next message then, whoever sent it. No bus counts calls that want no reply.
 *
 * Each call is charged to its sender for as long as its message lives, which is until it has been answered. Messages end in any thread:
 * the shares have a lock.
 */

#include "daemon/chvd/inbox.h"

#include <gio/gunixfdlist.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

#include "dbus/error.h"

/* All clients together: what is left serves the machines. */
#define TOTAL_FDS 512
#define TOTAL_BYTES (256u << 20)

typedef struct {
        unsigned calls, fds;
        gsize bytes;
} Share;

/* References: the connection's, and one for each message. */
typedef struct {
        GMutex lock;
        GHashTable *shares; /* sender → Share */
        Share total;
} Inbox;

typedef struct {
        Inbox *inbox;
        char *sender;
        unsigned fds;
        gsize bytes;
} Charge;

/* Of all inboxes together. */
static atomic_uint n_calls;
static _Atomic int64_t last_call;

static GQuark charge_quark(void) {
        return g_quark_from_static_string("chvd-inbox-charge");
}

static void inbox_clear(gpointer data) {
        Inbox *inbox = data;

        g_hash_table_unref(inbox->shares);
        g_mutex_clear(&inbox->lock);
}

static void inbox_unref(gpointer inbox) {
        g_atomic_rc_box_release_full(inbox, inbox_clear);
}

static bool fits(const Share *share, const Share *total, const Charge *charge) {
        return share->calls < CHVD_INBOX_CALLS && share->fds + charge->fds <= CHVD_INBOX_FDS &&
               share->bytes + charge->bytes <= CHVD_INBOX_BYTES &&
               total->fds + charge->fds <= TOTAL_FDS && total->bytes + charge->bytes <= TOTAL_BYTES;
}

static void add(Share *share, const Charge *charge) {
        share->calls++;
        share->fds += charge->fds;
        share->bytes += charge->bytes;
}

static void subtract(Share *share, const Charge *charge) {
        share->calls--;
        share->fds -= charge->fds;
        share->bytes -= charge->bytes;
}

static bool take(Inbox *inbox, const Charge *charge) {
        g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&inbox->lock);
        Share *share = g_hash_table_lookup(inbox->shares, charge->sender);
        static const Share nothing;

        if (!fits(share ?: &nothing, &inbox->total, charge))
                return false;
        if (!share) {
                share = g_new0(Share, 1);
                (void) g_hash_table_insert(inbox->shares, g_strdup(charge->sender), share);
        }
        add(share, charge);
        add(&inbox->total, charge);
        return true;
}

static void charge_free(Charge *charge) {
        inbox_unref(charge->inbox);
        g_free(charge->sender);
        g_free(charge);
}

static void give_back(gpointer data) {
        Charge *charge = data;
        Inbox *inbox = charge->inbox;
        Share *share;

        g_mutex_lock(&inbox->lock);
        share = g_hash_table_lookup(inbox->shares, charge->sender);
        subtract(&inbox->total, charge);
        subtract(share, charge);
        if (share->calls == 0)
                (void) g_hash_table_remove(inbox->shares, charge->sender);
        g_mutex_unlock(&inbox->lock);
        charge_free(charge);
        last_call = g_get_monotonic_time();
        n_calls--;
}

/* On a connection without a bus nobody has a name, and there is one client. */
static Charge *charge_for(Inbox *inbox, GDBusMessage *message) {
        GUnixFDList *list = g_dbus_message_get_unix_fd_list(message);
        GVariant *body = g_dbus_message_get_body(message);
        Charge *charge = g_new0(Charge, 1);

        charge->inbox = g_atomic_rc_box_acquire(inbox);
        charge->sender = g_strdup(g_dbus_message_get_sender(message) ?: "");
        charge->fds = list ? (unsigned) g_unix_fd_list_get_length(list) : 0;
        charge->bytes = body ? g_variant_get_size(body) : 0;
        return charge;
}

static void refuse(GDBusConnection *connection, GDBusMessage *message) {
        g_autoptr(GError) error = g_error_new_literal(
                        CHV_ERROR, CHV_ERROR_LIMIT,
                        "too many calls of this client are unanswered, or too much is in them");
        g_autofree char *name = g_dbus_error_encode_gerror(error);
        g_autoptr(GDBusMessage) reply = NULL;

        if (g_dbus_message_get_flags(message) & G_DBUS_MESSAGE_FLAGS_NO_REPLY_EXPECTED)
                return;
        reply = g_dbus_message_new_method_error_literal(message, name, error->message);
        (void) g_dbus_connection_send_message(
                        connection, reply, G_DBUS_SEND_MESSAGE_FLAGS_NONE, /* out_serial= */ NULL,
                        /* error= */ NULL);
}

static GDBusMessage *
filter(GDBusConnection *connection, GDBusMessage *message, gboolean incoming, gpointer data) {
        Charge *charge;

        if (!incoming ||
            g_dbus_message_get_message_type(message) != G_DBUS_MESSAGE_TYPE_METHOD_CALL)
                return message;
        last_call = g_get_monotonic_time();
        charge = charge_for(data, message);
        if (take(charge->inbox, charge)) {
                n_calls++;
                g_object_set_qdata_full(G_OBJECT(message), charge_quark(), charge, give_back);
                return message;
        }
        charge_free(charge);
        refuse(connection, message);
        g_object_unref(message);
        return NULL;
}

void chvd_inbox_attach(GDBusConnection *connection) {
        Inbox *inbox = g_atomic_rc_box_new0(Inbox);

        g_mutex_init(&inbox->lock);
        inbox->shares = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
        (void) g_dbus_connection_add_filter(connection, filter, inbox, inbox_unref);
}

unsigned chvd_inbox_calls(void) {
        return n_calls;
}

int64_t chvd_inbox_last_call(void) {
        return last_call;
}
