"""Where the SQL of a request ends and its data begins.

ClickHouse's HTTP interface takes one stream: query text, then, for an INSERT, the rows in their
format (which may be binary). The engine is handed the two apart, so the boundary is found here by
reading tokens only (quotes, comments, brackets, words); the grammar stays the engine's business.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

__all__ = [
    "InsertData",
    "first_word",
    "insert_from_file",
    "into_file",
    "output_format",
    "reads_file",
    "split_insert",
    "writes_file",
]

_SKIP = re.compile(rb"(?:\s|\x00|--[^\n]*(?:\n|$)|#[ !][^\n]*(?:\n|$)|/\*.*?(?:\*/|$))+", re.DOTALL)
_WORD = re.compile(rb"[A-Za-z_][A-Za-z0-9_]*")
_NUMBER = re.compile(rb"[0-9][A-Za-z0-9_.]*")
_HEREDOC = re.compile(rb"\$([A-Za-z0-9_]*)\$")
_QUOTED = {
    ord("'"): re.compile(rb"'(?:[^'\\]|\\.|'')*(?:'|$)", re.DOTALL),
    ord('"'): re.compile(rb'"(?:[^"\\]|\\.|"")*(?:"|$)', re.DOTALL),
    ord("`"): re.compile(rb"`(?:[^`\\]|\\.|``)*(?:`|$)", re.DOTALL),
}
_OPEN, _CLOSE = frozenset(b"([{"), frozenset(b")]}")
_AFTER_FORMAT = re.compile(rb"[ \t\f]*\r?\n?")


@dataclass(frozen=True, slots=True)
class InsertData:
    """An INSERT whose rows follow its text: `head` lacks the FORMAT or VALUES clause."""

    head: bytes
    format: str
    data_offset: int
    from_input: bool


@dataclass(frozen=True, slots=True)
class _Token:
    text: bytes
    start: int
    end: int
    depth: int
    is_word: bool

    def says(self, keyword: bytes) -> bool:
        return self.is_word and self.text.upper() == keyword


def split_insert(text: bytes) -> InsertData | None:
    """Find the data of an INSERT ... FORMAT x or INSERT ... VALUES; None for every other query."""
    tokens = (token for token in _tokens(text) if token.depth == 0)
    first = next(tokens, None)
    if first is None or not (first.says(b"INSERT") or first.says(b"WITH")):
        return None
    inserting = first.says(b"INSERT")
    selects = from_input = False
    for token in tokens:
        if not inserting:
            inserting = token.says(b"INSERT")
        elif token.says(b"SELECT") or token.says(b"WITH"):
            selects = True
        elif token.says(b"INPUT"):
            from_input = selects
        elif token.says(b"VALUES") and not selects:
            return InsertData(text[: token.start], "Values", token.end, from_input=False)
        elif token.says(b"FORMAT") and (from_input or not selects):
            name = next(tokens, None)
            if name is not None and name.is_word:
                gap = _AFTER_FORMAT.match(text, name.end)
                offset = gap.end() if gap else name.end
                return InsertData(text[: token.start], name.text.decode(), offset, from_input)
    return None


def insert_from_file(parts: InsertData, path: str) -> bytes:
    """Give an INSERT that reads its rows from `path` (a name without quotes or backslashes)."""
    tokens = [token for token in _tokens(parts.head) if token.depth == 0]
    # SETTINGS stands after the source of the rows; a table may have that name, too.
    clauses = (
        word.start
        for word, name, sign in zip(tokens, tokens[1:], tokens[2:], strict=False)
        if word.says(b"SETTINGS") and name.is_word and sign.text == b"="
    )
    end = next(clauses, len(parts.head))
    source = f"\nFROM INFILE '{path}' COMPRESSION 'none'\n".encode()
    return parts.head[:end] + source + parts.head[end:] + f"\nFORMAT {parts.format}".encode()


def output_format(text: bytes) -> str | None:
    """Give the format named by a trailing FORMAT clause; None when the query names none."""
    clause = _format_clause([token for token in _tokens(text) if token.depth == 0])
    return clause[1].text.decode() if clause else None


def into_file(text: bytes, path: str, output_format: str) -> bytes:
    """Give a SELECT that writes its result to `path` (a name without quotes or backslashes)."""
    tokens = [token for token in _tokens(text) if token.depth == 0]
    end = next((token.start for token in tokens if token.text == b";"), len(text))
    target = f"\nINTO OUTFILE '{path}' ".encode()
    clause = _format_clause(tokens)
    if clause is None:
        return text[:end] + target + f"FORMAT {output_format}".encode()
    return text[: clause[0].start] + target + text[clause[0].start : end]


def _format_clause(tokens: list[_Token]) -> tuple[_Token, _Token] | None:
    found = None
    for here, name, after in zip(tokens, tokens[1:], [*tokens[2:], None], strict=False):
        ends = after is None or after.text == b";" or after.says(b"SETTINGS")
        if here.says(b"FORMAT") and name.is_word and ends:
            found = here, name
    return found


def first_word(text: bytes) -> str:
    """Give the statement's first word in capitals; empty when it does not begin with one."""
    token = next(_tokens(text), None)
    return token.text.upper().decode() if token is not None and token.is_word else ""


def writes_file(text: bytes) -> bool:
    """Tell whether the query has INTO OUTFILE, which ClickHouse refuses over HTTP."""
    tokens = [token for token in _tokens(text) if token.depth == 0]
    return any(a.says(b"INTO") and b.says(b"OUTFILE") for a, b in pairwise(tokens))


def reads_file(text: bytes) -> bool:
    """Tell whether the query has FROM INFILE 'name', which ClickHouse refuses over HTTP."""
    tokens = [token for token in _tokens(text) if token.depth == 0]
    return any(
        a.says(b"FROM") and b.says(b"INFILE") and c.text.startswith((b"'", b"$"))
        for a, b, c in zip(tokens, tokens[1:], tokens[2:], strict=False)
    )


def _tokens(text: bytes) -> Iterator[_Token]:
    position, depth, size = 0, 0, len(text)
    while position < size:
        if skipped := _SKIP.match(text, position):
            position = skipped.end()
            continue
        byte = text[position]
        end, is_word = position + 1, False
        if quoted := _QUOTED.get(byte):
            match = quoted.match(text, position)
            end = match.end() if match else size
            # A quoted identifier may name a table or a format, never a keyword.
        elif match := _WORD.match(text, position):
            end, is_word = match.end(), True
        elif match := _NUMBER.match(text, position):
            end = match.end()
        elif byte == ord("$") and (match := _HEREDOC.match(text, position)):
            close = text.find(match.group(0), match.end())
            end = size if close < 0 else close + len(match.group(0))
        elif byte in _CLOSE:
            depth = max(0, depth - 1)
        yield _Token(text[position:end], position, end, depth, is_word)
        if byte in _OPEN:
            depth += 1
        position = end
