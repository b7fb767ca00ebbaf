/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Opens files with the rights of who called, and locks them as chvd does: many readers or one writer, on the open file, all
 * bytes there are and will be. It knows names and descriptors only. What images say of other files reaches it as requests of
 * the other part, which has read hostile bytes: a request counts for nothing unless the command line said what format the
 * first file has, and what is opened for it is never made, and written only if the first file is.
 *
 * A name that is not a regular file or block device is refused before anything is done to it, and nothing here waits for a
 * FIFO's other end.
 */

#include "daemon/image/opener.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/image/wire.h"
#include "devices/block/image/image.h"
#include "hypervisor/error.h"
#include "hypervisor/fd.h"

/* A disk of 2 TiB in extents of 2 GiB. */
#define REQUESTS_MAX 1024u

typedef struct {
        FileUse use;
        int fd;
        bool made;                        /* to be removed if nothing becomes of it */
        char *paths[IMAGE_DEPTH_MAX + 1]; /* of its chain, as far as that was opened */
} Named;

struct Opener {
        const Arguments *arguments;
        Named named[FILES_MAX];
        unsigned n_named, n_requests;
};

Opener *opener_new(const Arguments *arguments) {
        Opener *opener = g_new0(Opener, 1);

        opener->arguments = arguments;
        return opener;
}

void opener_free(Opener *opener) {
        for (unsigned i = 0; i < opener->n_named; i++) {
                (void) close(opener->named[i].fd);
                for (unsigned j = 0; j <= IMAGE_DEPTH_MAX; j++)
                        g_free(opener->named[i].paths[j]);
        }
        g_free(opener);
}

static bool fail(GError **error, const char *path, int errnum) {
        return hv_error_errno(error, errnum, "'%s'", path);
}

static bool refuse(GError **error, const char *path, const char *why) {
        g_set_error(error, HV_ERROR, HV_ERROR_INVALID, "'%s' %s", path, why);
        return false;
}

static bool check_kind(const char *path, const struct stat *st, GError **error) {
        return S_ISREG(st->st_mode) || S_ISBLK(st->st_mode) ||
               refuse(error, path, "is neither a regular file nor a block device");
}

/* Without O_CREAT, O_EXCL refuses a block device that is mounted. */
static int open_there(const char *path, bool writable, GError **error) {
        int flags = O_CLOEXEC | O_NOCTTY | O_NONBLOCK | (writable ? O_RDWR : O_RDONLY);
        autofd fd = -1;
        struct stat st;

        if (stat(path, &st) < 0) {
                (void) fail(error, path, errno);
                return -1;
        }
        if (!check_kind(path, &st, error))
                return -1;
        fd = open(path, flags | (writable && S_ISBLK(st.st_mode) ? O_EXCL : 0));
        if (fd < 0 || fstat(fd, &st) < 0 || fcntl(fd, F_SETFL, 0) < 0) {
                (void) fail(error, path, errno);
                return -1;
        }
        return check_kind(path, &st, error) ? chv_steal_fd(&fd) : -1;
}

static bool lock(const char *path, int fd, bool writable, bool share, GError **error) {
        struct flock all = { .l_type = writable ? F_WRLCK : F_RDLCK, .l_whence = SEEK_SET };

        if (share && !writable)
                return true;
        if (fcntl(fd, F_OFD_SETLK, &all) == 0)
                return true;
        if (errno != EAGAIN && errno != EACCES)
                return hv_error_errno(error, errno, "'%s': cannot lock", path);
        return refuse(error, path,
                      writable ? "is in use by a virtual machine or another program"
                               : "is being written by a virtual machine or another program; "
                                 "--force-share reads it all the same");
}

static bool check_new(Named *named, const char *path, int fd, bool force, GError **error) {
        struct stat st;

        if (fstat(fd, &st) < 0)
                return fail(error, path, errno);
        if (S_ISBLK(st.st_mode) || st.st_size == 0)
                return true;
        if (!force)
                return refuse(error, path, "is there already; --force overwrites it");
        named->made = true;
        return true;
}

/* Locked before it loses its content. */
static bool empty_file(const char *path, int fd, GError **error) {
        struct stat st;

        if (fstat(fd, &st) < 0 || (S_ISREG(st.st_mode) && ftruncate(fd, 0) < 0))
                return fail(error, path, errno);
        return true;
}

static int open_new(Named *named, const char *path, bool force, GError **error) {
        autofd fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOCTTY, 0600);

        if (fd >= 0)
                named->made = true;
        else if (errno == EEXIST) {
                fd = open_there(path, /* writable= */ true, error);
                if (fd >= 0 && !check_new(named, path, fd, force, error))
                        return -1;
        } else
                (void) fail(error, path, errno);
        return chv_steal_fd(&fd);
}

static bool is_same_file(const Opener *opener, int fd) {
        struct stat a, b;

        for (unsigned i = 0; i < opener->n_named; i++)
                if (fstat(fd, &a) == 0 && fstat(opener->named[i].fd, &b) == 0 &&
                    a.st_dev == b.st_dev && a.st_ino == b.st_ino)
                        return true;
        return false;
}

