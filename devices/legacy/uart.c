/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * 16550A (PC16550D data sheet, National Semiconductor 1995). Characters leave the moment they are
 * written, so the transmitter is always empty; modem inputs say that the other side is there. There is no
 * bit clock: the character timeout, four character times after the last one came in, is due at once, so fewer
 * characters than the trigger level are reported without delay, as a timeout.
 *
 * The transmitter interrupt comes when a character was written (and is gone already) and when
 * it is enabled, and goes by reading IIR while it is the highest.
 */

#include "devices/legacy/uart.h"

#include <string.h>

enum {
        REG_DATA, /* RBR, THR; divisor latch low */
        REG_IER,  /* divisor latch high */
        REG_IIR,  /* FCR when written */
        REG_LCR,
        REG_MCR,
        REG_LSR,
        REG_MSR,
        REG_SCRATCH,

        IER_RDA = 0x01,
        IER_THRE = 0x02,
        IER_LSR = 0x04,
        IER_MSR = 0x08,
        IER_BITS = 0x0f,

        IIR_MSR = 0x00,
        IIR_NONE = 0x01,
        IIR_THRE = 0x02,
        IIR_RDA = 0x04,
        IIR_LSR = 0x06,
        IIR_TIMEOUT = 0x0c,
        IIR_FIFO = 0xc0,

        FCR_ENABLE = 0x01,
        FCR_CLEAR_RX = 0x02,
        FCR_TRIGGER = 0xc0,

        LCR_DLAB = 0x80,

        MCR_DTR = 0x01,
        MCR_RTS = 0x02,
        MCR_OUT1 = 0x04,
        MCR_OUT2 = 0x08,
        MCR_LOOP = 0x10,
        MCR_BITS = 0x1f,

        LSR_DR = 0x01,
        LSR_OE = 0x02,
        LSR_ERRORS = 0x1e,
        LSR_THRE = 0x20,
        LSR_TEMT = 0x40,

        MSR_DELTAS = 0x0f,
        MSR_TERI = 0x04,
        MSR_CTS = 0x10,
        MSR_DSR = 0x20,
        MSR_RI = 0x40,
        MSR_DCD = 0x80,
};

void uart_reset(struct uart *u) {
        *u = (struct uart){ .dll = 12 /* 9600 baud */ };
}

static bool looped(const struct uart *u) {
        return u->mcr & MCR_LOOP;
}

static unsigned capacity(const struct uart *u) {
        return u->fcr & FCR_ENABLE ? UART_FIFO_SIZE : 1;
}

static unsigned trigger(const struct uart *u) {
        static const uint8_t levels[] = { 1, 4, 8, 14 };

        return u->fcr & FCR_ENABLE ? levels[u->fcr >> 6] : 1;
}

static uint8_t pending(const struct uart *u) {
        if (u->ier & IER_LSR && u->errors)
                return IIR_LSR;
        if (u->ier & IER_RDA && u->rx_len >= trigger(u))
                return IIR_RDA;
        if (u->ier & IER_RDA && u->rx_len > 0)
                return IIR_TIMEOUT;
        if (u->ier & IER_THRE && u->thre)
                return IIR_THRE;
        if (u->ier & IER_MSR && u->deltas)
                return IIR_MSR;
        return IIR_NONE;
}

bool uart_interrupt(const struct uart *u) {
        return pending(u) != IIR_NONE;
}

/* Modem inputs: the outputs of the same UART when looped back. */
static uint8_t modem_inputs(const struct uart *u) {
        uint8_t msr = 0;

        if (!looped(u))
                return MSR_CTS | MSR_DSR | MSR_DCD;

        if (u->mcr & MCR_RTS)
                msr |= MSR_CTS;
        if (u->mcr & MCR_DTR)
                msr |= MSR_DSR;
        if (u->mcr & MCR_OUT1)
                msr |= MSR_RI;
        if (u->mcr & MCR_OUT2)
                msr |= MSR_DCD;
        return msr;
}

static void set_mcr(struct uart *u, uint8_t v) {
        uint8_t before = modem_inputs(u), after;

        u->mcr = v & MCR_BITS;
        after = modem_inputs(u);
        /* RI counts when it ends, the others when they change. */
        u->deltas |= (uint8_t) (((before ^ after) & ~MSR_RI) >> 4);
        if (before & ~after & MSR_RI)
                u->deltas |= MSR_TERI;
}

