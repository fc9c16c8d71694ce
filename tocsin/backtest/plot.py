"""A backtest as one self-contained page: a line for each series, a bar for each episode."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from html import escape
from typing import Final

from tocsin.backtest.episodes import Episode

__all__ = ["moment_of", "page"]

_WIDTH: Final = 760
_LEFT: Final = 400
_ROW: Final = 20
_TICKS: Final = 6

_STYLE: Final = """
:root { color-scheme: light dark; --ink: #1c1c1c; --soft: #6a6a6a; --line: #d8d8d8;
  --before: #8a8f98; --info: #3d7ab8; --warning: #b87800; --error: #c0392b; --critical: #8e1b6b; }
@media (prefers-color-scheme: dark) { :root { --ink: #ececec; --soft: #a5a5a5; --line: #444;
  --before: #7d828b; --info: #6aa9e9; --warning: #e0a83a; --error: #ee6a5c; --critical: #d873bb; }
  body { background: #181818; } }
body { font: 14px/1.5 system-ui, sans-serif; color: var(--ink); margin: 2rem auto;
  max-width: 1200px; padding: 0 1rem; }
svg { width: 100%; height: auto; } text { fill: var(--ink); font-size: 11px; }
text.soft { fill: var(--soft); } line { stroke: var(--line); }
.info { fill: var(--info); } .warning { fill: var(--warning); } .error { fill: var(--error); }
.critical { fill: var(--critical); } .before { fill: var(--before); }
.act { fill: var(--ink); }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: 2px 10px 2px 0;
  border-bottom: 1px solid var(--line); vertical-align: top; }
"""


def page(
    title: str,
    since_us: int,
    until_us: int,
    episodes: Sequence[Episode],
    before: Sequence[Episode],
    notes: Iterable[str] = (),
) -> str:
    """Return an HTML page without scripts and without anything from elsewhere.

    Args:
        title: what was tried.
        since_us: where the time axis begins.
        until_us: where it ends.
        episodes: those of the rules that were tried; the upper bar of each line.
        before: those of the rules in force; the lower bar, grey.
        notes: sentences below the title, such as what could not be tried.
    """
    keys = sorted({(e.rule, e.series) for e in (*episodes, *before)})
    height = 40 + _ROW * max(1, len(keys))
    parts = [
        "<!doctype html>",
        f'<html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>',
        f"<style>{_STYLE}</style>",
        f"<h1>{escape(title)}</h1>",
        *(f"<p>{escape(note)}</p>" for note in notes),
        f'<svg viewBox="0 0 {_LEFT + _WIDTH + 20} {height}" role="img" aria-label="episodes">',
        *_axis(since_us, until_us, height),
    ]
    if not keys:
        parts.append(f'<text x="{_LEFT}" y="40">nothing would have fired</text>')
    for row, (rule, series) in enumerate(keys):
        y = 30 + row * _ROW
        name = f"{rule}  {series}"
        shown = escape(name if len(name) <= 64 else f"{name[:63]}\u2026")
        parts.append(f'<text x="0" y="{y + 10}">{shown}<title>{escape(name)}</title></text>')
        for episode in before:
            if (episode.rule, episode.series) == (rule, series):
                parts += _bar(episode, since_us, until_us, y + 9, "before", 4)
        for episode in episodes:
            if (episode.rule, episode.series) == (rule, series):
                parts += _bar(episode, since_us, until_us, y, episode.severity, 8)
    parts += ["</svg>", _table(episodes), "</html>"]
    return "\n".join(parts)


def _axis(since_us: int, until_us: int, height: int) -> list[str]:
    parts = []
    for tick in range(_TICKS + 1):
        at_us = since_us + (until_us - since_us) * tick // _TICKS
        x = _LEFT + _WIDTH * tick // _TICKS
        parts.append(f'<line x1="{x}" y1="18" x2="{x}" y2="{height}"/>')
        parts.append(f'<text class="soft" x="{x - 34}" y="12">{moment_of(at_us)[5:16]}</text>')
    return parts


def _bar(
    episode: Episode, since_us: int, until_us: int, y: int, style: str, thickness: int
) -> list[str]:
    ends_us = episode.resolved_us if episode.resolved_us is not None else until_us
    low, high = (_x(us, since_us, until_us) for us in (episode.fired_us, ends_us))
    said = _describe(episode)
    parts = [
        f'<rect class="{escape(style)}" x="{low:.1f}" y="{y}" width="{max(2.0, high - low):.1f}" '
        f'height="{thickness}"><title>{escape(said)}</title></rect>'
    ]
    for deed in episode.acts:
        x = _x(deed.at_us, since_us, until_us)
        mark = f"{deed.step}: {deed.act} at {moment_of(deed.at_us)}"
        parts.append(
            f'<circle class="act" cx="{x:.1f}" cy="{y + thickness / 2}" r="3">'
            f"<title>{escape(mark)}</title></circle>"
        )
    return parts


def _x(at_us: int, since_us: int, until_us: int) -> float:
    share = (at_us - since_us) / max(1, until_us - since_us)
    return _LEFT + _WIDTH * min(1.0, max(0.0, share))


def _table(episodes: Sequence[Episode]) -> str:
    rows = [
        f"<tr><td>{moment_of(e.fired_us)}<td>{_ended(e)}"
        f"<td>{escape(e.rule)}<td>{escape(e.series)}<td>{escape(e.severity)}"
        f"<td>{escape('; '.join(f'{d.step} {moment_of(d.at_us)[11:]}' for d in e.deeds))}"
        for e in episodes
    ]
    head = "<tr><th>fired<th>resolved<th>rule<th>series<th>severity<th>steps"
    return "\n".join(["<table>", head, *rows, "</table>"])


def _describe(episode: Episode) -> str:
    return f"{episode.rule} {episode.series}: {moment_of(episode.fired_us)} to {_ended(episode)}"


def _ended(episode: Episode) -> str:
    return moment_of(episode.resolved_us) if episode.resolved_us is not None else "open"


def moment_of(at_us: int) -> str:
    """Return a moment in UTC, to the second."""
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at_us)
    return moment.strftime("%Y-%m-%d %H:%M:%S")
