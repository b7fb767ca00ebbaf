/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What running virtual machines do now: processor, memory, and what moves through disks and network interfaces, busiest
 * first, again and again. Counters of all machines are asked for at once, so one that does not answer costs the others
 * nothing. Whose counters are refused is not asked about any more: each question may reach polkit.
 *
 * A rate is the difference to the last sample; in the first one, and after a reboot, when counters begin again, it is
 * the average since the machine's start.
 */

#include <glib-unix.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "chvctl/bus.h"
#include "chvctl/fail.h"
#include "chvctl/find.h"
#include "chvctl/output.h"
#include "dbus/error.h"

#define ANSWER_MS 5000
#define LINES_AROUND 3 /* the head of the table, and what is said above it */

enum {
        CPU,
        READ,
        WRITTEN,
        RECEIVED,
        SENT,
        N_FLOWS
};

static const struct {
        const char *counter, *key; /* key: in JSON */
} flows[N_FLOWS] = {
        [CPU] = { "cpu_us", "cpu" },
        [READ] = { "read_bytes", "read" },
        [WRITTEN] = { "write_bytes", "written" },
        [RECEIVED] = { "rx_bytes", "received" },
        [SENT] = { "tx_bytes", "sent" },
};

typedef struct Top Top;

typedef struct {
        Top *top;
        char *path, *name, *state;
        guint32 vcpus;
        guint64 started;
        bool seen;    /* in this sample */
        bool refused; /* its counters are not for us */
        bool known;   /* what follows is of this sample */
        bool has_last;
        bool has_memory, has_cpu;
        guint64 memory;
        guint64 flow[N_FLOWS], last[N_FLOWS];
        gint64 at, last_at; /* monotonic */
        double rate[N_FLOWS];
} Row;

struct Top {
        Options *options;
        Bus *bus;
        GMainLoop *loop;
        GHashTable *rows;   /* path → Row */
        GHashTable *chosen; /* paths; NULL: all */
        GCancellable *cancellable;
        unsigned waiting; /* answers */
        int shown;
        bool terminal, ended;
        ExitStatus status;
};

static void row_free(gpointer data) {
        Row *row = data;

        g_free(row->path);
        g_free(row->name);
        g_free(row->state);
        g_free(row);
}

static void end(Top *top, ExitStatus status) {
        top->status = status;
        top->ended = true;
        g_cancellable_cancel(top->cancellable);
        g_main_loop_quit(top->loop);
}

static void sum_up(Row *row, GVariant *counters) {
        GVariantIter devices, values;
        GVariant *device;
        const char *counter;
        guint64 value;

        memset(row->flow, 0, sizeof(row->flow));
        row->has_memory = row->has_cpu = false;
        g_variant_iter_init(&devices, counters);
        while (g_variant_iter_next(&devices, "{&s@a{st}}", NULL, &device)) {
                g_autoptr(GVariant) owned = device;

                g_variant_iter_init(&values, owned);
                while (g_variant_iter_next(&values, "{&st}", &counter, &value)) {
                        for (unsigned i = 0; i < N_FLOWS; i++)
                                if (strcmp(flows[i].counter, counter) == 0)
                                        row->flow[i] += value;
                        row->has_cpu |= strcmp(counter, "cpu_us") == 0;
                        if (strcmp(counter, "memory_bytes") == 0) {
                                row->memory = value;
                                row->has_memory = true;
                        }
                }
        }
}

static void work_out(Row *row) {
        bool again = !row->has_last;
        double seconds;

        for (unsigned i = 0; i < N_FLOWS; i++)
                again |= row->flow[i] < row->last[i];
        if (again) {
                gint64 up = g_get_real_time() - (gint64) row->started;

                memset(row->last, 0, sizeof(row->last));
                row->last_at = row->at - (row->started ? MAX(up, 0) : 0);
        }
        seconds = (double) MAX(row->at - row->last_at, 1000) / G_USEC_PER_SEC;
        for (unsigned i = 0; i < N_FLOWS; i++)
                row->rate[i] = (double) (row->flow[i] - row->last[i]) / seconds;
        /* Of one host processor. */
        row->rate[CPU] *= 100.0 / G_USEC_PER_SEC;
        memcpy(row->last, row->flow, sizeof(row->last));
        row->last_at = row->at;
        row->has_last = true;
}

static void show(Top *top);

static void on_counters(GObject *source, GAsyncResult *result, gpointer data) {
        Row *row = data;
        Top *top = row->top;
        g_autoptr(GError) error = NULL;
        g_autoptr(GVariant) counters = NULL,
                            reply = g_dbus_connection_call_finish(
                                            G_DBUS_CONNECTION(source), result, &error);

        if (reply) {
                counters = g_variant_get_child_value(reply, 0);
                row->at = g_get_monotonic_time();
                sum_up(row, counters);
                work_out(row);
                row->known = true;
        } else if (g_error_matches(error, CHV_ERROR, CHV_ERROR_ACCESS_DENIED) ||
                   g_error_matches(error, CHV_ERROR, CHV_ERROR_NEEDS_INTERACTION))
                row->refused = true;
        if (--top->waiting == 0 && !top->ended)
                show(top);
}

