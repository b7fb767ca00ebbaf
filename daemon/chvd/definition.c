/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A VM's definition: built once from what a client sent, and then constant. Everything about it that can be wrong
 * without touching the host is found here, so that CreateVM and CheckConfig give the same answers.
 */

#include "daemon/chvd/definition.h"

#include <string.h>
#include <unistd.h>

#include "daemon/chvd/poll-queues.h"
#include "daemon/chvd/quota.h"
#include "daemon/chvd/resource.h"
#include "dbus/error.h"

static void definition_clear(gpointer data) {
        ChvdDefinition *definition = data;

        g_clear_pointer(&definition->needs, g_array_unref);
        g_clear_pointer(&definition->config, chv_config_free);
        g_clear_pointer(&definition->dict, g_variant_unref);
        g_clear_pointer(&definition->given, chvd_fd_set_free);
        g_clear_pointer(&definition->name, g_free);
        g_clear_pointer(&definition->lost, g_free);
}

ChvdDefinition *chvd_definition_ref(ChvdDefinition *definition) {
        return g_atomic_rc_box_acquire(definition);
}

void chvd_definition_unref(ChvdDefinition *definition) {
        g_atomic_rc_box_release_full(definition, definition_clear);
}

/* Names of the descriptors that were given for it. */
static GVariant *given_names(const ChvdDefinition *definition) {
        GVariantBuilder names;

        g_variant_builder_init(&names, G_VARIANT_TYPE_STRING_ARRAY);
        for (size_t i = 0; i < chvd_fd_set_size(definition->given); i++)
                g_variant_builder_add(&names, "s", chvd_fd_set_name(definition->given, i));
        if (definition->lost)
                g_variant_builder_add(&names, "s", definition->lost);
        return g_variant_ref_sink(g_variant_builder_end(&names));
}

ChvdRecord *chvd_definition_record(
                const ChvdDefinition *definition,
                uid_t owner,
                uint64_t created,
                const ChvdPolicy *policy) {
        ChvdRecord *record = g_new0(ChvdRecord, 1);

        record->owner = owner;
        record->created = created;
        record->policy = *policy;
        record->config = g_variant_ref(definition->dict);
        record->given = given_names(definition);
        return record;
}

/* Takes config, which needs what definition does. */
static ChvdDefinition *
derive(const ChvdDefinition *definition, const char *name, ChvConfig *config, GVariant *dict) {
        ChvdDefinition *derived = g_atomic_rc_box_new0(ChvdDefinition);

        derived->name = g_strdup(name);
        derived->dict = g_variant_ref_sink(dict);
        derived->config = config;
        derived->needs = chv_config_resources(config);
        derived->given = chvd_fd_set_copy(definition->given);
        derived->lost = g_strdup(definition->lost);
        return derived;
}

ChvdDefinition *chvd_definition_renamed(const ChvdDefinition *definition, const char *name) {
        return derive(definition, name, chv_config_copy(definition->config), definition->dict);
}

/* Takes config, which was changed or, if that failed, half changed. */
static ChvdDefinition *
updated(const ChvdDefinition *definition, ChvConfig *changed, bool good, GError **error) {
        g_autoptr(ChvConfig) config = changed;
        GVariant *dict;

        if (!good || !chv_config_validate(config, error))
                return NULL;
        dict = chv_config_to_variant(config);
        return derive(definition, definition->name, g_steal_pointer(&config), dict);
}

ChvdDefinition *chvd_definition_updated(
                const ChvdDefinition *definition,
                const char *id,
                GVariant *changes,
                GError **error) {
        ChvConfig *config = chv_config_copy(definition->config);

        return updated(definition, config, chv_config_update(config, id, changes, error), error);
}

ChvdDefinition *chvd_definition_group_updated(
                const ChvdDefinition *definition,
                const char *group,
                GVariant *changes,
                GError **error) {
        ChvConfig *config = chv_config_copy(definition->config);

        return updated(definition, config, chv_config_update_group(config, group, changes, error),
                       error);
}

static ChvConsoleMode console_mode(const ChvConfig *config, const char *name) {
        if (g_str_equal(name, "serial"))
                return config->serial.mode;
        if (g_str_equal(name, "console"))
                return config->console.mode;
        if (g_str_equal(name, "debug_console"))
                return config->debug_console.mode;
        return CHV_CONSOLE_OFF;
}

