/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves of the worker's event queue: order is kept, any thread may post, a flood is cut off and
 * counted, and a request of the machine gets through a flood.
 */

#include "daemon/vmm/events.h"

#include <pthread.h>
#include <stdbool.h>

typedef struct {
        guint n;
        GString *order;
        bool reset;
} Log;

static void
on_event(void *opaque,
         gint64 time_us,
         const char *source,
         const char *event,
         GVariant *properties) {
        Log *log = opaque;

        log->n++;
        g_assert_cmpint(time_us, >, 0);
        if (log->n < 10)
                g_string_append_printf(log->order, "%s ", event);
        if (g_str_equal(source, EVENTS_MACHINE))
                log->reset = true;
}

static void settle(void) {
        while (g_main_context_iteration(NULL, false))
                ;
}

static void *flood(void *opaque) {
        for (unsigned i = 0; i < 100000; i++)
                events_post_string(opaque, "debug", "code", "message", "again");
        return NULL;
}

static void test_flood(void) {
        Log log = { .order = g_string_new(NULL) };
        g_autoptr(Events) events = events_new(on_event, &log);
        pthread_t threads[2];

        for (unsigned i = 0; i < 2; i++)
                g_assert_cmpint(pthread_create(&threads[i], NULL, flood, events), ==, 0);
        for (unsigned i = 0; i < 2; i++)
                g_assert_cmpint(pthread_join(threads[i], NULL), ==, 0);
        events_post(events, EVENTS_MACHINE, "reset", NULL);
        settle();
        g_assert_true(log.reset);
        g_assert_cmpuint(log.n, <, 2000); /* 100 a second, however long the flood took */
        g_assert_cmpuint(events_dropped(events) + log.n, ==, 200001);
        g_string_free(log.order, true);
}

static void test_order(void) {
        Log log = { .order = g_string_new(NULL) };
        g_autoptr(Events) events = events_new(on_event, &log);

        events_post(events, "vm", "a", NULL);
        events_post_string(events, "vm", "b", "key", "value");
        events_post(events, "vm", "c", NULL);
        g_assert_cmpuint(log.n, ==, 0); /* never from within the post */
        settle();
        g_assert_cmpstr(log.order->str, ==, "a b c ");
        g_string_free(log.order, true);
}

static void test_free_while_waiting(void) {
        Log log = { .order = g_string_new(NULL) };
        Events *events = events_new(on_event, &log);

        events_post(events, "vm", "a", NULL);
        events_free(events);
        settle();
        g_assert_cmpuint(log.n, ==, 0);
        g_string_free(log.order, true);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/vmm/events/flood", test_flood);
        g_test_add_func("/vmm/events/order", test_order);
        g_test_add_func("/vmm/events/free-while-waiting", test_free_while_waiting);
        return g_test_run();
}
