/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Whose rights things are opened with. What the process of an owner sends is as trustworthy as the owner, who can do
 * with it what he likes: a descriptor is taken as one that a client gave, judged by its type and flags, and nothing is
 * done to it that could wait for a file system of the owner's. Whatever he makes it send, he could have passed to
 * CreateVM as a descriptor.
 *
 * The process is told one thing at a time. It is ended by closing its socket, or killed if it still owes an answer.
 */

#include "daemon/chvd/opener.h"

#include <errno.h>
#include <glib-unix.h>
#include <poll.h>
#include <unistd.h>

#include "daemon/chvd/helper.h"
#include "daemon/chvd/open/message.h"
#include "daemon/chvd/poll-queues.h"
#include "daemon/chvd/resource.h"
#include "daemon/chvd/terminal.h"
#include "dbus/error.h"
#include "dbus/fd.h"

struct ChvdOpener {
        const ChvdRights *rights;
        ChvdHelper *helper; /* NULL: not started */
        bool owes;          /* an answer */
};

bool chvd_opener_is_self(const ChvdContext *context, uid_t owner) {
        return context->session || owner == geteuid();
}

ChvdRights *chvd_rights_new(const ChvdContext *context, uid_t owner) {
        ChvdRights *rights = g_new0(ChvdRights, 1);

        rights->self = chvd_opener_is_self(context, owner);
        rights->uid = owner;
        rights->program = g_strdup(context->opener_path);
        if (!context->session)
                rights->bus = g_dbus_object_manager_server_get_connection(context->objects);
        return rights;
}

ChvdRights *chvd_rights_copy(const ChvdRights *rights) {
        ChvdRights *copy = g_memdup2(rights, sizeof(*rights));

        copy->program = g_strdup(rights->program);
        if (copy->bus)
                g_object_ref(copy->bus);
        return copy;
}

void chvd_rights_free(ChvdRights *rights) {
        if (!rights)
                return;
        g_free(rights->program);
        g_clear_object(&rights->bus);
        g_free(rights);
}

ChvdOpener *chvd_opener_new(const ChvdRights *rights) {
        ChvdOpener *opener = g_new0(ChvdOpener, 1);

        opener->rights = rights;
        return opener;
}

void chvd_opener_free(ChvdOpener *opener) {
        if (!opener)
                return;
        if (opener->helper)
                chvd_helper_end(opener->helper, opener->owes);
        g_free(opener);
}

static bool await(int fd, GCancellable *cancellable, GError **error) {
        GPollFD polled[2] = { { .fd = fd, .events = G_IO_IN } };
        bool cancellable_too = g_cancellable_make_pollfd(cancellable, &polled[1]);
        int n;

        do
                n = g_poll(polled, cancellable_too ? 2 : 1, -1);
        while (n < 0 && errno == EINTR);
        if (cancellable_too)
                g_cancellable_release_fd(cancellable);
        return !g_cancellable_set_error_if_cancelled(cancellable, error);
}

static bool ask(ChvdOpener *opener,
                const ChvdOpenRequest *request,
                ChvdOpenReply *reply,
                GCancellable *cancellable,
                GError **error) {
        const ChvdRights *rights = opener->rights;
        int socket;

        if (!opener->helper)
                opener->helper = chvd_helper_start(
                                rights->bus, rights->program, rights->uid, cancellable, error);
        if (!opener->helper)
                return false;
        socket = chvd_helper_socket(opener->helper);
        opener->owes = true;
        if (chvd_open_request_send(socket, request)) {
                if (!await(socket, cancellable, error))
                        return false;
                if (chvd_open_reply_receive(socket, reply)) {
                        opener->owes = false;
                        return true;
                }
        }
        g_set_error(error, CHV_ERROR, CHV_ERROR_RESOURCE,
                    "the process that opens files for uid %u %s%s", rights->uid,
                    errno == EPIPE || errno == ECONNRESET ? "has ended" : g_strerror(errno),
                    chvd_helper_hint(opener->helper));
        return false;
}

/* With whose rights it was that it could not be opened. */
static void
refuse(const ChvdOpener *opener, const ChvResource *need, const ChvdFault *fault, GError **error) {
        bool denied = fault->errnum == EACCES || fault->errnum == EPERM;

        (void) chvd_resource_fail(need, fault->errnum, fault->what, error);
        if (error && *error && denied && !opener->rights->self) {
                g_autofree char *text = g_steal_pointer(&(*error)->message);

                (*error)->message = g_strdup_printf(
                                "%s for the owner, uid %u", text, opener->rights->uid);
        }
}

static bool
fetch(ChvdOpener *opener,
      ChvdOpenVerb verb,
      const ChvResource *need,
      ChvdOpenReply *reply,
      GCancellable *cancellable,
      GError **error) {
        const ChvdOpenRequest request = {
                .verb = verb,
                .kind = need->kind,
                .readonly = need->readonly,
                .direct = need->direct,
                .lock_full = need->lock_full,
                .path = (char *) need->path,
        };

        if (!ask(opener, &request, reply, cancellable, error)) {
                g_prefix_error(error, "%s: ", need->option);
                return false;
        }
        if (!reply->ok && !reply->busy) {
                const ChvdFault fault = { reply->errnum, reply->what };

                refuse(opener, need, &fault, error);
                return false;
        }
        if (reply->fd < 0)
                return chvd_resource_fail(need, 0, "nothing was opened", error);
        return true;
}

