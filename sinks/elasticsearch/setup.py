"""What a server must know before it gets documents: see what would change, do it, take it away.

`plan` asks, and changes nothing; `setup` does exactly what the plan says, and again does nothing.
A conflict is something that is there and stands in the way: nothing is changed then.

Retention is a lifecycle policy where the server has these, else whole indices are deleted
(`expired`, `drop`). Either way an index goes when its last day is so many days past, whenever it
was written. The exception: a policy counts from the making of an index where these are monthly, as
no server reads a month from a name.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from fnmatch import fnmatchcase
from typing import Any, Final, Literal, TypeAlias

from connwatch.errors import ConfigError, ServerError

from .client import Server, refusal, segment
from .layout import Layout
from .mappings import PRIORITY, VERSION, components, index_templates, leaves

Action: TypeAlias = Literal["create", "update", "unchanged", "conflict"]
_JSON: Final = {"content-type": "application/json", "accept": "application/json"}
#: indices whose mappings are asked at once
_AT_ONCE: Final = 50


@dataclass(frozen=True, slots=True)
class Retention:
    """How many days events and alerts are kept; None: for ever."""

    events: int | None = None
    alerts: int | None = None

    def __post_init__(self) -> None:
        for name, days in (("events", self.events), ("alerts", self.alerts)):
            if days is not None and days < 1:
                raise ConfigError(f"{days} days is no time to keep {name}", hint="at least 1 day")

    def days(self, layout: Layout, family: str) -> int | None:
        return self.events if family == layout.events else self.alerts


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


def plan(server: Server, layout: Layout, retention: Retention | None = None) -> Plan:
    """What `setup` would change. Raises ServerError where the server does not tell."""
    kept = retention or Retention()
    lifecycle = has_lifecycle(server)
    policies = _policies(layout, kept) if lifecycle else {}
    named = {family: _lifecycle(layout, family) for family in policies}
    wanted = components(layout, named)
    changes = [*_taken_names(server, layout)]
    changes += [_policy(server, policy_name(family), body) for family, body in policies.items()]
    there = _there(server, "_component_template", f"{layout.prefix}-*", "component_templates")
    for name, body in wanted.items():
        found = there.get(name, {}).get("component_template")
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


def setup(server: Server, layout: Layout, retention: Retention | None = None) -> Plan:
    """Do what the plan says, and return it. Conflicts are a ServerError: nothing is done then."""
    made = plan(server, layout, retention)
    if made.conflicts:
        told = "\n".join(f"{one.kind} {one.name}: {one.detail}" for one in made.conflicts)
        raise ServerError(
            f"what is there stands in the way:\n{told}",
            where=server.settings.nodes[0],
            hint="another prefix, or removing what is named above; nothing was changed",
        )
    for change in made.pending:
        _done(server, "PUT", change.path, change.body)
    return made


def remove(server: Server, layout: Layout, *, indices: bool = False) -> list[str]:
    """Remove templates and policies; with `indices` also all events and alerts. Returns names."""
    gone = drop(server, _names(server, layout)) if indices else []
    for kind, names in (
        ("_index_template", layout.families),
        (
            "_component_template",
            (layout.settings_component, *map(layout.component, layout.families)),
        ),
        ("_ilm/policy", tuple(map(policy_name, layout.families)) if has_lifecycle(server) else ()),
    ):
        for name in names:
            answer = server.perform("DELETE", f"/{kind}/{segment(name)}", headers=_JSON)
            if answer.ok:
                gone.append(name)
            elif answer.status != 404:
                raise refusal(answer, f"DELETE /{kind}/{name}")
    return gone


def expired(server: Server, layout: Layout, retention: Retention, today: date) -> list[str]:
    """The indices whose last day (UTC) is more than the days to keep before `today`."""
    found = []
    for family in layout.families:
        days = retention.days(layout, family)
        if days is None:
            continue
        oldest = today - timedelta(days=days)
        for name in _names(server, layout, [family]):
            last = layout.last_day(name)
            if last is not None and last < oldest:
                found.append(name)
    return sorted(found)


def drop(server: Server, names: Iterable[str]) -> list[str]:
    """Delete these indices, one by one; those that are gone already are no error."""
    gone = []
    for name in names:
        if "*" in name or "," in name:
            raise ValueError(f"{name!r} is not the name of one index")
        answer = server.perform("DELETE", f"/{segment(name)}", headers=_JSON)
        if answer.ok:
            gone.append(name)
        elif answer.status != 404:
            raise refusal(answer, f"DELETE /{name}")
    return gone


def policy_name(family: str) -> str:
    return f"{family}-retention"


def has_lifecycle(server: Server) -> bool:
    """Whether the server has lifecycle policies (ILM)."""
    answer = server.perform("GET", "/_ilm/status", headers=_JSON)
    if answer.status in (401, 403):
        raise refusal(answer, "GET /_ilm/status")
    return answer.ok


def _policies(layout: Layout, retention: Retention) -> dict[str, dict[str, Any]]:
    """The body of each family's policy, of those that have one."""
    found = {}
    for family in layout.families:
        days = retention.days(layout, family)
        if days is not None:
            # An index of a day is whole at its end: a day after the date in its name.
            phase = {"min_age": f"{days + 1}d", "actions": {"delete": {}}}
            found[family] = {
                "policy": {
                    "phases": {"hot": {"min_age": "0ms", "actions": {}}, "delete": phase},
                    "_meta": {"product": "connwatch", "version": VERSION},
                }
            }
    return found


def _lifecycle(layout: Layout, family: str) -> dict[str, Any]:
    found: dict[str, Any] = {"name": policy_name(family)}
    if layout.routing == "day":
        found["parse_origination_date"] = True
    return found


def _got(server: Server, path: str) -> Any:
    """What is at a path; None: nothing."""
    answer = server.perform("GET", path, headers=_JSON)
    if answer.status == 404:
        return None
    if not answer.ok:
        raise refusal(answer, f"GET {path}")
    return answer.body


def _done(server: Server, method: str, path: str, body: Mapping[str, Any] | None) -> None:
    answer = server.perform(method, path, body, headers=_JSON)
    if not answer.ok:
        raise refusal(answer, f"{method} {path}")


def _there(server: Server, kind: str, pattern: str, key: str) -> dict[str, dict[str, Any]]:
    """Templates by name."""
    body = _got(server, f"/{kind}/{segment(pattern)}")
    return {one["name"]: one for one in (body or {}).get(key, ())}


def _names(server: Server, layout: Layout, families: Sequence[str] | None = None) -> list[str]:
    """The indices of families that are ours by their names."""
    patterns = ",".join(f"{family}-*" for family in families or layout.families)
    path = f"/{segment(patterns)}?expand_wildcards=all&filter_path=*.settings.index.uuid"
    return sorted(name for name in _got(server, path) or {} if layout.last_day(name))


def _taken_names(server: Server, layout: Layout) -> list[Change]:
    """Indices that have the name of an alias of ours."""
    found = []
    for family in layout.families:
        body = _got(server, f"/{segment(family)}?filter_path=*.settings.index.provided_name") or {}
        if family in body:
            detail = "an index has the name that the alias must have"
            found.append(Change("conflict", "index", family, detail))
    return found


def _policy(server: Server, name: str, body: dict[str, Any]) -> Change:
    path = f"/_ilm/policy/{segment(name)}"
    found = (_got(server, path) or {}).get(name)
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
    names = _names(server, layout, [family])
    for first in range(0, len(names), _AT_ONCE):
        some = segment(",".join(names[first : first + _AT_ONCE]))
        body = _got(server, f"/{some}?filter_path=*.mappings,*.aliases") or {}
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
