/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/* Packets between chvd and the helper that opens paths, whose other end the owner of a VM may hold. The first byte says whose: '?' a request,
 * any other a reply. */

#include "fuzz.h"

#include <errno.h>
#include <glib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/chvd/open/message.h"

#define MAX_SIZE 16384

static void take_request(int fd) {
        g_auto(ChvdOpenRequest) request = { 0 };

        if (chvd_open_request_receive(fd, &request))
                g_assert_nonnull(request.path);
        else
                g_assert_cmpint(errno, ==, EBADMSG);
}

static void take_reply(int fd) {
        g_auto(ChvdOpenReply) reply = { .fd = -1 };

        if (!chvd_open_reply_receive(fd, &reply)) {
                g_assert_cmpint(errno, ==, EBADMSG);
                return;
        }
        g_assert_cmpint(reply.fd, ==, -1);
        g_assert_cmpuint(strlen(reply.what), <=, 120);
        for (const char *c = reply.what; *c; c++)
                g_assert_true(g_ascii_isprint(*c));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        static int pair[2] = { -1, -1 };

        if (size < 2 || size > MAX_SIZE)
                return 0;
        if (pair[0] < 0)
                g_assert_cmpint(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), ==, 0);
        g_assert_cmpint(send(pair[0], data + 1, size - 1, MSG_NOSIGNAL), ==, (ssize_t) size - 1);
        if (data[0] == '?')
                take_request(pair[1]);
        else
                take_reply(pair[1]);
        return 0;
}
