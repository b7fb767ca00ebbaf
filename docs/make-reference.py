#!/usr/bin/env python3
# SPDX-FileCopyrightText: The chvd developers
# SPDX-License-Identifier: Apache-2.0
"""Makes the manual page of the D-Bus API: make-reference.py OUTPUT EXAMPLES SCHEMA XML...

The words are those of the comments in the interface files; SCHEMA is what print-schema --keys printed, EXAMPLES a
page of reStructuredText that goes in as it is.
"""
import pathlib
import re
import sys
import xml.etree.ElementTree as ET

HEAD = """.. SPDX-FileCopyrightText: The chvd developers
.. SPDX-License-Identifier: Apache-2.0

============================
org.cloudhypervisor.Manager
============================

-------------------------------
D-Bus interfaces of chvd
-------------------------------

:Manual section: 5
:Manual group: chvd

DESCRIPTION
===========

``chvd``\\(8) owns the name ``org.cloudhypervisor.Manager``, on the system bus, or with ``--session`` on the session bus. Its
objects are:

======================================================== ===========================================
Object                                                   Interfaces
======================================================== ===========================================
``/org/cloudhypervisor``                                 ``org.freedesktop.DBus.ObjectManager``
``/org/cloudhypervisor/Manager``                         ``org.cloudhypervisor.Manager``
``/org/cloudhypervisor/vm/``\\ *NAME*                     ``org.cloudhypervisor.VM``
``/org/cloudhypervisor/vm/``\\ *NAME*\\ ``/device/``\\ *ID*  ``org.cloudhypervisor.Device``
``/org/cloudhypervisor/job/``\\ *N*                       ``org.cloudhypervisor.Job``
======================================================== ===========================================

Within version 1 of these interfaces things are only added: methods, properties, signals, keys of dictionaries.

"""


def escape(text):
    return re.sub(r"([\\*`|_])(?=\W|$)|(?<=\W)([\\*`|])", lambda m: "\\" + m[0], text)


def parse(comment):
    args, body, last = {}, [], None
    for line in (line.strip() for line in comment.strip().splitlines()[1:]):
        found = re.match(r"@(\w+): ?(.*)", line)
        if found:
            last = found[1]
            args[last] = found[2]
        elif not line:
            last = None
            body.append("")
        elif last:
            args[last] += " " + line
        else:
            body.append(line)
    return args, "\n".join(body).strip()


def paragraphs(body, indent):
    """A paragraph ending in ':' followed by lines ending in ';' becomes a list."""
    out = []
    for block in re.split(r"\n\s*\n", body):
        rows = block.split("\n")
        heads = [n for n, row in enumerate(rows) if row.endswith(":")]
        if heads and any(row.endswith(";") for row in rows[heads[0] + 1:]):
            start = heads[0] + 1
            out.append(" ".join(rows[:start]))
            items = re.split(r";\s", "\n".join(rows[start:]))
            out.append("\n".join("* " + re.sub(r"^and ", "", re.sub(r"\s+", " ", item).rstrip(".;")) for item in items))
        else:
            out.append(" ".join(rows))
    return "\n\n".join(indent + escape(p).replace("\n", "\n" + indent).replace("\\* ", "* ") for p in out)


def flags(element):
    for annotation in element.findall("annotation"):
        if annotation.get("name").endswith("EmitsChangedSignal"):
            return {"const": ", never changes", "invalidates": ", changes are told without the value"}.get(
                annotation.get("value"), "")
    return ""


def signature(element):
    name = element.get("name")
    if element.tag == "property":
        return f"``{name}`` ({element.get('type')}{flags(element)})"
    args = {"in": [], "out": []}
    for arg in element.findall("arg"):
        args[arg.get("direction", "in")].append(f"{arg.get('type')} *{arg.get('name')}*")
    text = f"``{name}`` (" + ", ".join(args["in"]) + ")"
    return text + (" → " + ", ".join(args["out"]) if args["out"] else "")


def member(element, comment):
    args, body = parse(comment)
    args.pop("since", None)
    lines = [signature(element), paragraphs(body, "    "), ""]
    for name, text in args.items():
        lines.append(f"    *{name}*\n        {escape(text)}\n")
    return "\n".join(lines)


def interface(path):
    root = ET.parse(path, ET.XMLParser(target=ET.TreeBuilder(insert_comments=True))).getroot()
    before, out = "", []
    for child in root:
        if child.tag is ET.Comment:
            before = child.text
        elif child.tag == "interface":
            args, body = parse(before)
            title = "INTERFACE " + child.get("name")
            out += [title, "=" * len(title), "", args["short_description"] + ".", "", paragraphs(body, ""), ""]
            groups = {"method": [], "signal": [], "property": []}
            for element in child:
                if element.tag is ET.Comment:
                    before = element.text
                elif element.tag in groups:
                    groups[element.tag].append(member(element, before))
            for tag, head in (("method", "Methods"), ("signal", "Signals"), ("property", "Properties")):
                if groups[tag]:
                    out += [head, "-" * len(head), "", *groups[tag]]
    return "\n".join(out)


def main():
    output, examples, schema, *files = sys.argv[1:]
    page = HEAD + "\n\n".join(interface(f) for f in files)
    page += "\nCONFIGURATION\n=============\n\n"
    page += ("A dictionary (a{sv}) with a key for each section. Numbers may be of any integer type that holds them; "
             "values are written with the types given here. JSON files have the same keys, and ``null`` for what is "
             "not given.\n\n")
    page += pathlib.Path(schema).read_text() + pathlib.Path(examples).read_text()
    page += "\nSEE ALSO\n========\n\n``chvctl``\\(1), ``chvd``\\(8), ``busctl``\\(1), ``gdbus``\\(1)\n"
    pathlib.Path(output).write_text(page)


if __name__ == "__main__":
    main()
