#!/usr/bin/env python3
"""Every key of daemon/config_table.c is explained in semcached.conf(5), with its default and whether a reload takes it over, and
shown in the example file; and neither shows anything else.

usage: config_documented.py    from anywhere; one finding a line, status 1 if there is one
"""
import pathlib
import re
import sys

TOP = pathlib.Path(__file__).resolve().parent.parent.parent
ENTRY = re.compile(r'\{CONFIG_([A-Z_]+), "(\w+)", CONFIG_\w+, \w+\([\w.]+\), ([^,]+), ([^,]+),\s*(NULL|"[^"]*"|[A-Z_]+),\s*(?:true|false), (RELOADS|STAYS),')
CONSTANT = re.compile(r'#define (\w+)((?:\s*\\?\s*"[^"\n]*")+)')


def table():
    """{(section, key): (default or None, whether it reloads)}"""
    source = (TOP / "daemon/config_table.c").read_text()
    header = (TOP / "daemon/config_table.h").read_text()
    constants = {name: '"' + "".join(re.findall(r'"([^"]*)"', text)) + '"' for name, text in CONSTANT.findall(header)}
    entries = {(section.lower(), key): (None if default == "NULL" else constants.get(default, default).strip('"'), change == "RELOADS")
               for section, key, _, _, default, change in ENTRY.findall(source)}
    if len(entries) != source.count("\n\t{CONFIG_"):
        sys.exit("daemon/config_table.c: not every line of the table could be read")
    return entries


def documented():
    """{(section, key): the text on it}"""
    found, section = {}, None
    page = (TOP / "daemon/semcached.conf.5").read_text()
    for block in re.split(r"^(?=\.(?:Ss|Sh|It)\b)", page, flags=re.M):
        head = re.match(r"\.Ss \[(\w+)", block)
        item = re.match(r"\.It Cm (\w+)", block)
        if head:
            section = head.group(1)
        elif block.startswith((".Sh", ".Ss")):
            section = None
        elif item and section:
            found[section, item.group(1)] = " ".join(re.sub(r"^\.(Li|Pa) |\\&", "", line) for line in block.split("\n")[1:])
    return found


def shown():
    """[(section, key, value)], of the example"""
    section = None
    for line in (TOP / "systemd/semcached.conf").read_text().split("\n"):
        head = re.match(r"#?\[(\w+)( [\w.-]+)?\]$", line)
        pair = re.match(r"#?(\w+) =(?: (.*))?$", line)
        if head:
            section = head.group(1) + (head.group(2) or "")
        elif pair:
            yield section, pair.group(1), pair.group(2) or ""


def main():
    entries, texts, examples = table(), documented(), list(shown())
    found = []
    for (section, key), (default, reloads) in entries.items():
        text = texts.get((section, key))
        wanted = "Default: not set." if default is None else f"Default: {default} ." if default else "Default: empty."
        if text is None:
            found.append(f"semcached.conf(5): [{section}] {key} is missing")
        elif wanted not in text and "Required." not in text:
            found.append(f"semcached.conf(5): [{section}] {key} does not say {wanted}")
        elif ("Reload: yes." in text) != reloads:
            found.append(f"semcached.conf(5): [{section}] {key} is wrong about a reload")
    found += [f"semcached.conf(5): [{s}] {k} is no key" for s, k in texts if (s, k) not in entries]
    seen = {}
    for section, key, value in examples:
        kind = section.split()[0]
        if (kind, key) not in entries:
            found.append(f"semcached.conf: [{section}] {key} is no key")
        seen.setdefault((kind, key), set()).add(value)
    for (section, key), (default, _) in entries.items():
        # The example's upstream is somebody's real service, with that one's prices.
        if default and section != "upstream" and default not in seen.get((section, key), ()):
            found.append(f"semcached.conf: [{section}] {key} is not shown with its default {default}")
    print("\n".join(found) or f"{len(entries)} keys are documented")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
