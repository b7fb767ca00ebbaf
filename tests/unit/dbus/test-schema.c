/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves for every row of the schema that it is well-formed and documented, that its smallest and largest values
 * pass through each codec unchanged and that what lies beyond is refused by each; and for random configurations
 * that writing and reading back with any codec gives the same configuration.
 */

#include <string.h>

#include "dbus/codec.h"
#include "dbus/config.h"
#include "dbus/error.h"

static bool is_number(const ChvOption *option) {
        return (option->type >= CHV_OPT_U8 && option->type <= CHV_OPT_SIZE) ||
               option->type == CHV_OPT_HEX;
}

static bool is_text(const ChvOption *option) {
        return !option->choices &&
               (option->type == CHV_OPT_STRING || option->type == CHV_OPT_PATH ||
                option->type == CHV_OPT_CONSOLE_FILE || option->type == CHV_OPT_CONSOLE_SOCKET);
}

static void test_rows(void) {
        size_t n;
        const ChvSection *sections = chv_schema(&n);

        g_assert_cmpuint(n, <=, 32); /* a reader keeps a bit for each */
        g_assert_null(chv_schema_section("nothing"));
        for (size_t i = 0; i < n; i++) {
                const ChvSection *section = &sections[i];

                g_assert_nonnull(section->doc);
                g_assert_true(section->bare == !section->cli);
                g_assert_true(chv_schema_section(section->key) == section);
                if (section->cli)
                        g_assert_true(chv_schema_section(section->cli) == section);
                for (size_t j = 0; j < section->n_options; j++) {
                        const ChvOption *option = &section->options[j];
                        uint64_t min, max;

                        g_assert_nonnull(option->doc);
                        g_assert_nonnull(chv_option_placeholder(option));
                        g_assert_true(chv_section_option(section, option->key, false) == option);
                        g_assert_true(option->type != CHV_OPT_CONSOLE_MODE || j == 0);
                        chv_option_range(option, &min, &max);
                        g_assert_cmpuint(min, <=, max);
                }
        }
}

/* One option in a dictionary of its own, with what else it takes to be readable. */
static GVariant *wrap(const ChvSection *section, const ChvOption *option, GVariant *value) {
        g_auto(GVariantDict) inner = G_VARIANT_DICT_INIT(NULL), outer = G_VARIANT_DICT_INIT(NULL);
        GVariant *element;

        if (option->type == CHV_OPT_CONSOLE_FILE)
                g_variant_dict_insert(&inner, "mode", "s", "file");
        if (option->type == CHV_OPT_CONSOLE_SOCKET)
                g_variant_dict_insert(&inner, "mode", "s", "socket");
        g_variant_dict_insert_value(&inner, option->key, value);
        element = g_variant_dict_end(&inner);
        if (section->list)
                element = g_variant_new_array(NULL, &element, 1);
        g_variant_dict_insert_value(&outer, section->key, element);
        return g_variant_ref_sink(g_variant_dict_end(&outer));
}

static ChvConfig *from_options(char **argv, GError **error) {
        g_autoptr(ChvConfig) config = chv_config_new();

        for (; *argv; argv += 2) {
                g_assert_true(g_str_has_prefix(argv[0], "--"));
                g_assert_nonnull(argv[1]);
                if (!chv_config_add_option(config, argv[0] + 2, argv[1], error))
                        return NULL;
        }
        return g_steal_pointer(&config);
}

static void assert_equal(const ChvConfig *a, const ChvConfig *b) {
        g_autoptr(GVariant) va = g_variant_ref_sink(chv_config_to_variant(a));
        g_autoptr(GVariant) vb = g_variant_ref_sink(chv_config_to_variant(b));

        if (!g_variant_equal(va, vb)) {
                g_autofree char *sa = g_variant_print(va, TRUE), *sb = g_variant_print(vb, TRUE);

                g_error("not equal:\n%s\n%s", sa, sb);
        }
}

