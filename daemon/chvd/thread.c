/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Work that may hang for as long as somebody else likes: in a file system, a database of users, a process of another
 * user. GLib runs the threads of all tasks in one pool of a few, where those that hang would hold up the others'.
 * Here each has its own, and what bounds their number is what bounds the jobs they work for.
 */

#include "daemon/chvd/thread.h"

#include "dbus/error.h"

typedef struct {
        GTask *task; /* main thread; NULL: it has returned */
        GSource *cancelled;
        GTask *owner; /* keeps the data that the thread uses */
        gpointer (*work)(gpointer data, GCancellable *cancellable, GError **error);
        GDestroyNotify free_result;
        gpointer result;
        GError *error;
} Thread;

static gboolean on_cancelled(GCancellable *cancellable, gpointer data) {
        Thread *thread = data;

        if (thread->task)
                (void) g_task_return_error_if_cancelled(thread->task);
        g_clear_object(&thread->task);
        return G_SOURCE_REMOVE;
}

static gboolean on_done(gpointer data) {
        g_autofree Thread *thread = data;

        if (thread->cancelled)
                g_source_destroy(thread->cancelled);
        g_clear_pointer(&thread->cancelled, g_source_unref);
        if (thread->task && thread->error)
                g_task_return_error(thread->task, g_steal_pointer(&thread->error));
        else if (thread->task)
                g_task_return_pointer(thread->task, thread->result, thread->free_result);
        else if (thread->result)
                thread->free_result(thread->result);
        g_clear_error(&thread->error);
        g_clear_object(&thread->task);
        g_clear_object(&thread->owner);
        return G_SOURCE_REMOVE;
}

static gpointer in_thread(gpointer data) {
        Thread *thread = data;

        thread->result =
                        thread->work(g_task_get_task_data(thread->owner),
                                     g_task_get_cancellable(thread->owner), &thread->error);
        (void) g_idle_add_full(G_PRIORITY_DEFAULT, on_done, thread, /* notify= */ NULL);
        return NULL;
}

void chvd_thread_run(
                GTask *task,
                gpointer (*work)(gpointer data, GCancellable *cancellable, GError **error),
                GDestroyNotify free_result) {
        Thread *thread = g_new0(Thread, 1);
        GCancellable *cancellable = g_task_get_cancellable(task);
        g_autoptr(GError) error = NULL;
        GThread *started;

        thread->task = g_object_ref(task);
        thread->owner = g_object_ref(task);
        thread->work = work;
        thread->free_result = free_result;
        if (cancellable) {
                thread->cancelled = g_cancellable_source_new(cancellable);
                g_source_set_callback(
                                thread->cancelled, G_SOURCE_FUNC(on_cancelled), thread,
                                /* notify= */ NULL);
                (void) g_source_attach(thread->cancelled, /* context= */ NULL);
        }
        started = g_thread_try_new("chvd-open", in_thread, thread, &error);
        if (started)
                return g_thread_unref(started);
        thread->error = g_error_new(CHV_ERROR, CHV_ERROR_RESOURCE, "no thread: %s", error->message);
        (void) g_idle_add(on_done, thread);
}
