/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "hypervisor/memory.h"

/* Maps size bytes of host memory as backing says, aligned so that large pages can be used. Sets the
 * region's host and fd. An error names the option at fault ("memory.hugepages: …"). */
bool backing_map(
                uint64_t size,
                const struct gmem_backing *backing,
                struct gmem_region *region,
                GError **error);

/* Unmaps the region's host memory and closes its descriptor. A region never mapped is fine. */
void backing_unmap(struct gmem_region *region);