static void assert_round_trips(const ChvConfig *config) {
        g_autoptr(GError) error = NULL;
        g_autoptr(GVariant) dict = g_variant_ref_sink(chv_config_to_variant(config));
        g_autofree char *json = chv_config_to_json(config);
        g_auto(GStrv) argv = chv_config_to_options(config);
        g_autoptr(ChvConfig) by_bus = NULL, by_json = NULL, by_options = NULL;

        by_bus = chv_config_from_variant(dict, &error);
        g_assert_no_error(error);
        assert_equal(config, by_bus);
        by_json = chv_config_from_json(json, -1, &error);
        g_assert_no_error(error);
        assert_equal(config, by_json);
        by_options = from_options(argv, &error);
        g_assert_no_error(error);
        assert_equal(config, by_options);
}

static void accept(const ChvSection *section, const ChvOption *option, GVariant *value) {
        g_autoptr(GError) error = NULL;
        g_autoptr(GVariant) dict = wrap(section, option, value);
        g_autoptr(ChvConfig) config = chv_config_from_variant(dict, &error);

        g_assert_no_error(error);
        assert_round_trips(config);
}

static void
refuse(const ChvSection *section, const ChvOption *option, GVariant *value, const char *text) {
        g_autofree char *name = g_strdup_printf(
                        section->list ? "%s[0].%s: " : "%s.%s: ", section->key, option->key);
        g_autoptr(GError) error = NULL, option_error = NULL;
        g_autoptr(GVariant) dict = wrap(section, option, value);
        g_autoptr(ChvConfig) config = chv_config_from_variant(dict, &error);
        g_autoptr(ChvConfig) by_option = chv_config_new();
        g_autofree char *word =
                        g_strdup_printf("%s%s%s",
                                        section->bare ? ""
                                        : option->cli ? option->cli
                                                      : option->key,
                                        section->bare ? "" : "=", text);

        g_assert_null(config);
        g_assert_error(error, CHV_ERROR, CHV_ERROR_INVALID_CONFIG);
        if (!g_str_has_prefix(error->message, name))
                g_error("%s says '%s'", name, error->message);
        g_assert_false(chv_config_add_option(
                        by_option, section->bare ? option->key : section->cli, word,
                        &option_error));
        g_assert_error(option_error, CHV_ERROR, CHV_ERROR_INVALID_CONFIG);
        g_assert_nonnull(strstr(option_error->message, option->cli ? option->cli : option->key));
}

static void test_number(const ChvSection *section, const ChvOption *option) {
        uint64_t min, max;

        chv_option_range(option, &min, &max);
        accept(section, option, g_variant_new_uint64(option->power_of_2 && min == 0 ? 1 : min));
        accept(section, option, g_variant_new_uint64(max));
        if (max < UINT64_MAX) {
                const char *format = option->type == CHV_OPT_HEX ? "%" G_GINT64_MODIFIER "x"
                                                                 : "%" G_GUINT64_FORMAT;
                g_autofree char *text = g_strdup_printf(format, max + 1);

                refuse(section, option, g_variant_new_uint64(max + 1), text);
        }
        if (min > 0) {
                g_autofree char *text = g_strdup_printf("%" G_GUINT64_FORMAT, min - 1);

                refuse(section, option, g_variant_new_uint64(min - 1), text);
        }
        refuse(section, option, g_variant_new_int64(-1), "-1");
        refuse(section, option, g_variant_new_string("1x"), "1x");
}

static void test_text(const ChvSection *section, const ChvOption *option) {
        uint64_t min, max;
        g_autofree char *longest = NULL, *too_long = NULL;

        chv_option_range(option, &min, &max);
        longest = g_strnfill(max, '"');
        too_long = g_strnfill(max + 1, 'a');
        accept(section, option, g_variant_new_string(longest));
        accept(section, option, g_variant_new_string(min == 0 ? "" : "a"));
        refuse(section, option, g_variant_new_string(too_long), too_long);
        refuse(section, option, g_variant_new_string("a\nb"), "a\nb");
        if (min > 0)
                refuse(section, option, g_variant_new_string(""), "");
}

static void test_limits(void) {
        size_t n;
        const ChvSection *sections = chv_schema(&n);

        for (size_t i = 0; i < n; i++)
                for (size_t j = 0; j < sections[i].n_options; j++) {
                        const ChvOption *option = &sections[i].options[j];

                        if (is_number(option))
                                test_number(&sections[i], option);
                        else if (is_text(option))
                                test_text(&sections[i], option);
                        else if (option->type == CHV_OPT_BOOL) {
                                accept(&sections[i], option, g_variant_new_boolean(TRUE));
                                accept(&sections[i], option, g_variant_new_boolean(FALSE));
                                refuse(&sections[i], option, g_variant_new_uint32(1), "1");
                        } else if (option->type != CHV_OPT_CONSOLE_MODE)
                                refuse(&sections[i], option, g_variant_new_uint32(1), "[\"\"]");
                }
}

