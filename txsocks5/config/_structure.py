"""
From the tables of a TOML file to the settings, with all that is wrong on the way.

The tables become classes by C{cattrs}; the single values are read by the forms that their types
carry.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from difflib import get_close_matches
from types import GenericAlias
from typing import Any, TypeAlias, TypeVar, get_args, get_origin

import attrs
from cattrs import (
    AttributeValidationNote,
    BaseValidationError,
    Converter,
    ForbiddenExtraKeysError,
    IterableValidationNote,
)
from cattrs.gen import make_dict_structure_fn, override

from ._configuration import SECTIONS, Configuration, quotasWithoutDatabase, unknownGroups
from ._forms import BadValue, described, formOf
from ._problems import Problem, bareOrQuoted, keyOf
from ._rules import Group, Rule, User
from ._values import COMMANDS

__all__ = ["structured"]

_Hook: TypeAlias = Callable[[Any, Any], Any]
_Part = TypeVar("_Part", Rule, User, Group)

_NAMED = "a name that is not empty and does not begin with @"


def structured(tables: Mapping[str, object]) -> tuple[Configuration, list[Problem]]:
    """
    Make a configuration.

    @param tables: what the TOML parser gives.

    @return: it, and what is wrong with it.  If that is anything, the configuration is good for
        nothing but to find more of it.
    """
    structure = _Structure()
    configuration = structure.configuration(tables)
    return configuration, structure.problems


class _Structure:
    """
    Reads one file.  What is wrong in one table hides nothing in another.

    @ivar problems: what is wrong so far.
    """

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def configuration(self, tables: Mapping[str, object]) -> Configuration:
        """
        Read all of it.
        """
        fields = {keyOf(field): field for field in attrs.fields(Configuration)}
        settings: dict[str, Any] = {}
        for key, value in tables.items():
            with self._noting(bareOrQuoted(key)):
                if key not in fields:
                    raise ForbiddenExtraKeysError(None, Configuration, {key})
                if key == "rules":
                    settings[key] = self._rules(value)
                elif key == "users":
                    settings[key] = self._named(value, User, key)
                elif key == "groups":
                    settings[key] = self._named(value, Group, key)
                else:
                    settings[fields[key].name] = _attribute(fields[key])(value, None)
        configuration = Configuration(**settings)
        self.problems += unknownGroups(configuration)
        if "limits" in settings or "limits" not in tables:
            self.problems += quotasWithoutDatabase(configuration)
        return configuration

    def _rules(self, value: object) -> tuple[Rule, ...]:
        """
        Read the rules.  One that is wrong has its place, so that the others keep their numbers.
        """
        if not isinstance(value, list):
            raise BadValue(described(value), "tables, each of which begins with [[rules]]")
        rules = []
        for index, table in enumerate(value):
            name = f"rule {index + 1}"
            named = {"name": name, **table} if isinstance(table, dict) else table
            whole = Rule(name=name, deny=frozenset(COMMANDS.values()))
            rules.append(self._part(f"rules[{index}]", named, whole))
        return tuple(rules)

    def _named(self, value: object, kind: type, key: str) -> dict[str, Any]:
        """
        Read users or groups.  Of one that is wrong, the name is known.
        """
        if not isinstance(value, dict):
            raise BadValue(described(value), f"tables, each of which begins with [{key}.NAME]")
        found = {}
        for name, table in value.items():
            with self._noting(f"{key}.{bareOrQuoted(name)}"):
                if not name or name.startswith("@"):
                    raise BadValue(described(name), _NAMED)
                found[name] = self._part(f"{key}.{bareOrQuoted(name)}", table, kind())
        return found

    def _part(self, path: str, table: object, otherwise: _Part) -> _Part:
        """
        Read one of the rules, users or groups.

        @return: if it is wrong, C{otherwise} with those of its settings that are not.
        """
        kind = type(otherwise)
        with self._noting(path):
            return _CONVERTER.structure(table, kind)
        for field in attrs.fields(kind):
            if isinstance(table, dict) and keyOf(field) in table:
                with suppress(Exception):
                    setting = _attribute(field)(table[keyOf(field)], None)
                    otherwise = attrs.evolve(otherwise, **{field.name: setting})
        return otherwise

    @contextmanager
    def _noting(self, path: str) -> Iterator[None]:
        """
        Note what is wrong in one place, and go on.
        """
        try:
            yield
        except Exception as error:
            self.problems += _problems(error, path)


def _problems(error: BaseException, path: str) -> Iterator[Problem]:
    """
    Turn an error into what is said of it.

    @param path: where it has happened.
    """
    if isinstance(error, BaseValidationError):
        for each in error.exceptions:
            yield from _problems(each, path + _step(each, error.cl))
    elif isinstance(error, ForbiddenExtraKeysError):
        for key in sorted(error.extra_fields):
            # At the top the path is that of the key already.
            where = path if error.cl is Configuration else f"{path}.{bareOrQuoted(key)}"
            yield Problem(where, _unknown(key, error.cl))
    elif isinstance(error, BadValue):
        yield Problem(path, error.text)
    else:
        yield Problem(path, str(error))


def _step(error: BaseException, kind: type) -> str:
    """
    From something to the part of it in which there is an error.
    """
    notes = [
        f".{keyOf(attrs.fields_dict(kind)[note.name])}"
        if isinstance(note, AttributeValidationNote)
        else f"[{note.index}]"
        for note in getattr(error, "__notes__", ())
        if isinstance(note, (AttributeValidationNote, IterableValidationNote))
    ]
    return "".join(notes[:1])


def _unknown(key: str, kind: type) -> str:
    """
    Say that there is no such key, and which one may be meant.
    """
    known = _keys(kind)
    near = get_close_matches(key.lower(), known, 1)
    elsewhere = [section for section, each in SECTIONS.items() if key in _keys(each)]
    hint = ""
    if near:
        hint = f" (did you mean {near[0]}?)"
    elif elsewhere:
        hint = f" (it belongs {f'into {elsewhere[0]}' if elsewhere[0] else 'above all tables'})"
    return f"found a key that does not exist{hint}; allowed: {', '.join(known)}"


def _keys(kind: type) -> list[str]:
    """
    The keys of a table.
    """
    return [keyOf(field) for field in attrs.fields(kind)]


def _attribute(field: attrs.Attribute[Any]) -> _Hook:
    """
    Make what reads one setting of a table.  What the class would object to is found here, where
    it is known which key it is about.
    """
    kind: Any = field.type
    convert: Any = field.converter

    def read(value: object, asked: object) -> object:
        found: Any
        if field.metadata.get("lone") and isinstance(value, str):
            found = (_CONVERTER.structure(value, get_args(kind)[0]),)
        else:
            found = _CONVERTER.structure(value, kind)
        if convert is not None:
            found = convert(found)
        if field.validator is not None:
            field.validator(None, field, found)
        return found

    return read


def _table(kind: Any, converter: Converter) -> _Hook:
    """
    Make what reads a table as a class.
    """
    attrs.resolve_types(kind)
    overrides: dict[str, Any] = {
        field.name: override(rename=keyOf(field), struct_hook=_attribute(field))
        for field in attrs.fields(kind)
    }
    structure = make_dict_structure_fn(kind, converter, _cattrs_forbid_extra_keys=True, **overrides)

    def read(value: object, asked: object) -> object:
        if not isinstance(value, dict):
            raise BadValue(described(value), "a table")
        return structure(value, kind)

    return read


def _isArray(kind: Any) -> bool:
    """
    Whether a type is that of several values.
    """
    collection: Any = get_origin(kind)
    return collection is tuple or collection is frozenset


def _array(kind: Any, converter: Converter) -> _Hook:
    """
    Make what reads an array.
    """
    collection: Any = get_origin(kind)
    element = get_args(kind)[0]
    form = formOf(element)
    assert form is not None
    shown, allowed = form.described, form.allowed
    plain: Any = GenericAlias(list, (element,))

    def read(value: object, asked: object) -> object:
        if not isinstance(value, list):
            raise BadValue(shown(value), f"an array; in it: {allowed}")
        return collection(converter.structure(value, plain))

    return read


def _single(kind: Any, converter: Converter) -> _Hook:
    """
    Make what reads a single value.
    """
    form = formOf(kind)
    assert form is not None
    read = form.read
    return lambda value, asked: read(value)


def _newConverter() -> Converter:
    """
    Make what reads the tables.
    """
    converter = Converter(detailed_validation=True)
    factories: list[tuple[Any, Any]] = [
        (attrs.has, _table),
        (_isArray, _array),
        (lambda kind: formOf(kind) is not None, _single),
    ]
    for predicate, factory in factories:
        converter.register_structure_hook_factory(predicate, factory)
    return converter


attrs.resolve_types(Configuration)
_CONVERTER = _newConverter()
