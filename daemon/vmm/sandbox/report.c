/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The last words of a worker that did what it may not. The kernel sends SIGSYS to the thread instead of doing the call; the
 * handler can trust nothing of the process but its stack and what was made ready here, so it formats by hand, patches a D-Bus message that
 * has been marshalled beforehand, writes both, and makes a call that kills.
 *
 * The channel may be in the middle of another message, and then the event is lost; the line on standard error and the exit
 * status are not.
 */

#include "daemon/vmm/sandbox/report.h"

#include <errno.h>
#include <fcntl.h>
#include <gio/gio.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include "daemon/vmm/sandbox/call-names.h"
#include "dbus/error.h"

#define TEXT_MAX 160

typedef struct {
        char text[TEXT_MAX];
        size_t len;
} Text;

/* A message whose last value is a string of TEXT_MAX bytes, and where its lengths are. The descriptor's number stays what it is, so that
 * no thread writes to what has taken the place of a channel that was closed. */
static struct {
        int fd, idle_fd;
        uint8_t *blob;
        size_t len, text, array_length, time;
} event = { .fd = -1, .idle_fd = -1 };

static _Thread_local const char *thread_name = "library";

void report_name_thread(const char *name) {
        thread_name = name;
}

static void add(Text *t, const char *s) {
        while (*s && t->len < sizeof(t->text))
                t->text[t->len++] = *s++;
}

static void add_number(Text *t, uint64_t n, unsigned base) {
        char digits[24];
        size_t i = sizeof(digits);

        digits[--i] = '\0';
        do
                digits[--i] = "0123456789abcdef"[n % base];
        while ((n /= base) > 0);
        add(t, digits + i);
}

static void shorten(size_t at, size_t by) {
        uint32_t n;

        memcpy(&n, event.blob + at, sizeof(n));
        n -= (uint32_t) by;
        memcpy(event.blob + at, &n, sizeof(n));
}

/* Once: the message is used up. */
static void send_event(const Text *t) {
        size_t by = TEXT_MAX - t->len;
        struct timespec now;
        uint64_t us;

        if (event.fd < 0)
                return;
        (void) clock_gettime(CLOCK_REALTIME, &now);
        us = (uint64_t) now.tv_sec * 1000000 + (uint64_t) now.tv_nsec / 1000;
        memcpy(event.blob + event.time, &us, sizeof(us));
        memcpy(event.blob + event.text, t->text, t->len);
        event.blob[event.text + t->len] = '\0';
        shorten(event.text - 4, by);
        shorten(event.array_length, by);
        shorten(4, by); /* of the body */
        (void) !write(event.fd, event.blob, event.len - by);
}

static void write_line(const Text *t) {
        static const char prefix[] = "chv-vmm: sandbox: ";
        char line[sizeof(prefix) + TEXT_MAX + 1];
        size_t len = sizeof(prefix) - 1;

        memcpy(line, prefix, len);
        memcpy(line + len, t->text, t->len);
        len += t->len;
        line[len++] = '\n';
        (void) !write(STDERR_FILENO, line, len);
}

static _Noreturn void speak_and_die(const Text *t) {
        write_line(t);
        send_event(t);
        (void) syscall(REPORT_LAST_CALL, 0, 0, 0, 0);
        abort();
}

void report_and_die(const char *what) {
        Text t = { .len = 0 };

        add(&t, thread_name);
        add(&t, " thread ");
        add(&t, what);
        speak_and_die(&t);
}

static void add_arguments(Text *t, const ucontext_t *context) {
#ifdef __x86_64__
        add(t, ", arguments 0x");
        add_number(t, (uint64_t) context->uc_mcontext.gregs[REG_RDI], 16);
        add(t, " 0x");
        add_number(t, (uint64_t) context->uc_mcontext.gregs[REG_RSI], 16);
        add(t, " 0x");
        add_number(t, (uint64_t) context->uc_mcontext.gregs[REG_RDX], 16);
#endif
}

static void on_forbidden(int signal, siginfo_t *info, void *context) {
        unsigned call = (unsigned) info->si_syscall;
        Text t = { .len = 0 };

        add(&t, thread_name);
        add(&t, " thread: system call ");
        add_number(&t, call, 10);
        add(&t, " (");
        add(&t, call < G_N_ELEMENTS(call_names) && call_names[call] ? call_names[call] : "unknown");
        add(&t, ") is forbidden");
        add_arguments(&t, context);
        speak_and_die(&t);
}

/*
 * The first process of a namespace is not ended by SIGABRT, and what abort() then tries is forbidden: there, the signal becomes a
 * fault, which ends any process.
 */
static void on_abort(int signal) {
        Text t = { .len = 0 };

        add(&t, thread_name);
        add(&t, " thread has aborted");
        write_line(&t);
        __builtin_trap();
}

static size_t align(size_t n, size_t to) {
        return (n + to - 1) & ~(to - 1);
}

/* Marshals the event and finds the places in it that on_forbidden() fills in. */
static bool prepare_event(GError **error) {
        static const char source[] = "sandbox", name[] = "forbidden-call";
        g_autoptr(GDBusMessage) message = g_dbus_message_new_signal(
                        "/org/cloudhypervisor/Vmm", "org.cloudhypervisor.Vmm", "Event");
        g_autofree char *text = g_strnfill(TEXT_MAX, '.');
        uint32_t body_len;
        size_t body, at;
        gsize len;

        g_dbus_message_set_serial(message, UINT32_MAX - 1);
        g_dbus_message_set_byte_order(
                        message, G_BYTE_ORDER == G_LITTLE_ENDIAN
                                                 ? G_DBUS_MESSAGE_BYTE_ORDER_LITTLE_ENDIAN
                                                 : G_DBUS_MESSAGE_BYTE_ORDER_BIG_ENDIAN);
        g_dbus_message_set_body(
                        message,
                        g_variant_new_parsed(
                                        "(@t 0, %s, %s, {'message': <%s>})", source, name, text));
        event.blob = g_dbus_message_to_blob(message, &len, G_DBUS_CAPABILITY_FLAGS_NONE, error);
        if (!event.blob)
                return false;
        memcpy(&body_len, event.blob + 4, sizeof(body_len));
        body = len - body_len;
        at = 8 + 4 + sizeof(source);
        at = align(at, 4) + 4 + sizeof(name);
        event.time = body;
        event.array_length = body + align(at, 4);
        event.text = len - TEXT_MAX - 1;
        event.len = len;
        return true;
}

void report_set_channel(int fd) {
        if (event.fd >= 0)
                (void) dup3(fd >= 0 ? fd : event.idle_fd, event.fd, O_CLOEXEC);
}

bool report_install(int idle_fd, GError **error) {
        struct sigaction action = { .sa_sigaction = on_forbidden, .sa_flags = SA_SIGINFO };
        struct sigaction last_words = { .sa_handler = on_abort };
        int fd;

        if (!prepare_event(error))
                return false;
        (void) sigfillset(&action.sa_mask);
        fd = fcntl(idle_fd, F_DUPFD_CLOEXEC, 3);
        (void) sigfillset(&last_words.sa_mask);
        if (fd < 0 || sigaction(SIGSYS, &action, NULL) < 0 ||
            (getpid() == 1 && sigaction(SIGABRT, &last_words, NULL) < 0)) {
                g_set_error(error, CHV_ERROR, CHV_ERROR_FAILED, "handling signals: %s",
                            g_strerror(errno));
                return false;
        }
        event.idle_fd = idle_fd;
        event.fd = fd;
        return true;
}