static void push(struct uart *u, uint8_t c) {
        u->rx[(u->rx_first + u->rx_len) % UART_FIFO_SIZE] = c;
        u->rx_len++;
}

static uint8_t pop(struct uart *u) {
        uint8_t c;

        if (u->rx_len == 0)
                return 0;

        c = u->rx[u->rx_first];
        u->rx_first = (uint8_t) ((u->rx_first + 1) % UART_FIFO_SIZE);
        u->rx_len--;
        return c;
}

size_t uart_receive(struct uart *u, const uint8_t *data, size_t len) {
        size_t n = 0;

        if (looped(u))
                return 0;
        while (n < len && u->rx_len < capacity(u))
                push(u, data[n++]);
        return n;
}

bool uart_hungry(const struct uart *u) {
        return u->rx_len == 0 && !looped(u);
}

/* True when the character leaves. */
static bool transmit(struct uart *u, uint8_t c) {
        u->thre = true;
        if (!looped(u))
                return true;

        if (u->rx_len < capacity(u)) {
                push(u, c);
        } else {
                /* The FIFO keeps what it has, a lone receiver buffer the newest. */
                u->errors |= LSR_OE;
                if (!(u->fcr & FCR_ENABLE))
                        u->rx[u->rx_first] = c;
        }
        return false;
}

static void set_fcr(struct uart *u, uint8_t v) {
        /* Switching FIFOs on or off empties them; the other bits count only while it is on. */
        if ((u->fcr ^ v) & FCR_ENABLE || v & FCR_CLEAR_RX)
                u->rx_len = 0;
        u->fcr = v & FCR_ENABLE ? v & (FCR_ENABLE | FCR_TRIGGER) : 0;
}

uint8_t uart_read(struct uart *u, unsigned reg) {
        uint8_t v;

        switch (reg) {
        case REG_DATA:
                return u->lcr & LCR_DLAB ? u->dll : pop(u);
        case REG_IER:
                return u->lcr & LCR_DLAB ? u->dlm : u->ier;
        case REG_IIR:
                v = pending(u);
                if (v == IIR_THRE)
                        u->thre = false;
                return v | (u->fcr & FCR_ENABLE ? IIR_FIFO : 0);
        case REG_LCR:
                return u->lcr;
        case REG_MCR:
                return u->mcr;
        case REG_LSR:
                v = u->errors | LSR_THRE | LSR_TEMT | (u->rx_len > 0 ? LSR_DR : 0);
                u->errors = 0;
                return v;
        case REG_MSR:
                v = modem_inputs(u) | u->deltas;
                u->deltas = 0;
                return v;
        case REG_SCRATCH:
                return u->scratch;
        default:
                return 0xff;
        }
}

bool uart_write(struct uart *u, unsigned reg, uint8_t v) {
        switch (reg) {
        case REG_DATA:
                if (!(u->lcr & LCR_DLAB))
                        return transmit(u, v);
                u->dll = v;
                break;
        case REG_IER:
                if (u->lcr & LCR_DLAB) {
                        u->dlm = v;
                        break;
                }
                /* Enabling it finds the transmitter empty. */
                if (v & ~u->ier & IER_THRE)
                        u->thre = true;
                u->ier = v & IER_BITS;
                break;
        case REG_IIR:
                set_fcr(u, v);
                break;
        case REG_LCR:
                u->lcr = v;
                break;
        case REG_MCR:
                set_mcr(u, v);
                break;
        case REG_SCRATCH:
                u->scratch = v;
                break;
        default: /* LSR and MSR are read-only outside of the factory */
                break;
        }
        return false;
}

bool uart_valid(const struct uart *u) {
        return !(u->ier & ~IER_BITS) && !(u->mcr & ~MCR_BITS) && !(u->errors & ~LSR_ERRORS) &&
               !(u->deltas & ~MSR_DELTAS) && !(u->fcr & ~(FCR_ENABLE | FCR_TRIGGER)) &&
               (u->fcr & FCR_ENABLE || !u->fcr) && u->rx_first < UART_FIFO_SIZE &&
               u->rx_len <= capacity(u);
}
