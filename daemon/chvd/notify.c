/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The notifications of sd_notify(3), by a hand that never waits: the library's would stand still as long as the service
 * manager does not read. What does not get through is sent again a little later, in order; of numbers that nobody has
 * read only the last counts.
 *
 * The watchdog is fed by a timer of the main loop, at half of the time that it allows: what it finds out is that the
 * main loop stands still, which must not last here.
 */

#include "daemon/chvd/notify.h"

#include <errno.h>
#include <gio/gio.h>
#include <inttypes.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>

#include "dbus/fd.h"

#define AGAIN_MS 100

typedef struct {
        char *text;
        bool passing; /* what comes later makes it void */
} Message;

struct ChvdNotify {
        int socket; /* -1: nobody to tell */
        struct sockaddr_un address;
        socklen_t address_size;
        GQueue waiting; /* Message */
        guint again, watchdog;
        char *status;
        bool ready;
};

static void message_free(gpointer data) {
        Message *message = data;

        g_free(message->text);
        g_free(message);
}

/* False: not now. */
static bool send_now(ChvdNotify *notify, const char *text) {
        return sendto(notify->socket, text, strlen(text), MSG_DONTWAIT | MSG_NOSIGNAL,
                      (struct sockaddr *) &notify->address, notify->address_size) >= 0 ||
               errno != EAGAIN;
}

static gboolean on_again(gpointer data) {
        ChvdNotify *notify = data;
        Message *message;

        while ((message = g_queue_peek_head(&notify->waiting)) && send_now(notify, message->text))
                message_free(g_queue_pop_head(&notify->waiting));
        if (message)
                return G_SOURCE_CONTINUE;
        notify->again = 0;
        return G_SOURCE_REMOVE;
}

/* Takes text over. */
static void tell(ChvdNotify *notify, char *text, bool passing) {
        g_autofree char *owned = text;
        Message *last = g_queue_peek_tail(&notify->waiting);
        Message *message;

        if (notify->socket < 0 || (!last && send_now(notify, text)))
                return;
        if (last && last->passing && passing)
                message_free(g_queue_pop_tail(&notify->waiting));
        message = g_new0(Message, 1);
        message->text = g_steal_pointer(&owned);
        message->passing = passing;
        g_queue_push_tail(&notify->waiting, message);
        if (!notify->again)
                notify->again = g_timeout_add(AGAIN_MS, on_again, notify);
}

static gboolean on_watchdog(gpointer data) {
        ChvdNotify *notify = data;

        /* One that waits to be read is as good as two. */
        (void) send_now(notify, "WATCHDOG=1");
        return G_SOURCE_CONTINUE;
}

static void find_manager(ChvdNotify *notify) {
        const char *path = g_getenv("NOTIFY_SOCKET");
        size_t length = path ? strlen(path) : 0;

        if (length < 2 || length >= sizeof(notify->address.sun_path) ||
            (path[0] != '/' && path[0] != '@'))
                return;
        notify->address.sun_family = AF_UNIX;
        memcpy(notify->address.sun_path, path, length);
        if (path[0] == '@')
                notify->address.sun_path[0] = '\0';
        notify->address_size =
                        (socklen_t) (offsetof(struct sockaddr_un, sun_path) + length +
                                     (path[0] == '/'));
        notify->socket = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
}

ChvdNotify *chvd_notify_new(void) {
        ChvdNotify *notify = g_new0(ChvdNotify, 1);
        uint64_t us;

        g_queue_init(&notify->waiting);
        notify->socket = -1;
        find_manager(notify);
        if (notify->socket >= 0 && sd_watchdog_enabled(/* unset_environment= */ 0, &us) > 0)
                notify->watchdog = g_timeout_add(
                                (guint) CLAMP(us / 2 / 1000, 1, G_MAXINT), on_watchdog, notify);
        return notify;
}

void chvd_notify_free(ChvdNotify *notify) {
        if (!notify)
                return;
        g_clear_handle_id(&notify->watchdog, g_source_remove);
        g_clear_handle_id(&notify->again, g_source_remove);
        g_queue_clear_full(&notify->waiting, message_free);
        chv_fd_closep(&notify->socket);
        g_free(notify->status);
        g_free(notify);
}

void chvd_notify_ready(ChvdNotify *notify) {
        notify->ready = true;
        tell(notify, g_strdup_printf("READY=1\nSTATUS=%s", notify->status ?: "Ready"),
             /* passing= */ false);
}

void chvd_notify_reloading(ChvdNotify *notify) {
        /* Later systemds want to know when that was. */
        tell(notify,
             g_strdup_printf("RELOADING=1\nMONOTONIC_USEC=%" PRIi64 "\nSTATUS=Reloading",
                             g_get_monotonic_time()),
             /* passing= */ false);
}

void chvd_notify_stopping(ChvdNotify *notify) {
        notify->ready = false;
        tell(notify, g_strdup("STOPPING=1\nSTATUS=Stopping"), /* passing= */ false);
}

void chvd_notify_extend(ChvdNotify *notify, unsigned ms) {
        tell(notify, g_strdup_printf("EXTEND_TIMEOUT_USEC=%" PRIu64, (uint64_t) ms * 1000),
             /* passing= */ true);
}

bool chvd_notify_has_manager(const ChvdNotify *notify) {
        return notify->socket >= 0;
}

bool chvd_notify_is_through(const ChvdNotify *notify) {
        return notify->waiting.length == 0;
}

void chvd_notify_status(ChvdNotify *notify, unsigned defined, unsigned running) {
        g_autofree char *status =
                        g_strdup_printf("%u virtual machine%s, %u running", defined,
                                        defined == 1 ? "" : "s", running);

        if (g_strcmp0(status, notify->status) == 0)
                return;
        g_free(notify->status);
        notify->status = g_steal_pointer(&status);
        if (notify->ready)
                tell(notify, g_strdup_printf("STATUS=%s", notify->status), /* passing= */ true);
}
