/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The registers of a 16550A, apart from bus, line and characters' way in and out: a plain state machine that
 * its owner locks.
 */

#define UART_N_REGS 8
#define UART_FIFO_SIZE 16

struct uart {
        uint8_t ier, fcr, lcr, mcr, scratch, dll, dlm;
        uint8_t errors; /* LSR bits that a read clears */
        uint8_t deltas; /* MSR bits that a read clears */
        bool thre;      /* transmitter interrupt due */
        uint8_t rx[UART_FIFO_SIZE];
        uint8_t rx_first, rx_len;
};

void uart_reset(struct uart *u);

uint8_t uart_read(struct uart *u, unsigned reg);

/* True when the write is a character to be sent. */
bool uart_write(struct uart *u, unsigned reg, uint8_t v);

/* Takes what fits of characters from outside; none while looped back. */
size_t uart_receive(struct uart *u, const uint8_t *data, size_t len);

/* Whether nothing waits to be read and characters could come in. */
bool uart_hungry(const struct uart *u);

/* The state of the interrupt output. */
bool uart_interrupt(const struct uart *u);

/* Whether the members are what a UART can hold; for restored state. */
bool uart_valid(const struct uart *u);
