/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A disk that a vhost-user back end serves (virtio 1.2, 5.2). Size, block sizes and abilities are the back end's, and go to the
 * driver as they are; the number of queues is the configuration's.
 */

#include "devices/vhost/user-device.h"

#include <stddef.h>
#include <string.h>

#define TYPE_BLOCK 2
#define BIT(n) (1ull << (n))

/* 5.2.3 */
enum {
        F_SIZE_MAX = 1,
        F_SEG_MAX = 2,
        F_GEOMETRY = 4,
        F_RO = 5,
        F_BLK_SIZE = 6,
        F_FLUSH = 9,
        F_TOPOLOGY = 10,
        F_CONFIG_WCE = 11,
        F_MQ = 12,
        F_DISCARD = 13,
        F_WRITE_ZEROES = 14,
};

/* 5.2.4, up to what F_WRITE_ZEROES has added. */
#define CONFIG_LEN 60u
#define NUM_QUEUES_AT 34u

static const char *inspect(struct vuser *v, uint64_t features, uint8_t *config) {
        uint16_t n = GUINT16_TO_LE(v->n_queues);

        if (v->n_queues > 1 && !(features & BIT(F_MQ)))
                return "the back end has one queue, and num_queues is more";
        if (v->readonly && !(features & BIT(F_RO)))
                return "the back end is writable, and the disk readonly";
        memcpy(config + NUM_QUEUES_AT, &n, sizeof(n));
        return NULL;
}

static const struct vuser_kind kind = {
        .name = "vhost-user-blk",
        .type = TYPE_BLOCK,
        .features = BIT(F_SIZE_MAX) | BIT(F_SEG_MAX) | BIT(F_GEOMETRY) | BIT(F_RO) |
                    BIT(F_BLK_SIZE) | BIT(F_FLUSH) | BIT(F_TOPOLOGY) | BIT(F_CONFIG_WCE) |
                    BIT(F_MQ) | BIT(F_DISCARD) | BIT(F_WRITE_ZEROES),
        .rings = 1,
        .config_len = CONFIG_LEN,
        .inspect = inspect,
        .keep_inflight = true,
};

struct virtio_dev *
vhost_user_blk_new(const gmem *mem, const struct vhost_user_device_config *config, GError **error) {
        return vuser_init(g_new0(struct vuser, 1), mem, &kind, config, error);
}
