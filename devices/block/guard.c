/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Looks at the first and last bytes of a file as they would be after a write, with the eyes of whoever opens it next.
 *
 * Discards and zeros need no look: they take signatures away, sector by sector, and no signature is made of zeros.
 */

#include "devices/block/guard.h"
#include "devices/block/image/image.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define PAGE 4096u

void disk_guard_init(struct disk_guard *g, int fd, uint64_t file_size) {
        *g = (struct disk_guard){ .fd = fd };
        atomic_init(&g->file_size, file_size);
        pthread_mutex_init(&g->lock, NULL);
}

void disk_guard_clear(struct disk_guard *g) {
        pthread_mutex_destroy(&g->lock);
}

static uint64_t tail_of(uint64_t file_size) {
        return file_size - MIN(file_size, IMAGE_TAIL_LEN);
}

bool disk_guard_concerns(const struct disk_guard *g, uint64_t offset, uint64_t len) {
        return len > 0 && (offset < IMAGE_PROBE_LEN || offset + len > tail_of(g->file_size));
}

/* Reads the way that O_DIRECT wants it; what the file does not have is zeros. */
static int read_page(const struct disk_guard *g, uint64_t at, uint8_t *page) {
        ssize_t n = pread(g->fd, page, PAGE, (off_t) at);

        if (n < 0)
                return -errno;
        memset(page + n, 0, PAGE - (size_t) n);
        return 0;
}

/* Lays what of data falls into [at, at + n) over that. */
static void
lay_over(uint8_t *bytes, uint64_t at, size_t n, uint64_t offset, const uint8_t *data, size_t len) {
        uint64_t from = MAX(at, offset), to = MIN(at + n, offset + len);

        if (from < to)
                memcpy(bytes + (from - at), data + (from - offset), (size_t) (to - from));
}

static bool has_head(const uint8_t *head, size_t n) {
        for (size_t i = 0; image_formats[i]; i++)
                if (image_formats[i]->probe && image_formats[i]->probe(head, n))
                        return true;
        return false;
}

static bool has_tail(const uint8_t *tail) {
        for (size_t i = 0; image_formats[i]; i++)
                if (image_formats[i]->probe_tail && image_formats[i]->probe_tail(tail))
                        return true;
        return false;
}

static int
check_head(const struct disk_guard *g,
           uint64_t size,
           uint64_t offset,
           const void *data,
           size_t len) {
        _Alignas(PAGE) uint8_t head[PAGE];
        int r = read_page(g, 0, head);

        if (r < 0)
                return r;
        lay_over(head, 0, PAGE, offset, data, len);
        return has_head(head, (size_t) MIN(size, IMAGE_PROBE_LEN)) ? -EPERM : 0;
}

static int
check_tail(const struct disk_guard *g,
           uint64_t size,
           uint64_t offset,
           const void *data,
           size_t len) {
        _Alignas(PAGE) uint8_t end[2 * PAGE];
        uint64_t tail = tail_of(size), at = tail / PAGE * PAGE;
        int r = read_page(g, at, end);

        if (r == 0)
                r = read_page(g, at + PAGE, end + PAGE);
        if (r < 0)
                return r;
        lay_over(end, at, 2 * PAGE, offset, data, len);
        return has_tail(end + (tail - at)) ? -EPERM : 0;
}

int disk_guard_check(void *guard, uint64_t offset, const void *data, size_t len) {
        const struct disk_guard *g = guard;
        uint64_t size = g->file_size;
        int r = 0;

        if (len > 0 && offset < IMAGE_PROBE_LEN)
                r = check_head(g, size, offset, data, len);
        if (r == 0 && len > 0 && offset + len > tail_of(size) && size >= IMAGE_TAIL_LEN)
                r = check_tail(g, size, offset, data, len);
        return r;
}

int disk_guard_resize(struct disk_guard *g, uint64_t file_size) {
        int r;

        pthread_mutex_lock(&g->lock);
        r = check_head(g, file_size, 0, /* data= */ "", /* len= */ 0);
        if (r == 0 && file_size >= IMAGE_TAIL_LEN)
                r = check_tail(g, file_size, 0, /* data= */ "", /* len= */ 0);
        if (r == 0)
                g->file_size = file_size;
        pthread_mutex_unlock(&g->lock);
        return r;
}
