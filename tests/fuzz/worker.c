/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What a worker sends that its guest has taken over. The target is the other end of a real worker's connection: it authenticates, waits for
 * the service's calls, says what the input holds, and hangs up. What reaches the service has the types
 * and lengths that its users rely on, every call ends once, and the end of the worker is told last.
 *
 * An input that begins with 'l' or 'B' is sent as it is: messages on the wire. Any other is text, a message a line, which a person can
 * read: "e BODY" an event, "p BODY" changed properties, "rN BODY" a reply to the N-th call, "xN BODY" an error; BODY is a tuple. One that begins
 * with "h" says it all, and hangs up, before the service is ready.
 */

#include "fuzz.h"

#include <gio/gio.h>
#include <glib/gstdio.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/chvd/runtime.h"
#include "daemon/chvd/worker.h"
#include "dbus/error.h"

#define NAME "fuzz"
#define MAX_SIZE 65536
#define MAX_LINES 64

static const struct {
        const char *method, *reply;
} calls[] = {
        { "Boot", "(a(sssa{sv})a{ss}a{st})" },
        { "GetCounters", "(a{sa{st}})" },
        { "OpenConsole", "(h)" },
        { "Pause", "()" },
};

typedef struct {
        ChvdWorker *worker;
        unsigned unanswered;
        bool ready, exited;
} Run;

typedef struct {
        Run *run;
        unsigned n;
} Asked;

static void check_text(const char *text, size_t most) {
        g_assert_true(g_utf8_validate(text, -1, NULL));
        g_assert_cmpuint(strlen(text), <=, most);
}

static void on_started(gpointer data) {
        g_assert_not_reached();
}

static void on_failed(gpointer data, const GError *error) {
        g_assert_not_reached();
}

static void
on_event(gpointer data,
         uint64_t timestamp,
         const char *source,
         const char *event,
         GVariant *properties) {
        const Run *run = data;
        g_autofree char *text = g_variant_print(properties, /* type_annotate= */ true);

        g_assert_false(run->exited);
        check_text(source, 64);
        check_text(event, 64);
        g_assert_true(g_variant_is_of_type(properties, G_VARIANT_TYPE_VARDICT));
}

static void on_state(gpointer data, const char *state, const char *reason) {
        const Run *run = data;

        g_assert_false(run->exited);
        check_text(state, MAX_SIZE);
        /* What is cut off may leave a character that has to be replaced by a longer one. */
        check_text(reason, 3 * 512);
}

static void on_exited(gpointer data, const ChvdExit *exit) {
        Run *run = data;

        g_assert_false(run->exited);
        run->exited = true;
}

static void on_reply(gpointer data, GVariant *reply, GUnixFDList *fds, const GError *error) {
        g_autofree Asked *asked = data;

        g_assert_true((reply == NULL) == (error != NULL));
        if (reply)
                g_assert_true(g_variant_is_of_type(reply, G_VARIANT_TYPE(calls[asked->n].reply)));
        else {
                g_assert_true(error->domain == CHV_ERROR);
                check_text(error->message, 4096);
        }
        asked->run->unanswered--;
}

static void on_ready(gpointer data) {
        Run *run = data;

        run->ready = true;
        for (unsigned i = 0; i < G_N_ELEMENTS(calls); i++) {
                Asked *asked = g_new(Asked, 1);

                *asked = (Asked){ run, i };
                run->unanswered++;
                chvd_worker_call(
                                run->worker, calls[i].method, /* parameters= */ NULL,
                                calls[i].reply, /* fds= */ NULL, G_MAXINT, on_reply, asked);
        }
}

static const ChvdWorkerOps ops = {
        .started = on_started,
        .failed = on_failed,
        .ready = on_ready,
        .event = on_event,
        .state = on_state,
        .exited = on_exited,
};

static char *runtime_dir;

static void remove_dir(void) {
        g_autofree char *vms = g_build_filename(runtime_dir, "vm", NULL);

        chvd_runtime_remove(runtime_dir, NAME);
        (void) g_rmdir(vms);
        (void) g_rmdir(runtime_dir);
}

static int listening(void) {
        static int fd = -1;

        if (fd >= 0)
                return fd;
        (void) CHV_ERROR;
        (void) g_log_set_always_fatal(G_LOG_LEVEL_CRITICAL | G_LOG_LEVEL_ERROR);
        runtime_dir = g_dir_make_tmp("chvd-fuzz-XXXXXX", NULL);
        fd = chvd_runtime_listen(runtime_dir, NAME, NULL);
        g_assert_cmpint(fd, >=, 0);
        (void) atexit(remove_dir);
        return fd;
}

