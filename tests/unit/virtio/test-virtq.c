/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves that with an honest driver, over millions of random steps and across the wrap of every index, each chain arrives once
 * and as described, comes back once, and neither side ever sleeps on the other; and that a driver that does one random
 * wrong thing after the other never gets the device out of guest memory.
 */

#include <string.h>

#include "virtq-rig.h"

/* An honest driver and a device, step by step at random. */

#define REQUESTS 512
#define REQ_BUFS 6
#define REQ_BYTES 64

struct request {
        bool busy;
        uint16_t n;
        struct drv_buf bufs[REQ_BUFS];
        uint8_t tag;
        uint32_t written;
};

struct held {
        uint32_t token;
        uint32_t write_len;
        struct request *request;
        uint8_t *first_write;
};

struct play {
        struct vq_rig r;
        GRand *rand;
        struct request requests[REQUESTS];
        struct held held[REQUESTS];
        unsigned n_held;
        bool indirect;

        bool kicked, device_asleep, interrupted, driver_asleep;
        uint64_t done;
};

static int pick(struct play *p, int n) {
        return g_rand_int_range(p->rand, 0, n);
}

static void driver_submit(struct play *p) {
        unsigned i = (unsigned) pick(p, REQUESTS);
        struct request *req = &p->requests[i];
        uint64_t at = VQ_RAM + (uint64_t) i * REQ_BUFS * REQ_BYTES;
        bool table = p->indirect && pick(p, 2);
        unsigned first_write;

        if (req->busy)
                return;

        req->n = (uint16_t) (1 + pick(p, MIN(REQ_BUFS, p->r.d.size)));
        req->tag = (uint8_t) pick(p, 256);
        first_write = (unsigned) pick(p, req->n + 1);
        for (unsigned k = 0; k < req->n; k++) {
                struct drv_buf *b = &req->bufs[k];

                *b = (struct drv_buf){
                        .addr = GADDR(at + k * REQ_BYTES),
                        .len = (uint32_t) (1 + pick(p, REQ_BYTES)),
                        .write = k >= first_write,
                };
                memset(gmem_map(p->r.mem, b->addr, b->len, true), b->write ? 0 : req->tag, b->len);
        }

        req->busy = drv_add(&p->r.d, req->bufs, req->n, table, req) >= 0;
}

static void driver_take(struct play *p) {
        void *cookie;
        uint32_t len;

        p->interrupted = false;
        p->driver_asleep = false;
        drv_disable_interrupts(&p->r.d);
        while (drv_take(&p->r.d, &cookie, &len)) {
                struct request *req = cookie;

                g_assert_true(req->busy);
                g_assert_cmpuint(len, ==, req->written);
                for (unsigned k = 0; k < req->n && len > 0; k++) {
                        const uint8_t *data;

                        if (!req->bufs[k].write)
                                continue;
                        data = gmem_map(p->r.mem, req->bufs[k].addr, 1, false);
                        g_assert_cmpuint(data[0], ==, (uint8_t) ~req->tag);
                        break;
                }
                req->busy = false;
                p->done++;
                if (pick(p, 4) == 0)
                        return;
        }
        p->driver_asleep = !drv_enable_interrupts(&p->r.d);
}

static void check_chain(struct play *p, struct held *h) {
        const struct virtq_chain *c = &p->r.chain;
        const struct drv_slot *slot = &p->r.d.slots[(uint16_t) c->token];
        const struct request *req = slot->cookie;

        g_assert_true(slot->busy);
        g_assert_cmpuint(c->n_read + c->n_write, ==, req->n);
        for (unsigned k = 0; k < req->n; k++) {
                const struct drv_buf *b = &req->bufs[k];

                g_assert_true(b->write == (k >= c->n_read));
                g_assert_cmpuint(c->iov[k].iov_len, ==, b->len);
                g_assert_true(c->iov[k].iov_base == gmem_map(p->r.mem, b->addr, b->len, false));
                if (!b->write)
                        g_assert_cmpuint(*(uint8_t *) c->iov[k].iov_base, ==, req->tag);
        }

        *h = (struct held){
                .token = c->token,
                .write_len = c->write_len,
                .request = slot->cookie,
                .first_write = c->n_write > 0 ? c->iov[c->n_read].iov_base : NULL,
        };
}

static void device_pop(struct play *p) {
        int r;

        p->device_asleep = false;
        p->kicked = false;
        virtq_disable_notify(&p->r.q);
        for (;;) {
                r = virtq_pop(&p->r.q, &p->r.chain);
                if (r == VIRTQ_E_EMPTY) {
                        if (virtq_enable_notify(&p->r.q))
                                continue;
                        p->device_asleep = true;
                        return;
                }
                g_assert_cmpint(r, ==, 0);
                if (pick(p, 8) == 0) {
                        virtq_unpop(&p->r.q, p->r.chain.token);
                        continue;
                }
                check_chain(p, &p->held[p->n_held++]);
                if (pick(p, 8) == 0)
                        return;
        }
}

