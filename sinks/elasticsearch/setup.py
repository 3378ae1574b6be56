"""What a server must know before it gets documents: see what would change, do it, take it away.

`plan` asks, and changes nothing; `setup` does exactly what the plan says, and again does nothing.
A conflict is something that is there and stands in the way: nothing is changed then.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Final, Literal, TypeAlias

from connwatch.errors import ServerError

from .check import Finding, Probe
from .client import Server, refusal, segment
from .layout import Layout
from .mappings import PRIORITY, VERSION, components, index_templates, leaves
from .retention import (
    JSON,
    Retention,
    drop,
    got,
    has_lifecycle,
    index_names,
    policies,
    policy_name,
    policy_settings,
)

Action: TypeAlias = Literal["create", "update", "unchanged", "conflict"]
#: indices whose mappings are asked at once
_AT_ONCE: Final = 50


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that is to be on the server.

    kind: component template, index template, policy, mapping or alias. name: its name; of mappings
    and aliases the index's. detail: what of it changes, or stands in the way; empty if nothing
    does. path and body: the request that does it, None if there is nothing to do.
    """

    action: Action
    kind: str
    name: str
    detail: str = ""
    path: str = ""
    body: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What `setup` would do, in that order. lifecycle: whether the server has such policies."""

    changes: tuple[Change, ...]
    lifecycle: bool

    @property
    def conflicts(self) -> tuple[Change, ...]:
        return tuple(change for change in self.changes if change.action == "conflict")

    @property
    def pending(self) -> tuple[Change, ...]:
        """What is to be created or updated."""
        return tuple(change for change in self.changes if change.action in ("create", "update"))


def plan(
    server: Server, layout: Layout, retention: Retention | None = None, *, settings: bool = True
) -> Plan:
    """What `setup` would change. Raises ServerError where the server does not tell.

    settings: False leaves settings, and retention, of templates that are there as they are: what
    sends does not know what an administrator has set up.
    """
    kept = retention or Retention()
    lifecycle = has_lifecycle(server)
    wanted_policies = policies(layout, kept) if lifecycle and settings else {}
    named = {family: policy_settings(layout, family) for family in wanted_policies}
    wanted = components(layout, named)
    changes = [*_taken_names(server, layout)]
    changes += [
        _policy(server, policy_name(family), body) for family, body in wanted_policies.items()
    ]
    there = _there(server, "_component_template", f"{layout.prefix}-*", "component_templates")
    for name, body in wanted.items():
        found = there.get(name, {}).get("component_template")
        if found is not None and not settings:
            body = {**body, "template": _with_settings_of(found, body["template"])}
        path = f"/_component_template/{segment(name)}"
        changes.append(_template("component template", name, path, body, found, layout))
    there = _there(server, "_index_template", "*", "index_templates")
    for name, body in index_templates(layout).items():
        found = there.get(name, {}).get("index_template")
        path = f"/_index_template/{segment(name)}"
        changes.append(_template("index template", name, path, body, found, layout))
        changes += _overlapping(name, there)
    for family in layout.families:
        mappings = wanted[layout.component(family)]["template"]["mappings"]
        changes += _indices(server, family, mappings, layout)
    return Plan(tuple(changes), lifecycle)


def templates(layout: Layout) -> Probe:
    """Whether templates, fields and aliases are there, and those of this version."""

    def probe(server: Server) -> Iterator[Finding]:
        made = plan(server, layout, settings=False)
        if made.conflicts:
            told = "; ".join(f"{one.kind} {one.name}: {one.detail}" for one in made.conflicts)
            yield Finding("templates", "failed", told, "another prefix, or remove what is named")
        elif made.pending:
            number = f"{len(made.pending)} things are to be made or brought up to date"
            hint = "connwatch elasticsearch setup; else whoever sends first does it"
            yield Finding("templates", "note", number, hint)
        else:
            yield Finding("templates", "ok", "present and current")

    return probe


def _with_settings_of(found: Mapping[str, Any], template: Mapping[str, Any]) -> dict[str, Any]:
    own = {key: value for key, value in template.items() if key != "settings"}
    there = found.get("template", {}).get("settings")
    return own if there is None else {**own, "settings": there}


def setup(
    server: Server, layout: Layout, retention: Retention | None = None, *, settings: bool = True
) -> Plan:
    """Plan, do what the plan says (`carry_out`), and return it."""
    made = plan(server, layout, retention, settings=settings)
    carry_out(server, made)
    return made


def carry_out(server: Server, made: Plan) -> None:
    """Do what a plan says. Conflicts are a ServerError: nothing is done then."""
    if made.conflicts:
        told = "\n".join(f"{one.kind} {one.name}: {one.detail}" for one in made.conflicts)
        raise ServerError(
            f"what is there stands in the way:\n{told}",
            where=server.settings.nodes[0],
            hint="another prefix, or removing what is named above; nothing was changed",
        )
    for change in made.pending:
        _done(server, "PUT", change.path, change.body)


def remove(server: Server, layout: Layout, *, indices: bool = False) -> list[str]:
    """Remove templates and policies; with `indices` also all events and alerts. Returns names."""
    gone = drop(server, index_names(server, layout)) if indices else []
    for kind, names in (
        ("_index_template", layout.families),
        (
            "_component_template",
            (layout.settings_component, *map(layout.component, layout.families)),
        ),
        ("_ilm/policy", tuple(map(policy_name, layout.families)) if has_lifecycle(server) else ()),
    ):
        for name in names:
            answer = server.perform("DELETE", f"/{kind}/{segment(name)}", headers=JSON)
            if answer.ok:
                gone.append(name)
            elif answer.status != 404:
                raise refusal(answer, f"DELETE /{kind}/{name}")
    return gone


def _done(server: Server, method: str, path: str, body: Mapping[str, Any] | None) -> None:
    answer = server.perform(method, path, body, headers=JSON)
    if not answer.ok:
        raise refusal(answer, f"{method} {path}")


def _there(server: Server, kind: str, pattern: str, key: str) -> dict[str, dict[str, Any]]:
    """Templates by name."""
    body = got(server, f"/{kind}/{segment(pattern)}")
    return {one["name"]: one for one in (body or {}).get(key, ())}


def _taken_names(server: Server, layout: Layout) -> list[Change]:
    """Indices that have the name of an alias of ours."""
    found = []
    for family in layout.families:
        body = got(server, f"/{segment(family)}?filter_path=*.settings.index.provided_name") or {}
        if family in body:
            detail = "an index has the name that the alias must have"
            found.append(Change("conflict", "index", family, detail))
    return found


def _policy(server: Server, name: str, body: dict[str, Any]) -> Change:
    path = f"/_ilm/policy/{segment(name)}"
    found = (got(server, path) or {}).get(name)
    if found is None:
        return Change("create", "policy", name, "", path, body)
    if _contains(found.get("policy"), body["policy"]):
        return Change("unchanged", "policy", name)
    return Change("update", "policy", name, "phases", path, body)


def _contains(found: Any, wanted: Any) -> bool:
    """Whether a server's answer says what was put; it may say more."""
    if isinstance(wanted, Mapping):
        return isinstance(found, Mapping) and all(
            _contains(found.get(name), one) for name, one in wanted.items()
        )
    return bool(_plain(found) == _plain(wanted))


