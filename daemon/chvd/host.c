/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What the host offers, read once when the service starts.
 */

#include "daemon/chvd/host.h"

#include <sys/utsname.h>
#include <unistd.h>

#include "dbus/schema.h"

char **chvd_host_features(void) {
        g_autoptr(GStrvBuilder) builder = g_strv_builder_new();
        size_t n;
        const ChvSection *sections = chv_schema(&n);

        for (size_t i = 0; i < n; i++)
                g_strv_builder_add(builder, sections[i].key);
        return g_strv_builder_end(builder);
}

GVariant *chvd_host_capabilities(const char *kvm_path) {
        long pages = sysconf(_SC_PHYS_PAGES), page_size = sysconf(_SC_PAGESIZE);
        GVariantDict dict;
        struct utsname host;

        g_variant_dict_init(&dict, NULL);
        if (uname(&host) == 0) {
                g_variant_dict_insert(&dict, "architecture", "s", host.machine);
                g_variant_dict_insert(&dict, "kernel", "s", host.release);
        }
        g_variant_dict_insert(&dict, "cpus", "u", (guint32) g_get_num_processors());
        if (pages > 0 && page_size > 0)
                g_variant_dict_insert(&dict, "memory", "t", (guint64) pages * (guint64) page_size);
        g_variant_dict_insert(&dict, "kvm", "b", (gboolean) (access(kvm_path, R_OK | W_OK) == 0));
        return g_variant_dict_end(&dict);
}
