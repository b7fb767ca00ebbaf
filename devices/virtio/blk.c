/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The virtio block device (virtio 1.2, 5.2): features, configuration space and life of a disk whose bytes an image holds and
 * whose requests its queues' threads serve.
 *
 * The cache is write-back for a driver that knows how to flush and write-through for any other, so that a driver that never
 * flushes loses nothing. A driver that negotiated CONFIG_WCE may switch; a request follows the mode at the time it is taken.
 */

#include "devices/virtio/blk.h"
#include "hypervisor/error.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stddef.h>
#include <string.h>

#define TYPE_BLOCK 2
#define STATE_VERSION 1u

static struct vblk *to_vblk(struct virtio_dev *vd) {
        return (struct vblk *) vd;
}

static void fill_space(const struct vblk *blk, struct vblk_space *space) {
        const struct disk_image_topology *t = &blk->image->topology;
        uint32_t min_io = MAX(t->min_io, t->physical_block) / t->logical_block;

        *space = (struct vblk_space){
                .capacity = GUINT64_TO_LE(blk->image->size / VBLK_SECTOR),
                .seg_max = GUINT32_TO_LE(blk->seg_max),
                .blk_size = GUINT32_TO_LE(t->logical_block),
                .physical_block_exp =
                                (uint8_t) (__builtin_ctz(t->physical_block) -
                                           __builtin_ctz(t->logical_block)),
                .min_io_size = GUINT16_TO_LE(MIN(min_io, UINT16_MAX)),
                .opt_io_size = GUINT32_TO_LE(t->opt_io / t->logical_block),
                .writeback = atomic_load_explicit(&blk->writeback, memory_order_relaxed),
                .num_queues = GUINT16_TO_LE(blk->n_queues),
                .max_discard_sectors = GUINT32_TO_LE(VBLK_MAX_RANGE),
                .max_discard_seg = GUINT32_TO_LE(1),
                .discard_sector_alignment = GUINT32_TO_LE(t->discard_align / VBLK_SECTOR),
                .max_write_zeroes_sectors = GUINT32_TO_LE(VBLK_MAX_RANGE),
                .max_write_zeroes_seg = GUINT32_TO_LE(1),
                .write_zeroes_may_unmap = !blk->no_discard,
                .max_secure_erase_sectors = GUINT32_TO_LE(VBLK_MAX_ERASE),
                .max_secure_erase_seg = GUINT32_TO_LE(1),
                .secure_erase_sector_alignment = GUINT32_TO_LE(t->discard_align / VBLK_SECTOR),
        };
}

static void blk_config_read(struct virtio_dev *vd, unsigned offset, void *data, unsigned len) {
        struct vblk_space space;

        assert(offset + len <= sizeof(space));

        fill_space(to_vblk(vd), &space);
        memcpy(data, (char *) &space + offset, len);
}

static void
blk_config_write(struct virtio_dev *vd, unsigned offset, const void *data, unsigned len) {
        unsigned at = offsetof(struct vblk_space, writeback);

        if (!virtio_has(vd, VBLK_F_CONFIG_WCE) || at < offset || at - offset >= len)
                return;
        atomic_store_explicit(
                        &to_vblk(vd)->writeback, ((const uint8_t *) data)[at - offset] & 1,
                        memory_order_relaxed);
}

static bool blk_negotiated(struct virtio_dev *vd, uint64_t features) {
        atomic_store_explicit(
                        &to_vblk(vd)->writeback, features >> VBLK_F_FLUSH & 1,
                        memory_order_relaxed);
        return true;
}

static void stop_all(struct vblk *blk) {
        for (unsigned i = 0; i < blk->n_queues; i++)
                vblk_queue_stop(&blk->queues[i]);
}

static int start_all(struct vblk *blk) {
        for (unsigned i = 0; i < blk->n_queues; i++) {
                int r = blk->vd.queues[i].ready ? vblk_queue_start(&blk->queues[i]) : 0;

                if (r < 0) {
                        stop_all(blk);
                        return r;
                }
        }
        return 0;
}

static int blk_activate(struct virtio_dev *vd) {
        return start_all(to_vblk(vd));
}

static void blk_deactivate(struct virtio_dev *vd) {
        stop_all(to_vblk(vd));
}

static void blk_resume(struct virtio_dev *vd) {
        int r;

        if (!vd->active)
                return;
        r = start_all(to_vblk(vd));
        if (r < 0)
                vd->transport->needs_reset(vd, "the disk could not be resumed");
}

static bool blk_pause(struct virtio_dev *vd, GError **error) {
        struct vblk *blk = to_vblk(vd);

        for (unsigned i = 0; i < blk->n_queues; i++) {
                int r = vblk_queue_quiesce(&blk->queues[i]);

                if (r < 0) {
                        blk_resume(vd);
                        return hv_error_errno(
                                        error, -r, "waiting for disk %s to finish its requests",
                                        vd->id);
                }
        }
        return true;
}

