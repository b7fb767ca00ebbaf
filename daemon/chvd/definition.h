/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <gio/gio.h>
#include <gio/gunixfdlist.h>
#include <stdbool.h>

#include "daemon/chvd/fd-set.h"
#include "daemon/chvd/store-record.h"
#include "dbus/config.h"

/* What a VM is: its completed and validated configuration, and the descriptors its creator gave for it. Never changes, so a thread may
 * read it while it holds a reference. */
typedef struct {
        char *name;
        ChvConfig *config;
        GVariant *dict;   /* a{sv}, the same configuration */
        GArray *needs;    /* ChvResource */
        ChvdFdSet *given; /* by the creator */
        char *lost; /* name of a descriptor that was given before the service was restarted; NULL: none */
} ChvdDefinition;

/* Networks that say nothing else are passt's from now on: there is nobody to make interfaces. */
void chvd_definition_set_session(void);

/* Checks all a client can get wrong: name, sizes, options, rules across options, and each descriptor against the option it serves. */
ChvdDefinition *chvd_definition_new(
                const char *name,
                GVariant *dict,
                GVariant *handles,
                GUnixFDList *list,
                GError **error);
/* The host's randomness, which is everybody's to open. */
bool chvd_definition_is_anybodys(const ChvResource *need);
/* Whether chvd would open, make or attach to something of the host for it with its own rights: interfaces that its creator did not pass, and
 * every path if privileged, that is if its owner's rights are chvd's. */
bool chvd_definition_names_host(const ChvdDefinition *definition, bool privileged);
/* What is to be kept of a VM that is this. */
ChvdRecord *chvd_definition_record(
                const ChvdDefinition *definition,
                uid_t owner,
                uint64_t created,
                const ChvdPolicy *policy);
/* The same under another name, which has to be a valid one. */
ChvdDefinition *chvd_definition_renamed(const ChvdDefinition *definition, const char *name);
/* The same with changes (a{sv}) of a device of it that is there already. */
ChvdDefinition *chvd_definition_updated(
                const ChvdDefinition *definition,
                const char *id,
                GVariant *changes,
                GError **error);
/* The same with changes of a group of limits. */
ChvdDefinition *chvd_definition_group_updated(
                const ChvdDefinition *definition,
                const char *group,
                GVariant *changes,
                GError **error);
ChvdDefinition *chvd_definition_ref(ChvdDefinition *definition);
void chvd_definition_unref(ChvdDefinition *definition);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(ChvdDefinition, chvd_definition_unref)