static bool open_named(Opener *opener, unsigned n, GError **error) {
        const Verb *verb = opener->arguments->verb;
        Named *named = &opener->named[n];
        const char *path = word(opener->arguments, n);
        autofd fd = -1;

        named->use = verb->use ? verb->use(opener->arguments, n) : USE_READ;
        if (named->use == USE_CREATE)
                fd = open_new(named, path, has(opener->arguments, OPTION_FORCE), error);
        else
                fd = open_there(path, named->use == USE_WRITE, error);
        if (fd < 0)
                return false;
        if (named->use != USE_READ && is_same_file(opener, fd)) {
                named->made = false;
                return refuse(error, path, "is both what is read and what is written");
        }
        named->paths[0] = g_strdup(path);
        named->fd = fd;
        if (!lock(path, fd, named->use != USE_READ, has(opener->arguments, OPTION_FORCE_SHARE),
                  error) ||
            (named->use == USE_CREATE && !empty_file(path, fd, error))) {
                /* It is somebody else's. */
                named->made = false;
                g_clear_pointer(&named->paths[0], g_free);
                return false;
        }
        (void) chv_steal_fd(&fd);
        opener->n_named++;
        return true;
}

bool opener_open_named(Opener *opener, GError **error) {
        for (unsigned i = 0; i < opener->arguments->verb->n_files; i++)
                if (!open_named(opener, i, error))
                        return false;
        return true;
}

int opener_fd(const Opener *opener, unsigned n) {
        return n < opener->n_named ? opener->named[n].fd : -1;
}

/* Whether the caller vouches for what the n-th file is: only then what it says of other files is listened to. */
static bool is_trusted(const Opener *opener, unsigned n) {
        const Named *named = &opener->named[n];

        if (named->use == USE_CREATE)
                return true;
        return has(opener->arguments, n == 0 ? OPTION_FORMAT
                                      : has(opener->arguments, OPTION_NO_CREATE)
                                                      ? OPTION_TARGET_FORMAT
                                                      : OPTION_SECOND_FORMAT);
}

/* The name of the image that needs the file: for what shows through it, the one above; for a part of it, the one in that place. */
static const char *asking(const Opener *opener, const struct wire_request *request) {
        bool above = request->role == IMAGE_ROLE_BACKING;

        if (request->depth > IMAGE_DEPTH_MAX || (above && request->depth == 0))
                return NULL;
        return opener->named[request->index].paths[request->depth - above];
}

static int open_for(Opener *opener, const struct wire_request *request, GError **error) {
        Named *named = &opener->named[request->index];
        bool writable = !request->readonly && request->role != IMAGE_ROLE_BACKING;
        g_autofree char *folder = g_path_get_dirname(asking(opener, request)), *path = NULL;
        autofd fd = -1;

        path = g_path_is_absolute(request->name) ? g_strdup(request->name)
                                                 : g_build_filename(folder, request->name, NULL);
        if (writable && (named->use == USE_READ || request->depth > 0)) {
                (void) refuse(error, path, "is not to be written");
                return -1;
        }
        fd = open_there(path, writable, error);
        if (fd < 0 || !lock(path, fd, writable, has(opener->arguments, OPTION_FORCE_SHARE), error))
                return -1;
        if (request->role == IMAGE_ROLE_BACKING) {
                g_free(named->paths[request->depth]);
                named->paths[request->depth] = g_steal_pointer(&path);
        }
        return chv_steal_fd(&fd);
}

static int answer_request(Opener *opener, const struct wire_request *request, GError **error) {
        if (request->index >= opener->n_named || request->role >= IMAGE_ROLE_MAX ||
            !memchr(request->name, 0, sizeof(request->name)) || !request->name[0] ||
            !asking(opener, request) || ++opener->n_requests > REQUESTS_MAX) {
                g_set_error(error, HV_ERROR, HV_ERROR_INVALID, "no such file can be asked for");
                return -1;
        }
        if (!is_trusted(opener, request->index)) {
                (void) refuse(error, opener->named[request->index].paths[0],
                              "needs other files, and its format was only recognised: say which "
                              "one it has if you trust it");
                return -1;
        }
        return open_for(opener, request, error);
}

static bool send_answer(int socket, const struct wire_answer *answer, int fd) {
        struct iovec iov = { (void *) answer, sizeof(*answer) };
        union {
                struct cmsghdr header;
                char space[CMSG_SPACE(sizeof(int))];
        } control = { 0 };
        struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };

        if (fd >= 0) {
                message.msg_control = &control;
                message.msg_controllen = sizeof(control);
                control.header.cmsg_level = SOL_SOCKET;
                control.header.cmsg_type = SCM_RIGHTS;
                control.header.cmsg_len = CMSG_LEN(sizeof(int));
                memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
        }
        return sendmsg(socket, &message, MSG_NOSIGNAL) == (ssize_t) sizeof(*answer);
}

void opener_serve(Opener *opener, int socket, const sigset_t *blocked_while_waiting) {
        struct pollfd poll = { .fd = socket, .events = POLLIN };
        struct wire_request request;

        while (ppoll(&poll, 1, /* timeout= */ NULL, blocked_while_waiting) == 1 &&
               recv(socket, &request, sizeof(request), MSG_DONTWAIT) == (ssize_t) sizeof(request)) {
                g_autoptr(GError) error = NULL;
                struct wire_answer answer = { 0 };
                autofd fd = answer_request(opener, &request, &error);

                if (fd < 0) {
                        answer.error = -1;
                        (void) g_strlcpy(answer.message, error->message, sizeof(answer.message));
                }
                if (!send_answer(socket, &answer, fd))
                        break;
        }
}

void opener_remove_made(const Opener *opener) {
        for (unsigned i = 0; i < opener->n_named; i++)
                if (opener->named[i].made)
                        (void) unlink(opener->named[i].paths[0]);
}