static GVariant *blk_save(struct virtio_dev *vd) {
        struct vblk *blk = to_vblk(vd);

        return g_variant_new(
                        "(utb)", STATE_VERSION, blk->image->size,
                        (gboolean) atomic_load(&blk->writeback));
}

static bool blk_restore(struct virtio_dev *vd, GVariant *state, GError **error) {
        struct vblk *blk = to_vblk(vd);
        gboolean writeback;
        uint32_t version;
        uint64_t size;

        if (!g_variant_is_of_type(state, G_VARIANT_TYPE("(utb)"))) {
                g_set_error(error, HV_ERROR, HV_ERROR_STATE, "the state of disk %s is damaged",
                            vd->id);
                return false;
        }
        g_variant_get(state, "(utb)", &version, &size, &writeback);
        if (version != STATE_VERSION) {
                g_set_error(error, HV_ERROR, HV_ERROR_STATE,
                            "the state of disk %s has version %u, and only %u is known", vd->id,
                            version, STATE_VERSION);
                return false;
        }
        if (size != blk->image->size) {
                g_set_error(error, HV_ERROR, HV_ERROR_STATE,
                            "disk %s had %" G_GUINT64_FORMAT
                            " bytes when it was saved, and its image has "
                            "%" G_GUINT64_FORMAT,
                            vd->id, size, blk->image->size);
                return false;
        }
        atomic_store(&blk->writeback, writeback);
        return true;
}

struct sums {
        uint64_t ops, bytes, time_ns, min_ns, max_ns;
};

static struct sums sum_up(struct vblk *blk, enum block_op op) {
        struct sums all = { .min_ns = UINT64_MAX };

        for (unsigned i = 0; i < blk->n_queues; i++) {
                struct vblk_stats *st = &blk->queues[i].stats;
                uint64_t ops = atomic_load_explicit(&st->ops[op], memory_order_relaxed);

                if (ops == 0)
                        continue;
                all.ops += ops;
                all.bytes += atomic_load_explicit(&st->bytes[op], memory_order_relaxed);
                all.time_ns += atomic_load_explicit(&st->time_ns[op], memory_order_relaxed);
                all.min_ns =
                                MIN(all.min_ns,
                                    atomic_load_explicit(&st->min_ns[op], memory_order_relaxed));
                all.max_ns =
                                MAX(all.max_ns,
                                    atomic_load_explicit(&st->max_ns[op], memory_order_relaxed));
        }
        if (all.ops == 0)
                all.min_ns = 0;
        return all;
}

static void count_ways(struct vblk *blk, device_counter_fn *fn, void *opaque) {
        uint64_t looks = 0, fixed = 0, polled = 0;

        for (unsigned i = 0; i < blk->n_queues; i++) {
                looks += atomic_load_explicit(&blk->queues[i].stats.looks, memory_order_relaxed);
                fixed += engine_count_fixed(blk->queues[i].engine);
                polled += engine_count_polled(blk->queues[i].engine);
        }
        fn(opaque, "poll_hits", looks);
        fn(opaque, "registered_ops", fixed);
        fn(opaque, "iopoll_ops", polled);
}

static void blk_counters(struct virtio_dev *vd, device_counter_fn *fn, void *opaque) {
        struct sums r = sum_up(to_vblk(vd), BLOCK_READ), w = sum_up(to_vblk(vd), BLOCK_WRITE),
                    d = sum_up(to_vblk(vd), BLOCK_DISCARD), z = sum_up(to_vblk(vd), BLOCK_ZERO),
                    e = sum_up(to_vblk(vd), BLOCK_ERASE);

        fn(opaque, "read_bytes", r.bytes);
        fn(opaque, "write_bytes", w.bytes);
        fn(opaque, "read_ops", r.ops);
        fn(opaque, "write_ops", w.ops);
        fn(opaque, "flush_ops", sum_up(to_vblk(vd), BLOCK_FLUSH).ops);
        fn(opaque, "discard_bytes", d.bytes);
        fn(opaque, "discard_ops", d.ops);
        fn(opaque, "zero_bytes", z.bytes);
        fn(opaque, "zero_ops", z.ops);
        fn(opaque, "erase_bytes", e.bytes);
        fn(opaque, "erase_ops", e.ops);
        fn(opaque, "read_latency_min", r.min_ns / 1000);
        fn(opaque, "read_latency_max", r.max_ns / 1000);
        fn(opaque, "read_latency_avg", r.ops ? r.time_ns / r.ops / 1000 : 0);
        fn(opaque, "write_latency_min", w.min_ns / 1000);
        fn(opaque, "write_latency_max", w.max_ns / 1000);
        fn(opaque, "write_latency_avg", w.ops ? w.time_ns / w.ops / 1000 : 0);
        count_ways(to_vblk(vd), fn, opaque);
}

static void blk_free(struct virtio_dev *vd) {
        struct vblk *blk = to_vblk(vd);

        for (unsigned i = 0; i < blk->n_queues; i++)
                vblk_queue_release(&blk->queues[i]);
        disk_image_free(blk->image);
        g_free(blk->queues);
        virtio_dev_release(vd);
        g_free(blk);
}

