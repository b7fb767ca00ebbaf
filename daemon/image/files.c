/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * How the part without rights gets at files: those of the command line it was born with, for others it asks (opener.c). Names
 * are kept for what is told about an image.
 */

#include "daemon/image/files.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/image/wire.h"
#include "hypervisor/error.h"
#include "hypervisor/fd.h"

typedef struct {
        const struct image_file *file; /* only its address is used */
        char *name;
} Known;

struct Files {
        int socket;
        const char *const *names;
        int fds[FILES_MAX]; /* -1: taken */
        unsigned n;
        unsigned opening; /* the file whose chain is being opened */
        GArray *known;    /* Known */
};

static void known_clear(gpointer data) {
        g_free(((Known *) data)->name);
}

Files *files_new(int socket, const char *const *names, const int *fds, unsigned n) {
        Files *files = g_new0(Files, 1);

        files->socket = socket;
        files->names = names;
        files->n = n;
        memcpy(files->fds, fds, n * sizeof(*fds));
        files->known = g_array_new(FALSE, FALSE, sizeof(Known));
        g_array_set_clear_func(files->known, known_clear);
        return files;
}

void files_free(Files *files) {
        (void) close(files->socket);
        g_array_unref(files->known);
        g_free(files);
}

const char *files_name(const Files *files, unsigned n) {
        return files->names[n];
}

static struct image_file *
make_file(Files *files, int fd, const char *name, bool readonly, GError **error) {
        struct image_file *file = image_file_new(fd, readonly, error);

        if (file) {
                Known known = { file, g_strdup(name) };

                g_array_append_val(files->known, known);
        } else
                g_prefix_error(error, "'%s': ", name);
        return file;
}

const char *files_name_of(const Files *files, const struct image_file *file) {
        for (guint i = files->known->len; i > 0; i--) {
                const Known *known = &g_array_index(files->known, Known, i - 1);

                if (known->file == file)
                        return known->name;
        }
        return "";
}

struct image_file *files_take(Files *files, unsigned n, bool readonly, GError **error) {
        int fd = files->fds[n];

        g_assert(fd >= 0);
        files->fds[n] = -1;
        return make_file(files, fd, files->names[n], readonly, error);
}

static bool receive(int socket, struct wire_answer *answer, int *ret_fd) {
        struct iovec iov = { answer, sizeof(*answer) };
        union {
                struct cmsghdr header;
                char space[CMSG_SPACE(sizeof(int))];
        } control = { 0 };
        struct msghdr message = {
                .msg_iov = &iov,
                .msg_iovlen = 1,
                .msg_control = &control,
                .msg_controllen = sizeof(control),
        };
        const struct cmsghdr *header;
        ssize_t n;

        do
                n = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
        while (n < 0 && errno == EINTR);
        if (n != (ssize_t) sizeof(*answer))
                return false;
        header = CMSG_FIRSTHDR(&message);
        if (header && header->cmsg_type == SCM_RIGHTS)
                memcpy(ret_fd, CMSG_DATA(header), sizeof(*ret_fd));
        return answer->error != 0 || *ret_fd >= 0;
}

static struct image_file *
ask(Files *files,
    enum image_role role,
    const char *name,
    unsigned depth,
    bool readonly,
    GError **error) {
        struct wire_request request = {
                .index = (uint8_t) files->opening,
                .depth = (uint8_t) depth,
                .role = (uint8_t) role,
                .readonly = readonly,
        };
        struct wire_answer answer;
        autofd fd = -1;

        if (depth > UINT8_MAX ||
            g_strlcpy(request.name, name, sizeof(request.name)) >= sizeof(request.name)) {
                g_set_error(error, HV_ERROR, HV_ERROR_IMAGE, "the name of the %s file is too long",
                            image_role_to_string(role));
                return NULL;
        }
        if (send(files->socket, &request, sizeof(request), MSG_NOSIGNAL) !=
                            (ssize_t) sizeof(request) ||
            !receive(files->socket, &answer, &fd)) {
                g_set_error(error, HV_ERROR, HV_ERROR_FAILED, "'%s' was asked for in vain", name);
                return NULL;
        }
        if (answer.error != 0) {
                answer.message[sizeof(answer.message) - 1] = 0;
                g_set_error_literal(error, HV_ERROR, HV_ERROR_FAILED, answer.message);
                return NULL;
        }
        return make_file(files, chv_steal_fd(&fd), name, readonly, error);
}

static struct image_file *
resolve(void *opaque,
        enum image_role role,
        const char *name,
        const char *format,
        unsigned depth,
        bool readonly,
        GError **error) {
        return ask(opaque, role, name, depth, readonly, error);
}

struct image *
files_open(Files *files, unsigned n, const char *format, OpenFlags flags, GError **error) {
        const struct image_resolver resolver = { resolve, files };
        const struct image_open how = {
                .format = format,
                .readonly = flags & OPEN_READONLY,
                .for_check = flags & OPEN_FOR_CHECK,
                .resolver = &resolver,
        };
        struct image_file *file = files_take(files, n, flags & OPEN_READONLY, error);
        struct image *img;

        files->opening = n;
        img = file ? image_open(file, &how, error) : NULL;
        if (file && !img)
                g_prefix_error(error, "'%s': ", files->names[n]);
        return img;
}

struct image_file *files_backing(Files *files, unsigned n, const char *name, GError **error) {
        files->opening = n;
        return ask(files, IMAGE_ROLE_BACKING, name, /* depth= */ 1, /* readonly= */ true, error);
}
