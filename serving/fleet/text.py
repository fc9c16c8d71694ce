"""Text for simulated answers: one word a token, the same for the same seed."""

from __future__ import annotations

from random import Random
from typing import Final

__all__ = ["degenerate", "prose"]

_WORDS: Final = """
    a about after again air all along also always an and another any are around as ask at away
    back be because been before began between big both boy but by call came can carry change
    city close come could country cut day did different do does done door down each earth eat
    end enough even ever every example eye face family far father feet few find first follow
    food for form found four from gave get girl give go good got great group grow had hand hard
    has have he head hear help her here high him his home hour house how idea if important in
    into is it its just keep kind knew know land large last later learn leave left letter life
    light like line list little live long look made make man many may me mean men might mile
    more most mother mountain move much must my name near need never new next night no not note
    now number of off often old on once one only open or other our out over own page paper part
    people place plant play point question quick quite rain read real right river room run said
    same saw say school sea second see seem sentence set she should show side simple since small
    so some song soon sound spell start state still stop story study such sun take talk tell ten
    than that the their them then there these they thing think this those thought three through
    time to together too took tree try turn two under until up us use very walk want was watch
    water way we well went were what when where which while white who why will with without word
    work world would write year you
""".split()  # noqa: SIM905 - a list of one word a line would be no clearer
_SPOOL: Final = [f" {word}" for word in Random(1).choices(_WORDS, k=16_384)]  # noqa: S311


def prose(random: Random, tokens: int) -> list[str]:
    """Return so many varied tokens, each a word with the blank before it."""
    begin = random.randrange(len(_SPOOL))
    found = _SPOOL[begin : begin + tokens]
    while len(found) < tokens:
        found += _SPOOL[: tokens - len(found)]
    return found


def degenerate(random: Random, tokens: int) -> list[str]:
    """Return so many tokens of one short phrase over and over: a model that lost its thread."""
    phrase = prose(random, 2)
    return (phrase * (tokens // 2 + 1))[:tokens]
