"""What stands behind the peer in records of ss, for many records at once.

The same as `ss_tail.tail` says of each, for those that need no care: plain characters, users with
plain names in front of everything else, and no key twice.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl

from . import ss_shapes
from .ss_tail import HEADS, READERS, TEXTS

_NUMBER: Final = "(?:0|[1-9][0-9]{0,8})"
_NAMED: Final = rf'\("[A-Za-z0-9_./@+-]+",pid={_NUMBER},fd={_NUMBER}\)'
_USERS: Final = rf"^users:\({_NAMED}(?:,{_NAMED})*\)$"
_I: Final = pl.Int64()
_MILLIS: Final = r"^[0-9]{1,9}(?:\.[0-9]{1,9})?(?:/[!-~]*)?$"
_TOTAL: Final = r"^[!-.0-~]*/([0-9]{1,18})$"


def tails(texts: pl.Series) -> tuple[dict[str, pl.Series], pl.Series]:
    """Columns of `rows.ROW` that these texts fill, and which of them are to be read one at a time
    instead. texts: one space between words, none at either end; "" for nothing."""
    split = texts.str.splitn(" ", 2).struct.unnest()
    users = split["field_0"].str.starts_with("users:(")
    if users.any():
        whole = users & split["field_0"].str.contains(_USERS)
        odd = users & ~whole
        listed, rest = split["field_0"], split["field_1"]
        if not whole.all():
            listed = listed.zip_with(whole, pl.Series([None], dtype=pl.String))
            rest = rest.zip_with(users, texts)
        rest = rest.fill_null("")
    else:
        odd, listed, rest = users, None, texts
    if not (rest != "").any():
        return _users(listed), odd
    count = len(rest)
    plain = pl.DataFrame({"row": pl.int_range(count, dtype=pl.UInt32, eager=True), "text": rest})
    parts, left = _shaped(plain.filter(~odd) if odd.any() else plain, count)
    if left.height:
        text = left["text"]
        hard = ~text.str.contains(ss_shapes.PLAIN) | text.str.contains("users:(", literal=True)
        odd |= _marked(left["row"].filter(hard), count)
        left = left.filter(~hard)
    if left.height:
        parts.append(_each(left))
    if not parts:
        return _users(listed), odd
    filled = pl.concat(parts, how="diagonal") if len(parts) > 1 else parts[0]
    odd |= _marked(filled["row"].filter(filled["wrong"]), count)
    if len(parts) > 1 or filled.height < count:
        places = np.full(count, -1, dtype=np.int64)
        places[filled["row"].to_numpy()] = np.arange(filled.height)
        found = pl.Series(places)
        filled = filled.select(pl.all().gather(found.set(found < 0, None)))
    columns = {column.name: column for column in filled.drop("row", "wrong")}
    return {**_users(listed), **columns}, odd


def _shaped(texts: pl.DataFrame, count: int) -> tuple[list[pl.DataFrame], pl.DataFrame]:
    """Columns of the texts whose shape many have, and the other texts. texts: row (below `count`)
    and text; the columns: those of `rows.ROW` that they fill, row, and wrong: to be read one at a
    time."""
    made: list[pl.DataFrame] = []
    if texts.height < ss_shapes.FEWEST:
        return made, texts
    left = texts
    for shape in ss_shapes.shapes(texts["text"]):
        values = ss_shapes.cut(left, shape)
        names = {key: READERS[key][0] for key in values.columns if key in READERS}
        columns = values.select(
            "row",
            "extra",
            "plain",
            *(_value(key, pl.col(key)).alias(name) for key, name in names.items()),
        )
        null = (pl.col(name).is_null() for name in names.values())
        wrong = pl.any_horizontal(~pl.col("plain"), *null)
        made.append(columns.select(pl.exclude("plain"), wrong=wrong))
        if values.height == left.height:
            return made, left.clear()
        left = left.filter(~_marked(values["row"], count)[left["row"]])
    return made, left


def _each(texts: pl.DataFrame) -> pl.DataFrame:
    """As `_shaped`, of texts of any shape."""
    count = texts.height
    words = _words(texts["text"])
    # With a key that words have together, or a pair twice, the order of all of them counts.
    odd = _marked(words["row"].filter(words["odd"] | (words["key"] == "options")), count)
    named, wrong, left = _named(words, count)
    return pl.DataFrame(
        {"row": texts["row"], **named, "extra": _extra(left, count), "wrong": odd | wrong}
    )


def _users(listed: pl.Series | None) -> dict[str, pl.Series]:
    """Name, process and descriptor of each user; null where there are none."""
    if listed is None:
        return {}
    bare = listed.str.strip_prefix('users:(("').str.strip_suffix("))")
    if bare.str.contains("),(", literal=True).any():
        frame, each = bare.str.split('),("').to_frame("each"), pl.col("each")
        name, pid, _ = _parts(each.list.first())
        processes = each.list.eval(_shown(*_parts(pl.element())))
    else:
        parts = bare.to_frame("each").select(_parts(pl.col("each")))
        frame, (name, pid, fd) = parts, (pl.col(one) for one in parts.columns)
        processes = pl.when(name.is_not_null()).then(pl.concat_list(_shown(name, pid, fd)))
    made = frame.select(name=name, pid=pid.cast(_I), processes=processes)
    return {column.name: column for column in made}


def _parts(user: pl.Expr) -> tuple[pl.Expr, pl.Expr, pl.Expr]:
    """Name, process and descriptor of one user: NAME",pid=1,fd=2."""
    both = user.str.splitn('",pid=', 2).struct
    numbers = both.field("field_1").str.splitn(",fd=", 2).struct
    return (
        both.field("field_0").alias("name"),
        numbers.field("field_0").alias("pid"),
        numbers.field("field_1").alias("fd"),
    )


