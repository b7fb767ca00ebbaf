#!/usr/bin/env python3
# SPDX-FileCopyrightText: The chvd developers
# SPDX-License-Identifier: Apache-2.0
"""Proves that each interface file is valid and says the same everywhere: every element, argument and signal has a
documentation comment that names it, with @since and a sentence; methods that change something end in options; every
signature is complete; D-Bus names fit; no property claims to keep its changes to itself."""
import pathlib
import re
import sys
import xml.etree.ElementTree as ET

KINDS = ("method", "signal", "property")
READS = {"GetVM"}  # methods that neither change anything nor take options
EMITS = "org.freedesktop.DBus.Property.EmitsChangedSignal"


def documentation(comment):
    """Name, arguments and body of a comment; None when it is not a documentation comment."""
    text = [line.strip() for line in comment.strip().splitlines()]
    if not re.fullmatch(r"[\w.]+:", text[0]):
        return None
    args, body, last = {}, [], None
    for line in text[1:]:
        found = re.match(r"@(\w+): ?(.*)", line)
        if found:
            last = found[1]
            args[last] = found[2]
        elif not line:
            last = None
        elif last:
            args[last] += " " + line
        else:
            body.append(line)
    return text[0][:-1], args, " ".join(body)


def complete(signature):
    """Whether a signature is one complete type."""
    basic, rest = "ybnqiuxtdsogvh", signature

    def one(s):
        if not s:
            return None
        if s[0] in basic:
            return s[1:]
        if s[0] == "a":
            return one(s[1:])
        if s[0] in "({":
            s, close = s[1:], {"(": ")", "{": "}"}[s[0]]
            while s and s[0] != close:
                s = one(s)
                if s is None:
                    return None
            return s[1:] if s else None
        return None
    rest = one(rest)
    return rest == ""


def described(element, before, problems):
    name = element.get("name")
    doc = documentation(before) if before else None
    if not doc or doc[0] != name:
        problems.append(f"{name}: no comment that begins with '{name}:' in front of it")
        return
    if doc[1].pop("since", "") != "0.1":
        problems.append(f"{name}: lacks @since")
    if not doc[2]:
        problems.append(f"{name}: its comment says nothing")
    doc[1].pop("short_description", None)
    args = [a.get("name") for a in element.findall("arg")]
    if sorted(args) != sorted(doc[1]):
        problems.append(f"{name}: has the arguments {args} but documents {sorted(doc[1])}")
    problems.extend(f"{name}: @{a} says nothing" for a, text in doc[1].items() if not text.strip())


def elements(path):
    """Each interface and its members with the comment in front."""
    builder = ET.TreeBuilder(insert_comments=True)
    root = ET.parse(path, ET.XMLParser(target=builder)).getroot()
    for parent in [root, *root.iter("interface")]:
        before = None
        for child in parent:
            if child.tag is ET.Comment:
                before = child.text
            elif child.tag in KINDS + ("interface",):
                yield parent, child, before
                before = None
            elif child.tag != "annotation":
                before = None


def check(path):
    problems, private = [], path.stem.endswith(".Vmm")
    for parent, element, before in elements(path):
        name = element.get("name")
        described(element, before, problems)
        if element.tag == "interface":
            if name != path.stem:
                problems.append(f"{path.name} holds {name}")
            continue
        args = element.findall("arg")
        for thing in [*args, element] if element.tag == "property" else args:
            if not complete(thing.get("type", "")):
                problems.append(f"{name}: '{thing.get('type')}' is not a type")
        if not re.fullmatch(r"[A-Z][A-Za-z0-9]*", name):
            problems.append(f"{name}: not in CamelCase")
        inputs = [a for a in args if a.get("direction") == "in"]
        if element.tag == "method" and not private and name not in READS:
            if not inputs or (inputs[-1].get("name"), inputs[-1].get("type")) != ("options", "a{sv}"):
                problems.append(f"{name}: does not end in options")
        for annotation in element.findall("annotation"):
            if annotation.get("name") == EMITS and annotation.get("value") not in ("const", "true", "invalidates"):
                problems.append(f"{name}: emits no change signal")
    return problems


def main():
    paths = [pathlib.Path(p) for p in sys.argv[1:]]
    failed = 0
    print(f"1..{len(paths)}")
    for n, path in enumerate(paths, 1):
        problems = check(path)
        failed += bool(problems)
        print(f"{'not ok' if problems else 'ok'} {n} {path.stem}")
        for problem in problems:
            print("# " + problem)
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
