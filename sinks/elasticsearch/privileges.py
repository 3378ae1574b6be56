"""What the user who indexes must be allowed, and nothing more.

Events can be added and read, but a single one can be neither changed nor deleted; alerts grow, so
they can be written again, and become part of one another. Whole indices can be made, mapped and,
by retention, deleted.
"""

from __future__ import annotations

from typing import Any, Final

#: privilege of the cluster -> what it is for
CLUSTER: Final = {
    "monitor": "to see the version and the state of the server",
    "manage_index_templates": "to set up templates",
    "manage_ilm": "to set up how long indices are kept",
}
#: family of indices -> privilege -> what it is for
INDICES: Final = {
    "events": {
        "create_doc": "to add events",
        "read": "to search events",
        "manage": "to make, map and delete daily indices of events",
    },
    "alerts": {
        "index": "to add alerts and let them grow",
        "delete": "to remove alerts that became part of an older one",
        "read": "to search alerts",
        "manage": "to make, map and delete daily indices of alerts",
    },
}


def names(prefix: str, family: str) -> list[str]:
    """The alias of a family, and its indices."""
    return [f"{prefix}-{family}", f"{prefix}-{family}-*"]


def role(prefix: str) -> dict[str, Any]:
    """The body of `PUT /_security/role/NAME`."""
    return {
        "cluster": list(CLUSTER),
        "indices": [
            {"names": names(prefix, family), "privileges": list(privileges)}
            for family, privileges in INDICES.items()
        ],
    }
