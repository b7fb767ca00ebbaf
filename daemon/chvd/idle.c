/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The end of a service that nobody needs. No call may be lost by it, so the order is: the service manager is told that we stop, after which it
 * queues requests to start us instead of finding us there; then the name is given up, after which the bus has us started for the next call;
 * then we look whether a call has come in before that. If so the name is asked for again before any of them is dispatched:
 * their answers and signals come from who has it. (A name that has no owner for a moment costs nobody anything; the bus keeps calls.)
 *
 * A service manager that has been told can't be told otherwise. Then what has come in is served to its end, however long that takes, and we
 * go; if VMs run by then, with the status that has it start another one at once, which adopts them.
 */

#include "daemon/chvd/idle.h"

#include "daemon/chvd/inbox.h"

#define AGAIN_MS 20
#define EXTENSION_MS 30000 /* of the time that the service manager gives us to stop */
#define MAX_TIMER_MS (24 * 3600 * 1000)

struct ChvdIdle {
        const ChvdIdleOps *ops;
        gpointer data;
        ChvdNotify *notify;
        uint64_t after_ms;
        int64_t since; /* monotonic: it was needed then */
        guint timer;
        bool told; /* the service manager has been */
        int64_t extended_at;
};

static void arm(ChvdIdle *idle, uint64_t ms);

static uint64_t left_ms(const ChvdIdle *idle) {
        int64_t unused = g_get_monotonic_time() - MAX(idle->since, chvd_inbox_last_call());
        uint64_t unused_ms = (uint64_t) MAX(unused, 0) / 1000;

        return unused_ms >= idle->after_ms ? 0 : idle->after_ms - unused_ms;
}

static void tell(ChvdIdle *idle) {
        int64_t now = g_get_monotonic_time();

        if (!idle->told) {
                idle->ops->shut(idle->data);
                idle->told = true;
                chvd_notify_stopping(idle->notify);
        } else if (now - idle->extended_at < EXTENSION_MS * G_TIME_SPAN_MILLISECOND / 3)
                return;
        idle->extended_at = now;
        chvd_notify_extend(idle->notify, EXTENSION_MS);
}

/* Nothing is dispatched while this runs. */
static void leave(ChvdIdle *idle) {
        ChvdNeed need = idle->ops->need(idle->data);

        idle->ops->release(idle->data);
        if (chvd_inbox_calls() > 0) {
                idle->ops->retake(idle->data);
                idle->since = g_get_monotonic_time();
                arm(idle, idle->told ? AGAIN_MS : idle->after_ms);
                return;
        }
        g_message("nothing to do for %.3g s: the service ends until it is called",
                  (double) idle->after_ms / 1000);
        idle->ops->shut(idle->data);
        idle->ops->end(idle->data, need == CHVD_NEED_NOTHING ? 0 : CHVD_IDLE_EXIT_AGAIN);
}

/* What was said has to be heard before the name goes. */
static void go_on_leaving(ChvdIdle *idle) {
        tell(idle);
        if (chvd_inbox_calls() > 0 || idle->ops->need(idle->data) == CHVD_NEED_THIS ||
            !chvd_notify_is_through(idle->notify))
                arm(idle, AGAIN_MS);
        else
                leave(idle);
}

static gboolean on_time(gpointer data) {
        ChvdIdle *idle = data;

        idle->timer = 0;
        if (idle->told)
                go_on_leaving(idle);
        else if (chvd_inbox_calls() > 0 || idle->ops->need(idle->data) != CHVD_NEED_NOTHING) {
                idle->since = g_get_monotonic_time();
                arm(idle, idle->after_ms);
        } else if (left_ms(idle) > 0)
                arm(idle, left_ms(idle));
        else if (chvd_notify_has_manager(idle->notify))
                go_on_leaving(idle);
        else
                leave(idle);
        return G_SOURCE_REMOVE;
}

static void arm(ChvdIdle *idle, uint64_t ms) {
        idle->timer = g_timeout_add((guint) CLAMP(ms, 1, MAX_TIMER_MS), on_time, idle);
}

ChvdIdle *chvd_idle_new(const ChvdIdleOps *ops, gpointer data, ChvdNotify *notify) {
        ChvdIdle *idle = g_new0(ChvdIdle, 1);

        idle->ops = ops;
        idle->data = data;
        idle->notify = notify;
        idle->after_ms = CHVD_IDLE_NEVER;
        return idle;
}

void chvd_idle_free(ChvdIdle *idle) {
        if (!idle)
                return;
        g_clear_handle_id(&idle->timer, g_source_remove);
        g_free(idle);
}

void chvd_idle_set_time(ChvdIdle *idle, uint64_t ms) {
        if (idle->told)
                return;
        g_clear_handle_id(&idle->timer, g_source_remove);
        idle->after_ms = ms > 0 ? ms : CHVD_IDLE_NEVER;
        idle->since = g_get_monotonic_time();
        if (idle->after_ms != CHVD_IDLE_NEVER)
                arm(idle, idle->after_ms);
}

void chvd_idle_touch(ChvdIdle *idle) {
        if (idle)
                idle->since = g_get_monotonic_time();
}
