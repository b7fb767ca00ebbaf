/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A console: one character device of the guest, and everybody who looks at it.
 *
 * Output is appended to a ring under a short lock by whichever thread the device runs on; an eventfd
 * wakes the main thread, and for some milliseconds after that the thread need not be told again: a UART that
 * speaks byte by byte costs a wake-up for many bytes, not for each. The main thread feeds each peer (the endpoint,
 * clients) from the ring at the peer's own position; a peer too slow is overtaken and misses bytes, the guest never waits. A
 * file endpoint is the exception: files take output at once, so the writing thread writes it through and a log loses nothing.
 *
 * Input goes the other way: what one peer typed is offered to the device, and reading from all peers stops while the device has
 * no room for it.
 */

#include "daemon/vmm/console.h"

#include <errno.h>
#include <fcntl.h>
#include <glib-unix.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

#include "daemon/vmm/output-ring.h"
#include "dbus/error.h"
#include "dbus/fd.h"

#define RING_SIZE (1024u * 1024u)
#define CHUNK 4096u
#define CLIENTS_MAX 16u
#define AGAIN_MS 4u

typedef struct Peer {
        Console *console;
        int fd;
        bool is_socket;
        bool blocking; /* someone else's terminal: its O_NONBLOCK is not ours to set */
        bool endpoint;
        bool may_type;
        uint64_t position;
        guint in_source, out_source;
} Peer;

struct Console {
        struct chardev chr; /* first: chardev → console */
        char *name;
        ChvConsoleMode mode;
        char *path;
        int file_fd;   /* CHV_CONSOLE_FILE */
        int slave_fd;  /* keeps the pty from hanging up while nobody has it open */
        int listen_fd; /* CHV_CONSOLE_SOCKET */
        guint listen_source;

        GMutex lock; /* covers ring, wake_pending, input_ready */
        OutputRing ring;
        bool wake_pending; /* the main thread knows of output, or will look soon anyway */
        bool input_ready;
        uint64_t file_lost;

        int wake_fd;
        guint wake_source;
        guint again_source; /* looks once more */
        uint64_t pumped_until;
        GPtrArray *peers; /* of Peer; main thread */
        uint64_t lost;
        uint8_t input[CHUNK]; /* typed, not yet taken by the device */
        size_t input_len;
};

static void console_offer_input(Console *console);

static void drop_source(guint *id) {
        if (*id)
                g_source_remove(*id);
        *id = 0;
}

static void peer_free(Peer *peer) {
        drop_source(&peer->in_source);
        drop_source(&peer->out_source);
        if (peer->fd >= 0)
                (void) close(peer->fd);
        g_free(peer);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Peer, peer_free)

