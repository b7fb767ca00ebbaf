/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdint.h>

/* What direct I/O on a file of the host asks for, in bytes; powers of 2. */
struct direct_align {
        uint32_t offset; /* of offsets and lengths; 512 to 64 KiB */
        uint32_t memory; /* of buffers */
};

/* fd is open with O_DIRECT and for reading. */
struct direct_align direct_align_query(int fd);
