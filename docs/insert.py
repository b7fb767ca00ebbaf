#!/usr/bin/env python3
# SPDX-FileCopyrightText: The chvd developers
# SPDX-License-Identifier: Apache-2.0
"""insert.py OUTPUT PAGE SCHEMA: puts the printed schema where the page says @SCHEMA@."""
import pathlib
import sys

output, page, schema = map(pathlib.Path, sys.argv[1:])
text = page.read_text()
assert "@SCHEMA@" in text
output.write_text(text.replace("@SCHEMA@", schema.read_text()))
