/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves of devices that a vhost-user back end serves: whatever a back end answers wrongly, to whichever request, at the start or
 * with the driver running, ends its connection, and neither the process, nor a thread, nor a descriptor more; an honest one is told
 * the guest's memory, rings and features as they are, and none of our addresses; the driver is offered what both sides can do; a
 * driver that was served by one back end is served on by the next, from the right place, and by none that offers less; nobody but a
 * reset waits, and that not for long.
 */

#include "devices/vhost/devices.h"
#include "devices/vhost/user.h"
#include "hypervisor/error.h"
#include "peer.h"
#include "rig.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define F_VERSION_1 (1ull << 32)
#define F_EVENT_IDX (1ull << 29)
#define F_INDIRECT (1ull << 28)
#define F_PROTOCOL (1ull << 30)
#define F_MQ (1ull << 12)

static atomic_int connected, lost;

static void on_changed(void *opaque, const char *id, bool is, const char *why) {
        g_assert_cmpstr(id, ==, "_disk0");
        if (!is)
                g_assert_nonnull(why);
        atomic_fetch_add(is ? &connected : &lost, 1);
}

static bool await(atomic_int *counter, int n) {
        gint64 end = g_get_monotonic_time() + 20 * G_USEC_PER_SEC;

        while (atomic_load(counter) < n && g_get_monotonic_time() < end)
                g_usleep(1000);
        return atomic_load(counter) >= n;
}

static unsigned open_fds(void) {
        DIR *d = opendir("/proc/self/fd");
        unsigned n = 0;

        while (readdir(d))
                n++;
        (void) closedir(d);
        return n;
}

static struct vhost_user_device_config config_for(struct peer *p, uint16_t n_queues) {
        return (struct vhost_user_device_config){
                .id = "_disk0",
                .socket = p->device,
                .num_queues = n_queues,
                .queue_size = 64,
                .changed = on_changed,
        };
}

static void start(struct rig *r, struct peer *p, uint16_t n_queues, uint64_t features) {
        struct vhost_user_device_config config = config_for(p, n_queues);
        g_autoptr(GError) error = NULL;

        atomic_store(&connected, 0);
        atomic_store(&lost, 0);
        peer_start(p);
        rig_init_shared(r);
        rig_attach(r, vhost_user_blk_new(r->mem, &config, &error), true, 0);
        g_assert_no_error(error);
        rig_start(r, features | F_VERSION_1 | F_EVENT_IDX);
}

/* At the start. */

static void check_refused(enum vu_request at, enum peer_fault fault) {
        unsigned before = open_fds();
        struct peer *p = peer_new();
        struct vhost_user_device_config config = config_for(p, 2);
        g_autoptr(GError) error = NULL;
        struct rig r;

        p->at = at;
        p->fault = fault;
        peer_start(p);
        rig_init_shared(&r);
        g_test_message("request %d, fault %d", (int) at, (int) fault);
        g_assert_null(vhost_user_blk_new(r.mem, &config, &error));
        g_assert_error(error, HV_ERROR, HV_ERROR_FAILED);
        g_assert_true(g_str_has_prefix(error->message, "_disk0: vhost_socket: the back end "));
        rig_clear(&r);
        p = peer_free(p);
        g_assert_cmpuint(open_fds(), ==, before);
}

static void test_bad_start(void) {
        static const enum vu_request requests[] = {
                VU_GET_FEATURES, VU_GET_PROTOCOL_FEATURES, VU_SET_OWNER, VU_GET_QUEUE_NUM,
                VU_GET_CONFIG,
        };

        for (size_t i = 0; i < G_N_ELEMENTS(requests); i++)
                for (unsigned fault = PEER_CLOSES; fault < PEER_FAULTS; fault++)
                        if (fault != PEER_WRONG_VALUE || requests[i] != VU_GET_PROTOCOL_FEATURES)
                                check_refused(requests[i], fault);
        /* Slow, so once. */
        check_refused(VU_GET_CONFIG, PEER_SILENT);
}

