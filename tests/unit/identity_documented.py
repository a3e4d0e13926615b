#!/usr/bin/env python3
"""What semcached.conf(5) says is compared by meaning, must be equal, or may differ, is what the table in proto/identity.h says.

usage: identity_documented.py    from anywhere; one finding a line, status 1 if there is one
"""
import pathlib
import re
import sys

TOP = pathlib.Path(__file__).resolve().parent.parent.parent


def rows(header, table, shape):
    """The rows of an X-macro's table."""
    body = header[header.index(f"#define {table}(X)"):].split("\n\n", 1)[0]
    found = re.findall(shape, body)
    if len(found) != len(re.findall(r"\bX\(\w+,", body)):
        sys.exit(f"proto/identity.h: not every row of {table} could be read")
    return found


def plain(text):
    """A line of the page, or a text of the table, without markup."""
    return " ".join(re.sub(r"^\.\w+ |`", "", text, flags=re.M).replace(" ,", ",").split())


def documented():
    """{(rule's text, kind, name): text}"""
    page = (TOP / "daemon/semcached.conf.5").read_text()
    section = page[page.index(".Ss What is compared"):].split("\n.Ss ", 2)[0]
    found = {}
    for block in section.split("\n.Pp\n")[1:]:
        head, items = block.split("\n.Bl -tag -width Ds -compact\n", 1)
        rule = plain(head).rstrip(":")
        for name, parameter, text in re.findall(r"^\.It Cm (\w+)( Pq parameter)?\n(.*?)(?=^\.It |^\.El)", items, re.M | re.S):
            kind = "PARAMETER" if parameter else "PART"
            found[rule[0].lower() + rule[1:], kind, name] = plain(text).rstrip(".")
    return found


def main():
    header = (TOP / "proto/identity.h").read_text()
    rules = dict(rows(header, "IDENTITY_RULES", r'\bX\((\w+), "([^"]*)"\)'))
    table = rows(header, "IDENTITY_TABLE", r'\bX\((\w+), (\w+), (\w+), "([^"]*)"\)')
    wanted = {(rules[rule], kind, name): plain(text) for kind, name, rule, text in table}
    said = documented()
    found = [f"semcached.conf(5): {name} is missing under '{rule}', or says something else: {text}"
             for (rule, kind, name), text in wanted.items() if said.get((rule, kind, name)) != text]
    found += [f"semcached.conf(5): {name} is not under '{rule}' in the table" for rule, kind, name in said
              if (rule, kind, name) not in wanted]
    ignored = [name for kind, name, rule, _text in table if kind == "PARAMETER" and rule == "ignored"]
    if ignored != sorted(ignored):
        found.append("proto/identity.h: the ignored parameters are not sorted")
    print("\n".join(found) or f"{len(table)} parts are documented")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
