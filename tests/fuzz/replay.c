/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Runs a fuzz target without libFuzzer, as a plain test: every file of its corpus as it is, then two
 * thousand damaged copies of each, from a fixed seed, so that a run repeats exactly. It prints TAP,
 * one test a file. The input at work when a signal comes is written to ./crash-FILE-N, to be
 * debugged and then added to the corpus.
 *
 *     replay-TARGET [--damage=N] FILE-OR-FOLDER...
 */

#include "fuzz.h"

#include <fcntl.h>
#include <glib.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What the signal handler needs; set before each call of the target. */
static struct {
        char name[256];
        const uint8_t *data;
        size_t size;
} current;

static void on_crash(int sig) {
        int fd = open(current.name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);

        if (fd >= 0 && write(fd, current.data, current.size) == (ssize_t) current.size) {
                static const char text[] = "Bail out! the input is in ";

                (void) !write(STDOUT_FILENO, text, sizeof(text) - 1);
                (void) !write(STDOUT_FILENO, current.name, strlen(current.name));
                (void) !write(STDOUT_FILENO, "\n", 1);
        }
        raise(sig); /* the handler is gone: SA_RESETHAND */
}

static void catch_signals(void) {
        static const int signals[] = { SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGTRAP };
        struct sigaction action = { .sa_handler = on_crash, .sa_flags = (int) SA_RESETHAND };

        for (size_t i = 0; i < G_N_ELEMENTS(signals); i++)
                (void) sigaction(signals[i], &action, /* oldact= */ NULL);
}

static void run(const char *name, unsigned n, const uint8_t *data, size_t size) {
        /* A copy of its own size, so that a read past the end is one past the allocation. */
        g_autofree uint8_t *copy = size > 0 ? g_memdup2(data, size) : g_malloc(1);

        g_snprintf(current.name, sizeof(current.name), "crash-%s-%u", name, n);
        current.data = copy;
        current.size = size;
        (void) LLVMFuzzerTestOneInput(copy, size);
}

static size_t pick(GRand *r, size_t end) {
        return (size_t) g_rand_int(r) % end;
}

static void put_edge(GRand *r, GByteArray *a) {
        static const uint64_t edges[] = {
                0,          1,           0x7f,      0x80,       0xff,
                0x7fff,     0xffff,      0x10000,   0x7fffffff, 0x80000000,
                UINT32_MAX, 0x100000000, INT64_MAX, 1ull << 63, UINT64_MAX - 4095,
                UINT64_MAX,
        };
        uint64_t v = edges[pick(r, G_N_ELEMENTS(edges))];
        size_t width = (size_t) 1 << pick(r, 4);

        if (a->len < width)
                return;
        v = GUINT64_TO_LE(v);
        memcpy(a->data + pick(r, a->len - width + 1), &v, width);
}

/* One change: a bit, a byte, a number at an edge, a piece copied over another, or the end cut off. */
static void damage(GRand *r, GByteArray *a) {
        size_t from, to, n;

        if (a->len == 0)
                return;
        switch (pick(r, 8)) {
        case 0:
        case 1:
                a->data[pick(r, a->len)] ^= (uint8_t) (1u << pick(r, 8));
                break;
        case 2:
                a->data[pick(r, a->len)] = (uint8_t) g_rand_int(r);
                break;
        case 3:
                from = pick(r, a->len);
                to = pick(r, a->len);
                n = 1 + pick(r, MIN(a->len - MAX(from, to), 64));
                memmove(a->data + to, a->data + from, n);
                break;
        case 4:
                if (pick(r, 4) == 0)
                        g_byte_array_set_size(a, (guint) pick(r, a->len));
                break;
        default:
                put_edge(r, a);
        }
}

static bool run_file(const char *path, unsigned n_damaged) {
        g_autofree char *name = g_path_get_basename(path), *data = NULL;
        g_autoptr(GRand) r = g_rand_new_with_seed(g_str_hash(name));
        g_autoptr(GError) error = NULL;
        size_t size;

        if (!g_file_get_contents(path, &data, &size, &error)) {
                printf("# %s\n", error->message);
                return false;
        }
        run(name, 0, (const uint8_t *) data, size);
        for (unsigned i = 1; i <= n_damaged; i++) {
                g_autoptr(GByteArray) a = g_byte_array_new();

                g_byte_array_append(a, (const uint8_t *) data, (guint) size);
                for (size_t changes = 1 + pick(r, 4); changes > 0; changes--)
                        damage(r, a);
                run(name, i, a->data, a->len);
        }
        return true;
}

static void add_files(GPtrArray *files, const char *path) {
        g_autoptr(GDir) dir = g_dir_open(path, /* flags= */ 0, /* error= */ NULL);
        const char *name;

        if (!dir) {
                g_ptr_array_add(files, g_strdup(path));
                return;
        }
        while ((name = g_dir_read_name(dir)))
                g_ptr_array_add(files, g_build_filename(path, name, NULL));
}

static int compare(const void *a, const void *b) {
        return strcmp(*(const char *const *) a, *(const char *const *) b);
}

int main(int argc, char *argv[]) {
        g_autoptr(GPtrArray) files = g_ptr_array_new_with_free_func(g_free);
        unsigned n_damaged = 2000;
        bool ok = true;

        for (int i = 1; i < argc; i++) {
                if (g_str_has_prefix(argv[i], "--damage="))
                        n_damaged = (unsigned) strtoul(strchr(argv[i], '=') + 1, NULL, 10);
                else
                        add_files(files, argv[i]);
        }
        g_ptr_array_sort(files, compare);
        catch_signals();
        setvbuf(stdout, NULL, _IOLBF, 0);

        printf("1..%u\n", files->len + 1);
        run("empty", 0, NULL, 0);
        printf("ok 1 - no input\n");
        for (unsigned i = 0; i < files->len; i++) {
                bool done = run_file(files->pdata[i], n_damaged);

                printf("%s %u - %s\n", done ? "ok" : "not ok", i + 2, (char *) files->pdata[i]);
                ok = ok && done;
        }
        return ok ? 0 : 1;
}
