# SPDX-License-Identifier: MIT
"""A strict reader of Prometheus' text format 0.0.4, for where there is no promtool."""
import re

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = r"[a-zA-Z_][a-zA-Z0-9_]*"
SAMPLE = re.compile(r'(%s)(?:\{((?:%s="(?:[^"\\\n]|\\["\\n])*",?)*)\})? (NaN|[+-]Inf|[-+0-9.e]+)' % (NAME, LABEL))
PAIR = re.compile(r'(%s)="((?:[^"\\\n]|\\["\\n])*)"(?:,|$)' % LABEL)
SUFFIXES = {"summary": ("", "_sum", "_count"), "counter": ("",), "gauge": ("",)}


class Malformed(AssertionError):
    pass


def unescape(text):
    return re.sub(r"\\(.)", lambda m: "\n" if m[1] == "n" else m[1], text)


def labels_of(text, line):
    pairs = PAIR.findall(text)
    if "".join('%s="%s",' % p for p in pairs).rstrip(",") != text.rstrip(","):
        raise Malformed("labels: " + line)
    if len({name for name, _ in pairs}) != len(pairs):
        raise Malformed("a label twice: " + line)
    return {name: unescape(value) for name, value in pairs}


def parse(data):
    """{(name, ((label, value), ...)): number}; raises Malformed, also where a rule of naming is broken."""
    text = data.decode("utf-8", "strict")
    if not text.endswith("\n"):
        raise Malformed("no newline at the end")
    out, types, helps, family = {}, {}, set(), None
    for line in text[:-1].split("\n"):
        if line.startswith("# "):
            kind, name, rest = line[2:].split(" ", 2)
            seen = {"HELP": helps, "TYPE": types}[kind]
            if name in seen or not rest:
                raise Malformed("twice or empty: " + line)
            if kind == "TYPE":
                if name not in helps or rest not in SUFFIXES or (rest == "counter") != name.endswith("_total"):
                    raise Malformed(line)
                types[name] = rest
                family = name
            else:
                helps.add(name)
            continue
        m = SAMPLE.fullmatch(line)
        if not m:
            raise Malformed("sample: " + line)
        name, labels, value = m[1], labels_of(m[2] or "", line), float(m[3])
        if family is None or name[len(family):] not in SUFFIXES[types[family]] or not name.startswith(family):
            raise Malformed("outside its family: " + line)
        if types[family] == "summary" and ("quantile" in labels) != (name == family):
            raise Malformed("quantile: " + line)
        if types[family] == "counter" and not value >= 0:
            raise Malformed("a counter: " + line)
        key = (name, tuple(sorted(labels.items())))
        if key in out:
            raise Malformed("the same series twice: " + line)
        out[key] = value
    return out
