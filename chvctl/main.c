/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/* chvctl: reads the command line, finds the command in the table, runs it. */

#include <locale.h>
#include <stdio.h>
#include <string.h>

#include "chvctl/arguments.h"
#include "chvctl/bus.h"
#include "chvctl/complete.h"
#include "chvctl/fail.h"
#include "chvctl/help.h"

int main(int argc, char **argv) {
        g_auto(Options) options = { 0 };
        g_auto(Bus) bus = { .options = &options };
        g_autoptr(GError) error = NULL;
        const Command *command;

        (void) setlocale(LC_ALL, "");
        g_set_prgname("chvctl");
        if (argc > 1 && strcmp(argv[1], "__complete") == 0)
                return complete(argv + 2);
        if (!arguments_parse(argv, &options, &command, &error))
                return (int) fail(&options, NULL, error);
        if (options.help) {
                g_autofree char *text = help_command(command);

                (void) fputs(text, stdout);
                return EXIT_OK;
        }
        return (int) command->run(&options, &bus);
}
