/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Ways into a guest: start64 in long mode on the loader's page tables (boot information in RSI),
 * start32 as Xen PVH in flat protected mode (in EBX), and the trampoline on which another processor
 * comes from real mode after its SIPI. All end in C on a stack of their own.
 */

        .section .note.Xen, "a", @note
        .long 4, 4, 18                  /* XEN_ELFNOTE_PHYS32_ENTRY */
        .asciz "Xen"
        .long start32

        .section .text.start, "ax"
        .code64
        .globl start64
start64:
        mov     $boot_stack_end, %rsp
        mov     %rsi, boot_info(%rip)
        movl    $64, boot_bits(%rip)
        jmp     start_c

        .code32
start32:
        mov     $boot_stack_end, %esp
        mov     %ebx, boot_info
        movl    $32, boot_bits

        /* identity map of the first 4 GiB, in pages of 2 MiB */
        movl    $(boot_pdpt + 3), boot_pml4
        mov     $(boot_pd + 3), %eax
        mov     $boot_pdpt, %edi
1:      mov     %eax, (%edi)
        add     $0x1000, %eax
        add     $8, %edi
        cmp     $(boot_pdpt + 32), %edi
        jne     1b
        mov     $0x83, %eax
        mov     $boot_pd, %edi
2:      mov     %eax, (%edi)
        add     $0x200000, %eax
        add     $8, %edi
        cmp     $(boot_pd + 4 * 4096), %edi
        jne     2b

        mov     $0x20, %eax             /* CR4.PAE */
        mov     %eax, %cr4
        mov     $boot_pml4, %eax
        mov     %eax, %cr3
        mov     $0xc0000080, %ecx       /* EFER.LME */
        rdmsr
        or      $0x100, %eax
        wrmsr
        mov     %cr0, %eax
        or      $0x80000000, %eax
        mov     %eax, %cr0
        lgdt    gdt_pointer
        ljmp    $8, $start_c

        .code64
start_c:
        lgdt    gdt_pointer(%rip)
        pushq   $8
        lea     1f(%rip), %rax
        pushq   %rax
        lretq
1:      mov     $0x10, %eax
        mov     %eax, %ds
        mov     %eax, %es
        mov     %eax, %ss
        call    guest_start
2:      hlt
        jmp     2b

        /* copied to a page below 1 MiB; CS and IP tell it nothing, so addresses are relative to that page */
        .section .rodata
        .code16
        .globl ap_trampoline, ap_trampoline_end
ap_trampoline:
        cli
        mov     %cs, %ax
        mov     %ax, %ds
        lgdtl   ap_gdt_pointer - ap_trampoline
        mov     $0x20, %eax
        mov     %eax, %cr4
        mov     ap_cr3 - ap_trampoline, %eax
        mov     %eax, %cr3
        mov     $0xc0000080, %ecx
        rdmsr
        or      $0x100, %eax
        wrmsr
        mov     $0x80000011, %eax       /* paging and protection together: straight into long mode */
        mov     %eax, %cr0
        ljmpl   $8, $ap_entry
        .balign 8
ap_gdt_pointer:
        .word   gdt_end - gdt - 1
        .long   gdt
        .balign 8
        .globl ap_trampoline_cr3
ap_trampoline_cr3:
ap_cr3: .quad   0
ap_trampoline_end:

        .text
        .code64
ap_entry:
        mov     $0x10, %eax
        mov     %eax, %ds
        mov     %eax, %es
        mov     %eax, %ss
        mov     ap_stack_top(%rip), %rsp
        call    ap_start
1:      hlt
        jmp     1b

        /* One stub a vector; those of exceptions with an error code leave the CPU's in place. */
        .altmacro
        .macro  stub vector
        .balign 16
        .if     \vector == 8 || (\vector >= 10 && \vector <= 14) || \vector == 17 || \vector == 21
        .else
        pushq   $0
        .endif
        pushq   $\vector
        jmp     irq_common
        .endm

        .balign 16
        .globl irq_stubs
irq_stubs:
        .set    i, 0
        .rept   256
        stub    %i
        .set    i, i + 1
        .endr

        .noaltmacro
irq_common:
        .irp    r, rax, rbx, rcx, rdx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15
        push    %\r
        .endr
        mov     %rsp, %rdi
        cld
        call    irq_entry
        .irp    r, r15, r14, r13, r12, r11, r10, r9, r8, rbp, rdi, rsi, rdx, rcx, rbx, rax
        pop     %\r
        .endr
        add     $16, %rsp
        iretq

        .data
        .balign 8
gdt:    .quad   0
        .quad   0x00af9b000000ffff      /* code, 64-bit */
        .quad   0x00cf93000000ffff      /* data */
gdt_end:
        .balign 8
gdt_pointer:
        .word   gdt_end - gdt - 1
        .quad   gdt
        .balign 8
        .globl boot_info, boot_bits
boot_info:
        .quad   0
boot_bits:
        .quad   0

        .bss
        .balign 4096
boot_pml4:
        .skip   4096
boot_pdpt:
        .skip   4096
boot_pd:
        .skip   4 * 4096
boot_stack:
        .skip   16384
boot_stack_end:

        .section .note.GNU-stack, "", @progbits