def _shown(name: pl.Expr, pid: pl.Expr, fd: pl.Expr) -> pl.Expr:
    return pl.concat_str(pid, pl.lit("/"), name, pl.lit(" fd="), fd)


def _words(rest: pl.Series) -> pl.DataFrame:
    """Every word, in order: row of its text, word, key and value (null: a word without a key), and
    odd: whether its text is to be read by itself."""
    split = rest.str.split(" ")
    row = np.repeat(np.arange(len(rest), dtype=np.uint32), split.list.len().to_numpy())
    words = pl.DataFrame({"row": row, "word": split.explode()}).filter(pl.col("word") != "")
    words = words.with_columns(
        pl.col("word").str.splitn(":", 2).struct.rename_fields(["key", "value"]).struct.unnest(),
        head=pl.col("word").is_in(HEADS),
        before=pl.col("word").shift(1),
    )
    same = pl.col("row") == pl.col("row").shift(1)
    words = words.with_columns(
        behind=(pl.col("head").shift(1) & same).fill_null(value=False),
        keyed=pl.col("value").is_not_null() & pl.col("key").str.contains(ss_shapes.KEY),
    )
    words = words.select(
        "row",
        "word",
        key=pl.when("behind").then("before").when("keyed").then("key"),
        value=pl.when("behind").then("word").when("keyed").then("value"),
        odd=pl.col("head") & pl.col("behind"),
        follows=pl.col("head") & pl.col("behind").shift(-1, fill_value=False),
    ).filter(~pl.col("follows") | pl.col("odd"))
    # Where different ones have the same hash, a record is read by itself for nothing.
    mark = pl.col("key").hash() ^ pl.col("row").hash()
    again = pl.col("key").is_not_null() & mark.is_duplicated()
    return words.select("row", "word", "key", "value", odd=pl.col("odd") | again)


def _named(words: pl.DataFrame, count: int) -> tuple[dict[str, pl.Series], pl.Series, pl.DataFrame]:
    """Values that have columns of their own, the rows in which one of them is none, and the words
    that are left."""
    taken = pl.col("key").is_in(list(READERS)) & ~(
        (pl.col("key") == "ino") & (pl.col("value") == "0")
    )
    own = words.filter(taken)
    wrong = own["row"].clear()
    columns = {}
    for key in own["key"].unique():
        theirs = own.filter(pl.col("key") == key)
        name = READERS[key][0]
        values = theirs.select(_value(key, pl.col("value"))).to_series()
        wrong = wrong.append(theirs["row"].filter(values.is_null()))
        columns[name] = _spread(theirs["row"], values, count)
    return columns, _marked(wrong, count), words.filter(taken.fill_null(value=False).not_())


def _value(key: str, value: pl.Expr) -> pl.Expr:
    """What `ss_tail.READERS` make of it; null where they find none, or it is not sure."""
    if key == "rtt":
        first = value.str.splitn("/", 2).struct.field("field_0")
        millis = pl.when(value.str.contains(_MILLIS)).then(first).cast(pl.Float64)
        return (millis * 1000).round().cast(_I)
    if key == "retrans":
        return value.str.extract(_TOTAL).cast(_I)
    if key == "timer":
        return value.str.extract(r"^\(([!-~]*)\)$")
    if key in TEXTS:
        return pl.when(value.str.contains("^[!-~]+$")).then(value)
    # A sign, which is none of a count, comes before all digits.
    return pl.when(value >= "0").then(value).cast(_I, strict=False)


def _extra(words: pl.DataFrame, count: int) -> pl.Series:
    """What has no column of its own, as JSON objects; null: nothing."""
    row, key = pl.col("row"), pl.col("key")
    pairs = (
        words.filter(key.is_not_null())
        .select(row, text=pl.concat_str(pl.lit('"'), key, pl.lit('":"'), "value", pl.lit('"')))
        .group_by("row", maintain_order=True)
        .agg(pl.col("text").str.join(","))
    )
    others = (
        words.filter(key.is_null())
        .group_by("row", maintain_order=True)
        .agg(pl.concat_str(pl.lit('"options":"'), pl.col("word").str.join(" "), pl.lit('"')))
    )
    both = pl.DataFrame(
        {
            "pairs": _spread(pairs["row"], pairs["text"], count),
            "others": _spread(others["row"], others.to_series(1), count),
        }
    )
    text = pl.concat_str("pairs", "others", separator=",", ignore_nulls=True)
    return both.select(pl.when(text != "").then(pl.lit("{") + text + pl.lit("}"))).to_series()


def _spread(rows: pl.Series, values: pl.Series, count: int) -> pl.Series:
    """A column in which each row has its value; null where there is none."""
    places = np.full(count, -1, dtype=np.int64)
    places[rows.to_numpy()] = np.arange(len(rows))
    found = pl.Series(places)
    return values.gather(found.set(found < 0, None))


def _marked(rows: pl.Series, count: int) -> pl.Series:
    """Whether a row is one of these."""
    marks = np.zeros(count, dtype=np.bool_)
    marks[rows.to_numpy()] = True
    return pl.Series(marks)