static char *random_text(GRand *rand, uint64_t min, uint64_t max) {
        static const char alphabet[] = "abc/.:-_ =,\"[]@\\'%äß#";
        uint64_t length = min + g_rand_int(rand) % (MIN(max, 24) - min + 1);
        GString *text = g_string_new(NULL);

        while (text->len < length) {
                glong offset = g_rand_int_range(rand, 0, (gint32) g_utf8_strlen(alphabet, -1));
                const char *p = g_utf8_offset_to_pointer(alphabet, offset);

                if (text->len + (size_t) (g_utf8_next_char(p) - p) > max)
                        p = "x";
                g_string_append_len(text, p, g_utf8_next_char(p) - p);
        }
        return g_string_free(text, FALSE);
}

static GVariant *random_pins(GRand *rand, const char *key) {
        g_auto(GVariantBuilder) pins = G_VARIANT_BUILDER_INIT(G_VARIANT_TYPE("aa{sv}"));

        for (int i = g_rand_int_range(rand, 0, 4); i > 0; i--) {
                g_auto(GVariantBuilder) cpus = G_VARIANT_BUILDER_INIT(G_VARIANT_TYPE("aq"));

                for (int j = g_rand_int_range(rand, 1, 5); j > 0; j--)
                        g_variant_builder_add(&cpus, "q", g_rand_int_range(rand, 0, 65536));
                g_variant_builder_open(&pins, G_VARIANT_TYPE_VARDICT);
                g_variant_builder_add(
                                &pins, "{sv}", key,
                                g_variant_new_int32(g_rand_int_range(rand, 0, 8192)));
                g_variant_builder_add(&pins, "{sv}", "host_cpus", g_variant_builder_end(&cpus));
                g_variant_builder_close(&pins);
        }
        return g_variant_builder_end(&pins);
}

static GVariant *random_number(GRand *rand, const ChvOption *option) {
        uint64_t min, max, number;

        chv_option_range(option, &min, &max);
        if (option->power_of_2) {
                for (number = 1; number < min || (number < max && g_rand_boolean(rand));
                     number <<= 1)
                        ;
                return g_variant_new_uint64(number);
        }
        number = (uint64_t) g_rand_int(rand) << 32 | g_rand_int(rand);
        return g_variant_new_uint64(min + number % (max - min + 1));
}

static GVariant *random_value(GRand *rand, const ChvOption *option) {
        uint64_t min, max;
        g_autofree char *text = NULL;

        chv_option_range(option, &min, &max);
        switch (option->type) {
        case CHV_OPT_BOOL:
                return g_variant_new_boolean(g_rand_boolean(rand));
        case CHV_OPT_STRING:
        case CHV_OPT_PATH:
                if (option->choices) {
                        g_auto(GStrv) words = g_strsplit(option->choices, " ", -1);

                        return g_variant_new_string(words[g_rand_int(rand) % g_strv_length(words)]);
                }
                text = random_text(rand, min, max);
                return g_variant_new_string(text);
        case CHV_OPT_MAC:
                return g_variant_new_take_string(
                                g_strdup_printf("%02X:00:fF:12:%02x:%02X", g_rand_int(rand) & 0xff,
                                                g_rand_int(rand) & 0xff, g_rand_int(rand) & 0xff));
        case CHV_OPT_STRV: {
                g_auto(GVariantBuilder) strv = G_VARIANT_BUILDER_INIT(G_VARIANT_TYPE_STRING_ARRAY);

                for (int i = g_rand_int_range(rand, 0, 5); i > 0; i--)
                        g_variant_builder_add_value(
                                        &strv,
                                        g_variant_new_take_string(random_text(rand, min, max)));
                return g_variant_builder_end(&strv);
        }
        case CHV_OPT_TOPOLOGY:
                return g_variant_new_parsed("{'threads_per_core': <2>, 'cores_per_die': <3>, "
                                            "'dies_per_package': <1>,"
                                            " 'packages': <8192>}");
        case CHV_OPT_FEATURES:
                return g_variant_new_parsed("{'amx': <true>}");
        case CHV_OPT_CPU_AFFINITY:
                return random_pins(rand, "vcpu");
        case CHV_OPT_QUEUE_AFFINITY:
                return random_pins(rand, "queue_index");
        default:
                return random_number(rand, option);
        }
}

