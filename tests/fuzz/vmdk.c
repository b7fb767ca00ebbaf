/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/* VMDK: a descriptor, a sparse extent, or both in one file; extents are the input itself. Only read. */

#include "image-look.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        if (size > MEMORY_DISK_MAX)
                return 0;
        memory_disk_clear();
        memory_disk_put(0, data, size);
        return look_at_image("vmdk", /* readonly= */ true);
}
