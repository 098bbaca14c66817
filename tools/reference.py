#!/usr/bin/env python3
"""
Write the list of all keys of the configuration file, out of the classes that it is read into.

    tools/reference.py

What is allowed, and the defaults, come from the types and the fields of the classes in
txsocks5.config, and the text from their docstrings.  A test compares the list with the one in the
documentation.
"""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

import attrs

from txsocks5.config import SECTIONS
from txsocks5.config._forms import formOf
from txsocks5.config._problems import keyOf

PAGE = Path(__file__).resolve().parent.parent / "docs" / "configuration-keys.inc"

BEGINNING = ".. Written by tools/reference.py; change the docstrings in txsocks5/config instead.\n"

TABLES = {"auth", "gssapi", "network", "timeouts", "limits", "users", "groups", "rules"}


def written() -> str:
    """
    The whole list.
    """
    return "\n".join([BEGINNING, *(line for name in SECTIONS for line in section(name))]) + "\n"


def section(name: str) -> Iterator[str]:
    """
    The keys of one table.

    @param name: how it begins in a file; empty for what stands above all tables.
    """
    kind = SECTIONS[name]
    title = f"``{name}``" if name else "Above all tables"
    yield title
    yield "~" * len(title)
    yield ""
    texts = textsOf(kind)
    yield filled(inRST((inspect.getdoc(kind) or "").partition("\n\n")[0]))
    yield ""
    attrs.resolve_types(kind)
    for field in attrs.fields(kind):
        if keyOf(field) in TABLES:
            continue
        yield f"``{keyOf(field)}``"
        yield filled(sentence(texts[field.name]), "    ")
        yield ""
        what = allowed(field.type, bool(field.metadata.get("lone")))
        yield filled(f"Allowed: {what}.  {default(field)}", "    ")
        yield ""


def textsOf(kind: type) -> dict[str, str]:
    """
    What a class says of its attributes.
    """
    documentation = inspect.getdoc(kind) or ""
    found = re.findall(r"^@ivar (\w+): (.*?)(?=^@|\Z)", documentation, re.DOTALL | re.MULTILINE)
    return {name: inRST(text) for name, text in found}


def inRST(text: str) -> str:
    """
    Turn epytext into reStructuredText, on one line.
    """
    text = re.sub(r"C\{([^{}]*)\}", r"``\1``", " ".join(text.split()))
    assert "{" not in text, text
    return text


def sentence(text: str) -> str:
    """
    Text that begins with a capital letter and ends in a full stop.
    """
    if not text.startswith("``"):
        text = text[:1].upper() + text[1:]
    return text if text.endswith(".") else f"{text}."


def filled(text: str, indent: str = "") -> str:
    """
    Text in lines that are not too long.
    """
    return textwrap.fill(
        text,
        100,
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def allowed(kind: Any, lone: bool) -> str:
    """
    What may stand in a file.

    @param lone: whether one value need not be in an array.
    """
    if type(None) in get_args(kind):
        [kind] = [each for each in get_args(kind) if each is not type(None)]
    form = formOf(kind)
    if form is not None:
        return literal(form.allowed)
    form = formOf(get_args(kind)[0])
    assert form is not None
    array = f"an array; in it: {literal(form.allowed)}"
    return f"one of what follows, or {array}" if lone else array


def literal(text: str) -> str:
    """
    Show what stands in quotes as it would stand in a file.
    """
    return re.sub(r'"[^"]*"', r"``\g<0>``", text)


def default(field: attrs.Attribute[Any]) -> str:
    """
    What holds if a key is absent.
    """
    value = field.default
    inner = [each for each in get_args(field.type) if each is not type(None)]
    form = formOf(field.type) or (formOf(inner[0]) if inner else None)
    if value is None and field.converter is not None:
        # The converter turns what means nothing into nothing.
        assert form is not None
        return f"Default: ``{form.write(None)}``."
    if value is attrs.NOTHING or value is None or field.metadata.get("lone"):
        return "By default it is absent."
    if formOf(field.type) is not None:
        assert form is not None
        return f"Default: ``{form.write(value)}``."
    assert get_origin(field.type) in (tuple, frozenset)
    assert form is not None
    values = sorted(value) if isinstance(value, frozenset) else value
    return f"Default: ``[{', '.join(map(form.write, values))}]``."


if __name__ == "__main__":
    PAGE.write_text(written(), "utf-8")