static ssize_t peer_write(Peer *peer, const uint8_t *buf, size_t len) {
        struct pollfd p = { .fd = peer->fd, .events = POLLOUT };

        if (peer->is_socket)
                return send(peer->fd, buf, len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (peer->blocking && poll(&p, 1, 0) <= 0) {
                errno = EAGAIN;
                return -1;
        }
        return write(peer->fd, buf, peer->blocking ? MIN(len, 256u) : len);
}

static gboolean on_peer_writable(int fd, GIOCondition condition, gpointer data);

/* Feeds the peer from the ring as far as it takes it. False: the peer is gone and must be dropped. */
static bool peer_pump(Peer *peer) {
        Console *console = peer->console;
        uint8_t buf[CHUNK];

        for (;;) {
                size_t len;
                ssize_t n;

                g_mutex_lock(&console->lock);
                len = output_ring_peek(
                                &console->ring, &peer->position, buf, sizeof(buf), &console->lost);
                g_mutex_unlock(&console->lock);
                if (len == 0)
                        return true;
                n = peer_write(peer, buf, len);
                if (n > 0) {
                        peer->position += (uint64_t) n;
                        continue;
                }
                if (errno == EINTR)
                        continue;
                if (errno != EAGAIN)
                        return peer->endpoint; /* an endpoint stays; its reader may come back */
                if (peer->out_source == 0)
                        peer->out_source =
                                        g_unix_fd_add(peer->fd, G_IO_OUT, on_peer_writable, peer);
                return true;
        }
}

static gboolean on_peer_writable(int fd, GIOCondition condition, gpointer data) {
        Peer *peer = data;

        peer->out_source = 0;
        if (!peer_pump(peer))
                g_ptr_array_remove(peer->console->peers, peer);
        return G_SOURCE_REMOVE;
}

static gboolean on_peer_hangup(int fd, GIOCondition condition, gpointer data) {
        Peer *peer = data;

        peer->in_source = 0;
        g_ptr_array_remove(peer->console->peers, peer);
        return G_SOURCE_REMOVE;
}

static gboolean on_peer_readable(int fd, GIOCondition condition, gpointer data) {
        Peer *peer = data;
        Console *console = peer->console;
        uint8_t buf[CHUNK];
        ssize_t n;

        n = read(fd, buf, sizeof(buf));
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return G_SOURCE_CONTINUE;
        if (n <= 0) {
                peer->in_source = 0;
                if (n == 0 && peer->is_socket && !(condition & G_IO_HUP)) {
                        /* It has said all it wanted and goes on listening. */
                        peer->may_type = false;
                        peer->in_source = g_unix_fd_add(fd, G_IO_HUP, on_peer_hangup, peer);
                } else if (!peer->endpoint)
                        g_ptr_array_remove(console->peers, peer);
                return G_SOURCE_REMOVE;
        }
        if (!peer->may_type)
                return G_SOURCE_CONTINUE;
        memcpy(console->input, buf, (size_t) n); /* empty: peers are read only then */
        console->input_len = (size_t) n;
        console_offer_input(console);
        return peer->in_source ? G_SOURCE_CONTINUE : G_SOURCE_REMOVE;
}

static void peer_watch(Peer *peer) {
        if (peer->in_source == 0)
                peer->in_source =
                                g_unix_fd_add(peer->fd, G_IO_IN | G_IO_HUP, on_peer_readable, peer);
}

/* Who may type is not read while earlier input waits. */
static void console_watch_peers(Console *console) {
        for (guint i = 0; i < console->peers->len; i++) {
                Peer *peer = g_ptr_array_index(console->peers, i);

                if (!peer->may_type || console->input_len == 0)
                        peer_watch(peer);
                else
                        drop_source(&peer->in_source);
        }
}

static void console_offer_input(Console *console) {
        const struct chardev_frontend_ops *frontend = console->chr.frontend;

        if (console->input_len > 0 && frontend) {
                size_t taken = frontend->input(
                                console->chr.frontend_opaque, console->input, console->input_len);

                g_assert(taken <= console->input_len);
                console->input_len -= taken;
                memmove(console->input, console->input + taken, console->input_len);
        }
        console_watch_peers(console);
}

static void console_pump(Console *console) {
        for (guint i = 0; i < console->peers->len;) {
                Peer *peer = g_ptr_array_index(console->peers, i);

                if (peer->out_source || peer_pump(peer))
                        i++;
                else
                        g_ptr_array_remove_index(console->peers, i);
        }
}

/* Looks again after a pause as long as output keeps coming; then lets the next byte wake us. */
static gboolean on_again(gpointer data) {
        Console *console = data;
        bool quiet;

        g_mutex_lock(&console->lock);
        quiet = console->ring.written == console->pumped_until;
        console->pumped_until = console->ring.written;
        if (quiet)
                console->wake_pending = false;
        g_mutex_unlock(&console->lock);
        if (!quiet) {
                console_pump(console);
                return G_SOURCE_CONTINUE;
        }
        console->again_source = 0;
        return G_SOURCE_REMOVE;
}

static gboolean on_wake(int fd, GIOCondition condition, gpointer data) {
        Console *console = data;
        uint64_t count;
        bool input;

        (void) !read(fd, &count, sizeof(count));
        g_mutex_lock(&console->lock);
        input = console->input_ready;
        console->input_ready = false;
        console->pumped_until = console->ring.written;
        if (console->again_source == 0) {
                console->wake_pending = true;
                console->again_source = g_timeout_add(AGAIN_MS, on_again, console);
        }
        g_mutex_unlock(&console->lock);
        console_pump(console);
        if (input)
                console_offer_input(console);
        return G_SOURCE_CONTINUE;
}

static void wake_main(Console *console) {
        uint64_t one = 1;

        (void) !write(console->wake_fd, &one, sizeof(one));
}

static void write_through(Console *console, const uint8_t *data, size_t len) {
        while (len > 0) {
                ssize_t n = write(console->file_fd, data, len);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0) { /* a full disk: the guest goes on, the loss is counted */
                        __atomic_add_fetch(&console->file_lost, len, __ATOMIC_RELAXED);
                        return;
                }
                data += n;
                len -= (size_t) n;
        }
}

