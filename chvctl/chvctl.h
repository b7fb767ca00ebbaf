/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <gio/gio.h>
#include <stdbool.h>

/* Exit statuses, documented in chvctl(1). */
typedef enum {
        EXIT_OK = 0,
        EXIT_FAILED = 1,
        EXIT_USAGE = 2,      /* the command line or the configuration is wrong */
        EXIT_MISSING = 3,    /* no such virtual machine or device */
        EXIT_DENIED = 4,     /* not allowed */
        EXIT_NO_SERVICE = 5, /* the bus or the service can't be reached */
        EXIT_TIMED_OUT = 6,
        EXIT_STATE = 7, /* the virtual machine's state does not allow it, or it is busy */
} ExitStatus;

typedef enum {
        JSON_OFF,
        JSON_SHORT,
        JSON_PRETTY,
} JsonMode;

/* What the command line says. Everything is owned by it. */
typedef struct {
        /* which service */
        bool user;
        char *address;
        char *socket;
        char *host;
        bool no_ask_password;
        /* how to show */
        JsonMode json;
        bool no_legend;
        /* how to act */
        bool no_block, wait, paused, force, remove, detach, read_only, no_replay, offline, help;
        bool shrink; /* the end of a disk may be cut off */
        int timeout; /* seconds; 0: none */
        bool command_line, has_order, has_delay;
        int order, delay;
        int lines;    /* events to show; 0: all */
        int count;    /* samples to show, frames to capture; 0: no end */
        int snaplen;  /* bytes of a frame to capture; 0: all */
        char *output; /* file to write to; NULL: standard output */
        int interval; /* seconds; 0: the usual */
        char *name;
        char *config_file;
        GPtrArray *config_options; /* section, value, section, value … */
        GPtrArray *arguments;      /* of the command, without its name; NULL-terminated by args() */
} Options;

typedef struct Bus Bus;

typedef struct {
        const char *name;
        const char *arguments; /* for help: "NAME..." */
        const char *summary;
        const char *options; /* names of those it knows beside the common ones, separated by spaces */
        int min, max;        /* arguments; max -1: any number */
        bool configures;     /* takes configuration options */
        ExitStatus (*run)(Options *options, Bus *bus);
        bool passes_on; /* every word behind its name is an argument, options too */
} Command;

const Command *commands(size_t *ret_n);
const Command *command_find(const char *name);

/* cmd-*.c */
ExitStatus cmd_create(Options *options, Bus *bus);
ExitStatus cmd_run(Options *options, Bus *bus);
ExitStatus cmd_check(Options *options, Bus *bus);
ExitStatus cmd_start(Options *options, Bus *bus);
ExitStatus cmd_shutdown(Options *options, Bus *bus);
ExitStatus cmd_poweroff(Options *options, Bus *bus);
ExitStatus cmd_reboot(Options *options, Bus *bus);
ExitStatus cmd_reset(Options *options, Bus *bus);
ExitStatus cmd_pause(Options *options, Bus *bus);
ExitStatus cmd_resume(Options *options, Bus *bus);
ExitStatus cmd_nmi(Options *options, Bus *bus);
ExitStatus cmd_set_owner(Options *options, Bus *bus);
ExitStatus cmd_delete(Options *options, Bus *bus);
ExitStatus cmd_list(Options *options, Bus *bus);
ExitStatus cmd_info(Options *options, Bus *bus);
ExitStatus cmd_counters(Options *options, Bus *bus);
ExitStatus cmd_console(Options *options, Bus *bus);
ExitStatus cmd_top(Options *options, Bus *bus);
ExitStatus cmd_monitor(Options *options, Bus *bus);
ExitStatus cmd_autostart(Options *options, Bus *bus);
ExitStatus cmd_crash_policy(Options *options, Bus *bus);
ExitStatus cmd_limits(Options *options, Bus *bus);
ExitStatus cmd_update(Options *options, Bus *bus);
ExitStatus cmd_update_group(Options *options, Bus *bus);
ExitStatus cmd_resize_disk(Options *options, Bus *bus);
ExitStatus cmd_capture(Options *options, Bus *bus);
ExitStatus cmd_dump(Options *options, Bus *bus);
ExitStatus cmd_import(Options *options, Bus *bus);
ExitStatus cmd_edit(Options *options, Bus *bus);
ExitStatus cmd_rename(Options *options, Bus *bus);
ExitStatus cmd_image(Options *options, Bus *bus);
ExitStatus cmd_version(Options *options, Bus *bus);
ExitStatus cmd_help(Options *options, Bus *bus);
