/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves what needs no service: the command line refuses what is wrong with a sentence and takes options anywhere;
 * tables, sizes and ages look as they should and can't drive a terminal; help and the manual page name every command
 * and option there is.
 */

#include <string.h>

#include "chvctl/arguments.h"
#include "chvctl/config-args.h"
#include "chvctl/console.h"
#include "chvctl/help.h"
#include "chvctl/output.h"
#include "dbus/limit.h"

static bool parse(const char *line, Options *options, const Command **command, GError **error) {
        g_autofree char *whole = g_strconcat("chvctl ", line, NULL);
        g_auto(GStrv) argv = NULL;

        g_assert_true(g_shell_parse_argv(whole, NULL, &argv, NULL));
        return arguments_parse(argv, options, command, error);
}

static void test_wrong_lines(void) {
        static const char *const cases[][2] = {
                { "nothing", "unknown command 'nothing'; see chvctl help" },
                { "--nothing", "unknown option '--nothing'" },
                { "-x", "unknown option '-x'" },
                { "list -hx", "unknown option '-x'" },
                { "list --wait", "'list' does not know --wait" },
                { "list --cpus boot=1", "'list' does not know --cpus" },
                { "list more", "'more' is one argument too many; usage: chvctl list " },
                { "start", "usage: chvctl start NAME..." },
                { "shutdown a --timeout", "--timeout needs a value: SECONDS" },
                { "shutdown a --timeout=0", "--timeout: '0' is not a number above 0" },
                { "shutdown a --timeout=-1", "--timeout: '-1' is not a number above 0" },
                { "shutdown a --timeout 1s", "--timeout: '1s' is not a number above 0" },
                { "shutdown a --wait=yes", "--wait takes no value" },
                { "list --json=xml", "--json: 'xml' is neither pretty nor short" },
                { "create a --cpus", "--cpus needs a value" },
                { "create a --name b --name c", "--name is given twice" },
                { "-H a --user list", "--host goes neither with --user nor with --address" },
                { "run a --disk path=a path=b c",
                  "'c' is one argument too many; usage: chvctl run [NAME] [OPTION]..." },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                g_auto(Options) options = { 0 };
                const Command *command;
                g_autoptr(GError) error = NULL;

                g_assert_false(parse(cases[i][0], &options, &command, &error));
                g_assert_cmpstr(error->message, ==, cases[i][1]);
        }
}

static void test_lines(void) {
        g_auto(Options) options = { 0 }, empty = { 0 }, letters = { 0 };
        const Command *command;
        g_autoptr(GError) error = NULL;
        static const char *const expected[] = { "disk", "path=a", "disk",   "path=b",
                                                "disk", "path=c", "kernel", "-x=1" };

        g_assert_true(
                        parse("--user create --disk path=a path=b web --json=short --disk=path=c "
                              "--kernel -x=1",
                              &options, &command, &error));
        g_assert_cmpstr(command->name, ==, "create");
        g_assert_true(options.user);
        g_assert_cmpint(options.json, ==, JSON_SHORT);
        g_assert_cmpstr(argument(&options, 0), ==, "web");
        g_assert_null(argument(&options, 1));
        g_assert_cmpuint(options.config_options->len, ==, G_N_ELEMENTS(expected));
        for (size_t i = 0; i < G_N_ELEMENTS(expected); i++)
                g_assert_cmpstr(g_ptr_array_index(options.config_options, i), ==, expected[i]);

        g_assert_true(parse("", &empty, &command, &error));
        g_assert_cmpstr(command->name, ==, "list");
        g_assert_true(parse("shutdown -wt5 -- -a", &letters, &command, &error));
        g_assert_true(letters.wait);
        g_assert_cmpint(letters.timeout, ==, 5);
        g_assert_cmpstr(argument(&letters, 0), ==, "-a");
}

static void test_table(void) {
        static const char *const heads[] = { "NAME", "N", NULL };
        g_autoptr(Table) table = table_new(heads);
        g_autofree char *with = NULL, *without = NULL;

        table_align_right(table, 1);
        table_add(table, g_strdup("a\033[2J"), g_strdup("1"));
        table_add(table, g_strdup("größer"), NULL);
        with = table_format(table, true);
        without = table_format(table, false);
        g_assert_cmpstr(with, ==, "NAME    N\na?[2J   1\ngrößer  -\n");
        g_assert_cmpstr(without, ==, "a?[2J   1\ngrößer  -\n");
}