static void chardev_write(struct chardev *chr, const uint8_t *data, size_t len) {
        Console *console = (Console *) chr;
        bool wake;

        if (console->file_fd >= 0)
                write_through(console, data, len);
        g_mutex_lock(&console->lock);
        output_ring_append(&console->ring, data, len);
        wake = !console->wake_pending;
        console->wake_pending = true;
        g_mutex_unlock(&console->lock);
        if (wake)
                wake_main(console);
}

static void chardev_input_ready(struct chardev *chr) {
        Console *console = (Console *) chr;

        g_mutex_lock(&console->lock);
        console->input_ready = true;
        g_mutex_unlock(&console->lock);
        wake_main(console);
}

static const struct chardev_ops console_chardev_ops = {
        .write = chardev_write,
        .input_ready = chardev_input_ready,
};

static Peer *console_add_peer(Console *console, int fd, bool is_socket, bool may_type) {
        Peer *peer = g_new0(Peer, 1);

        peer->console = console;
        peer->fd = fd;
        peer->is_socket = is_socket;
        peer->may_type = may_type;
        peer->position = console->ring.written;
        g_ptr_array_add(console->peers, peer);
        return peer;
}

static bool someone_types(const Console *console) {
        for (guint i = 0; i < console->peers->len; i++) {
                const Peer *peer = g_ptr_array_index(console->peers, i);

                if (!peer->endpoint && peer->may_type)
                        return true;
        }
        return false;
}

static guint n_clients(const Console *console) {
        guint n = 0;

        for (guint i = 0; i < console->peers->len; i++)
                n += !((const Peer *) g_ptr_array_index(console->peers, i))->endpoint;
        return n;
}

/* Takes fd. */
static void console_add_client(Console *console, int fd, bool types, bool replay) {
        Peer *peer = console_add_peer(console, fd, /* is_socket= */ true, types);

        g_mutex_lock(&console->lock);
        peer->position = replay ? output_ring_oldest(&console->ring) : console->ring.written;
        g_mutex_unlock(&console->lock);
        console_watch_peers(console);
        if (!peer_pump(peer))
                g_ptr_array_remove(console->peers, peer);
}

static gboolean on_connection(int fd, GIOCondition condition, gpointer data) {
        Console *console = data;
        int client = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

        if (client < 0)
                return G_SOURCE_CONTINUE;
        if (n_clients(console) >= CLIENTS_MAX) {
                (void) close(client);
                return G_SOURCE_CONTINUE;
        }
        console_add_client(console, client, !someone_types(console), /* replay= */ true);
        return G_SOURCE_CONTINUE;
}

static bool open_pty(Console *console, int master, GError **error) {
        struct termios raw;
        int slave, number;

        if (ioctl(master, TIOCGPTN, &number) < 0) {
                g_set_error(error, CHV_ERROR, CHV_ERROR_RESOURCE,
                            "%s: not the master of a pseudo-terminal: %s", console->name,
                            g_strerror(errno));
                return false;
        }
        slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
        if (slave < 0) {
                g_set_error(error, CHV_ERROR, CHV_ERROR_RESOURCE, "%s: pty: %s", console->name,
                            g_strerror(errno));
                return false;
        }
        console->slave_fd = slave;
        if (tcgetattr(slave, &raw) == 0) {
                cfmakeraw(&raw);
                (void) tcsetattr(slave, TCSANOW, &raw);
        }
        console->path = g_strdup_printf("/dev/pts/%d", number);
        return true;
}

static bool console_set_endpoint(Console *console, int fd, GError **error) {
        chv_autofd mine = fcntl(fd, F_DUPFD_CLOEXEC, 0);
        Peer *peer;

        if (mine < 0) {
                g_set_error(error, CHV_ERROR, CHV_ERROR_RESOURCE,
                            "%s: no descriptor for mode that needs one: %s", console->name,
                            g_strerror(errno));
                return false;
        }
        if (console->mode == CHV_CONSOLE_FILE) {
                console->file_fd = chv_fd_steal(&mine);
                return true;
        }
        if (console->mode == CHV_CONSOLE_SOCKET) {
                console->listen_fd = chv_fd_steal(&mine);
                console->listen_source =
                                g_unix_fd_add(console->listen_fd, G_IO_IN, on_connection, console);
                return true;
        }
        if (console->mode == CHV_CONSOLE_PTY && !open_pty(console, mine, error))
                return false;
        if (console->mode == CHV_CONSOLE_PTY)
                (void) g_unix_set_fd_nonblocking(mine, true, NULL);
        peer = console_add_peer(
                        console, chv_fd_steal(&mine), /* is_socket= */ false, /* may_type= */ true);
        peer->endpoint = true;
        peer->blocking = console->mode == CHV_CONSOLE_TTY;
        console_watch_peers(console);
        return true;
}