static void test_unfit(void) {
        static const struct {
                uint64_t no_feature, no_protocol, queues;
                bool readonly;
                const char *why;
        } cases[] = {
                { F_VERSION_1, 0, 16, false, "lacks a feature" },
                { F_PROTOCOL, 0, 16, false, "lacks a feature" },
                { 0, 1ull << VU_P_CONFIG, 16, false, "lacks a feature" },
                { 0, 1ull << VU_P_MQ, 16, false, "lacks a feature" },
                { 0, 0, 1, false, "lacks a feature" },
                { F_MQ, 0, 16, false, "has one queue" },
                { 1ull << 5, 0, 16, true, "is writable" },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                struct peer *p = peer_new();
                struct vhost_user_device_config config = config_for(p, 2);
                g_autoptr(GError) error = NULL;
                struct rig r;

                p->features &= ~cases[i].no_feature;
                p->protocol &= ~cases[i].no_protocol;
                p->queues = cases[i].queues;
                config.readonly = cases[i].readonly;
                peer_start(p);
                rig_init_shared(&r);
                g_assert_null(vhost_user_blk_new(r.mem, &config, &error));
                g_assert_nonnull(strstr(error->message, cases[i].why));
                rig_clear(&r);
                p = peer_free(p);
        }
}

static void test_private_memory(void) {
        struct peer *p = peer_new();
        struct vhost_user_device_config config = config_for(p, 1);
        g_autoptr(GError) error = NULL;
        struct rig r;

        peer_start(p);
        rig_init(&r);
        g_assert_null(vhost_user_blk_new(r.mem, &config, &error));
        g_assert_error(error, HV_ERROR, HV_ERROR_INVALID);
        g_assert_cmpuint(p->seen[VU_GET_FEATURES], ==, 0);
        rig_clear(&r);
        p = peer_free(p);
}

/* With the driver running. */

static void check_lost(enum vu_request at, enum peer_fault fault) {
        unsigned before = open_fds();
        struct peer *p = peer_new();
        struct rig r;

        p->at = at;
        p->fault = fault;
        g_test_message("request %d, fault %d", (int) at, (int) fault);
        start(&r, p, 2, F_MQ);
        if (at == VU_GET_VRING_BASE) {
                g_assert_true(peer_wait(p, VU_SET_VRING_ENABLE, 2));
                rig_stop(&r);
        }
        g_assert_true(await(&lost, 1));
        rig_clear(&r);
        p = peer_free(p);
        g_assert_cmpuint(open_fds(), ==, before);
}

static void test_bad_run(void) {
        static const enum vu_request requests[] = {
                VU_SET_FEATURES,   VU_SET_MEM_TABLE,    VU_GET_INFLIGHT_FD,
                VU_SET_VRING_NUM,  VU_SET_VRING_ADDR,   VU_SET_VRING_BASE,
                VU_SET_VRING_KICK, VU_SET_VRING_ENABLE, VU_GET_VRING_BASE,
        };

        for (size_t i = 0; i < G_N_ELEMENTS(requests); i++)
                for (unsigned fault = PEER_CLOSES; fault < PEER_FAULTS; fault++)
                        if (fault != PEER_WRONG_VALUE || requests[i] != VU_GET_INFLIGHT_FD)
                                check_lost(requests[i], fault);
        check_lost(VU_GET_VRING_BASE, PEER_SILENT);
}

static void test_unasked(void) {
        struct peer *p = peer_new();
        struct rig r;

        start(&r, p, 1, 0);
        g_assert_true(peer_wait(p, VU_SET_VRING_ENABLE, 1));
        g_assert_cmpint(write(p->socket, "x", 1), ==, 1);
        g_assert_true(await(&lost, 1));
        rig_clear(&r);
        p = peer_free(p);
}

/* A back end that does not answer keeps nobody waiting but a reset. */
static void test_hang(void) {
        struct peer *p = peer_new();
        gint64 before;
        struct rig r;
        uint8_t b;

        p->at = VU_SET_MEM_TABLE;
        p->fault = PEER_SILENT;
        before = g_get_monotonic_time();
        start(&r, p, 1, 0);
        r.vd->ops->config_read(r.vd, 1, &b, 1);
        g_assert_cmpuint(b, ==, 8);
        r.vd->ops->config_write(r.vd, 32, &b, 1);
        /* It has not been waited for. */
        g_assert_cmpint(atomic_load(&lost), ==, 0);
        g_assert_cmpint(g_get_monotonic_time() - before, <, (gint64) VHOST_USER_TIMEOUT_MS * 1000);
        g_assert_true(peer_wait(p, VU_SET_MEM_TABLE, 1));
        before = g_get_monotonic_time();
        rig_stop(&r);
        g_assert_cmpint(atomic_load(&lost), ==, 1);
        g_assert_cmpint(g_get_monotonic_time() - before, <, 4 * VHOST_USER_STOP_TIMEOUT_MS * 1000);
        rig_clear(&r);
        p = peer_free(p);
}

