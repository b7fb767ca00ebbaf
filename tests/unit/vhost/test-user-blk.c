/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves of a disk that qemu-storage-daemon serves over vhost-user: the driver sees its size and abilities; what it writes is in the
 * image and reads back, through every queue; pause and reset leave nothing behind; when the back end is killed and another takes its
 * place, the driver goes on and nothing is lost; and when it is killed in the middle of work, of which this one keeps no record, the
 * device asks for a reset rather than do a request twice, and goes on after it.
 */

#include "devices/vhost/devices.h"
#include "devices/virtio/blk-wire.h"
#include "rig.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define DAEMON "qemu-storage-daemon"
#define DISK (16u << 20)
#define BLOCK 4096u
#define N_BLOCKS (DISK / BLOCK)
#define DEPTH 16
#define TIMEOUT_MS 60000
#define F_VERSION_1 (1ull << 32)
#define F_EVENT_IDX (1ull << 29)
#define BIT(f) (1ull << VBLK_F_##f)

struct server {
        char *folder, *image, *socket;
        GPid pid;
};

static bool server_start(struct server *s, unsigned n_queues) {
        g_autofree char *blockdev = g_strdup_printf(
                        "driver=file,node-name=f,discard=unmap,filename=%s", s->image);
        g_autofree char *export =
                        g_strdup_printf("type=vhost-user-blk,id=e,node-name=f,addr.type=unix,"
                                        "addr.path=%s,writable=on,num-queues=%u",
                                        s->socket, n_queues);
        char *argv[] = { (char *) DAEMON, (char *) "--blockdev",
                         blockdev,        (char *) "--export",
                         export,          NULL };
        g_autoptr(GError) error = NULL;

        if (!g_spawn_async(NULL, argv, NULL, G_SPAWN_SEARCH_PATH | G_SPAWN_DO_NOT_REAP_CHILD, NULL,
                           NULL, &s->pid, &error)) {
                g_test_skip(error->message);
                return false;
        }
        return true;
}