static int blk_set_throttle(struct virtio_dev *vd, const struct throttle_config *config) {
        return vblk_set_throttle(to_vblk(vd), config);
}

static bool
blk_resize(struct virtio_dev *vd,
           uint64_t *size,
           bool shrink,
           const atomic_bool *stop,
           GError **error) {
        return vblk_resize(to_vblk(vd), size, shrink, stop, error);
}

static const struct virtio_dev_ops blk_ops = {
        .negotiated = blk_negotiated,
        .config_read = blk_config_read,
        .config_write = blk_config_write,
        .activate = blk_activate,
        .deactivate = blk_deactivate,
        .pause = blk_pause,
        .resume = blk_resume,
        .save = blk_save,
        .restore = blk_restore,
        .set_throttle = blk_set_throttle,
        .resize = blk_resize,
        .counters = blk_counters,
        .free = blk_free,
};

static bool check_config(const struct virtio_blk_config *config, GError **error) {
        const char *wrong = NULL;

        if (config->num_queues == 0)
                wrong = "num_queues must not be 0";
        else if (config->queue_size <= 2 || config->queue_size > VIRTQ_SIZE_MAX ||
                 (config->queue_size & (config->queue_size - 1)) != 0)
                wrong = "queue_size must be a power of 2 from 4 to 32768";
        else if (config->serial && strlen(config->serial) > VBLK_ID_LEN)
                wrong = "serial must have 20 bytes at most";
        for (size_t i = 0; !wrong && i < config->n_affinity; i++)
                if (config->affinity[i].queue >= config->num_queues)
                        wrong = "queue_affinity names a queue that does not exist";
        if (!wrong)
                return true;
        g_set_error(error, HV_ERROR, HV_ERROR_INVALID, "disk %s: %s", config->id, wrong);
        return false;
}

static uint64_t offered(const struct vblk *blk) {
        uint64_t bits = 1ull << VBLK_F_SEG_MAX | 1ull << VBLK_F_BLK_SIZE | 1ull << VBLK_F_FLUSH |
                        1ull << VBLK_F_TOPOLOGY | 1ull << VBLK_F_CONFIG_WCE;

        if (blk->image->readonly)
                bits |= 1ull << VBLK_F_RO;
        else
                bits |= 1ull << VBLK_F_WRITE_ZEROES;
        if (!blk->image->readonly && !blk->no_discard)
                bits |= 1ull << VBLK_F_DISCARD;
        if (!blk->image->readonly && !blk->no_discard && blk->image->can_erase)
                bits |= 1ull << VBLK_F_SECURE_ERASE;
        if (blk->n_queues > 1)
                bits |= 1ull << VBLK_F_MQ;
        if (blk->in_order)
                bits |= 1ull << VIRTIO_F_IN_ORDER;
        return bits;
}

struct virtio_dev *
virtio_blk_new(const gmem *mem, const struct virtio_blk_config *config, GError **error) {
        struct disk_image *img = config->image;
        struct vblk *blk;
        const char *serial;

        if (!img)
                img = disk_image_open_raw(config->fd, config->readonly, config->direct, error);
        if (!img) {
                g_prefix_error(error, "disk %s: ", config->id);
                return NULL;
        }
        if (!check_config(config, error)) {
                disk_image_free(img);
                return NULL;
        }

        blk = g_new0(struct vblk, 1);
        blk->image = img;
        blk->seg_max = MIN((uint32_t) config->queue_size, (uint32_t) IOV_MAX) - 2;
        blk->no_discard = config->no_discard;
        blk->in_order = config->in_order;
        blk->poll_us = config->poll_us;
        blk->iopoll = config->iopoll;
        blk->io_error = config->io_error;
        blk->io_error_opaque = config->io_error_opaque;
        atomic_init(&blk->writeback, true);
        serial = config->serial ?: img->serial;
        memcpy(blk->serial, serial, strlen(serial));
        virtio_dev_init(&blk->vd, &blk_ops, "virtio-blk", config->id, TYPE_BLOCK, mem,
                        config->num_queues, config->queue_size);
        /* The last fields are there for who offers what they are for. */
        blk->vd.config_len =
                        offered(blk) >> VBLK_F_SECURE_ERASE & 1
                                        ? sizeof(struct vblk_space)
                                        : offsetof(struct vblk_space, max_secure_erase_sectors);
        blk->n_queues = config->num_queues;
        /* With one queue nobody competes. */
        throttle_init(&blk->limits, blk->n_queues > 1, &config->limits);
        blk->throttle = config->group ?: &blk->limits;
        blk->queues = g_new0(struct vblk_queue, blk->n_queues);
        blk->vd.device_features = offered(blk);
        for (unsigned i = 0; i < blk->n_queues; i++)
                if (!vblk_queue_init(&blk->queues[i], blk, i, config, error)) {
                        blk_free(&blk->vd);
                        return NULL;
                }
        return &blk->vd;
}
