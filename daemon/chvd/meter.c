/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A worker is run by code that a guest may have taken over, so what it sends is bounded: signals by rate (a bucket of
 * BURST that refills at RATE a second), every message by size. Events and property changes have a bucket each, so that
 * a guest which floods with events cannot hide that it powered off. A worker calls no method of chvd.
 *
 * The buckets are touched only by the connection's reading thread; the count of dropped events is atomic, for the main
 * thread reads it.
 */

#include "daemon/chvd/meter.h"

#include <stdbool.h>

#define RATE 200           /* signals a second */
#define BURST 1000         /* signals at once */
#define MAX_SIGNAL_KIB 64  /* body of a signal */
#define MAX_REPLY_KIB 4096 /* body of a reply */

typedef struct {
        double tokens;
        gint64 filled; /* when; monotonic microseconds */
} Bucket;

struct ChvdMeter {
        Bucket events, others;
        int dropped;
};

static bool take_token(Bucket *bucket) {
        gint64 now = g_get_monotonic_time();
        double refill = (double) (now - bucket->filled) * RATE / G_USEC_PER_SEC;

        bucket->tokens = MIN(BURST, bucket->tokens + refill);
        bucket->filled = now;
        if (bucket->tokens < 1)
                return false;
        bucket->tokens--;
        return true;
}

static bool is_event(GDBusMessage *message) {
        return g_strcmp0(g_dbus_message_get_member(message), "Event") == 0;
}

static bool passes(ChvdMeter *meter, GDBusMessage *message) {
        GVariant *body = g_dbus_message_get_body(message);
        gsize size = body ? g_variant_get_size(body) : 0;

        switch (g_dbus_message_get_message_type(message)) {
        case G_DBUS_MESSAGE_TYPE_METHOD_RETURN:
        case G_DBUS_MESSAGE_TYPE_ERROR:
                return size <= MAX_REPLY_KIB * 1024;
        case G_DBUS_MESSAGE_TYPE_SIGNAL:
                if (size <= MAX_SIGNAL_KIB * 1024 &&
                    take_token(is_event(message) ? &meter->events : &meter->others))
                        return true;
                if (is_event(message))
                        (void) g_atomic_int_add(&meter->dropped, 1);
                return false;
        default:
                return false;
        }
}

static GDBusMessage *
filter(GDBusConnection *connection, GDBusMessage *message, gboolean incoming, gpointer data) {
        if (incoming && !passes(data, message))
                g_clear_object(&message);
        return message;
}

ChvdMeter *chvd_meter_attach(GDBusConnection *connection) {
        ChvdMeter *meter = g_new0(ChvdMeter, 1);

        meter->events = meter->others = (Bucket){ BURST, g_get_monotonic_time() };
        (void) g_dbus_connection_add_filter(connection, filter, meter, g_free);
        return meter;
}

unsigned chvd_meter_take_dropped(ChvdMeter *meter) {
        return (unsigned) g_atomic_int_exchange(&meter->dropped, 0);
}