/* Much memory may take a back end longer than anything else. */
static void test_slow(void) {
        struct peer *p = peer_new();
        struct rig r;

        p->slow_ms = VHOST_USER_TIMEOUT_MS + 500;
        start(&r, p, 1, 0);
        g_assert_true(peer_wait(p, VU_SET_VRING_ENABLE, 1));
        g_assert_cmpint(atomic_load(&lost), ==, 0);
        rig_clear(&r);
        p = peer_free(p);
}

/* What an honest one is told. */
static void test_told(void) {
        struct peer *p = peer_new();
        struct rig r;
        uint16_t n;

        p->features &= ~F_INDIRECT;
        start(&r, p, 2, F_MQ);
        g_assert_cmpuint(r.vd->withheld, ==, F_INDIRECT);
        g_assert_cmpuint(r.vd->device_features, ==, 0x7e76);
        r.vd->ops->config_read(r.vd, 34, &n, sizeof(n));
        g_assert_cmpuint(GUINT16_FROM_LE(n), ==, 2);
        g_assert_true(peer_wait(p, VU_SET_VRING_ENABLE, 2));

        g_assert_cmphex(p->features_set, ==, F_MQ | F_VERSION_1 | F_EVENT_IDX | F_PROTOCOL);
        g_assert_cmpuint(p->memory.n_regions, ==, 1);
        g_assert_cmphex(p->memory.regions[0].guest_addr, ==, 0);
        g_assert_cmpuint(p->memory.regions[0].size, ==, RIG_MEMORY);
        /* Not ours. */
        g_assert_true(p->memory.regions[0].user_addr !=
                      (uint64_t) (uintptr_t) gmem_region(r.mem, 0)->host);
        for (unsigned i = 0; i < 2; i++) {
                uint64_t base = p->memory.regions[0].user_addr;

                g_assert_cmphex(p->addr[i].desc - base, ==, r.rings[i].desc.v);
                g_assert_cmphex(p->addr[i].avail - base, ==, r.rings[i].avail.v);
                g_assert_cmphex(p->addr[i].used - base, ==, r.rings[i].used.v);
                g_assert_cmpuint(p->num[i], ==, 64);
                g_assert_cmpuint(p->base[i], ==, 0);
                g_assert_cmpuint(p->enabled[i], ==, 1);
        }
        /* Interrupts arrive. */
        g_assert_cmpint(eventfd_write(p->call[1], 1), ==, 0);
        while (rig_interrupts(&r, 1) < 2)
                g_usleep(1000);
        /* What the driver writes, too. */
        r.vd->ops->config_write(r.vd, 32, &(uint8_t){ 1 }, 1);
        g_assert_true(peer_wait(p, VU_SET_CONFIG, 1));
        g_assert_cmpuint(p->config_set[32], ==, 1);
        rig_stop(&r);
        g_assert_cmpuint(p->seen[VU_GET_VRING_BASE], ==, 2);
        rig_clear(&r);
        p = peer_free(p);
}

static void test_pause(void) {
        struct peer *p = peer_new();
        g_autoptr(GError) error = NULL;
        g_autoptr(GVariant) state = NULL;
        struct rig r;

        start(&r, p, 1, 0);
        g_assert_true(peer_wait(p, VU_SET_VRING_ENABLE, 1));
        p->next_base = 0x12345;
        g_assert_true(r.vd->ops->pause(r.vd, &error));
        g_assert_cmpuint(r.vd->queues[0].last_avail, ==, 0x2345);
        state = g_variant_ref_sink(r.vd->ops->save(r.vd));
        g_assert_true(r.vd->ops->restore(r.vd, state, &error));
        r.vd->ops->resume(r.vd);
        g_assert_true(peer_wait(p, VU_SET_VRING_ENABLE, 2));
        g_assert_cmpuint(p->base[0], ==, 0x2345);
        rig_clear(&r);
        p = peer_free(p);
}

