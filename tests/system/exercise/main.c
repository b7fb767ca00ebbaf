/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Random work on disks and files whose result is known, for guests of the system suite:
 *
 *     exercise disk SEED OPERATIONS DISK [TWIN START]   changes both (the twin from START on) the same way, and reads back
 *     exercise journal NAME DISK CONTROL          says what is on stable storage; at the next start: whether it is
 *     exercise check NAME FILE CONTROL            the same from outside, of an image that was made a raw file
 *     exercise file SEED OPERATIONS FILE          what programs do with a file, in a file system
 */

#include "tests/system/exercise/exercise.h"

#include <stdio.h>
#include <string.h>

int main(int argc, char *argv[]) {
        static const struct {
                const char *name;
                int (*run)(int argc, char *argv[]);
                int least;
        } verbs[] = {
                { "disk", exercise_disk, 5 },
                { "journal", exercise_journal, 5 },
                { "check", exercise_check, 5 },
                { "file", exercise_file, 5 },
        };

        for (size_t i = 0; argc > 1 && i < sizeof(verbs) / sizeof(verbs[0]); i++)
                if (strcmp(argv[1], verbs[i].name) == 0 && argc >= verbs[i].least)
                        return verbs[i].run(argc, argv);
        fprintf(stderr, "usage: exercise disk|journal|check|file …\n");
        return 2;
}