Console *console_new(const char *name, ChvConsoleMode mode, int fd, GError **error) {
        g_autoptr(Console) console = g_new0(Console, 1);

        console->chr.ops = &console_chardev_ops;
        console->name = g_strdup(name);
        console->mode = mode;
        console->file_fd = console->slave_fd = console->listen_fd = -1;
        g_mutex_init(&console->lock);
        output_ring_init(&console->ring, RING_SIZE);
        console->peers = g_ptr_array_new_with_free_func((GDestroyNotify) peer_free);
        console->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (console->wake_fd < 0) {
                g_set_error(error, CHV_ERROR, CHV_ERROR_RESOURCE, "%s: eventfd: %s", name,
                            g_strerror(errno));
                return NULL;
        }
        console->wake_source = g_unix_fd_add(console->wake_fd, G_IO_IN, on_wake, console);
        switch (mode) {
        case CHV_CONSOLE_PTY:
        case CHV_CONSOLE_TTY:
        case CHV_CONSOLE_FILE:
        case CHV_CONSOLE_SOCKET:
                if (!console_set_endpoint(console, fd, error))
                        return NULL;
                break;
        default:
                break;
        }
        return g_steal_pointer(&console);
}

static void close_fd(int fd) {
        if (fd >= 0)
                (void) close(fd);
}

void console_free(Console *console) {
        if (!console)
                return;
        drop_source(&console->wake_source);
        drop_source(&console->again_source);
        drop_source(&console->listen_source);
        g_ptr_array_unref(console->peers);
        close_fd(console->wake_fd);
        close_fd(console->file_fd);
        close_fd(console->slave_fd);
        close_fd(console->listen_fd);
        output_ring_clear(&console->ring);
        g_mutex_clear(&console->lock);
        g_free(console->path);
        g_free(console->name);
        g_free(console);
}

const char *console_name(const Console *console) {
        return console->name;
}

struct chardev *console_chardev(Console *console) {
        return &console->chr;
}

void console_detach_device(Console *console) {
        console->chr.frontend = NULL;
        console->chr.frontend_opaque = NULL;
}

const char *console_path(const Console *console) {
        return console->path;
}

int console_open(Console *console, ConsoleClientFlags flags, GError **error) {
        chv_autofd theirs = -1;
        int pair[2];

        if ((flags & CONSOLE_CLIENT_WRITE) && someone_types(console)) {
                if (!(flags & CONSOLE_CLIENT_FORCE)) {
                        g_set_error(error, CHV_ERROR, CHV_ERROR_BUSY,
                                    "Console '%s' is in use by another client; open it read-only, "
                                    "or by force",
                                    console->name);
                        return -1;
                }
                for (guint i = 0; i < console->peers->len; i++) {
                        Peer *peer = g_ptr_array_index(console->peers, i);

                        if (!peer->endpoint)
                                peer->may_type = false;
                }
        }
        if (n_clients(console) >= CLIENTS_MAX) {
                g_set_error(error, CHV_ERROR, CHV_ERROR_LIMIT,
                            "Console '%s' has %u clients already", console->name, CLIENTS_MAX);
                return -1;
        }
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
                g_set_error(error, CHV_ERROR, CHV_ERROR_RESOURCE, "Console '%s': socketpair: %s",
                            console->name, g_strerror(errno));
                return -1;
        }
        theirs = pair[1];
        console_add_client(
                        console, pair[0], flags & CONSOLE_CLIENT_WRITE,
                        flags & CONSOLE_CLIENT_REPLAY);
        return chv_fd_steal(&theirs);
}

void console_resize(Console *console, uint16_t columns, uint16_t rows) {
        const struct chardev_frontend_ops *frontend = console->chr.frontend;

        if (frontend && frontend->resized)
                frontend->resized(console->chr.frontend_opaque, columns, rows);
}

void console_flush(Console *console) {
        console_pump(console);
}

void console_counters(Console *console, uint64_t *ret_output, uint64_t *ret_lost) {
        g_mutex_lock(&console->lock);
        *ret_output = console->ring.written;
        g_mutex_unlock(&console->lock);
        *ret_lost = console->lost + __atomic_load_n(&console->file_lost, __ATOMIC_RELAXED);
}