static void test_another(void) {
        struct peer *first = peer_new(), *less = peer_new(), *second = peer_new();
        g_autoptr(GError) error = NULL;
        struct rig r;
        uint16_t used = GUINT16_TO_LE(7);
        uint8_t b;

        start(&r, first, 1, 0);
        g_assert_true(peer_wait(first, VU_SET_VRING_ENABLE, 1));
        g_assert_cmpuint(first->seen[VU_GET_INFLIGHT_FD], ==, 1);
        r.vd->ops->config_write(r.vd, 32, &(uint8_t){ 1 }, 1);
        g_assert_true(peer_wait(first, VU_SET_CONFIG, 1));
        __atomic_store_n((uint16_t *) (r.rings[0].used_host + 2), used, __ATOMIC_RELEASE);
        peer_kill(first);
        g_assert_true(await(&lost, 1));
        first = peer_free(first);

        less->features &= ~F_EVENT_IDX;
        peer_start(less);
        g_assert_false(vhost_user_device_connect(r.vd, less->device, &error));
        g_assert_error(error, HV_ERROR, HV_ERROR_FAILED);
        less = peer_free(less);

        second->config[1] = 16;
        peer_start(second);
        g_clear_error(&error);
        g_assert_true(vhost_user_device_connect(r.vd, second->device, &error));
        g_assert_true(peer_wait(second, VU_SET_VRING_ENABLE, 1));
        g_assert_cmpint(atomic_load(&connected), ==, 1);
        g_assert_cmpuint(second->base[0], ==, 7);
        /* The record of the first one, and what the driver had set. */
        g_assert_cmpuint(second->seen[VU_GET_INFLIGHT_FD], ==, 0);
        g_assert_cmpint(second->inflight, >=, 0);
        g_assert_cmpuint(second->config_set[32], ==, 1);
        g_assert_true(rig_wait_config_change(&r, 0, 20000));
        r.vd->ops->config_read(r.vd, 1, &b, 1);
        g_assert_cmpuint(b, ==, 16);
        g_assert_cmpuint(rig_counter(&r, "backend_losses"), ==, 1);
        g_assert_cmpuint(rig_counter(&r, "backend_connections"), ==, 2);
        rig_clear(&r);
        second = peer_free(second);
}

/* Requests are under way that nobody has a record of: they are not done again. */
static void test_no_record(void) {
        struct peer *first = peer_new(), *second = peer_new();
        g_autoptr(GError) error = NULL;
        struct rig r;
        uint16_t one = GUINT16_TO_LE(1);

        first->protocol &= ~(1ull << VU_P_INFLIGHT_SHMFD);
        start(&r, first, 1, 0);
        g_assert_true(peer_wait(first, VU_SET_VRING_ENABLE, 1));
        __atomic_store_n((uint16_t *) (r.rings[0].avail_host + 2), one, __ATOMIC_RELEASE);
        peer_kill(first);
        g_assert_true(rig_wait_broken(&r, 20000));
        g_assert_true(await(&lost, 1));
        first = peer_free(first);

        peer_start(second);
        g_assert_true(vhost_user_device_connect(r.vd, second->device, &error));
        g_assert_cmpuint(second->seen[VU_SET_VRING_ENABLE], ==, 0);
        rig_stop(&r);
        rig_start(&r, F_VERSION_1 | F_EVENT_IDX);
        g_assert_true(peer_wait(second, VU_SET_VRING_ENABLE, 1));
        g_assert_cmpuint(r.breaks, ==, 1);
        rig_clear(&r);
        second = peer_free(second);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/vhost-user/start/bad", test_bad_start);
        g_test_add_func("/vhost-user/start/unfit", test_unfit);
        g_test_add_func("/vhost-user/start/private-memory", test_private_memory);
        g_test_add_func("/vhost-user/run/bad", test_bad_run);
        g_test_add_func("/vhost-user/run/unasked", test_unasked);
        g_test_add_func("/vhost-user/run/hang", test_hang);
        g_test_add_func("/vhost-user/run/slow", test_slow);
        g_test_add_func("/vhost-user/told", test_told);
        g_test_add_func("/vhost-user/pause", test_pause);
        g_test_add_func("/vhost-user/another", test_another);
        g_test_add_func("/vhost-user/no-record", test_no_record);
        return g_test_run();
}
