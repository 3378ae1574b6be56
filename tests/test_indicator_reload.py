"""Lists that change on disk while they are used."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from connwatch.detectors.indicators import (
    Lists,
)
from connwatch.errors import InputError


def write(path: Path, text: str) -> None:
    """Replace a file, at a later time than before."""
    before = path.stat().st_mtime_ns if path.exists() else 0
    path.write_text(text, encoding="utf-8")
    os.utime(path, ns=(before + 10**9, before + 10**9))


def test_a_changed_list_is_read_again_when_asked(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    write(one, "203.0.113.7\n")
    write(two, "# none\n")
    lists = Lists([one, two])
    before = lists.indicators
    assert not lists.reload_if_changed()
    assert lists.indicators is before
    write(two, "192.0.2.1\nnonsense\n")
    assert lists.reload_if_changed()
    assert lists.indicators.entries["value"].to_list() == ["203.0.113.7", "192.0.2.1"]
    assert lists.rejects.select("file", "line").rows() == [(str(two), 2)]
    assert before.entries.height == 1


def test_a_list_that_cannot_be_read_any_more_stays_as_it_was_and_is_reported(
    tmp_path: Path,
) -> None:
    path = tmp_path / "list"
    write(path, "203.0.113.7\n")
    lists = Lists([path])
    for breakage in ("<html>\n", '{"objects": ['):
        write(path, breakage)
        assert not lists.reload_if_changed()
        assert [error.where for error in lists.errors] == [str(path)]
        assert not lists.reload_if_changed()
        assert lists.errors
        assert lists.indicators.entries.height == 1
    path.unlink()
    assert not lists.reload_if_changed()
    assert "No such file" in str(lists.errors[0])
    write(path, "203.0.113.8\n203.0.113.9\n")
    assert lists.reload_if_changed()
    assert lists.errors == ()
    assert lists.indicators.entries.height == 2


def test_a_list_of_the_same_size_and_time_in_another_file_is_noticed(tmp_path: Path) -> None:
    path, other = tmp_path / "list", tmp_path / "new"
    write(path, "203.0.113.7\n")
    lists = Lists([path])
    write(other, "203.0.113.8\n")
    status = path.stat()
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.replace(path)
    assert lists.reload_if_changed()
    assert lists.indicators.entries["value"].to_list() == ["203.0.113.8"]


def test_lists_that_cannot_be_read_at_first_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        Lists([tmp_path / "none"])
    assert Lists([]).indicators.entries.is_empty()