static void add_console(GRand *rand, const ChvSection *section, GVariantDict *dict) {
        g_auto(GStrv) modes = g_strsplit(section->options[0].choices, " ", -1);
        const char *mode = modes[g_rand_int_range(rand, 0, (gint32) g_strv_length(modes))];

        g_variant_dict_insert(dict, "mode", "s", mode);
        if (chv_section_option(section, mode, false))
                g_variant_dict_insert_value(
                                dict, mode, g_variant_new_take_string(random_text(rand, 1, 20)));
}

static GVariant *random_element(GRand *rand, const ChvSection *section) {
        g_auto(GVariantDict) dict = G_VARIANT_DICT_INIT(NULL);

        for (size_t i = 0; i < section->n_options; i++) {
                const ChvOption *option = &section->options[i];

                if (option->type == CHV_OPT_CONSOLE_FILE ||
                    option->type == CHV_OPT_CONSOLE_SOCKET || g_rand_boolean(rand))
                        continue;
                if (option->type == CHV_OPT_CONSOLE_MODE)
                        add_console(rand, section, &dict);
                else
                        g_variant_dict_insert_value(&dict, option->key, random_value(rand, option));
        }
        return g_variant_dict_end(&dict);
}

static ChvConfig *random_config(GRand *rand) {
        g_auto(GVariantDict) dict = G_VARIANT_DICT_INIT(NULL);
        g_autoptr(GVariant) variant = NULL;
        g_autoptr(GError) error = NULL;
        ChvConfig *config;
        size_t n;
        const ChvSection *sections = chv_schema(&n);

        for (size_t i = 0; i < n; i++) {
                if (g_rand_boolean(rand))
                        continue;
                if (sections[i].list) {
                        g_auto(GVariantBuilder) list =
                                        G_VARIANT_BUILDER_INIT(G_VARIANT_TYPE("aa{sv}"));

                        for (int j = g_rand_int_range(rand, 0, 5); j > 0; j--)
                                g_variant_builder_add_value(
                                                &list, random_element(rand, &sections[i]));
                        g_variant_dict_insert_value(
                                        &dict, sections[i].key, g_variant_builder_end(&list));
                } else
                        g_variant_dict_insert_value(
                                        &dict, sections[i].key, random_element(rand, &sections[i]));
        }
        variant = g_variant_ref_sink(g_variant_dict_end(&dict));
        config = chv_config_from_variant(variant, &error);
        g_assert_no_error(error);
        return config;
}

static void test_random(void) {
        guint32 seed = g_test_rand_int();
        g_autoptr(GRand) rand = g_rand_new_with_seed(seed);

        g_test_message("seed %u", seed);
        for (int i = 0; i < 500; i++) {
                g_autoptr(ChvConfig) config = random_config(rand);

                assert_round_trips(config);
        }
}

