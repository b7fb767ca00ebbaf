/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <glib.h>

/*
 * The way from any thread of the worker to its main thread: events for the bus, and requests a guest
 * makes from a vCPU (power off, reset). Bounded, so that a guest which rings it in a loop costs
 * neither memory nor the daemon's time.
 */

typedef struct Events Events;

/* Source of what the machine asks of the worker itself: "power-off", "reset", "error" (message s). */
#define EVENTS_MACHINE "machine"

/* On the main thread, in the order posted. properties is a{sv}, borrowed. */
typedef void
EventHandler(void *opaque,
             gint64 time_us,
             const char *source,
             const char *event,
             GVariant *properties);

Events *events_new(EventHandler *handler, void *opaque);
void events_free(Events *events);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Events, events_free)

/* Any thread. source and event are literals; properties is a{sv}, sunk, or NULL for none. When too many are waiting
 * the event is dropped and counted. */
void events_post(Events *events, const char *source, const char *event, GVariant *properties);

/* Like events_post() with one string property. */
void events_post_string(
                Events *events,
                const char *source,
                const char *event,
                const char *key,
                const char *value);

/* Runs what is waiting now. Main thread. */
void events_flush(Events *events);

guint64 events_dropped(Events *events);