static bool server_new(struct server *s, unsigned n_queues) {
        int fd;

        *s = (struct server){ .folder = g_dir_make_tmp("chvd-vhost-XXXXXX", NULL) };
        s->image = g_build_filename(s->folder, "image", NULL);
        s->socket = g_build_filename(s->folder, "socket", NULL);
        fd = open(s->image, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        g_assert_cmpint(ftruncate(fd, DISK), ==, 0);
        (void) close(fd);
        return server_start(s, n_queues);
}

static void server_kill(struct server *s) {
        int status;

        (void) kill(s->pid, SIGKILL);
        g_assert_cmpint(waitpid(s->pid, &status, 0), ==, s->pid);
        s->pid = 0;
}

static void server_clear(struct server *s) {
        if (s->pid)
                server_kill(s);
        (void) g_unlink(s->image);
        (void) g_unlink(s->socket);
        (void) g_rmdir(s->folder);
        g_free(s->image);
        g_free(s->socket);
        g_free(s->folder);
}

/* Waits for it to listen. */
static int server_connect(struct server *s) {
        struct sockaddr_un addr = { .sun_family = AF_UNIX };
        gint64 end = g_get_monotonic_time() + 60 * G_USEC_PER_SEC;

        (void) g_strlcpy(addr.sun_path, s->socket, sizeof(addr.sun_path));
        while (g_get_monotonic_time() < end) {
                int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

                if (connect(fd, (struct sockaddr *) &addr, sizeof(addr)) == 0)
                        return fd;
                (void) close(fd);
                g_usleep(10000);
        }
        g_assert_not_reached();
}

static atomic_int lost;

static void on_changed(void *opaque, const char *id, bool connected, const char *why) {
        if (!connected)
                atomic_fetch_add(&lost, 1);
}

static bool begin(struct rig *r, struct server *s, uint16_t n_queues) {
        struct vhost_user_device_config config = {
                .id = "_disk0",
                .num_queues = n_queues,
                .queue_size = 64,
                .changed = on_changed,
        };
        g_autoptr(GError) error = NULL;

        if (!server_new(s, n_queues)) {
                server_clear(s);
                return false;
        }
        atomic_store(&lost, 0);
        config.socket = server_connect(s);
        rig_init_shared(r);
        rig_attach(r, vhost_user_blk_new(r->mem, &config, &error), true, 0);
        g_assert_no_error(error);
        rig_start(r, F_VERSION_1 | F_EVENT_IDX | BIT(FLUSH) | (n_queues > 1 ? BIT(MQ) : 0));
        return true;
}

/* Slot i of the test's memory: header, status, data. */
struct slot {
        unsigned i, queue;
        uint32_t type, block;
        uint8_t fill;
        bool busy;
};

static uint64_t slot_at(const struct slot *s) {
        return RIG_DATA + s->i * 3ull * BLOCK;
}

static void submit(struct rig *r, struct slot *s) {
        struct vblk_header h = {
                .type = GUINT32_TO_LE(s->type),
                .sector = GUINT64_TO_LE((uint64_t) s->block * (BLOCK / VBLK_SECTOR)),
        };
        struct drv_buf bufs[] = {
                { GADDR(slot_at(s)), sizeof(h), false },
                { GADDR(slot_at(s) + BLOCK), BLOCK, s->type == VBLK_T_IN },
                { GADDR(slot_at(s) + 2 * BLOCK), 1, true },
        };

        memcpy(rig_host(r, slot_at(s), sizeof(h)), &h, sizeof(h));
        memset(rig_host(r, slot_at(s) + BLOCK, BLOCK), s->type == VBLK_T_OUT ? s->fill : 0xdd,
               BLOCK);
        *(uint8_t *) rig_host(r, slot_at(s) + 2 * BLOCK, 1) = 0xee;
        s->busy = true;
        g_assert_cmpint(drv_add(&r->rings[s->queue], bufs, 3, false, s), >=, 0);
        rig_publish(r, s->queue);
}

static struct slot *finish(struct rig *r, unsigned queue) {
        struct slot *s;
        uint32_t len;
        void *cookie;

        g_assert_true(rig_wait(r, queue, TIMEOUT_MS, &cookie, &len));
        s = cookie;
        g_assert_true(s->busy);
        s->busy = false;
        g_assert_cmpuint(*(uint8_t *) rig_host(r, slot_at(s) + 2 * BLOCK, 1), ==, VBLK_S_OK);
        return s;
}

static void check_data(struct rig *r, const struct slot *s, uint8_t want) {
        const uint8_t *data = rig_host(r, slot_at(s) + BLOCK, BLOCK);

        for (unsigned i = 0; i < BLOCK; i++)
                if (data[i] != want)
                        g_error("block %u has %#x at %u, not %#x", s->block, data[i], i, want);
}

static void test_io(void) {
        uint64_t capacity;
        struct server server;
        struct rig r;

        if (!begin(&r, &server, 2))
                return;
        r.vd->ops->config_read(r.vd, 0, &capacity, sizeof(capacity));
        g_assert_cmpuint(GUINT64_FROM_LE(capacity), ==, DISK / VBLK_SECTOR);
        g_assert_true(r.vd->device_features & BIT(FLUSH));
        for (unsigned i = 0; i < 32; i++) {
                struct slot w = { 0, i % 2, VBLK_T_OUT, i * 31, (uint8_t) (i + 1), false };
                struct slot rd = { 1, (i + 1) % 2, VBLK_T_IN, i * 31, 0, false };
                GError *error = NULL;

                submit(&r, &w);
                (void) finish(&r, w.queue);
                if (i % 8 == 3) {
                        g_assert_true(r.vd->ops->pause(r.vd, &error));
                        g_assert_no_error(error);
                        g_assert_cmpuint(
                                        r.vd->queues[w.queue].last_avail, ==,
                                        r.rings[w.queue].avail_idx);
                        r.vd->ops->resume(r.vd);
                }
                submit(&r, &rd);
                (void) finish(&r, rd.queue);
                check_data(&r, &rd, w.fill);
        }
        rig_stop(&r);
        rig_start(&r, F_VERSION_1 | F_EVENT_IDX | BIT(FLUSH));
        submit(&r, &(struct slot){ 0, 0, VBLK_T_IN, 31, 0, false });
        g_assert_cmpint(atomic_load(&lost), ==, 0);
        rig_clear(&r);
        server_clear(&server);
}

static void next_request(struct slot *s, GRand *rand, const uint8_t *model, const bool *used) {
        do
                s->block = (uint32_t) g_rand_int_range(rand, 0, N_BLOCKS);
        while (used[s->block]);
        s->type = g_rand_boolean(rand) ? VBLK_T_OUT : VBLK_T_IN;
        s->fill = s->type == VBLK_T_OUT ? (uint8_t) g_rand_int(rand) : model[s->block];
}

static void replace_server(struct rig *r, struct server *s, unsigned round) {
        g_autoptr(GError) error = NULL;

        server_kill(s);
        (void) g_unlink(s->socket);
        g_assert_true(server_start(s, 1));
        if (!vhost_user_device_connect(r->vd, server_connect(s), &error))
                g_error("round %u: %s", round, error->message);
}

static void
fill_up(struct rig *r, struct slot slots[DEPTH], GRand *rand, uint8_t *model, bool *used) {
        for (unsigned i = 0; i < DEPTH; i++) {
                slots[i].i = i;
                next_request(&slots[i], rand, model, used);
                used[slots[i].block] = true;
                submit(r, &slots[i]);
        }
}

static void note_done(struct rig *r, struct slot *s, uint8_t *model, bool *used) {
        g_assert_cmpuint(*(uint8_t *) rig_host(r, slot_at(s) + 2 * BLOCK, 1), ==, VBLK_S_OK);
        if (s->type == VBLK_T_OUT)
                model[s->block] = s->fill;
        else
                check_data(r, s, s->fill);
        used[s->block] = s->busy = false;
}

static struct slot *finish_one(struct rig *r, uint8_t *model, bool *used) {
        struct slot *s = finish(r, 0);

        note_done(r, s, model, used);
        return s;
}

/* DEPTH requests to blocks of their own at all times. */
static void
run_some(struct rig *r,
         struct slot slots[DEPTH],
         GRand *rand,
         uint8_t *model,
         bool *used,
         unsigned n) {
        fill_up(r, slots, rand, model, used);
        for (unsigned i = 0; i < n; i++) {
                struct slot *s = finish_one(r, model, used);

                next_request(s, rand, model, used);
                used[s->block] = true;
                submit(r, s);
        }
}

/* Blocks that were being written may be as before. */
static void check_disk(struct rig *r, const uint8_t *model, const struct slot slots[DEPTH]) {
        for (unsigned b = 0; b < N_BLOCKS; b++) {
                struct slot s = { 0, 0, VBLK_T_IN, b, 0, false };
                uint8_t want = model[b];

                submit(r, &s);
                (void) finish(r, 0);
                for (unsigned i = 0; slots && i < DEPTH; i++)
                        if (slots[i].busy && slots[i].type == VBLK_T_OUT && slots[i].block == b &&
                            *(uint8_t *) rig_host(r, slot_at(&s) + BLOCK, 1) == slots[i].fill)
                                want = slots[i].fill;
                check_data(r, &s, want);
        }
}

/* What has become of the blocks that were being written. */
static void learn(struct rig *r, uint8_t *model, const struct slot before[DEPTH]) {
        for (unsigned i = 0; i < DEPTH; i++) {
                struct slot s = { 0, 0, VBLK_T_IN, before[i].block, 0, false };

                if (!before[i].busy || before[i].type != VBLK_T_OUT)
                        continue;
                submit(r, &s);
                (void) finish(r, 0);
                model[s.block] = *(uint8_t *) rig_host(r, slot_at(&s) + BLOCK, 1);
        }
}

/* A back end that dies between requests is missed by nobody. */
static void test_restart(void) {
        g_autoptr(GRand) rand = g_rand_new_with_seed(20250101);
        g_autofree uint8_t *model = g_malloc0(N_BLOCKS);
        g_autofree bool *used = g_new0(bool, N_BLOCKS);
        struct slot slots[DEPTH] = { 0 };
        struct server server;
        struct rig r;

        if (!begin(&r, &server, 1))
                return;
        for (unsigned round = 0; round < 6; round++) {
                run_some(&r, slots, rand, model, used, 500);
                for (unsigned i = 0; i < DEPTH; i++)
                        (void) finish_one(&r, model, used);
                replace_server(&r, &server, round);
        }
        check_disk(&r, model, NULL);
        g_assert_cmpint(atomic_load(&lost), ==, 6);
        g_assert_cmpuint(r.breaks, ==, 0);
        rig_clear(&r);
        server_clear(&server);
}

/* One that dies with requests under way and has kept no record of them: nothing is done twice or lost in silence. */
static void test_break(void) {
        g_autoptr(GRand) rand = g_rand_new_with_seed(20250102);
        g_autofree uint8_t *model = g_malloc0(N_BLOCKS);
        g_autofree bool *used = g_new0(bool, N_BLOCKS);
        struct slot slots[DEPTH] = { 0 };
        struct server server;
        struct rig r;

        if (!begin(&r, &server, 1))
                return;
        for (unsigned round = 0; round < 6; round++) {
                struct slot before[DEPTH];
                uint32_t len;
                void *cookie;

                run_some(&r, slots, rand, model, used, 500);
                /* DEPTH requests are under way, or done and not taken back: one that stands still surely has some to do. */
                (void) kill(server.pid, SIGSTOP);
                while (drv_take(&r.rings[0], &cookie, &len))
                        note_done(&r, cookie, model, used);
                for (unsigned i = 0; i < DEPTH; i++) {
                        if (slots[i].busy)
                                continue;
                        next_request(&slots[i], rand, model, used);
                        used[slots[i].block] = true;
                        submit(&r, &slots[i]);
                }
                replace_server(&r, &server, round);
                if (!rig_wait_broken(&r, 5000)) {
                        g_test_message("this back end keeps a record");
                        break;
                }
                memcpy(before, slots, sizeof(before));
                rig_stop(&r);
                rig_start(&r, F_VERSION_1 | F_EVENT_IDX | BIT(FLUSH));
                for (unsigned i = 0; i < DEPTH; i++)
                        used[slots[i].block] = slots[i].busy = false;
                check_disk(&r, model, before);
                learn(&r, model, before);
                r.breaks = 0;
        }
        rig_clear(&r);
        server_clear(&server);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/vhost-user-blk/io", test_io);
        g_test_add_func("/vhost-user-blk/restart", test_restart);
        g_test_add_func("/vhost-user-blk/break", test_break);
        return g_test_run();
}