static void test_defaults(void) {
        g_autoptr(ChvConfig) config = chv_config_new();
        g_autoptr(GVariant) dict = g_variant_ref_sink(chv_config_to_variant(config));
        g_auto(GStrv) argv = chv_config_to_options(config);

        g_assert_cmpuint(g_variant_n_children(dict), ==, 0);
        g_assert_cmpuint(g_strv_length(argv), ==, 0);
        g_assert_cmpuint(config->cpus.boot_vcpus, ==, 1);
        g_assert_cmpuint(config->cpus.max_vcpus, ==, 0);
        g_assert_cmpuint(config->cpus.max_phys_bits, ==, 46);
        g_assert_true(config->cpus.nested);
        g_assert_cmpuint(config->memory.size, ==, 512 << 20);
        g_assert_true(config->memory.thp);
        g_assert_false(config->memory.shared);
        g_assert_null(config->payload.kernel);
        g_assert_cmpstr(config->rng.src, ==, "/dev/urandom");
        g_assert_cmpstr(config->rng.pci.id, ==, "__rng");
        g_assert_cmpint(config->rng.pci.pci_device_id, ==, -1);
        g_assert_cmpint(config->serial.mode, ==, CHV_CONSOLE_NULL);
        g_assert_cmpint(config->console.mode, ==, CHV_CONSOLE_NULL);
        g_assert_cmpint(config->debug_console.mode, ==, CHV_CONSOLE_OFF);
        g_assert_cmpuint(config->debug_console.iobase, ==, 0xe9);
        g_assert_cmpuint(config->platform.num_pci_segments, ==, 1);
        g_assert_true(chv_config_add_option(config, "disk", "path=/a", NULL));
        g_assert_true(chv_config_add_option(config, "net", "", NULL));
        g_assert_cmpuint(config->disks[0].num_queues, ==, 1);
        g_assert_cmpuint(config->disks[0].queue_size, ==, 128);
        g_assert_cmpuint(config->net[0].num_queues, ==, 2);
        g_assert_cmpuint(config->net[0].queue_size, ==, 256);
        g_assert_true(config->net[0].offload_csum);
        g_assert_cmpint(config->net[0].pci.pci_device_id, ==, -1);
        assert_round_trips(config);
}

static void test_syntax(void) {
        g_autoptr(GError) error = NULL;
        g_autoptr(ChvConfig) config = chv_config_new();
        static const char *const options[][2] = {
                { "cpus", "boot=2,max=8,topology=2:2:1:2,features=amx,affinity=[0@[0-2,7],1@3]" },
                { "memory", "size=1G,hugepages=true,hugepage_size=2M" },
                { "disk", "path=\"/a,b.img\",serial=\"say \"\"hi\"\"\",readonly=on" },
                { "disk", "path=/with[brackets,inside].img,queue_affinity=[0@[1,2]]" },
                { "net", "tap=tap0,mac=AA:bb:CC:00:00:01" },
                { "serial", "file=/tmp/s=1" },
                { "serial", "tty" },
                { "console", "socket=/run/c,pci_device_id=5" },
                { "debug-console", "pty,iobase=402" },
                { "platform", "uuid=x,oem_strings=[\"a,b\",c]" },
                { "cmdline", "console=ttyS0 root=\"/dev/vda\",x [" },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(options); i++) {
                chv_config_add_option(config, options[i][0], options[i][1], &error);
                g_assert_no_error(error);
        }
        g_assert_cmpuint(config->cpus.topology.packages, ==, 2);
        g_assert_true(config->cpus.amx);
        g_assert_cmpuint(config->cpus.n_affinity, ==, 2);
        g_assert_cmpuint(config->cpus.affinity[0].n_host_cpus, ==, 4);
        g_assert_cmpuint(config->cpus.affinity[0].host_cpus[3], ==, 7);
        g_assert_cmpuint(config->cpus.affinity[1].vcpu, ==, 1);
        g_assert_cmpuint(config->memory.size, ==, 1 << 30);
        g_assert_cmpstr(config->disks[0].path, ==, "/a,b.img");
        g_assert_cmpstr(config->disks[0].serial, ==, "say \"hi\"");
        g_assert_cmpstr(config->disks[1].path, ==, "/with[brackets,inside].img");
        g_assert_cmpuint(config->disks[1].queue_affinity[0].host_cpus[1], ==, 2);
        g_assert_cmpstr(config->net[0].mac, ==, "aa:bb:cc:00:00:01");
        g_assert_cmpint(config->serial.mode, ==, CHV_CONSOLE_TTY);
        g_assert_cmpint(config->console.mode, ==, CHV_CONSOLE_SOCKET);
        g_assert_cmpuint(config->debug_console.iobase, ==, 0x402);
        g_assert_cmpstr(config->platform.uuid, ==, "x");
        g_assert_cmpstr(config->platform.oem_strings[0], ==, "a,b");
        g_assert_cmpstr(config->payload.cmdline, ==, "console=ttyS0 root=\"/dev/vda\",x [");
        assert_round_trips(config);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/dbus/schema/rows", test_rows);
        g_test_add_func("/dbus/schema/limits", test_limits);
        g_test_add_func("/dbus/schema/defaults", test_defaults);
        g_test_add_func("/dbus/schema/syntax", test_syntax);
        g_test_add_func("/dbus/schema/random", test_random);
        return g_test_run();
}
