/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Changes to the store that are under way. Each is a GTask in a thread of its own; the store lets one at a time at the
 * disk. Whoever ends the service waits until the queue is empty, so no answer is lost.
 */

#include "daemon/chvd/store-queue.h"

struct ChvdStoreQueue {
        ChvdStore *store;
        unsigned under_way;
        void (*idle)(gpointer data);
        gpointer idle_data;
};

typedef enum {
        SAVE,
        REMOVE,
        RENAME,
        MARK_RUN,
} Verb;

typedef struct {
        ChvdStoreQueue *queue;
        Verb verb;
        char *name, *to;
        ChvdRecord *record;
        bool create;
        ChvdStored done; /* may be NULL */
        gpointer data;
} Change;

static void change_free(gpointer data) {
        Change *change = data;

        chvd_record_free(change->record);
        g_free(change->name);
        g_free(change->to);
        g_free(change);
}

ChvdStoreQueue *chvd_store_queue_new(ChvdStore *store) {
        ChvdStoreQueue *queue = g_new0(ChvdStoreQueue, 1);

        queue->store = store;
        return queue;
}

void chvd_store_queue_free(ChvdStoreQueue *queue) {
        if (!queue)
                return;
        g_assert(queue->under_way == 0);
        g_free(queue);
}

ChvdStore *chvd_store_queue_store(const ChvdStoreQueue *queue) {
        return queue->store;
}

bool chvd_store_queue_is_empty(const ChvdStoreQueue *queue) {
        return queue->under_way == 0;
}

void chvd_store_queue_on_idle(ChvdStoreQueue *queue, void (*idle)(gpointer data), gpointer data) {
        queue->idle = idle;
        queue->idle_data = data;
}

static void work(GTask *task, gpointer source, gpointer data, GCancellable *cancellable) {
        const Change *change = data;
        ChvdStore *store = change->queue->store;
        GError *error = NULL;
        bool good = true;

        switch (change->verb) {
        case SAVE:
                good = chvd_store_save(store, change->name, change->record, change->create, &error);
                break;
        case REMOVE:
                good = chvd_store_remove(store, change->name, &error);
                break;
        case RENAME:
                good = chvd_store_rename(store, change->name, change->to, &error);
                break;
        case MARK_RUN:
                chvd_store_mark_run(store, change->name);
                break;
        }
        if (good)
                g_task_return_boolean(task, true);
        else
                g_task_return_error(task, error);
}

static void on_worked(GObject *source, GAsyncResult *result, gpointer data) {
        const Change *change = g_task_get_task_data(G_TASK(result));
        ChvdStoreQueue *queue = change->queue;
        g_autoptr(GError) error = NULL;

        (void) g_task_propagate_boolean(G_TASK(result), &error);
        /* What done begins is counted before this is over. */
        if (change->done)
                change->done(change->data, error);
        if (--queue->under_way == 0 && queue->idle)
                queue->idle(queue->idle_data);
}

static Change *change_new(ChvdStoreQueue *queue, Verb verb, const char *name) {
        Change *change = g_new0(Change, 1);

        change->queue = queue;
        change->verb = verb;
        change->name = g_strdup(name);
        return change;
}

static void submit(Change *change, ChvdStored done, gpointer data) {
        g_autoptr(GTask) task = g_task_new(
                        /* source_object= */ NULL, /* cancellable= */ NULL, on_worked,
                        /* callback_data= */ NULL);

        change->done = done;
        change->data = data;
        change->queue->under_way++;
        g_task_set_task_data(task, change, change_free);
        g_task_run_in_thread(task, work);
}

void chvd_store_queue_save(
                ChvdStoreQueue *queue,
                const char *name,
                const ChvdRecord *record,
                bool create,
                ChvdStored done,
                gpointer data) {
        Change *change = change_new(queue, SAVE, name);

        change->record = chvd_record_copy(record);
        change->create = create;
        submit(change, done, data);
}

void chvd_store_queue_remove(
                ChvdStoreQueue *queue, const char *name, ChvdStored done, gpointer data) {
        submit(change_new(queue, REMOVE, name), done, data);
}

void chvd_store_queue_rename(
                ChvdStoreQueue *queue,
                const char *from,
                const char *to,
                ChvdStored done,
                gpointer data) {
        Change *change = change_new(queue, RENAME, from);

        change->to = g_strdup(to);
        submit(change, done, data);
}

void chvd_store_queue_mark_run(ChvdStoreQueue *queue, const char *name) {
        submit(change_new(queue, MARK_RUN, name), /* done= */ NULL, /* data= */ NULL);
}
