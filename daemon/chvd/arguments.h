/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "daemon/chvd/units.h"

/* The command line: what chvd(8) says of it, with what is not given filled in. */
typedef struct {
        gboolean session, system, replace, version;
        char *address; /* NULL: of the bus that is served */
        char *socket;  /* NULL: none */
        char *worker, *kvm, *state_dir, *runtime_dir, *config_dir;
        char *seccomp; /* NULL: as chv-vmm does of its own accord */
        char *units;
        ChvdUnitsMode units_mode;
        char *idle_exit;
        uint64_t idle_exit_ms; /* CHVD_CONF_UNSET: as the configuration says */
} ChvdArguments;

/* Zeroed before. False: G_OPTION_ERROR that names the option. To be cleared either way. */
bool chvd_arguments_parse(ChvdArguments *arguments, int argc, char **argv, GError **error);
void chvd_arguments_clear(ChvdArguments *arguments);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(ChvdArguments, chvd_arguments_clear)
