/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The record of a run, as text: a key file with a version, one dictionary, and a last line without which it is cut
 * short. The VM in it is the text of its definition, so there is one reader for both. Nothing is optional that a wrong
 * guess would cost a guest: a record that is not understood is nobody's to act upon.
 */

#include "daemon/chvd/run-record.h"

#include <string.h>

#include "dbus/error.h"

#define GROUP "Run"
#define VERSION "1"

static const char *const phases[] = {
        [CHVD_RUN_STARTING] = "starting",
        [CHVD_RUN_RUNNING] = "running",
        [CHVD_RUN_STOPPING] = "stopping",
};

void chvd_run_free(ChvdRun *run) {
        if (!run)
                return;
        chvd_record_free(run->record);
        g_clear_pointer(&run->consoles, g_variant_unref);
        g_clear_pointer(&run->resources, g_variant_unref);
        g_free(run->boot);
        g_free(run->reason);
        g_free(run->handle);
        g_free(run);
}

char *chvd_run_boot(void) {
        char *text = NULL;

        if (g_file_get_contents("/proc/sys/kernel/random/boot_id", &text, NULL, NULL))
                return g_strchomp(text);
        return g_strdup("unknown");
}

static ChvdRunPhase phase_from_string(const char *text) {
        for (size_t i = 0; i < G_N_ELEMENTS(phases); i++)
                if (g_str_equal(phases[i], text))
                        return (ChvdRunPhase) i;
        return CHVD_RUN_INVALID;
}

char *chvd_run_to_text(const ChvdRun *run, GError **error) {
        g_autofree char *record = chvd_record_to_text(run->record, error), *boot = NULL,
                        *text = NULL;
        g_autoptr(GVariant) dict = NULL;
        GVariantDict all;

        if (!record)
                return NULL;
        boot = chvd_run_boot();
        g_variant_dict_init(&all, NULL);
        g_variant_dict_insert(&all, "boot", "s", boot);
        g_variant_dict_insert(&all, "phase", "s", phases[run->phase]);
        g_variant_dict_insert(&all, "transient", "b", (gboolean) run->transient);
        g_variant_dict_insert(&all, "keep", "b", (gboolean) run->keep);
        g_variant_dict_insert(&all, "restart", "b", (gboolean) run->restart);
        g_variant_dict_insert(&all, "record", "s", record);
        g_variant_dict_insert(&all, "before", "s", chv_vm_state_to_string(run->before));
        if (run->reason) {
                g_variant_dict_insert(&all, "end", "s", chv_vm_state_to_string(run->end));
                g_variant_dict_insert(&all, "reason", "s", run->reason);
        }
        if (run->handle)
                g_variant_dict_insert(&all, "handle", "s", run->handle);
        g_variant_dict_insert(&all, "started-at", "t", run->started_at);
        g_variant_dict_insert(&all, "deadline", "x", run->deadline);
        if (run->consoles)
                g_variant_dict_insert_value(&all, "consoles", run->consoles);
        if (run->resources)
                g_variant_dict_insert_value(&all, "resources", run->resources);
        dict = g_variant_ref_sink(g_variant_dict_end(&all));
        text = g_variant_print(dict, /* type_annotate= */ true);
        return g_strdup_printf("[" GROUP "]\nVersion=" VERSION "\nRun=%s\nComplete=true\n", text);
}

static ChvdRun *broken(GError **error, const char *what) {
        g_set_error(error, CHV_ERROR, CHV_ERROR_INVALID_CONFIG, "it is broken: %s", what);
        return NULL;
}

static bool read_states(ChvdRun *run, GVariant *dict) {
        const char *phase = "", *before = "", *end = NULL;

        (void) g_variant_lookup(dict, "phase", "&s", &phase);
        (void) g_variant_lookup(dict, "before", "&s", &before);
        (void) g_variant_lookup(dict, "end", "&s", &end);
        run->phase = phase_from_string(phase);
        run->before = chv_vm_state_from_string(before);
        run->end = end ? chv_vm_state_from_string(end) : CHV_VM_STATE_INVALID;
        if (run->before != CHV_VM_STATE_CREATED && run->before != CHV_VM_STATE_SHUTDOWN &&
            run->before != CHV_VM_STATE_FAILED)
                return false;
        /* Why it stops, and in what it ends, come together. */
        if (run->reason || run->phase == CHVD_RUN_STOPPING)
                return run->reason && run->phase != CHVD_RUN_INVALID &&
                       (run->end == CHV_VM_STATE_SHUTDOWN || run->end == CHV_VM_STATE_FAILED);
        return run->phase != CHVD_RUN_INVALID;
}

static ChvdRun *run_from_dict(GVariant *dict, GError **error) {
        g_autoptr(ChvdRun) run = g_new0(ChvdRun, 1);
        gboolean transient, restart, keep = false;
        const char *record;

        if (!g_variant_lookup(dict, "boot", "s", &run->boot) ||
            !g_variant_lookup(dict, "transient", "b", &transient) ||
            !g_variant_lookup(dict, "restart", "b", &restart) ||
            !g_variant_lookup(dict, "started-at", "t", &run->started_at) ||
            !g_variant_lookup(dict, "deadline", "x", &run->deadline) ||
            !g_variant_lookup(dict, "record", "&s", &record))
                return broken(error, "something is missing");
        run->transient = transient;
        run->restart = restart;
        (void) g_variant_lookup(dict, "keep", "b", &keep);
        run->keep = keep;
        (void) g_variant_lookup(dict, "reason", "s", &run->reason);
        (void) g_variant_lookup(dict, "handle", "s", &run->handle);
        run->consoles = g_variant_lookup_value(dict, "consoles", G_VARIANT_TYPE("a{ss}"));
        run->resources = g_variant_lookup_value(dict, "resources", G_VARIANT_TYPE_VARDICT);
        if (!read_states(run, dict))
                return broken(error, "it says nothing that can be of what it is at");
        run->record = chvd_record_from_text(record, strlen(record), /* warnings= */ NULL, error);
        return run->record ? g_steal_pointer(&run) : NULL;
}

ChvdRun *chvd_run_from_text(const char *text, size_t size, GError **error) {
        g_autoptr(GKeyFile) file = g_key_file_new();
        g_autofree char *version = NULL, *complete = NULL, *run = NULL;
        g_autoptr(GVariant) dict = NULL;
        g_autoptr(GError) syntax = NULL;

        if (!g_utf8_validate(text, (gssize) size, NULL))
                return broken(error, "it is not text");
        if (!g_key_file_load_from_data(file, text, size, G_KEY_FILE_NONE, &syntax))
                return broken(error, syntax->message);
        version = g_key_file_get_value(file, GROUP, "Version", /* error= */ NULL);
        complete = g_key_file_get_value(file, GROUP, "Complete", /* error= */ NULL);
        run = g_key_file_get_value(file, GROUP, "Run", /* error= */ NULL);
        if (!version || !run || g_strcmp0(complete, "true") != 0)
                return broken(error, "it is cut short");
        if (!g_str_equal(version, VERSION)) {
                g_autofree char *quoted = chv_quote_text(version);

                g_set_error(error, CHV_ERROR, CHV_ERROR_NOT_SUPPORTED,
                            "Version=%s is not known here", quoted);
                return NULL;
        }
        dict = g_variant_parse(G_VARIANT_TYPE_VARDICT, run, NULL, NULL, &syntax);
        return dict ? run_from_dict(dict, error) : broken(error, syntax->message);
}