static gboolean is_unseen(gpointer path, gpointer row, gpointer data) {
        return !((Row *) row)->seen;
}

static void take_vm(Top *top, const char *path, GVariant *properties) {
        const char *name = "", *state = "";
        Row *row;

        g_variant_lookup(properties, "State", "&s", &state);
        if ((strcmp(state, "running") != 0 && strcmp(state, "paused") != 0) ||
            (top->chosen && !g_hash_table_contains(top->chosen, path)))
                return;
        row = g_hash_table_lookup(top->rows, path);
        if (!row) {
                row = g_new0(Row, 1);
                row->top = top;
                row->path = g_strdup(path);
                g_hash_table_insert(top->rows, row->path, row);
        }
        g_variant_lookup(properties, "Name", "&s", &name);
        g_free(row->name);
        g_free(row->state);
        row->name = g_strdup(name);
        row->state = g_strdup(state);
        g_variant_lookup(properties, "VCPUs", "u", &row->vcpus);
        g_variant_lookup(properties, "StartedAt", "t", &row->started);
        row->seen = true;
        row->known = false;
}

static void take_objects(Top *top, GVariant *objects) {
        GHashTableIter rows;
        GVariantIter iter;
        const char *path;
        GVariant *interfaces;
        gpointer row;

        g_hash_table_iter_init(&rows, top->rows);
        while (g_hash_table_iter_next(&rows, NULL, &row))
                ((Row *) row)->seen = false;
        g_variant_iter_init(&iter, objects);
        while (g_variant_iter_next(&iter, "{&o@a{sa{sv}}}", &path, &interfaces)) {
                g_autoptr(GVariant) owned = interfaces;
                g_autoptr(GVariant) properties = g_variant_lookup_value(owned, VM_INTERFACE, NULL);

                if (properties)
                        take_vm(top, path, properties);
        }
        g_hash_table_foreach_remove(top->rows, is_unseen, NULL);
}

static void on_objects(GObject *source, GAsyncResult *result, gpointer data) {
        Top *top = data;
        g_autoptr(GError) error = NULL;
        g_autoptr(GVariant) objects = NULL,
                            reply = g_dbus_connection_call_finish(
                                            G_DBUS_CONNECTION(source), result, &error);
        GHashTableIter iter;
        gpointer row;

        top->waiting--;
        if (top->ended)
                return;
        if (!reply) {
                (void) g_dbus_error_strip_remote_error(error);
                end(top, fail(top->options, NULL, error));
                return;
        }
        objects = g_variant_get_child_value(reply, 0);
        take_objects(top, objects);
        g_hash_table_iter_init(&iter, top->rows);
        while (g_hash_table_iter_next(&iter, NULL, &row)) {
                if (((Row *) row)->refused)
                        continue;
                top->waiting++;
                g_dbus_connection_call(
                                top->bus->connection, bus_name(top->bus->connection),
                                ((Row *) row)->path, VM_INTERFACE, "GetCounters",
                                g_variant_new("(@a{sv})", no_options()),
                                G_VARIANT_TYPE("(a{sa{st}})"), G_DBUS_CALL_FLAGS_NONE, ANSWER_MS,
                                top->cancellable, on_counters, row);
        }
        if (top->waiting == 0)
                show(top);
}

static gboolean sample(gpointer data) {
        Top *top = data;

        top->waiting++;
        g_dbus_connection_call(
                        top->bus->connection, bus_name(top->bus->connection), ROOT_PATH,
                        "org.freedesktop.DBus.ObjectManager", "GetManagedObjects",
                        /* parameters= */ NULL, G_VARIANT_TYPE("(a{oa{sa{sv}}})"),
                        G_DBUS_CALL_FLAGS_NONE, /* timeout_msec= */ G_MAXINT, top->cancellable,
                        on_objects, top);
        return G_SOURCE_REMOVE;
}

static bool has(const Row *row, unsigned flow) {
        return row->known && (flow != CPU || row->has_cpu);
}

/* The busiest first, then by name; whose figures are hidden last. */
static gint compare(gconstpointer a, gconstpointer b) {
        const Row *const *left = a, *const *right = b;
        double l = has(*left, CPU) ? (*left)->rate[CPU] : -1,
               r = has(*right, CPU) ? (*right)->rate[CPU] : -1;

        return l != r ? (l < r ? 1 : -1) : strcmp((*left)->name, (*right)->name);
}

static char *format_rate(const Row *row, unsigned flow) {
        if (!has(row, flow))
                return NULL;
        return flow == CPU ? g_strdup_printf("%.1f", row->rate[CPU])
                           : format_size((guint64) row->rate[flow]);
}

