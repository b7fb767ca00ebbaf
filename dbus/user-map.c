/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The map of a user namespace of one user. Who has no privileges may write one for himself, once groups cannot be changed any more, and
 * only a process that can be looked into has the files to do so. Formats by hand: it is used between fork and exec.
 */

#include "dbus/user-map.h"

#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "dbus/fd.h"

#define LINE_MAX 32 /* two numbers of ten digits each, " 1\n", spaces and the end */

static bool write_file(const char *path, const char *text) {
        chv_autofd fd = open(path, O_WRONLY | O_CLOEXEC);
        size_t length = strlen(text);

        return fd >= 0 && write(fd, text, length) == (ssize_t) length;
}

/* The line grows towards its front. */
static char *put_number(char *at, unsigned n) {
        do
                *--at = (char) ('0' + n % 10);
        while ((n /= 10) > 0);
        return at;
}

static bool write_map(const char *path, unsigned id) {
        char line[LINE_MAX] = { 0 }, *at = line + sizeof(line) - sizeof(" 1\n");

        memcpy(at, " 1\n", sizeof(" 1\n"));
        at = put_number(at, id);
        *--at = ' ';
        at = put_number(at, id);
        return write_file(path, at);
}

bool chv_user_map(uid_t uid, gid_t gid) {
        return write_file("/proc/self/setgroups", "deny") && write_map("/proc/self/gid_map", gid) &&
               write_map("/proc/self/uid_map", uid);
}
