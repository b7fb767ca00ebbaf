/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The alignment that O_DIRECT needs, which becomes the sector size of a guest's disk: too large a one would make a disk that was
 * partitioned with smaller sectors unreadable, too small a one makes requests fail.
 */

#include "devices/block/image/direct.h"

#include <fcntl.h>
#include <glib.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECTOR 512u
#define PAGE 4096u
#define LIMIT (64u * 1024u)

static bool is_alignment(uint64_t n, uint64_t least) {
        return n >= least && n <= LIMIT && (n & (n - 1)) == 0;
}

/* Older kernels and some file systems do not tell the alignment: the smallest read that works does. */
static uint32_t probe(int fd) {
        uint32_t found = PAGE;
        void *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        if (page == MAP_FAILED)
                return found;
        for (uint32_t n = SECTOR; n < PAGE; n *= 2)
                if (pread(fd, page, n, 0) >= 0) {
                        found = n;
                        break;
                }
        (void) munmap(page, PAGE);
        return found;
}

struct direct_align direct_align_query(int fd) {
        struct statx stx = { 0 };
        uint32_t offset;

        if (statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &stx) == 0 &&
            stx.stx_mask & STATX_DIOALIGN && is_alignment(stx.stx_dio_mem_align, 1)) {
                offset = MAX(stx.stx_dio_offset_align, SECTOR);
                if (is_alignment(offset, SECTOR))
                        return (struct direct_align){ offset, stx.stx_dio_mem_align };
        }
        offset = probe(fd);
        return (struct direct_align){ offset, offset };
}