static char *format_table(const Top *top, GPtrArray *rows, unsigned max) {
        static const char *const heads[] = {
                "NAME",   "STATE",   "CPUS", "%CPU", "MEMORY",
                "READ/s", "WRITE/s", "RX/s", "TX/s", NULL,
        };
        g_autoptr(Table) table = table_new(heads);

        for (unsigned i = 2; heads[i]; i++)
                table_align_right(table, i);
        for (unsigned i = 0; i < MIN(rows->len, max); i++) {
                const Row *row = g_ptr_array_index(rows, i);

                table_add(table, g_strdup(row->name), g_strdup(row->state),
                          row->vcpus ? g_strdup_printf("%u", row->vcpus) : NULL,
                          format_rate(row, CPU),
                          row->known && row->has_memory ? format_size(row->memory) : NULL,
                          format_rate(row, READ), format_rate(row, WRITTEN),
                          format_rate(row, RECEIVED), format_rate(row, SENT));
        }
        return table_format(table, !top->options->no_legend);
}

static void show_terminal(const Top *top, GPtrArray *rows) {
        g_autofree char *time = format_time((guint64) g_get_real_time()), *text = NULL;
        g_auto(GStrv) lines = NULL;
        struct winsize size;
        unsigned height = 24;

        if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row > LINES_AROUND)
                height = size.ws_row;
        text = format_table(top, rows, height - LINES_AROUND);
        lines = g_strsplit(g_strchomp(text), "\n", -1);
        printf("\033[H%s, %u running\033[K\n\033[K\n", time, rows->len);
        for (unsigned i = 0; lines[i]; i++)
                printf("%s%s\033[K", i > 0 ? "\n" : "", lines[i]);
        printf("\033[J");
}

static void show_json(const Top *top, GPtrArray *rows) {
        g_auto(GVariantBuilder) vms = G_VARIANT_BUILDER_INIT(G_VARIANT_TYPE("aa{sv}"));
        g_autoptr(GVariant) object = NULL;

        for (unsigned i = 0; i < rows->len; i++) {
                const Row *row = g_ptr_array_index(rows, i);

                g_variant_builder_open(&vms, G_VARIANT_TYPE_VARDICT);
                g_variant_builder_add_parsed(&vms, "{'name', <%s>}", row->name);
                g_variant_builder_add_parsed(&vms, "{'state', <%s>}", row->state);
                g_variant_builder_add_parsed(&vms, "{'vcpus', <%u>}", row->vcpus);
                if (row->known && row->has_memory)
                        g_variant_builder_add_parsed(&vms, "{'memory', <%t>}", row->memory);
                for (unsigned flow = 0; flow < N_FLOWS; flow++)
                        if (has(row, flow))
                                g_variant_builder_add(
                                                &vms, "{sv}", flows[flow].key,
                                                g_variant_new_double(row->rate[flow]));
                g_variant_builder_close(&vms);
        }
        object = g_variant_ref_sink(g_variant_new_parsed(
                        "{'timestamp': <%t>, 'vms': <%@aa{sv}>}", (guint64) g_get_real_time(),
                        g_variant_builder_end(&vms)));
        output_json(top->options, object);
}

static void show(Top *top) {
        g_autoptr(GPtrArray) rows = g_ptr_array_new();
        GHashTableIter iter;
        gpointer row;

        g_hash_table_iter_init(&iter, top->rows);
        while (g_hash_table_iter_next(&iter, NULL, &row))
                g_ptr_array_add(rows, row);
        g_ptr_array_sort(rows, compare);
        if (top->options->json != JSON_OFF)
                show_json(top, rows);
        else if (top->terminal)
                show_terminal(top, rows);
        else {
                g_autofree char *text = format_table(top, rows, G_MAXUINT);

                printf("%s%s", top->shown > 0 ? "\n" : "", text);
        }
        (void) fflush(stdout);
        if (ferror(stdout) || ++top->shown == top->options->count)
                end(top, EXIT_OK);
        else
                g_timeout_add_seconds((guint) (top->options->interval ?: 2), sample, top);
}

static gboolean on_signal(gpointer data) {
        end(data, EXIT_OK);
        return G_SOURCE_CONTINUE;
}

static void watch(Top *top) {
        g_unix_signal_add(SIGINT, on_signal, top);
        g_unix_signal_add(SIGTERM, on_signal, top);
        /* The other screen of the terminal, so that what was on this one is back at the end. */
        if (top->terminal)
                printf("\033[?1049h\033[?25l");
        (void) sample(top);
        g_main_loop_run(top->loop);
        while (top->waiting > 0)
                (void) g_main_context_iteration(NULL, TRUE);
        if (top->terminal)
                printf("\033[?25h\033[?1049l");
        (void) fflush(stdout);
}

ExitStatus cmd_top(Options *options, Bus *bus) {
        g_autoptr(GMainLoop) loop = g_main_loop_new(NULL, FALSE);
        g_autoptr(GCancellable) cancellable = g_cancellable_new();
        g_autoptr(GHashTable) rows = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, row_free);
        g_autoptr(GError) error = NULL;
        Top top = {
                .options = options,
                .bus = bus,
                .loop = loop,
                .rows = rows,
                .cancellable = cancellable,
                .terminal = options->json == JSON_OFF && isatty(STDOUT_FILENO),
        };

        if (!bus_connect(bus, &error))
                return fail(options, NULL, error);
        if (find_vms(options, bus, &top.chosen, &top.status))
                watch(&top);
        g_clear_pointer(&top.chosen, g_hash_table_unref);
        return top.status;
}
