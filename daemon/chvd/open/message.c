/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Packets between chvd and chv-open. A packet is a serialised variant of a fixed type, with at most one descriptor. The
 * owner of a VM can do with a process of his what he likes, so replies are as trustworthy as he is: a packet that is
 * too long or not of the type, or has more descriptors, is refused as a whole, and its text reduced to what is fit for
 * a message.
 */

#include "daemon/chvd/open/message.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "dbus/fd.h"

#define MAX_PACKET 8192
#define MAX_TEXT 120
#define REQUEST "(yybbbstt)"
#define REPLY "(bisbtt)"

typedef union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
} Control;

void chvd_open_request_clear(ChvdOpenRequest *request) {
        g_clear_pointer(&request->path, g_free);
}

void chvd_open_reply_clear(ChvdOpenReply *reply) {
        g_clear_pointer(&reply->what, g_free);
        chv_fd_closep(&reply->fd);
        reply->fd = -1;
}

static bool send_packet(int socket, GVariant *packet, int fd) {
        g_autoptr(GVariant) owned = g_variant_ref_sink(packet);
        struct iovec iov = { (void *) g_variant_get_data(packet), g_variant_get_size(packet) };
        Control control = { 0 };
        struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };
        ssize_t n;

        if (iov.iov_len > MAX_PACKET) {
                errno = EMSGSIZE;
                return false;
        }
        if (fd >= 0) {
                struct cmsghdr *header = &control.align;

                message.msg_control = &control;
                message.msg_controllen = sizeof(control.bytes);
                header->cmsg_level = SOL_SOCKET;
                header->cmsg_type = SCM_RIGHTS;
                header->cmsg_len = CMSG_LEN(sizeof(int));
                (void) memcpy(CMSG_DATA(header), &fd, sizeof(int));
        }
        do
                n = sendmsg(socket, &message, MSG_NOSIGNAL);
        while (n < 0 && errno == EINTR);
        return n >= 0;
}

static int take_fd(struct msghdr *message) {
        struct cmsghdr *header = CMSG_FIRSTHDR(message);
        int fd = -1;

        /* There is room for one. */
        if (header && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS &&
            header->cmsg_len == CMSG_LEN(sizeof(int)))
                (void) memcpy(&fd, CMSG_DATA(header), sizeof(int));
        return fd;
}

static GVariant *receive_packet(int socket, const char *type, int *ret_fd) {
        char *buffer = g_malloc(MAX_PACKET);
        g_autoptr(GBytes) bytes = NULL;
        g_autoptr(GVariant) packet = NULL;
        struct iovec iov = { buffer, MAX_PACKET };
        Control control = { 0 };
        struct msghdr message = {
                .msg_iov = &iov,
                .msg_iovlen = 1,
                .msg_control = &control,
                /* Not CMSG_SPACE, whose padding has room for a second descriptor. */
                .msg_controllen = CMSG_LEN(sizeof(int)),
        };
        chv_autofd fd = -1;
        ssize_t n;

        do
                n = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
        while (n < 0 && errno == EINTR);
        bytes = g_bytes_new_take(buffer, n > 0 ? (size_t) n : 0);
        if (n <= 0) {
                errno = n == 0 ? EPIPE : errno;
                return NULL;
        }
        fd = take_fd(&message);
        packet = g_variant_ref_sink(g_variant_new_from_bytes(
                        G_VARIANT_TYPE(type), bytes, /* trusted= */ false));
        if ((message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) || !g_variant_is_normal_form(packet)) {
                errno = EBADMSG;
                return NULL;
        }
        *ret_fd = chv_fd_steal(&fd);
        return g_steal_pointer(&packet);
}

bool chvd_open_request_send(int socket, const ChvdOpenRequest *request) {
        return send_packet(
                        socket,
                        g_variant_new(REQUEST, (guint8) request->verb, (guint8) request->kind,
                                      request->readonly, request->direct, request->lock_full,
                                      request->path ?: "", request->file.device,
                                      request->file.inode),
                        -1);
}

bool chvd_open_request_receive(int socket, ChvdOpenRequest *ret_request) {
        chv_autofd fd = -1;
        g_autoptr(GVariant) packet = receive_packet(socket, REQUEST, &fd);
        gboolean readonly, direct, lock_full;
        guint8 verb, kind;

        *ret_request = (ChvdOpenRequest){ 0 };
        if (!packet)
                return false;
        g_variant_get(packet, REQUEST, &verb, &kind, &readonly, &direct, &lock_full,
                      &ret_request->path, &ret_request->file.device, &ret_request->file.inode);
        ret_request->verb = verb;
        ret_request->kind = kind;
        ret_request->readonly = readonly;
        ret_request->direct = direct;
        ret_request->lock_full = lock_full;
        return true;
}

bool chvd_open_reply_send(int socket, const ChvdOpenReply *reply) {
        return send_packet(
                        socket,
                        g_variant_new(REPLY, reply->ok, reply->errnum, reply->what ?: "",
                                      reply->busy, reply->file.device, reply->file.inode),
                        reply->fd);
}

/* One line of plain text. */
static char *plain(const char *text) {
        char *s = g_strndup(text, MAX_TEXT);

        for (char *p = s; *p; p++)
                if (!g_ascii_isprint(*p))
                        *p = '?';
        return s;
}

bool chvd_open_reply_receive(int socket, ChvdOpenReply *ret_reply) {
        g_autoptr(GVariant) packet = NULL;
        gboolean ok, busy;
        const char *what;

        *ret_reply = (ChvdOpenReply){ .fd = -1 };
        packet = receive_packet(socket, REPLY, &ret_reply->fd);
        if (!packet)
                return false;
        g_variant_get(packet, "(bi&sbtt)", &ok, &ret_reply->errnum, &what, &busy,
                      &ret_reply->file.device, &ret_reply->file.inode);
        ret_reply->ok = ok;
        ret_reply->busy = busy;
        ret_reply->what = plain(what);
        return true;
}
