/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * chv-open: opens with the rights of whoever it runs as. chvd starts it as the owner of a virtual machine, with a
 * socket as standard input, and asks for one thing after the other; each is answered by a descriptor or by the reason
 * why there is none. So a machine is made of nothing that its owner could not have opened, and the kernel sees to that.
 * It ends when the socket does, and chvd kills it when it hangs: a file system that never answers holds up nothing but
 * this process.
 */

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/chvd/open/message.h"
#include "daemon/chvd/resource.h"
#include "daemon/chvd/terminal.h"

static int open_file(const ChvdOpenRequest *request, ChvdOpenReply *reply, ChvdFault *fault) {
        const ChvResource resource = {
                .kind = request->kind,
                .path = request->path,
                .readonly = request->readonly,
                .direct = request->direct,
                .lock_full = request->lock_full,
        };
        int fd = chvd_resource_open(&resource, fault);

        reply->ok = fd >= 0;
        if (fd >= 0 && request->kind == CHV_RESOURCE_DISK)
                reply->ok = chvd_resource_lock(&resource, fd, &reply->busy, fault);
        return fd;
}

static void answer(const ChvdOpenRequest *request, ChvdOpenReply *reply) {
        ChvdFault fault = { 0, "" };

        switch (request->verb) {
        case CHVD_OPEN_FILE:
                reply->fd = open_file(request, reply, &fault);
                break;
        case CHVD_OPEN_SOCKET:
                reply->fd = chvd_socket_listen(request->path, &reply->file, &fault);
                reply->ok = reply->fd >= 0;
                break;
        case CHVD_OPEN_TERMINAL:
                reply->fd = chvd_terminal_make(&fault);
                reply->ok = reply->fd >= 0;
                break;
        case CHVD_OPEN_CONNECT:
                reply->fd = chvd_socket_connect(request->path, &fault);
                reply->ok = reply->fd >= 0;
                break;
        case CHVD_OPEN_REMOVE:
                chvd_socket_remove(request->path, &request->file);
                reply->ok = true;
                break;
        default:
                fault.what = "is a request that this version does not know";
        }
        reply->errnum = fault.errnum;
        reply->what = g_strdup(fault.what);
}

static bool serve_one(void) {
        g_auto(ChvdOpenRequest) request = { 0 };
        g_auto(ChvdOpenReply) reply = { .fd = -1 };

        if (!chvd_open_request_receive(STDIN_FILENO, &request))
                return false;
        answer(&request, &reply);
        return chvd_open_reply_send(STDIN_FILENO, &reply);
}

int main(int argc, char **argv) {
        (void) umask(0077);
        while (serve_one())
                ;
        return errno == EPIPE ? EXIT_SUCCESS : EXIT_FAILURE;
}