static void put_message(GByteArray *out, GDBusMessage *message, GVariant *body) {
        g_autofree guchar *blob = NULL;
        gsize size;

        g_dbus_message_set_byte_order(message, G_DBUS_MESSAGE_BYTE_ORDER_LITTLE_ENDIAN);
        g_dbus_message_set_serial(message, out->len + 1);
        if (body)
                g_dbus_message_set_body(message, body);
        blob = g_dbus_message_to_blob(message, &size, G_DBUS_CAPABILITY_FLAGS_NONE, NULL);
        if (blob)
                g_byte_array_append(out, blob, (guint) size);
}

static GVariant *parse_body(const char *text) {
        g_autoptr(GVariant) body = g_variant_parse(/* type= */ NULL, text, NULL, NULL, NULL);

        if (!body || !g_variant_is_of_type(body, G_VARIANT_TYPE_TUPLE))
                return NULL;
        return g_steal_pointer(&body);
}

static void put_line(GByteArray *out, const char *line) {
        g_autoptr(GDBusMessage) message = NULL;
        g_autoptr(GVariant) body = NULL;

        switch (line[0]) {
        case 'e':
                message = g_dbus_message_new_signal(
                                "/org/cloudhypervisor/Vmm", "org.cloudhypervisor.Vmm", "Event");
                break;
        case 'p':
                message = g_dbus_message_new_signal(
                                "/org/cloudhypervisor/Vmm", "org.freedesktop.DBus.Properties",
                                "PropertiesChanged");
                break;
        case 'r':
        case 'x':
                if (!g_ascii_isdigit(line[1]))
                        return;
                message = g_dbus_message_new();
                g_dbus_message_set_message_type(
                                message, line[0] == 'r' ? G_DBUS_MESSAGE_TYPE_METHOD_RETURN
                                                        : G_DBUS_MESSAGE_TYPE_ERROR);
                g_dbus_message_set_reply_serial(message, (guint32) (line[1] - '0'));
                if (line[0] == 'x')
                        g_dbus_message_set_error_name(message, "org.cloudhypervisor.Error.Failed");
                line++;
                break;
        default:
                return;
        }
        body = line[0] == 0 || line[1] == 0 ? NULL : parse_body(line + 1);
        put_message(out, message, body);
}

static bool put_text(GByteArray *out, const uint8_t *data, size_t size) {
        g_autofree char *text = g_strndup((const char *) data, size);
        g_auto(GStrv) lines = NULL;

        /* GLib's own parser wants this of its callers. */
        if (!g_utf8_validate(text, -1, NULL))
                return false;
        lines = g_strsplit(text, "\n", MAX_LINES);
        for (unsigned i = 0; lines[i]; i++)
                put_line(out, lines[i]);
        return true;
}

static void speak(Run *run, const GByteArray *bytes, bool hasty) {
        static const char auth[] = "\0AUTH ANONYMOUS\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n";
        int fd;

        while ((fd = accept4(listening(), NULL, NULL, SOCK_CLOEXEC)) < 0)
                (void) g_main_context_iteration(NULL, /* may_block= */ false);
        (void) !send(fd, auth, sizeof(auth) - 1, MSG_NOSIGNAL);
        while (!hasty && !run->ready)
                (void) g_main_context_iteration(NULL, /* may_block= */ true);
        (void) !send(fd, bytes->data, bytes->len, MSG_NOSIGNAL | MSG_DONTWAIT);
        (void) shutdown(fd, SHUT_WR);
        while (!run->exited)
                (void) g_main_context_iteration(NULL, /* may_block= */ true);
        (void) close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        g_autoptr(GByteArray) bytes = g_byte_array_new();
        ChvdContext context = { 0 };
        Run run = { 0 };

        if (size > MAX_SIZE)
                return 0;
        if (size > 0 && (data[0] == 'l' || data[0] == 'B'))
                g_byte_array_append(bytes, data, (guint) size);
        else if (!put_text(bytes, data, size))
                return 0;
        (void) listening();
        context.runtime_dir = runtime_dir;
        run.worker = chvd_worker_adopt(&context, NAME, /* handle= */ NULL, &ops, &run);
        speak(&run, bytes, size > 0 && data[0] == 'h');
        chvd_worker_free(run.worker);
        while (run.unanswered > 0 || g_main_context_pending(NULL))
                (void) g_main_context_iteration(NULL, /* may_block= */ run.unanswered > 0);
        return 0;
}
