/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Questions to polkit, through its library, which talks over the system bus: the bus that is served in system mode
 * (main.c sees to that), because the caller is named by its name on the bus.
 *
 * Whatever is not a clear yes is a no: polkit is not there, does not answer, answers with an error, or this program
 * was built without it. A question that may end in a dialogue has the time that people need, and is given up when its
 * caller leaves the bus; any other has to be answered soon.
 */

#include "config.h"

#include "daemon/chvd/polkit.h"

#if HAVE_POLKIT
#include <polkit/polkit.h>
#endif

#include "daemon/chvd/timer.h"
#include "dbus/error.h"

#if HAVE_POLKIT

#define ANSWER_S 20

typedef struct {
        PolkitSubject *subject;
        PolkitDetails *details;
        char *action;
        bool interactive;
        GCancellable *cancellable;
        guint watch, deadline;
        const char *given_up; /* why */
} Question;

static void question_free(gpointer data) {
        Question *question = data;

        if (question->watch)
                g_bus_unwatch_name(question->watch);
        g_clear_handle_id(&question->deadline, g_source_remove);
        g_object_unref(question->cancellable);
        g_object_unref(question->subject);
        g_object_unref(question->details);
        g_free(question->action);
        g_free(question);
}

static void on_caller_gone(GDBusConnection *bus, const char *name, gpointer data) {
        Question *question = data;

        question->given_up = "the caller has gone";
        g_cancellable_cancel(question->cancellable);
}

static gboolean on_deadline(gpointer data) {
        Question *question = data;

        question->deadline = 0;
        question->given_up = "polkit does not answer";
        g_cancellable_cancel(question->cancellable);
        return G_SOURCE_REMOVE;
}

static void no_answer(GTask *task, const GError *error) {
        Question *question = g_task_get_task_data(task);
        g_autoptr(GError) stripped = g_error_copy(error);

        (void) g_dbus_error_strip_remote_error(stripped);
        g_task_return_new_error(
                        task, CHV_ERROR, CHV_ERROR_ACCESS_DENIED, "polkit cannot be asked: %s",
                        question->given_up ?: stripped->message);
}

static void on_result(GObject *source, GAsyncResult *result, gpointer data) {
        g_autoptr(GTask) task = data;
        Question *question = g_task_get_task_data(task);
        g_autoptr(GError) error = NULL;
        g_autoptr(PolkitAuthorizationResult) answer = polkit_authority_check_authorization_finish(
                        POLKIT_AUTHORITY(source), result, &error);

        if (!answer)
                return no_answer(task, error);
        if (polkit_authorization_result_get_is_authorized(answer))
                return g_task_return_boolean(task, true);
        if (polkit_authorization_result_get_dismissed(answer))
                return g_task_return_new_error(
                                task, CHV_ERROR, CHV_ERROR_ACCESS_DENIED,
                                "the authentication was dismissed");
        if (!polkit_authorization_result_get_is_challenge(answer))
                return g_task_return_new_error(
                                task, CHV_ERROR, CHV_ERROR_ACCESS_DENIED, "polkit says no");
        if (question->interactive)
                return g_task_return_new_error(
                                task, CHV_ERROR, CHV_ERROR_ACCESS_DENIED,
                                "polkit wants an authentication, and no agent is there to ask for "
                                "it");
        g_task_return_new_error(
                        task, CHV_ERROR, CHV_ERROR_NEEDS_INTERACTION,
                        "polkit wants an authentication, and the call does not allow to ask for "
                        "it");
}

static void on_authority(GObject *source, GAsyncResult *result, gpointer data) {
        g_autoptr(GTask) task = data;
        Question *question = g_task_get_task_data(task);
        g_autoptr(GError) error = NULL;
        g_autoptr(PolkitAuthority) authority = polkit_authority_get_finish(result, &error);

        if (!authority)
                return no_answer(task, error);
        polkit_authority_check_authorization(
                        authority, question->subject, question->action, question->details,
                        question->interactive
                                        ? POLKIT_CHECK_AUTHORIZATION_FLAGS_ALLOW_USER_INTERACTION
                                        : POLKIT_CHECK_AUTHORIZATION_FLAGS_NONE,
                        question->cancellable, on_result, g_steal_pointer(&task));
}

void chvd_polkit_ask_async(
                const ChvdPolkitQuestion *asked, GAsyncReadyCallback callback, gpointer data) {
        GTask *task = g_task_new(
                        /* source_object= */ NULL, /* cancellable= */ NULL, callback, data);
        Question *question = g_new0(Question, 1);

        question->subject = polkit_system_bus_name_new(asked->sender);
        question->details = polkit_details_new();
        for (const char *const *pair = asked->details; *pair; pair += 2)
                polkit_details_insert(question->details, pair[0], pair[1]);
        question->action = g_strdup(asked->action);
        question->interactive = asked->interactive;
        question->cancellable = g_cancellable_new();
        question->watch = g_bus_watch_name_on_connection(
                        asked->bus, asked->sender, G_BUS_NAME_WATCHER_FLAGS_NONE,
                        /* name_appeared_handler= */ NULL, on_caller_gone, question,
                        /* user_data_free_func= */ NULL);
        if (!asked->interactive)
                question->deadline = chvd_timer_new(ANSWER_S, on_deadline, question);
        g_task_set_task_data(task, question, question_free);
        polkit_authority_get_async(question->cancellable, on_authority, task);
}

#else

void chvd_polkit_ask_async(
                const ChvdPolkitQuestion *asked, GAsyncReadyCallback callback, gpointer data) {
        g_autoptr(GTask) task = g_task_new(
                        /* source_object= */ NULL, /* cancellable= */ NULL, callback, data);

        g_task_return_new_error(
                        task, CHV_ERROR, CHV_ERROR_ACCESS_DENIED,
                        "this service was built without polkit");
}

#endif

bool chvd_polkit_ask_finish(GAsyncResult *result, GError **error) {
        return g_task_propagate_boolean(G_TASK(result), error);
}
