/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/* Proves that each boot protocol is entered with the registers its specification asks for. */

#include "hypervisor/arch/x86_64/layout.h"
#include "hypervisor/arch/x86_64/regs.h"

static struct x86_boot_regs enter(enum boot_protocol protocol) {
        const struct boot_entry entry = { .protocol = protocol,
                                          .pc = 0x1000200,
                                          .boot_info = 0x7000,
                                          .stack = 0x8ff0,
                                          .page_table = 0xa000 };
        struct x86_boot_regs r;

        x86_boot_regs_for(&entry, &r);
        g_assert_cmphex(r.rip, ==, 0x1000200);
        g_assert_cmphex(r.rsp, ==, 0x8ff0);
        g_assert_cmphex(r.rflags, ==, 2); /* interrupts off */
        g_assert_cmphex(r.gdt_base, ==, 0x500);
        g_assert_cmpuint(r.gdt_limit, ==, 31);
        g_assert_cmphex(r.idt_base, ==, 0x520);
        g_assert_cmpuint(r.code.selector, ==, X86_BOOT_CS);
        g_assert_cmpuint(r.data.selector, ==, X86_BOOT_DS);
        g_assert_cmpuint(r.tss.selector, ==, X86_BOOT_TSS);
        g_assert_cmphex(r.tss.limit, ==, 0x67);
        g_assert_true(r.tss.system);
        g_assert_cmphex(r.code.limit, ==, UINT32_MAX);
        return r;
}

static void check_flat(const struct x86_boot_regs *r) {
        g_assert_cmphex(r->cr0, ==, 0x11);
        g_assert_cmphex(r->cr4 | r->efer | r->cr3, ==, 0);
        g_assert_true(r->code.size32 && !r->code.long_mode);
}

static void check_long(const struct x86_boot_regs *r) {
        g_assert_cmphex(r->cr0, ==, 0x80000011);
        g_assert_cmphex(r->cr3, ==, 0xa000);
        g_assert_cmphex(r->cr4, ==, 0x20);
        g_assert_cmphex(r->efer, ==, 0x500);
        g_assert_true(!r->code.size32 && r->code.long_mode);
        g_assert_cmphex(r->rsi, ==, 0x7000);
}

static void test_protocols(void) {
        struct x86_boot_regs r;

        r = enter(BOOT_PVH);
        check_flat(&r);
        g_assert_cmphex(r.rbx, ==, 0x7000);

        r = enter(BOOT_LINUX32);
        check_flat(&r);
        g_assert_cmphex(r.rsi, ==, 0x7000);
        g_assert_cmphex(r.rbp | r.rdi | r.rbx, ==, 0);

        r = enter(BOOT_LINUX64);
        check_long(&r);

        r = enter(BOOT_FREESTANDING);
        check_long(&r);
        g_assert_cmphex(r.rdi, ==, 0x7000);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/regs/protocols", test_protocols);
        return g_test_run();
}