def _template(
    kind: str,
    name: str,
    path: str,
    body: dict[str, Any],
    found: Mapping[str, Any] | None,
    layout: Layout,
) -> Change:
    if found is None:
        return Change("create", kind, name, "", path, body)
    told = found.get("_meta", {})
    if told.get("product") != "connwatch":
        return Change("conflict", kind, name, "is there, and is not of connwatch")
    if told.get("version", 0) > VERSION:
        detail = f"is of a later connwatch (version {told['version']}, this one knows {VERSION})"
        return Change("conflict", kind, name, detail)
    if told.get("routing") != layout.routing:
        detail = (
            f"was set up with routing {told.get('routing')}, which cannot become {layout.routing}:"
            f" say routing {told.get('routing')}, or take another prefix"
        )
        return Change("conflict", kind, name, detail)
    before, after = _flat({key: found.get(key, {}) for key in body}), _flat(body)
    if before == after:
        return Change("unchanged", kind, name)
    return Change("update", kind, name, _difference(before, after), path, body)


def _overlapping(name: str, there: Mapping[str, Mapping[str, Any]]) -> list[Change]:
    """Index templates of others that would be taken instead of ours."""
    found = []
    for other, one in there.items():
        body = one["index_template"]
        hit = any(
            fnmatchcase(f"{name}-x", pattern) or fnmatchcase(pattern, f"{name}-*")
            for pattern in body.get("index_patterns", ())
        )
        if other != name and hit and body.get("priority", 0) >= PRIORITY:
            detail = f"the same names and priority {body['priority']}, ours is {PRIORITY}"
            found.append(Change("conflict", "index template", other, detail))
    return found


