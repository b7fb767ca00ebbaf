/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The table of commands: what main() runs, what help shows, what the completions are tested against. A new command is a
 * row here and a function in the file of its group.
 */

#include <string.h>

#include "chvctl/chvctl.h"

#define WAITS "no-block timeout"

static const Command table[] = {
        { "run", "[NAME] [OPTION]...", "create, start and attach to a virtual machine",
          "name config rm detach", 0, 1, true, cmd_run },
        { "create", "NAME [OPTION]...", "define a virtual machine", "name config rm", 0, 1, true,
          cmd_create },
        { "start", "NAME...", "start virtual machines", WAITS " paused", 1, -1, false, cmd_start },
        { "shutdown", "NAME...", "press the power button: ask guests to power off", "wait timeout",
          1, -1, false, cmd_shutdown },
        { "poweroff", "NAME...", "take the power away", WAITS, 1, -1, false, cmd_poweroff },
        { "reboot", "NAME...", "ask guests to power off, and start them again", WAITS " force", 1,
          -1, false, cmd_reboot },
        { "reset", "NAME...", "press the reset button", NULL, 1, -1, false, cmd_reset },
        { "pause", "NAME...", "make virtual machines stand still", NULL, 1, -1, false, cmd_pause },
        { "resume", "NAME...", "let paused virtual machines run on", NULL, 1, -1, false,
          cmd_resume },
        { "nmi", "NAME...", "send a non-maskable interrupt", NULL, 1, -1, false, cmd_nmi },
        { "delete", "NAME...", "forget virtual machines; their files stay", "force", 1, -1, false,
          cmd_delete },
        { "set-owner", "NAME USER", "give a virtual machine to another user", NULL, 2, 2, false,
          cmd_set_owner },
        { "list", "", "list virtual machines", NULL, 0, 0, false, cmd_list },
        { "info", "NAME...", "show virtual machines in full", NULL, 1, -1, false, cmd_info },
        { "counters", "NAME...", "show what devices have done", NULL, 1, -1, false, cmd_counters },
        { "console", "NAME [serial|console|debug_console]", "attach to a console",
          "read-only no-replay force", 1, 2, false, cmd_console },
        { "top", "[NAME...]", "show what running virtual machines do, again and again",
          "interval count", 0, -1, false, cmd_top },
        { "monitor", "[NAME...]", "show events as they happen", "lines timeout", 0, -1, false,
          cmd_monitor },
        { "check", "[FILE] [OPTION]...", "check a configuration", "config offline", 0, 1, true,
          cmd_check },
        { "dump", "NAME", "print a configuration as JSON", NULL, 1, 1, false, cmd_dump },
        { "edit", "NAME", "change a configuration in an editor", NULL, 1, 1, false, cmd_edit },
        { "import", "NEW FILE", "define a virtual machine from what Cloud Hypervisor reads",
          "command-line", 1, -1, false, cmd_import },
        { "rename", "NAME NEW", "give a virtual machine another name", NULL, 2, 2, false,
          cmd_rename },
        { "autostart", "NAME [on|off]", "start it when the service starts", "order delay", 1, 2,
          false, cmd_autostart },
        { "crash-policy", "NAME [destroy|restart|preserve]", "what to do after a crash", NULL, 1, 2,
          false, cmd_crash_policy },
        { "limits", "NAME [KEY=VALUE]...", "show or change what it may have of the host", NULL, 1,
          -1, false, cmd_limits },
        { "image", "create|info|check|convert|resize|snapshot|map|compare|formats [ARGUMENT]...",
          "make, show, check and change disk images", NULL, 0, -1, false, cmd_image,
          /* passes_on= */ true },
        { "update", "NAME DEVICE OPTION=VALUE...", "change a device of a running virtual machine",
          NULL, 3, -1, false, cmd_update },
        { "update-group", "NAME GROUP OPTION=VALUE...",
          "change the limits that disks of a running virtual machine share", NULL, 3, -1, false,
          cmd_update_group },
        { "resize-disk", "NAME DISK [SIZE]",
          "give a disk of a running virtual machine another size", "shrink", 2, 3, false,
          cmd_resize_disk },
        { "capture", "NAME DEVICE", "copy the frames of a network device to a file",
          "output snaplen count", 2, 2, false, cmd_capture },
        { "version", "", "show the client's and the service's version", NULL, 0, 0, false,
          cmd_version },
        { "help", "[COMMAND|SECTION]", "explain a command or a section of the configuration", NULL,
          0, 1, false, cmd_help },
};

const Command *commands(size_t *ret_n) {
        *ret_n = G_N_ELEMENTS(table);
        return table;
}

const Command *command_find(const char *name) {
        for (size_t i = 0; i < G_N_ELEMENTS(table); i++)
                if (strcmp(table[i].name, name) == 0)
                        return &table[i];
        return NULL;
}
