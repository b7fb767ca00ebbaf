/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/* Help for fuzz targets whose input is a file. */

#include "fuzz.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int fuzz_fd(const uint8_t *data, size_t size) {
        static int fd = -1;

        if (fd < 0)
                fd = memfd_create("input", MFD_CLOEXEC);
        if (fd < 0 || ftruncate(fd, (off_t) size) < 0 ||
            pwrite(fd, data, size, 0) != (ssize_t) size)
                abort();
        return fd;
}