static void test_texts(void) {
        static const struct {
                guint64 bytes;
                const char *text;
        } sizes[] = {
                { 0, "0B" },          { 1023, "1023B" },        { 1024, "1K" },
                { 1536, "1.5K" },     { 512ull << 20, "512M" }, { 3ull << 29, "1.5G" },
                { 1ull << 60, "1E" }, { UINT64_MAX, "16E" },
        };
        static const struct {
                guint64 seconds;
                const char *text;
        } ages[] = {
                { 0, "0s" },         { 59, "59s" },      { 61, "1min 1s" },
                { 3660, "1h 1min" }, { 90000, "1d 1h" },
        };
        g_autofree char *backwards = format_age(10, 5), *nobody = format_user(4000000000u),
                        *safe = NULL;

        for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
                g_autofree char *text = format_size(sizes[i].bytes);

                g_assert_cmpstr(text, ==, sizes[i].text);
        }
        for (size_t i = 0; i < G_N_ELEMENTS(ages); i++) {
                g_autofree char *text = format_age(7, 7 + ages[i].seconds * G_USEC_PER_SEC);

                g_assert_cmpstr(text, ==, ages[i].text);
        }
        g_assert_cmpstr(backwards, ==, "0s");
        g_assert_cmpstr(nobody, ==, "4000000000");
        safe = format_safe(
                        "a\r\n\x9b"
                        "31m\xe2\x80\xae"); /* C1 control as a bad byte, right-to-left override */
        g_assert_cmpstr(safe, ==,
                        "a??\xef\xbf\xbd"
                        "31m?");
}

static void test_console_guess(void) {
        static const char *const cases[][2] = {
                { "{}", "serial" },
                { "{'payload': <{'cmdline': <''>}>}", "serial" },
                { "{'payload': <{'cmdline': <'console=hvc0'>}>}", "console" },
                { "{'payload': <{'cmdline': <'console=hvc0 console=ttyS0'>}>}", "serial" },
                { "{'payload': <{'cmdline': <'console=ttyS0 console=hvc0,115200 quiet'>}>}",
                  "console" },
                { "{'payload': <{'cmdline': <'noconsole=hvc0'>}>}", "serial" },
                { "{'payload': <{'cmdline': <7>}>}", "serial" },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                g_autoptr(GVariant) config = g_variant_parse(
                                G_VARIANT_TYPE_VARDICT, cases[i][0], NULL, NULL, NULL);

                g_assert_nonnull(config);
                g_assert_cmpstr(console_guess(config), ==, cases[i][1]);
        }
}

static void assert_named(const char *text, const char *name, const char *where) {
        if (!strstr(text, name))
                g_error("%s does not name %s", where, name);
}

/* The program's help and the manual page against the tables. */
static void test_documented(void) {
        g_autofree char *page = NULL, *overview = help_overview();
        size_t n_commands, n_options, n_sections;
        const Command *all = commands(&n_commands);
        const OptionInfo *infos = option_infos(&n_options);
        const ChvSection *sections = chv_schema(&n_sections);

        g_assert_true(g_file_get_contents(g_getenv("CHVCTL_PAGE"), &page, NULL, NULL));
        for (size_t i = 0; i < n_commands; i++) {
                g_autofree char *quoted = g_strdup_printf("``%s``", all[i].name);
                g_autofree char *help = help_command(&all[i]);
                g_auto(GStrv) names = g_strsplit(all[i].options ? all[i].options : "", " ", -1);

                assert_named(overview, all[i].name, "chvctl help");
                assert_named(page, quoted, "chvctl(1)");
                for (char **name = names; *name; name++) {
                        g_autofree char *option = g_strconcat("--", *name, NULL);

                        /* A misspelt one would be nowhere in the table of options. */
                        assert_named(help, option, all[i].name);
                }
        }
        for (size_t i = 0; i < n_options; i++) {
                g_autofree char *option = g_strdup_printf("``--%s``", infos[i].name);

                assert_named(page, option, "chvctl(1)");
        }
        for (size_t i = 0; i < n_sections; i++) {
                g_autofree char *help = help_section(&sections[i]);

                for (size_t j = 0; j < sections[i].n_options; j++)
                        assert_named(help, sections[i].options[j].doc, sections[i].key);
        }
        for (unsigned i = 0; i < CHV_LIMIT_MAX; i++) {
                const ChvLimit *limit = chv_limit((ChvLimitId) i);
                g_autofree char *help = help_command(command_find("limits"));
                g_autofree char *quoted = g_strdup_printf("``%s``", limit->key);

                assert_named(help, limit->doc, "chvctl help limits");
                assert_named(page, quoted, "chvctl(1)");
        }
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/client/wrong-lines", test_wrong_lines);
        g_test_add_func("/client/lines", test_lines);
        g_test_add_func("/client/table", test_table);
        g_test_add_func("/client/texts", test_texts);
        g_test_add_func("/client/console-guess", test_console_guess);
        g_test_add_func("/client/documented", test_documented);
        return g_test_run();
}
