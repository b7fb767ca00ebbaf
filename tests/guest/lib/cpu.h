/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Instructions. Guests are integer-only code: hosts that emulate ring 0 know no SSE, POPCNT, INT3 or CMPXCHG16B there. */

static inline void outb(uint16_t port, uint8_t v) {
        asm volatile("outb %0, %1" : : "a"(v), "Nd"(port));
}

static inline void outw(uint16_t port, uint16_t v) {
        asm volatile("outw %0, %1" : : "a"(v), "Nd"(port));
}

static inline void outl(uint16_t port, uint32_t v) {
        asm volatile("outl %0, %1" : : "a"(v), "Nd"(port));
}

static inline uint8_t inb(uint16_t port) {
        uint8_t v;

        asm volatile("inb %1, %0" : "=a"(v) : "Nd"(port));
        return v;
}

static inline uint16_t inw(uint16_t port) {
        uint16_t v;

        asm volatile("inw %1, %0" : "=a"(v) : "Nd"(port));
        return v;
}

static inline uint32_t inl(uint16_t port) {
        uint32_t v;

        asm volatile("inl %1, %0" : "=a"(v) : "Nd"(port));
        return v;
}

static inline void write8(uint64_t addr, uint8_t v) {
        asm volatile("movb %0, %1" : : "q"(v), "m"(*(volatile uint8_t *) addr) : "memory");
}

static inline void write16(uint64_t addr, uint16_t v) {
        asm volatile("movw %0, %1" : : "r"(v), "m"(*(volatile uint16_t *) addr) : "memory");
}

static inline void write32(uint64_t addr, uint32_t v) {
        asm volatile("movl %0, %1" : : "r"(v), "m"(*(volatile uint32_t *) addr) : "memory");
}

static inline void write64(uint64_t addr, uint64_t v) {
        asm volatile("movq %0, %1" : : "r"(v), "m"(*(volatile uint64_t *) addr) : "memory");
}

static inline uint8_t read8(uint64_t addr) {
        uint8_t v;

        asm volatile("movb %1, %0" : "=q"(v) : "m"(*(volatile uint8_t *) addr) : "memory");
        return v;
}

static inline uint16_t read16(uint64_t addr) {
        uint16_t v;

        asm volatile("movw %1, %0" : "=r"(v) : "m"(*(volatile uint16_t *) addr) : "memory");
        return v;
}

static inline uint32_t read32(uint64_t addr) {
        uint32_t v;

        asm volatile("movl %1, %0" : "=r"(v) : "m"(*(volatile uint32_t *) addr) : "memory");
        return v;
}

static inline uint64_t read64(uint64_t addr) {
        uint64_t v;

        asm volatile("movq %1, %0" : "=r"(v) : "m"(*(volatile uint64_t *) addr) : "memory");
        return v;
}

static inline uint64_t rdmsr(uint32_t index) {
        uint32_t lo, hi;

        asm volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(index));
        return lo | (uint64_t) hi << 32;
}

static inline void wrmsr(uint32_t index, uint64_t v) {
        asm volatile("wrmsr"
                     :
                     : "c"(index), "a"((uint32_t) v), "d"((uint32_t) (v >> 32))
                     : "memory");
}

static inline uint64_t rdtsc(void) {
        uint32_t lo, hi;

        asm volatile("rdtsc" : "=a"(lo), "=d"(hi) : : "memory");
        return lo | (uint64_t) hi << 32;
}

static inline void cpuid(uint32_t function, uint32_t index, uint32_t r[4]) {
        asm volatile("cpuid"
                     : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3])
                     : "a"(function), "c"(index));
}

static inline uint64_t read_cr3(void) {
        uint64_t v;

        asm volatile("mov %%cr3, %0" : "=r"(v));
        return v;
}

static inline void write_cr3(uint64_t v) {
        asm volatile("mov %0, %%cr3" : : "r"(v) : "memory");
}

static inline void cli(void) {
        asm volatile("cli" : : : "memory");
}

static inline void sti(void) {
        asm volatile("sti" : : : "memory");
}

/* Interrupts on, wait for one, interrupts off: nothing is lost between, because STI takes effect after HLT began. */
static inline void wait_interrupt(void) {
        asm volatile("sti; hlt; cli" : : : "memory");
}

static inline void relax(void) {
        asm volatile("pause" : : : "memory");
}

/* Orders what the compiler does; x86 keeps stores in order by itself. */
static inline void barrier(void) {
        asm volatile("" : : : "memory");
}

static inline void fence(void) {
        asm volatile("lock; addl $0, (%%rsp)" : : : "memory", "cc");
}
