"""What an experiment says of the world, and what decides it: claims, by one judge, and checks, counted apart.

A claim is data, written before its run: two sides of a table, what is compared, in which direction and by how much at
least. The sides are compared seed by seed, and the average of the paired differences has a confidence sequence
(`intervals.py`), so that seeds may be added until the claim is decided. A check is an identity or a bound that holds by
construction; it has a judge of its own.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from tbptt_jax.errors import UserError
from tbptt_jax.lab.intervals import AVERAGES
from tbptt_jax.lab.verdicts import OUTCOMES, Verdict, decided
from tbptt_jax.records.record import canonical, digest

DIRECTIONS = ("below", "above", "level")
SEEDS = ("seed", "run", "replica")
"""Columns that tell seeds apart: of a cell, and within it."""
FLOOR = 1e-12
"""Of ratios: what is smaller counts as this, since it is 0 for all that floating point can tell."""


class NotMeasured(UserError):
    """What a figure, a claim or a check needs is not in the table: the axes that were chosen leave it out."""


def needed(rows: pl.DataFrame, what: str) -> pl.DataFrame:
    """The rows, of which a figure or a judge needs one at least.

    Args:
        rows: A part of a table.
        what: What is needed, as the error says.

    Returns:
        The same rows.
    """
    if rows.is_empty():
        raise NotMeasured(what)
    return rows


@dataclass(frozen=True)
class Side:
    """The rows of a table that fulfil `where`. Of the columns named in `best` (learning rates, say) only those values
    are kept whose mean over seeds of the column `chosen_by` is the smallest, in each setting. With `pooled` a seed may
    have more than one row, and their mean is compared. `quantity` is a column that is compared in the place of the
    claim's."""

    name: str
    where: pl.Expr
    best: Sequence[str] = ()
    chosen_by: str = "selection"
    pooled: bool = False
    quantity: str = ""

    @property
    def rule(self) -> list[Any]:
        """What decides; options that came later are not named where they are not used."""
        later = [self.pooled, self.quantity] if self.pooled or self.quantity else []
        return [str(self.where), list(self.best), self.chosen_by, *later]

    def rows(self, table: pl.DataFrame, each: Sequence[str]) -> pl.DataFrame:
        rows = needed(table.filter(self.where), self.name)
        if not self.best:
            return rows
        means = rows.group_by([*each, *self.best]).agg(pl.col(self.chosen_by).mean().alias("_mean"))
        order = means.with_columns(pl.col("_mean").fill_nan(math.inf)).sort("_mean", *self.best, nulls_last=True)
        chosen = order.group_by(list(each), maintain_order=True).first() if each else order.head(1)
        return rows.join(chosen.drop("_mean"), on=[*each, *self.best], nulls_equal=True)