/* In any order, some of what is held. */
static void device_push(struct play *p) {
        while (p->n_held > 0 && pick(p, 6) > 0) {
                unsigned i = (unsigned) pick(p, (int) p->n_held);
                struct held h = p->held[i];

                p->held[i] = p->held[--p->n_held];
                h.request->written =
                                h.write_len > 0 ? 1 + (uint32_t) pick(p, (int) h.write_len) : 0;
                if (h.first_write)
                        *h.first_write = (uint8_t) ~h.request->tag;
                virtq_push(&p->r.q, h.token, h.request->written);
        }
        if (virtq_want_interrupt(&p->r.q))
                p->interrupted = true;
}

static void step(struct play *p) {
        switch (pick(p, 8)) {
        case 0:
        case 1:
        case 2:
                driver_submit(p);
                break;
        case 3:
                if (drv_publish(&p->r.d))
                        p->kicked = true;
                break;
        case 4:
                driver_take(p);
                break;
        case 5:
                if (p->kicked || !p->device_asleep)
                        device_pop(p);
                break;
        default:
                device_push(p);
        }

        /* A sleeper with work to do has been told. */
        if (p->device_asleep && virtq_pending(&p->r.q) > 0)
                g_assert_true(p->kicked);
        if (p->driver_asleep && drv_has_used(&p->r.d))
                g_assert_true(p->interrupted);
}

#define MAX_STEPS 10000000
#define HOSTILE_STEPS 200000

struct variant {
        uint16_t size;
        bool indirect, event_idx, packed;
};

static void test_honest(gconstpointer data) {
        const struct variant *v = data;
        g_autofree struct play *p = g_new0(struct play, 1);

        p->r.mem = vq_memory_new();
        p->r.packed = v->packed;
        p->indirect = v->indirect;
        p->rand = g_rand_new_with_seed(0x5eed + v->size);
        vq_rig_queue(&p->r, GADDR(0), v->size, v->indirect ? REQ_BUFS : 0, v->event_idx);
        g_assert_cmpuint(drv_ring_bytes(v->size, REQ_BUFS), <, VQ_RAM);

        /* All indices go round at least once. */
        for (unsigned i = 0; p->done < 70000; i++) {
                g_assert_cmpuint(i, <, MAX_STEPS);
                step(p);
        }

        g_rand_free(p->rand);
        vq_rig_down(&p->r);
}

/* A driver that does one random wrong thing after the other; the device serves what it can, and is reset when it cannot. */
static void test_hostile(gconstpointer data) {
        const struct variant *v = data;
        g_autoptr(GRand) rand = g_rand_new_with_seed(0xbad + v->size);
        unsigned broken = 0, served = 0;
        struct vq_rig r = { .mem = vq_memory_new(), .packed = v->packed };

        vq_rig_queue(&r, GADDR(0), v->size, REQ_BUFS, v->event_idx);
        for (unsigned i = 0; i < HOSTILE_STEPS; i++) {
                int e;

                drv_vandalise(&r.d, rand, 2 * VQ_RAM + 4096);
                e = virtq_pop(&r.q, &r.chain);
                if (e == VIRTQ_E_BROKEN) {
                        broken++;
                        drv_ring_clear(&r.d);
                        vq_rig_queue(&r, GADDR(0), v->size, REQ_BUFS, v->event_idx);
                        continue;
                }
                if (e == VIRTQ_E_EMPTY) {
                        (void) virtq_enable_notify(&r.q);
                        continue;
                }

                served++;
                for (unsigned k = r.chain.n_read; k < r.chain.n_read + r.chain.n_write; k++)
                        memset(r.iov[k].iov_base, 0xaa, MIN(r.iov[k].iov_len, 64));
                for (unsigned k = 0; k < r.chain.n_read; k++)
                        g_assert_nonnull(memchr(
                                        r.iov[k].iov_base,
                                        *((uint8_t *) r.iov[k].iov_base + r.iov[k].iov_len - 1),
                                        r.iov[k].iov_len));
                virtq_mark_written(&r.q, &r.chain, r.chain.write_len);
                virtq_push(&r.q, r.chain.token, r.chain.write_len);
                (void) virtq_want_interrupt(&r.q);
        }
        g_assert_cmpuint(broken, >, 100);
        g_assert_cmpuint(served, >, 100);
        vq_rig_down(&r);
}

static const struct variant variants[] = {
        { 1, false, false },       { 1, true, true },        { 2, false, true },
        { 8, true, false },        { 8, false, true },       { 64, true, true },
        { 256, false, false },     { 256, true, true },      { 1, false, false, true },
        { 1, true, true, true },   { 2, false, true, true }, { 7, true, false, true },
        { 8, false, true, true },  { 61, true, true, true }, { 256, false, false, true },
        { 256, true, true, true },
};

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);

        for (size_t i = 0; i < G_N_ELEMENTS(variants); i++) {
                const struct variant *v = &variants[i];
                g_autofree char *name = g_strdup_printf(
                                "%s-%u%s%s", v->packed ? "packed" : "split", v->size,
                                v->indirect ? "-indirect" : "", v->event_idx ? "-event-idx" : "");
                g_autofree char *honest = g_strdup_printf("/virtq/honest/%s", name);
                g_autofree char *hostile = g_strdup_printf("/virtq/hostile/%s", name);

                g_test_add_data_func(honest, v, test_honest);
                g_test_add_data_func(hostile, v, test_hostile);
        }

        return g_test_run();
}
