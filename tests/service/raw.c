/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The wire of D-Bus without a library in between, for clients that a library would not let be so rude.
 */

#include "tests/service/raw.h"

#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define FULL_MS 500
#define MAX_FDS 253

static bool await(const Raw *raw, short events, int timeout_ms) {
        struct pollfd p = { .fd = raw->fd, .events = events };

        return poll(&p, 1, timeout_ms) > 0;
}

static void expect(Raw *raw, const char *say, size_t length, const char *answer) {
        char line[256] = "";

        g_assert_cmpint(send(raw->fd, say, length, MSG_NOSIGNAL), ==, (ssize_t) length);
        if (!answer)
                return;
        g_assert_true(await(raw, POLLIN, 20000));
        g_assert_cmpint(recv(raw->fd, line, sizeof(line) - 1, 0), >, 0);
        g_assert_true(g_str_has_prefix(line, answer));
}

Raw *raw_connect(const char *address) {
        g_autofree char *path = g_strdup(address + strlen("unix:path="));
        g_autofree char *uid = g_strdup_printf("%u", geteuid());
        g_autoptr(GString) auth = g_string_new(NULL);
        struct sockaddr_un to = { .sun_family = AF_UNIX };
        g_autoptr(GByteArray) hello = NULL;
        Raw *raw = g_new0(Raw, 1);

        g_assert_true(g_str_has_prefix(address, "unix:path="));
        path[strcspn(path, ",")] = 0;
        g_assert_cmpuint(g_strlcpy(to.sun_path, path, sizeof(to.sun_path)), <, sizeof(to.sun_path));
        raw->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        g_assert_cmpint(connect(raw->fd, (struct sockaddr *) &to, sizeof(to)), ==, 0);
        g_string_append(auth, "AUTH EXTERNAL ");
        for (const char *c = uid; *c; c++)
                g_string_append_printf(auth, "%02x", *c);
        g_string_append(auth, "\r\n");
        expect(raw, "", 1, /* answer= */ NULL);
        expect(raw, auth->str, auth->len, "OK ");
        expect(raw, "NEGOTIATE_UNIX_FD\r\n", 19, "AGREE_UNIX_FD");
        expect(raw, "BEGIN\r\n", 7, /* answer= */ NULL);
        hello = raw_call(
                        raw, "org.freedesktop.DBus", "/org/freedesktop/DBus",
                        "org.freedesktop.DBus", "Hello", NULL, /* no_reply= */ false, NULL);
        expect(raw, (const char *) hello->data, hello->len, "l");
        return raw;
}

void raw_free(Raw *raw) {
        if (!raw)
                return;
        (void) close(raw->fd);
        g_free(raw);
}

GByteArray *
raw_call(Raw *raw,
         const char *destination,
         const char *path,
         const char *interface,
         const char *method,
         GVariant *params,
         bool no_reply,
         GUnixFDList *list) {
        g_autoptr(GDBusMessage) message =
                        g_dbus_message_new_method_call(destination, path, interface, method);
        g_autoptr(GError) error = NULL;
        guchar *blob;
        gsize size;

        g_dbus_message_set_byte_order(message, G_DBUS_MESSAGE_BYTE_ORDER_LITTLE_ENDIAN);
        g_dbus_message_set_serial(message, ++raw->serial);
        if (params)
                g_dbus_message_set_body(message, params);
        if (no_reply)
                g_dbus_message_set_flags(message, G_DBUS_MESSAGE_FLAGS_NO_REPLY_EXPECTED);
        if (list)
                g_dbus_message_set_unix_fd_list(message, list);
        blob = g_dbus_message_to_blob(
                        message, &size, G_DBUS_CAPABILITY_FLAGS_UNIX_FD_PASSING, &error);
        g_assert_no_error(error);
        return g_byte_array_new_take(blob, size);
}

bool raw_send(Raw *raw, const void *data, size_t size, GUnixFDList *list) {
        char control[CMSG_SPACE(MAX_FDS * sizeof(int))] = { 0 };
        const uint8_t *at = data;

        while (size > 0) {
                struct iovec iov = { .iov_base = (void *) at, .iov_len = size };
                struct msghdr header = { .msg_iov = &iov, .msg_iovlen = 1 };
                ssize_t sent;

                if (list) {
                        int n = 0;
                        const int *fds = g_unix_fd_list_peek_fds(list, &n);
                        struct cmsghdr *c = (struct cmsghdr *) control;

                        g_assert_cmpint(n, <=, MAX_FDS);
                        header.msg_control = control;
                        header.msg_controllen = CMSG_SPACE((size_t) n * sizeof(int));
                        c->cmsg_level = SOL_SOCKET;
                        c->cmsg_type = SCM_RIGHTS;
                        c->cmsg_len = CMSG_LEN((size_t) n * sizeof(int));
                        memcpy(CMSG_DATA(c), fds, (size_t) n * sizeof(int));
                }
                sent = sendmsg(raw->fd, &header, MSG_NOSIGNAL | MSG_DONTWAIT);
                if (sent < 0 && errno == ETOOMANYREFS) {
                        /* Too many descriptors are on their way. */
                        g_usleep(1000);
                        continue;
                }
                if (sent < 0 && errno == EAGAIN) {
                        if (!await(raw, POLLOUT, FULL_MS))
                                return false;
                        continue;
                }
                if (sent < 0)
                        return false;
                at += sent;
                size -= (size_t) sent;
                list = NULL;
        }
        return true;
}

bool raw_drain(Raw *raw, int timeout_ms) {
        static char buffer[65536];

        while (await(raw, POLLIN, timeout_ms)) {
                ssize_t got = recv(raw->fd, buffer, sizeof(buffer), MSG_DONTWAIT);

                if (got == 0 || (got < 0 && errno != EAGAIN))
                        return false;
        }
        return true;
}
