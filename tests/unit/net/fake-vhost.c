/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/* The kernel's back end, played by threads (fake-vhost.h). ioctl(2) is this file's: it looks at requests of vhost and passes others on. */

#include "fake-vhost.h"

#include <errno.h>
#include <linux/vhost.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

struct ring {
        unsigned num, base;
        struct vhost_vring_addr addr;
        int kick, call, fault, tap;
        pthread_t thread;
        atomic_bool stop;
        struct virtq q;
        struct fake *of;
};

struct fake {
        struct fake_vhost pub; /* first */
        int fd;
        const gmem *mem;
        const int *statistics;
        uint64_t negotiated;
        bool has_memory;
        struct ring rings[2];
};

static struct fake fakes[FAKE_VHOST_MAX];
static unsigned n_fakes;
static pthread_mutex_t counting = PTHREAD_MUTEX_INITIALIZER;

static struct fake *find(int fd) {
        for (unsigned i = 0; i < n_fakes; i++)
                if (fakes[i].fd == fd)
                        return &fakes[i];
        return NULL;
}

struct fake_vhost *fake_vhost_of(int fd) {
        return &find(fd)->pub;
}

int fake_vhost_open(const gmem *mem, const int *statistics) {
        struct fake *f = &fakes[n_fakes];

        g_assert_cmpuint(n_fakes, <, FAKE_VHOST_MAX);
        *f = (struct fake){
                .fd = eventfd(0, EFD_CLOEXEC),
                .mem = mem,
                .statistics = statistics,
                .pub.features = 1ull << 15 | 1ull << 28 | 1ull << 29 | 1ull << 32,
        };
        for (unsigned i = 0; i < 2; i++)
                f->rings[i] = (struct ring){
                        .kick = -1, .call = -1, .fault = -1, .tap = -1, .of = f
                };
        n_fakes++;
        return f->fd;
}

void fake_vhost_forget(void) {
        for (unsigned i = 0; i < n_fakes; i++)
                g_assert_true(fake_vhost_is_clean(fakes[i].fd));
        n_fakes = 0;
}

void fake_vhost_fault(int fd, unsigned ring) {
        (void) eventfd_write(find(fd)->rings[ring].fault, 1);
}

bool fake_vhost_is_clean(int fd) {
        const struct fake *f = find(fd);

        for (unsigned i = 0; i < 2; i++)
                if (f->rings[i].tap < 0 &&
                    (f->rings[i].kick >= 0 || f->rings[i].call >= 0 || f->rings[i].fault >= 0))
                        return false;
        return true;
}

static void count(struct fake *f, unsigned which, uint64_t n) {
        char text[32] = "";
        uint64_t before;

        if (!f->statistics)
                return;
        pthread_mutex_lock(&counting);
        (void) !pread(f->statistics[which], text, sizeof(text) - 1, 0);
        before = strtoull(text, NULL, 10);
        (void) snprintf(text, sizeof(text), "%" G_GUINT64_FORMAT "\n", before + n);
        (void) !pwrite(f->statistics[which], text, strlen(text), 0);
        pthread_mutex_unlock(&counting);
}

/* One frame. False: there is none, or no room for one. */
static bool serve_one(struct ring *r, bool receive) {
        struct iovec iov[64];
        struct virtq_chain chain = { .iov = iov, .iov_max = G_N_ELEMENTS(iov) };
        struct pollfd p = { .fd = r->tap, .events = POLLIN };
        uint16_t one = GUINT16_TO_LE(1);
        ssize_t n;

        if (receive && poll(&p, 1, 0) != 1)
                return false;
        if (virtq_pop(&r->q, &chain) != 0)
                return false;
        n = receive ? readv(r->tap, iov, chain.n_write) : writev(r->tap, iov, chain.n_read);
        if (n <= 0) {
                virtq_unpop(&r->q, chain.token);
                return false;
        }
        if (receive)
                (void) iov_copy_in(iov, chain.n_write, 10, &one, sizeof(one));
        count(r->of, receive ? 0 : 2, (uint64_t) n - 12);
        count(r->of, receive ? 1 : 3, 1);
        virtq_push(&r->q, chain.token, receive ? (uint32_t) n : 0);
        return true;
}

static void *serve(void *opaque) {
        struct ring *r = opaque;
        bool receive = r == &r->of->rings[0];

        while (!atomic_load(&r->stop)) {
                bool any = false;

                virtq_disable_notify(&r->q);
                while (!atomic_load(&r->stop) && serve_one(r, receive))
                        any = true;
                if (any && virtq_want_interrupt(&r->q))
                        (void) eventfd_write(r->call, 1);
                (void) virtq_enable_notify(&r->q);
                (void) usleep(200);
        }
        return NULL;
}

