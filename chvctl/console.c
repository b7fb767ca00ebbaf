/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A person at a console, or a program in a pipe. The terminal is raw from the first byte to the last and is put back
 * on every way out, signals included. Typed bytes wait in a small buffer for the socket; while it is full nothing is
 * read from the input, so a paste of any size arrives whole. Output is written at once: a slow terminal slows the
 * reading from the socket, and the service deals with slow readers.
 */

#include "chvctl/console.h"

#include <errno.h>
#include <fcntl.h>
#include <glib-unix.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

#include "dbus/fd.h"

typedef struct {
        Bus *bus;
        const char *path, *name;
        int fd;
        GMainLoop *loop;
        ConsoleEnd end;
        bool raw, terminal, read_only;
        struct termios saved;
        char typed[4096];
        size_t n_typed;
        guint input, output, writable, size, interrupt, terminate, hangup;
} Console;

static bool terminal_raw(Console *console) {
        struct termios raw;

        if (tcgetattr(STDIN_FILENO, &console->saved) < 0)
                return false;
        raw = console->saved;
        cfmakeraw(&raw);
        return tcsetattr(STDIN_FILENO, TCSAFLUSH, &raw) == 0;
}

static void quit(Console *console, ConsoleEnd end) {
        console->end = end;
        g_main_loop_quit(console->loop);
}

static bool write_whole(int fd, const char *data, size_t length) {
        while (length > 0) {
                ssize_t n = write(fd, data, length);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0 && errno == EAGAIN) {
                        /* Somebody made our standard output non-blocking. */
                        GPollFD poll_fd = { .fd = fd, .events = G_IO_OUT };

                        (void) g_poll(&poll_fd, 1, -1);
                        continue;
                }
                if (n <= 0)
                        return false;
                data += n;
                length -= (size_t) n;
        }
        return true;
}

static gboolean on_output(gint fd, GIOCondition condition, gpointer data) {
        Console *console = data;
        char buffer[16384];
        ssize_t n = read(fd, buffer, sizeof(buffer));

        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return G_SOURCE_CONTINUE;
        if (n > 0 && write_whole(STDOUT_FILENO, buffer, (size_t) n))
                return G_SOURCE_CONTINUE;
        console->output = 0;
        quit(console, n > 0 ? CONSOLE_INTERRUPTED : CONSOLE_CLOSED);
        return G_SOURCE_REMOVE;
}

static gboolean on_input(gint fd, GIOCondition condition, gpointer data);

/* Sends what has been typed as far as the socket takes it. False: the other side does not listen any more. */
static bool send_typed(Console *console) {
        while (console->n_typed > 0) {
                ssize_t n =
                                send(console->fd, console->typed, console->n_typed,
                                     MSG_NOSIGNAL | MSG_DONTWAIT);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return errno == EAGAIN;
                console->n_typed -= (size_t) n;
                memmove(console->typed, console->typed + n, console->n_typed);
        }
        return true;
}

static gboolean on_writable(gint fd, GIOCondition condition, gpointer data) {
        Console *console = data;

        /* When it is closed the output says so, after the last of it has been read. */
        if (!send_typed(console))
                console->n_typed = 0;
        if (console->n_typed > 0)
                return G_SOURCE_CONTINUE;
        console->writable = 0;
        if (console->input == 0)
                console->input = g_unix_fd_add(STDIN_FILENO, G_IO_IN | G_IO_HUP, on_input, console);
        return G_SOURCE_REMOVE;
}

static gboolean on_input(gint fd, GIOCondition condition, gpointer data) {
        Console *console = data;
        ssize_t n = read(fd, console->typed, sizeof(console->typed));
        const char *escape;

        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return G_SOURCE_CONTINUE;
        if (n <= 0) {
                console->input = 0;
                if (console->terminal)
                        quit(console, CONSOLE_INTERRUPTED);
                return G_SOURCE_REMOVE;
        }
        console->n_typed = (size_t) n;
        escape = console->terminal ? memchr(console->typed, CONSOLE_ESCAPE, (size_t) n) : NULL;
        if (escape)
                console->n_typed = (size_t) (escape - console->typed);
        if (console->read_only || !send_typed(console))
                console->n_typed = 0;
        if (escape) {
                console->input = 0;
                quit(console, CONSOLE_LEFT);
                return G_SOURCE_REMOVE;
        }
        if (console->n_typed == 0)
                return G_SOURCE_CONTINUE;
        console->input = 0;
        console->writable = g_unix_fd_add(console->fd, G_IO_OUT, on_writable, console);
        return G_SOURCE_REMOVE;
}