static bool has_path(const ChvResource *need, GError **error) {
        return need->path ||
               chvd_resource_fail(need, 0, "is needed: a path or a descriptor", error);
}

static int open_here(const ChvResource *need, bool *ret_busy, GError **error) {
        ChvdFault fault;
        chv_autofd fd = chvd_resource_open(need, &fault);

        if (fd < 0 || (need->kind == CHV_RESOURCE_DISK &&
                       !chvd_resource_lock(need, fd, ret_busy, &fault) && !*ret_busy)) {
                (void) chvd_resource_fail(need, fault.errnum, fault.what, error);
                return -1;
        }
        return chvd_poll_queues_check(need, fd, error) ? chv_fd_steal(&fd) : -1;
}

int chvd_opener_open(
                ChvdOpener *opener,
                const ChvResource *need,
                bool *ret_busy,
                GCancellable *cancellable,
                GError **error) {
        g_auto(ChvdOpenReply) reply = { .fd = -1 };

        *ret_busy = false;
        if (!has_path(need, error))
                return -1;
        if (opener->rights->self)
                return open_here(need, ret_busy, error);
        if (!fetch(opener, CHVD_OPEN_FILE, need, &reply, cancellable, error) ||
            !chvd_resource_check(need, reply.fd, error) ||
            !chvd_poll_queues_check(need, reply.fd, error) ||
            !chvd_resource_normalise(need, reply.fd, error))
                return -1;
        *ret_busy = reply.busy;
        return chv_fd_steal(&reply.fd);
}

int chvd_opener_listen(
                ChvdOpener *opener,
                const ChvResource *need,
                ChvdSocketFile *ret_file,
                GCancellable *cancellable,
                GError **error) {
        g_auto(ChvdOpenReply) reply = { .fd = -1 };
        ChvdFault fault;
        int fd;

        if (!has_path(need, error))
                return -1;
        if (opener->rights->self) {
                fd = chvd_socket_listen(need->path, ret_file, &fault);
                if (fd < 0)
                        (void) chvd_resource_fail(need, fault.errnum, fault.what, error);
                return fd;
        }
        if (!fetch(opener, CHVD_OPEN_SOCKET, need, &reply, cancellable, error) ||
            !chvd_resource_check(need, reply.fd, error))
                return -1;
        *ret_file = reply.file;
        return chv_fd_steal(&reply.fd);
}

int chvd_opener_connect(
                ChvdOpener *opener,
                const ChvResource *need,
                GCancellable *cancellable,
                GError **error) {
        g_auto(ChvdOpenReply) reply = { .fd = -1 };
        ChvdFault fault;
        int fd;

        if (!has_path(need, error))
                return -1;
        if (opener->rights->self) {
                fd = chvd_socket_connect(need->path, &fault);
                if (fd < 0)
                        (void) chvd_resource_fail(need, fault.errnum, fault.what, error);
                return fd;
        }
        if (!fetch(opener, CHVD_OPEN_CONNECT, need, &reply, cancellable, error) ||
            !chvd_resource_check(need, reply.fd, error))
                return -1;
        return chv_fd_steal(&reply.fd);
}

int chvd_opener_terminal(
                ChvdOpener *opener, const char *name, GCancellable *cancellable, GError **error) {
        g_autofree char *option = g_strconcat(name, ".mode", NULL);
        const ChvResource need = { .option = option };
        g_auto(ChvdOpenReply) reply = { .fd = -1 };
        ChvdFault fault;
        int fd;

        if (opener->rights->self) {
                fd = chvd_terminal_make(&fault);
                if (fd < 0)
                        (void) chvd_resource_fail(&need, fault.errnum, fault.what, error);
                return fd;
        }
        if (!fetch(opener, CHVD_OPEN_TERMINAL, &need, &reply, cancellable, error))
                return -1;
        if (!chvd_terminal_is_master(reply.fd)) {
                (void) chvd_resource_fail(&need, 0, "not a pseudo-terminal", error);
                return -1;
        }
        return chv_fd_steal(&reply.fd);
}

bool chvd_opener_remove(
                ChvdOpener *opener,
                const char *path,
                const ChvdSocketFile *file,
                GCancellable *cancellable,
                GError **error) {
        const ChvdOpenRequest request = {
                .verb = CHVD_OPEN_REMOVE,
                .path = (char *) path,
                .file = *file,
        };
        g_auto(ChvdOpenReply) reply = { .fd = -1 };

        if (!opener->rights->self)
                return ask(opener, &request, &reply, cancellable, error);
        chvd_socket_remove(path, file);
        return true;
}