/* A console in tty mode is the creator's own terminal, which is no host resource that anybody opens. */
static bool
check_terminal(const ChvdDefinition *definition, const char *name, int fd, GError **error) {
        if (console_mode(definition->config, name) != CHV_CONSOLE_TTY) {
                g_autofree char *quoted = chv_quote_text(name);

                g_set_error(error, CHV_ERROR, CHV_ERROR_INVALID_CONFIG,
                            "fds: %s serves no option of this configuration", quoted);
                return false;
        }
        if (!isatty(fd)) {
                g_set_error(error, CHV_ERROR, CHV_ERROR_RESOURCE,
                            "%s.mode: the descriptor is not a terminal", name);
                return false;
        }
        return true;
}

static const ChvResource *find_need(const ChvdDefinition *definition, const char *fd_name) {
        for (unsigned i = 0; i < definition->needs->len; i++) {
                const ChvResource *need = &g_array_index(definition->needs, ChvResource, i);

                if (g_str_equal(need->fd_name, fd_name))
                        return need;
        }
        return NULL;
}

static bool check_given(const ChvdDefinition *definition, GError **error) {
        for (size_t i = 0; i < chvd_fd_set_size(definition->given); i++) {
                const char *name = chvd_fd_set_name(definition->given, i);
                int fd = chvd_fd_set_get(definition->given, name);
                const ChvResource *need = find_need(definition, name);

                if (need ? !chvd_resource_check(need, fd, error) ||
                                                    !chvd_poll_queues_check(need, fd, error)
                         : !check_terminal(definition, name, fd, error))
                        return false;
        }
        return true;
}

static bool session;

void chvd_definition_set_session(void) {
        session = true;
}

/* But for those that come with a descriptor. */
static void prefer_passt(ChvConfig *config, GVariant *handles) {
        for (size_t i = 0; i < config->n_net; i++) {
                g_autofree char *name = g_strdup_printf("net/%s/0", config->net[i].pci.id);
                gint32 handle;

                if (!g_variant_lookup(handles, name, "h", &handle))
                        chv_config_prefer_passt(config, i);
        }
}

ChvdDefinition *chvd_definition_new(
                const char *name,
                GVariant *dict,
                GVariant *handles,
                GUnixFDList *list,
                GError **error) {
        g_autoptr(ChvdDefinition) definition = g_atomic_rc_box_new0(ChvdDefinition);

        if (!chv_name_valid(name, error))
                return NULL;
        if (g_variant_get_size(dict) > CHVD_MAX_CONFIG_BYTES) {
                g_set_error(error, CHV_ERROR, CHV_ERROR_LIMIT,
                            "the configuration is larger than %d KiB",
                            CHVD_MAX_CONFIG_BYTES / 1024);
                return NULL;
        }
        definition->name = g_strdup(name);
        definition->config = chv_config_from_variant(dict, error);
        if (!definition->config)
                return NULL;
        chv_config_complete(definition->config);
        if (session)
                prefer_passt(definition->config, handles);
        if (!chv_config_validate(definition->config, error))
                return NULL;
        definition->dict = g_variant_ref_sink(chv_config_to_variant(definition->config));
        definition->needs = chv_config_resources(definition->config);
        definition->given = chvd_fd_set_from_variant(handles, list, error);
        if (!definition->given || !check_given(definition, error))
                return NULL;
        return g_steal_pointer(&definition);
}

bool chvd_definition_is_anybodys(const ChvResource *need) {
        return need->kind == CHV_RESOURCE_RNG && g_strcmp0(need->path, "/dev/urandom") == 0;
}

bool chvd_definition_names_host(const ChvdDefinition *definition, bool privileged) {
        for (unsigned i = 0; i < definition->needs->len; i++) {
                const ChvResource *need = &g_array_index(definition->needs, ChvResource, i);

                if ((privileged || need->kind == CHV_RESOURCE_TAP) &&
                    !chvd_definition_is_anybodys(need) &&
                    chvd_fd_set_get(definition->given, need->fd_name) < 0)
                        return true;
        }
        return false;
}