@dataclass(frozen=True)
class Claim:
    """`quantity` of one side is below (above, level with) that of the other, or a number, in each setting.

    What decides is the `average` of the paired differences over seeds: their mean, or their median, where single
    networks run away or outcomes are all or nothing. `margin` is the smallest difference that matters. With `ratio`
    differences are those of logarithms, and the margin is a factor of 1 + margin in either way (0.1: a tenth above, or
    as far below, which is 9.1 %). A setting is a value of the columns `each`; a claim that is made of a `share` of the
    settings is decided by that share. `SEEDS` are the columns that tell seeds apart.
    """

    sentence: str
    source: str
    quantity: str
    of: Side
    against: Side | float
    direction: str = "below"
    margin: float = 0.0
    ratio: bool = False
    each: Sequence[str] = ()
    share: float = 1.0
    average: str = "mean"

    def __post_init__(self) -> None:
        if self.average not in AVERAGES:
            raise UserError(f"claim: an average among {AVERAGES} is needed, got {self.average!r}")
        if self.direction not in DIRECTIONS:
            raise UserError(f"claim: a direction among {DIRECTIONS} is needed, got {self.direction!r}")
        if self.direction == "level" and not self.margin > 0:
            raise UserError(f"claim: to be level needs a margin above 0, got {self.margin!r}")

    @property
    def rule(self) -> str:
        """The digest of all that decides the claim."""
        sides = [side.rule if isinstance(side, Side) else side for side in (self.of, self.against)]
        how = [self.quantity, self.direction, self.margin, self.ratio, list(self.each), self.share]
        later = [self.average] if self.average != "mean" else []  # rules that came before do not name it
        return digest(canonical({"rule": [*how, *sides, *later]}))

    def verdict(self, table: pl.DataFrame) -> Verdict:
        """What the table says. A claim about cells that were not measured is undecided; one about a column that the
        table does not have is an error."""
        if table.is_empty():
            return Verdict("undecided", "nothing has been measured yet", -1)
        try:
            found = self.differences(table)
        except NotMeasured as lack:
            return Verdict("undecided", f"not measured: {lack}", -1)
        except pl.exceptions.ColumnNotFoundError as lack:
            words = f"the table has no column {str(lack).splitlines()[0]}"
            raise UserError(f"claim {self.sentence!r}: {words}: it is misspelt, or an older table lacks it") from lack
        return decided(self, found)

    def concerns(self, columns: Mapping[str, Any]) -> bool:
        """Whether rows of a cell with these columns may be of a side of this claim."""
        one = pl.DataFrame([dict(columns)])

        def may_fit(side: Side | float) -> bool:
            if not isinstance(side, Side):
                return False
            measured = set(side.where.meta.root_names()) - set(one.columns)  # a rule may name a column twice
            for kind in (pl.String, pl.Float64, pl.Boolean) if measured else (pl.Null,):
                unknown = one.with_columns(pl.lit(None, kind).alias(name) for name in measured)
                try:
                    (fits,) = unknown.select(side.where.alias("fits"))["fits"]
                except pl.exceptions.PolarsError:
                    continue  # what is measured is of another kind
                return fits is not False if measured else fits is True  # None: what the cell measures tells
            return True

        return may_fit(self.of) or may_fit(self.against)

    def differences(self, table: pl.DataFrame) -> dict[tuple, np.ndarray]:
        """Of each setting, the paired differences in the order of their seeds."""
        each = list(self.each)
        pairs: list[str] = [name for name in SEEDS if name in table.columns]
        ours = self.side(self.of, table, each, pairs)
        if isinstance(self.against, Side):
            theirs = self.side(self.against, table, each, pairs).rename({"value": "other"})
            both = ours.join(theirs, on=[*each, *pairs], nulls_equal=True)
            needed(both, f"{self.of.name} and {self.against.name} at the same seeds")
        else:
            both = ours.with_columns(pl.lit(math.log(self.against) if self.ratio else self.against).alias("other"))
        both = both.with_columns((pl.col("value") - pl.col("other")).alias("difference"))
        both = both.sort([*each, *pairs]) if each or pairs else both
        groups = both.group_by(each, maintain_order=True) if each else [((), both)]
        return {setting: rows["difference"].to_numpy() for setting, rows in groups}

    def side(self, side: Side, table: pl.DataFrame, each: list[str], pairs: list[str]) -> pl.DataFrame:
        """A side's value, of each setting and seed."""
        quantity = side.quantity or self.quantity
        rows = side.rows(table, each).with_columns(pl.col(quantity).cast(pl.Float64).alias("value"))
        rows = needed(rows.filter(pl.col("value").is_not_null()), f"{quantity} of {side.name}")
        if self.ratio:
            rows = rows.with_columns(pl.col("value").clip(FLOOR).log())
        found = rows.group_by([*each, *pairs]).agg(pl.col("value").mean(), pl.len().alias("_rows"))
        if found["_rows"].max() > 1 and not side.pooled:  # type: ignore[operator]
            raise NotMeasured(f"{side.name} with one row a seed: several variants are in it, choose one")
        most = pl.col("_rows").max()
        whole = found.filter(pl.col("_rows") == (most.over(each) if each else most))  # what lacks rows is another mean
        return whole.drop("_rows")


@dataclass(frozen=True)
class Check:
    """An identity or a bound that holds by construction, and the function of the table that sees whether it does.

    A judge whose rows are not in the table says so by `needed`; whatever else it raises is a defect of the judge.
    """

    sentence: str
    source: str
    judge: Callable[[pl.DataFrame], tuple[bool, str]] = field(compare=False)

    @property
    def rule(self) -> str:
        return ""

    def verdict(self, table: pl.DataFrame) -> Verdict:
        if table.is_empty():
            return Verdict("not measured", "nothing has been measured yet")
        try:
            holds, measured = self.judge(table)
        except NotMeasured as lack:
            return Verdict("not measured", str(lack))
        return Verdict("holds" if holds else "violated", measured)


@dataclass(frozen=True)
class Judged:
    """A claim whose judge is a function of its own: kept for tables that were measured before there was one judge."""

    sentence: str
    source: str
    judge: Callable[[pl.DataFrame], Verdict] = field(compare=False)

    @property
    def rule(self) -> str:
        return ""

    def verdict(self, table: pl.DataFrame) -> Verdict:
        if table.is_empty():
            return Verdict("undecided", "nothing has been measured yet", -1)
        try:
            verdict = self.judge(table)
        except NotMeasured as lack:
            return Verdict("undecided", f"not measured: {lack}", -1)
        if verdict.outcome not in (*OUTCOMES, "not reproduced"):
            raise ValueError(f"claim {self.sentence!r}: an outcome among {OUTCOMES} is needed, got {verdict.outcome!r}")
        return verdict