def _indices(
    server: Server, family: str, mappings: Mapping[str, Any], layout: Layout
) -> list[Change]:
    """Of the indices that are there: fields that other types have, fields and aliases that lack."""
    found = []
    wanted = leaves(mappings)
    names = index_names(server, layout, [family])
    for first in range(0, len(names), _AT_ONCE):
        some = segment(",".join(names[first : first + _AT_ONCE]))
        body = got(server, f"/{some}?filter_path=*.mappings,*.aliases") or {}
        for name, one in sorted(body.items()):
            has = leaves(one.get("mappings", {}))
            other = [
                f"{field} is {has[field]}, not {es}"
                for field, es in wanted.items()
                if has.get(field, es) != es
            ]
            new = [field for field in wanted if field not in has]
            if other:
                found.append(Change("conflict", "mapping", name, "; ".join(other)))
            elif new:
                put = {**_only(mappings, new), "_meta": mappings["_meta"]}
                path = f"/{segment(name)}/_mapping"
                found.append(Change("update", "mapping", name, f"adds {_few(new)}", path, put))
            if family not in one.get("aliases", {}):
                path = f"/{segment(name)}/_alias/{segment(family)}"
                found.append(Change("create", "alias", name, family, path))
    return found


def _only(mappings: Mapping[str, Any], names: Sequence[str], path: str = "") -> dict[str, Any]:
    """A mapping with these fields alone."""
    found: dict[str, Any] = {}
    for name, one in mappings["properties"].items():
        here = f"{path}.{name}" if path else name
        if here in names:
            found[name] = one
        elif "properties" in one:
            below = _only(one, names, here)["properties"]
            if below:
                found[name] = {**one, "properties": below}
    return {"properties": found}


def _flat(body: Mapping[str, Any], path: str = "") -> dict[str, str]:
    """A template's leaves by path, as servers write them: settings as text, under `index`."""
    found: dict[str, str] = {}
    for name, one in body.items():
        here = f"{path}.{name}" if path else name
        if isinstance(one, Mapping) and one:
            found |= _flat(one, here)
        elif one not in ({}, []) or path.endswith("aliases"):
            found[here] = json.dumps(_plain(one), sort_keys=True)
    return found


def _plain(value: Any) -> Any:
    """Numbers and truth as the text that they are in settings."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return str(value)


def _difference(before: Mapping[str, str], after: Mapping[str, str]) -> str:
    """Where two templates differ, without the parts that are the same for all fields."""
    paths = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    short = [name.removeprefix("template.").replace("properties.", "") for name in paths]
    return f"changes {_few(sorted(short))}"


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more
