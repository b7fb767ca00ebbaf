/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Events: a bounded queue drained by an idle source of the main context. A post takes a short lock
 * that the main thread never holds while it works; posting is for rare things (device activated,
 * guest powers off), never for a request path. What the guest can trigger at will is limited by the
 * queue's size and by a budget a second: beyond either, events are dropped and counted, save the
 * requests of the machine itself (source EVENTS_MACHINE), of which there is one in a machine's life.
 */

#include "daemon/vmm/events.h"

#include <stdbool.h>

#define EVENTS_WAITING_MAX 256u
#define EVENTS_PER_SECOND 100u

typedef struct Event {
        gint64 time_us;
        const char *source, *event;
        GVariant *properties;
} Event;

struct Events {
        EventHandler *handler;
        void *opaque;

        GMutex lock;
        GQueue waiting;
        guint source_id;
        guint64 dropped;
        gint64 second; /* the second that spent counts for */
        guint spent;
};

static void event_free(Event *event) {
        g_variant_unref(event->properties);
        g_free(event);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Event, event_free)

Events *events_new(EventHandler *handler, void *opaque) {
        Events *events = g_new0(Events, 1);

        events->handler = handler;
        events->opaque = opaque;
        g_mutex_init(&events->lock);
        g_queue_init(&events->waiting);
        return events;
}

void events_free(Events *events) {
        if (!events)
                return;
        if (events->source_id)
                g_source_remove(events->source_id);
        g_queue_clear_full(&events->waiting, (GDestroyNotify) event_free);
        g_mutex_clear(&events->lock);
        g_free(events);
}

void events_flush(Events *events) {
        for (;;) {
                g_autoptr(Event) event = NULL;

                g_mutex_lock(&events->lock);
                event = g_queue_pop_head(&events->waiting);
                g_mutex_unlock(&events->lock);
                if (!event)
                        return;
                events->handler(events->opaque, event->time_us, event->source, event->event,
                                event->properties);
        }
}

static gboolean on_idle(gpointer data) {
        Events *events = data;

        /* Cleared before the queue is drained: a post from now on schedules a new source. */
        g_mutex_lock(&events->lock);
        events->source_id = 0;
        g_mutex_unlock(&events->lock);
        events_flush(events);
        return G_SOURCE_REMOVE;
}

/* With the lock held. */
static bool may_post(Events *events, const Event *item) {
        gint64 second = g_get_monotonic_time() / G_USEC_PER_SEC;

        if (g_str_equal(item->source, EVENTS_MACHINE))
                return true;
        if (second != events->second) {
                events->second = second;
                events->spent = 0;
        }
        return events->spent++ < EVENTS_PER_SECOND &&
               g_queue_get_length(&events->waiting) < EVENTS_WAITING_MAX;
}

void events_post(Events *events, const char *source, const char *event, GVariant *properties) {
        Event *item;

        if (!properties)
                properties = g_variant_new("a{sv}", NULL);
        item = g_new0(Event, 1);
        item->time_us = g_get_real_time();
        item->source = source;
        item->event = event;
        item->properties = g_variant_ref_sink(properties);

        g_mutex_lock(&events->lock);
        if (!may_post(events, item)) {
                events->dropped++;
                g_mutex_unlock(&events->lock);
                event_free(item);
                return;
        }
        g_queue_push_tail(&events->waiting, item);
        if (events->source_id == 0)
                events->source_id = g_idle_add_full(G_PRIORITY_DEFAULT, on_idle, events, NULL);
        g_mutex_unlock(&events->lock);
}

void events_post_string(
                Events *events,
                const char *source,
                const char *event,
                const char *key,
                const char *value) {
        GVariantDict dict;

        g_variant_dict_init(&dict, NULL);
        g_variant_dict_insert(&dict, key, "s", value);
        events_post(events, source, event, g_variant_dict_end(&dict));
}

guint64 events_dropped(Events *events) {
        guint64 n;

        g_mutex_lock(&events->lock);
        n = events->dropped;
        g_mutex_unlock(&events->lock);
        return n;
}