/* Not waited for: a console that can't be told its size works all the same. */
static gboolean on_size(gpointer data) {
        Console *console = data;
        struct winsize size;

        if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0 || size.ws_col == 0 || size.ws_row == 0)
                return G_SOURCE_CONTINUE;
        g_dbus_connection_call(
                        console->bus->connection, bus_name(console->bus->connection), console->path,
                        VM_INTERFACE, "ResizeConsole",
                        g_variant_new("(sqq@a{sv})", console->name, size.ws_col, size.ws_row,
                                      no_options()),
                        /* reply_type= */ NULL, G_DBUS_CALL_FLAGS_NONE,
                        /* timeout_msec= */ -1,
                        /* cancellable= */ NULL,
                        /* callback= */ NULL,
                        /* user_data= */ NULL);
        return G_SOURCE_CONTINUE;
}

static gboolean on_signal(gpointer data) {
        quit(data, CONSOLE_INTERRUPTED);
        return G_SOURCE_CONTINUE;
}

static void remove_sources(Console *console) {
        guint *sources[] = { &console->input, &console->output,    &console->writable,
                             &console->size,  &console->interrupt, &console->terminate,
                             &console->hangup };

        for (size_t i = 0; i < G_N_ELEMENTS(sources); i++)
                g_clear_handle_id(sources[i], g_source_remove);
}

ConsoleEnd console_attach(Bus *bus, const char *path, const char *name, int fd, bool read_only) {
        chv_autofd owned = fd;
        g_autoptr(GMainLoop) loop = g_main_loop_new(NULL, FALSE);
        Console console = {
                .bus = bus,
                .path = path,
                .name = name,
                .fd = owned,
                .loop = loop,
                .terminal = isatty(STDIN_FILENO),
                .read_only = read_only,
        };

        (void) g_unix_set_fd_nonblocking(owned, TRUE, NULL);
        console.raw = console.terminal && terminal_raw(&console);
        console.output = g_unix_fd_add(owned, G_IO_IN | G_IO_HUP | G_IO_ERR, on_output, &console);
        /* A watcher on a terminal still has to be able to leave. */
        if (!read_only || console.terminal)
                console.input = g_unix_fd_add(STDIN_FILENO, G_IO_IN | G_IO_HUP, on_input, &console);
        console.interrupt = g_unix_signal_add(SIGINT, on_signal, &console);
        console.terminate = g_unix_signal_add(SIGTERM, on_signal, &console);
        console.hangup = g_unix_signal_add(SIGHUP, on_signal, &console);
        if (isatty(STDOUT_FILENO) && !read_only) {
                console.size = g_unix_signal_add(SIGWINCH, on_size, &console);
                (void) on_size(&console);
        }
        g_main_loop_run(loop);
        remove_sources(&console);
        if (console.raw)
                (void) tcsetattr(STDIN_FILENO, TCSAFLUSH, &console.saved);
        return console.end;
}

const char *console_guess(GVariant *config) {
        g_autoptr(GVariant) payload =
                        g_variant_lookup_value(config, "payload", G_VARIANT_TYPE_VARDICT);
        const char *cmdline, *last = NULL;

        if (!payload || !g_variant_lookup(payload, "cmdline", "&s", &cmdline))
                return "serial";
        for (const char *p = cmdline; (p = strstr(p, "console=")); p += strlen("console="))
                if (p == cmdline || p[-1] == ' ')
                        last = p;
        return last && g_str_has_prefix(last, "console=hvc") ? "console" : "serial";
}