static void start(struct ring *r, int tap) {
        uint16_t used;

        r->q = (struct virtq){
                .mem = r->of->mem,
                .size = (uint16_t) r->num,
                .max_size = (uint16_t) r->num,
                .event_idx = r->of->negotiated >> 29 & 1,
                .indirect = r->of->negotiated >> 28 & 1,
                .desc_host = GSIZE_TO_POINTER(r->addr.desc_user_addr),
                .avail_host = GSIZE_TO_POINTER(r->addr.avail_user_addr),
                .used_host = GSIZE_TO_POINTER(r->addr.used_user_addr),
                .ready = true,
                .last_avail = (uint16_t) r->base,
                .avail_seen = (uint16_t) r->base,
        };
        used = GUINT16_FROM_LE(__atomic_load_n((uint16_t *) r->q.used_host + 1, __ATOMIC_ACQUIRE));
        r->q.used_idx = r->q.signalled = used;
        r->tap = tap;
        r->of->pub.starts++;
        atomic_store(&r->stop, false);
        g_assert_cmpint(pthread_create(&r->thread, NULL, serve, r), ==, 0);
}

static void stop(struct ring *r) {
        if (r->tap < 0)
                return;
        atomic_store(&r->stop, true);
        (void) pthread_join(r->thread, NULL);
        r->base = r->q.last_avail;
        r->tap = -1;
}

static int set_backend(struct fake *f, const struct vhost_vring_file *file) {
        struct ring *r = &f->rings[file->index];

        stop(r);
        if (file->fd < 0)
                return 0;
        if (!f->has_memory || r->num == 0 || r->kick < 0 || r->call < 0)
                return -EFAULT;
        start(r, file->fd);
        return 0;
}

static int own(struct fake *f) {
        if (f->pub.owned || f->pub.others)
                return -EBUSY;
        f->pub.owned = true;
        f->pub.owners++;
        return 0;
}

static int disown(struct fake *f) {
        if (!f->pub.owned)
                return -EPERM;
        for (unsigned i = 0; i < 2; i++)
                stop(&f->rings[i]);
        f->pub.owned = f->has_memory = false;
        return 0;
}

/* As drivers/vhost: what belongs to a ring needs an owner; a ring that runs cannot be changed. */
static int answer(struct fake *f, unsigned long request, void *argument) {
        struct vhost_vring_state *state = argument;
        struct vhost_vring_file *file = argument;
        struct vhost_vring_addr *addr = argument;

        if (request == f->pub.failing)
                return -EIO;
        if (request == VHOST_GET_FEATURES) {
                *(uint64_t *) argument = f->pub.features;
                return 0;
        }
        if (request == VHOST_SET_OWNER)
                return own(f);
        if (request == VHOST_RESET_OWNER)
                return disown(f);
        if (!f->pub.owned)
                return -EPERM;
        switch (request) {
        case VHOST_SET_FEATURES:
                f->negotiated = *(uint64_t *) argument;
                return f->negotiated & ~f->pub.features ? -EOPNOTSUPP : 0;
        case VHOST_SET_MEM_TABLE:
                f->has_memory = ((struct vhost_memory *) argument)->nregions > 0;
                return 0;
        case VHOST_SET_VRING_NUM:
                f->rings[state->index].num = state->num;
                return f->rings[state->index].tap >= 0 ? -EBUSY : 0;
        case VHOST_SET_VRING_BASE:
                f->rings[state->index].base = state->num;
                return f->rings[state->index].tap >= 0 ? -EBUSY : 0;
        case VHOST_GET_VRING_BASE:
                state->num = f->rings[state->index].base;
                return 0;
        case VHOST_SET_VRING_ADDR:
                f->rings[addr->index].addr = *addr;
                return 0;
        case VHOST_SET_VRING_KICK:
                f->rings[file->index].kick = file->fd;
                return 0;
        case VHOST_SET_VRING_CALL:
                f->rings[file->index].call = file->fd;
                return 0;
        case VHOST_SET_VRING_ERR:
                f->rings[file->index].fault = file->fd;
                return 0;
        case VHOST_NET_SET_BACKEND:
                return set_backend(f, file);
        default:
                return -ENOTTY;
        }
}

int ioctl(int fd, unsigned long request, ...) {
        struct fake *f = find(fd);
        void *argument;
        va_list list;
        int r;

        va_start(list, request);
        argument = va_arg(list, void *);
        va_end(list);
        if (!f || _IOC_TYPE(request) != VHOST_VIRTIO)
                return (int) syscall(SYS_ioctl, fd, request, argument);
        r = answer(f, request, argument);
        if (r >= 0)
                return r;
        errno = -r;
        return -1;
}
