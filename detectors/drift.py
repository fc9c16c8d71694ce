"""Drift of prompt and output lengths: KS, PSI and ADWIN over closed windows."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

from detectors.base import JSON
from detectors.closed_window import Window
from detectors.errors import SketchError, SnapshotError
from detectors.ks import ks_test
from detectors.length_series import LengthSeries, SavedSeries
from detectors.measures import Reading
from detectors.memory import Memory
from detectors.psi import psi
from detectors.sketch import DDSketch
from detectors.two_sample import sample_of
from schemas.base import SCHEMA_VERSION
from schemas.settings import DriftSettings
from schemas.signal import Signal, SignalName, SignalQuery

__all__ = ["DEFAULT_QUERIES", "Drift"]

_QUANTITIES: Final = {
    SignalName.INPUT_TOKENS_PSI: ("input_tokens", "psi"),
    SignalName.INPUT_TOKENS_KS: ("input_tokens", "ks"),
    SignalName.INPUT_TOKENS_ADWIN: ("input_tokens", "adwin"),
    SignalName.OUTPUT_TOKENS_PSI: ("output_tokens", "psi"),
    SignalName.OUTPUT_TOKENS_KS: ("output_tokens", "ks"),
    SignalName.OUTPUT_TOKENS_ADWIN: ("output_tokens", "adwin"),
}

DEFAULT_QUERIES: Final = tuple(SignalQuery(name, 3_600, ("model",)) for name in _QUANTITIES)
"""Every drift signal, over an hour for each model."""

_Group = tuple[str, ...]

_PER_LOOKBACK: Final = 12
_LEAST_US: Final = 30_000_000


class _SavedGroup(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    over_us: int
    by: _Group
    quantity: str
    group: _Group
    series: SavedSeries


class _Saved(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    detector: str
    groups: tuple[_SavedGroup, ...]


class Drift:
    """Compare each series' newest lengths with the first ones ever seen of it.

    The first ``reference_requests`` are the frozen reference of a series; it is never renewed, so
    slow drift adds up instead of being followed. KS and PSI compare it with the lookback and say
    None until that holds ``current_requests``. ADWIN needs no reference; its signal is 1 when it
    found a change within the lookback, which is how long a rule can see it. Corrections of windows
    are left out: lengths were counted when the window first closed.

    References outlive a restart: ``memories`` are snapshots of each series, made when it begins and
    about twelve times a lookback, twice a minute at most; ``recall`` takes them over, and
    ``resume`` the windows since.

    Args:
        settings: sizes of the samples, PSI's bins, ADWIN's confidence.
        queries: what the rules need; those for other signals are left out.

    """

    def __init__(
        self, settings: DriftSettings, queries: Collection[SignalQuery] = DEFAULT_QUERIES
    ) -> None:
        self._settings = settings
        self._queries = [q for q in dict.fromkeys(queries) if q.signal in _QUANTITIES]
        self._tracks: dict[tuple[int, _Group, str], dict[_Group, LengthSeries]] = {
            _track(query): {} for query in self._queries
        }
        self._now_us = 0

    def add(self, window: Window) -> None:
        """Add a closed window."""
        if window.revision:
            return
        for groups, group, lengths in self._members(window):
            groups[group].add(lengths)

    def evaluate(self, now_end_us: int) -> list[Signal]:
        """Return the signals at the end of a window; call it once for each end, in order."""
        self._now_us = now_end_us
        for groups in self._tracks.values():
            for series in groups.values():
                series.advance(now_end_us)
        return [signal for query in self._queries for signal in self._answer(query, now_end_us)]

    def reask(self, queries: Collection[SignalQuery]) -> None:
        """Answer other queries from now on; the series of those that stay go on."""
        self._queries = [q for q in dict.fromkeys(queries) if q.signal in _QUANTITIES]
        before = self._tracks
        self._tracks = {track: before.get(track, {}) for track in map(_track, self._queries)}

    @property
    def reach_us(self) -> int:
        """Return how far before the next evaluation ``resume`` needs windows, 0 for no queries.

        It is the longest lookback, or as long as a snapshot may be old.
        """
        longest_us = max((over_us for over_us, _, _ in self._tracks), default=0)
        return longest_us and longest_us + _LEAST_US

    def quantities(self) -> frozenset[str]:
        """Return the sketched quantities that some query asks for."""
        return frozenset(quantity for _, _, quantity in self._tracks)

    def asked(self) -> list[str]:
        """Return the names of the questions that something may be remembered of."""
        return [_asked(track) for track in self._tracks]

    def memories(self) -> list[Memory]:
        """Return snapshots of the series that are new, or that learnt and are due."""
        memories = []
        for track, groups in self._tracks.items():
            every_us = max(track[0] // _PER_LOOKBACK, _LEAST_US)
            for group, series in groups.items():
                # By the evaluation's time: one that fell silent is saved as well, before what it
                # learnt last is further back than ``resume`` looks.
                due = not series.saved_us or series.saved_us // every_us != self._now_us // every_us
                if series.saved_us >= series.known_us or not due:
                    continue
                series.saved_us = self._now_us
                state = series.save().model_dump(mode="json")
                memories.append(
                    Memory(
                        "snapshot", _asked(track), group, series.known_us, state, every_us=every_us
                    )
                )
        return memories

    def recall(self, memories: Iterable[Memory]) -> None:
        """Take over the newest snapshot of each series that some query still asks for.

        Raises:
            SnapshotError: some are none; the rest was taken over.

        """
        tracks = {_asked(track): track for track in self._tracks}
        wrong: list[str] = []
        for memory in sorted(memories, key=lambda memory: memory.at_us):
            if (track := tracks.get(memory.asked)) is None:
                continue
            series = self._series(track[0])
            try:
                series.load(SavedSeries.model_validate(memory.state))
            except (ValidationError, SketchError) as error:
                wrong.append(f"{memory.asked} {memory.series}: {error}")
                continue
            series.known_us = series.saved_us = memory.at_us
            self._tracks[track][memory.series] = series
        if wrong:
            raise SnapshotError("; ".join(wrong))

    def resume(self, windows: Sequence[Window]) -> None:
        """Take in the windows of one end, in order of the ends: known ones to the lookback alone.

        To be called after ``recall``, with the windows of ``reach_us`` before the next evaluation.
        """
        for window in windows:
            for groups, group, lengths in self._members(window):
                series = groups[group]
                if window.end_us <= series.known_us:
                    series.remember(lengths, window.end_us)
                else:
                    series.add(lengths)
        for end_us in {window.end_us for window in windows}:
            for groups in self._tracks.values():
                for series in groups.values():
                    series.advance(end_us)

    def snapshot(self) -> dict[str, JSON]:
        """Return every series' reference and ADWIN as plain JSON."""
        groups = tuple(
            _SavedGroup(over_us=over, by=by, quantity=quantity, group=group, series=series.save())
            for (over, by, quantity), held in self._tracks.items()
            for group, series in held.items()
        )
        saved: dict[str, JSON] = _Saved(detector="drift", groups=groups).model_dump(mode="json")
        return saved

    def restore(self, snapshot: Mapping[str, JSON]) -> None:
        """Take over the series of a snapshot that some query still asks for.

        Raises:
            SnapshotError: it is no snapshot of ``Drift``; nothing was taken over.

        """
        try:
            saved = _Saved.model_validate(snapshot)
            loaded = []
            for item in saved.groups:
                if (item.over_us, item.by, item.quantity) in self._tracks:
                    series = self._series(item.over_us)
                    series.load(item.series)
                    loaded.append((item, series))
        except (ValidationError, SketchError) as error:
            raise SnapshotError(f"not a snapshot of drift: {error}") from None
        if saved.detector != "drift":
            raise SnapshotError(f"a snapshot of {saved.detector!r}, not of drift")
        for item, series in loaded:
            self._tracks[item.over_us, item.by, item.quantity][item.group] = series

    def _members(
        self, window: Window
    ) -> Iterator[tuple[dict[_Group, LengthSeries], _Group, DDSketch]]:
        """Yield what a window tells: of which series, kept where, and the lengths."""
        for (over_us, by, quantity), groups in self._tracks.items():
            lengths = window.sketches.get(quantity)
            if lengths is None or not lengths.count:
                continue
            group = tuple(window.labels.get(name, "") for name in by)
            if group not in groups:
                groups[group] = self._series(over_us)
            yield groups, group, lengths

    def _series(self, over_us: int) -> LengthSeries:
        settings = self._settings
        return LengthSeries(over_us, settings.reference_requests, settings.adwin_delta)

    def _answer(self, query: SignalQuery, now_us: int) -> Iterator[Signal]:
        method = _QUANTITIES[query.signal][1]
        for group, series in self._tracks[_track(query)].items():
            reading = self._adwin(series) if method == "adwin" else self._compare(series, method)
            yield Signal(
                schema_version=SCHEMA_VERSION,
                signal=query.signal,
                labels=dict(zip(query.by, group, strict=True)),
                over_s=query.over_s,
                window_end_us=now_us,
                value=reading.value,
                samples=reading.samples,
                detector=method,
                detail=reading.detail,
            )

    def _compare(self, series: LengthSeries, method: str) -> Reading:
        detail = {"reference_samples": float(series.reference.count)}
        samples = series.current.count
        if not series.frozen or samples < self._settings.current_requests:
            return Reading(None, samples, detail)
        reference, current = series.reference_sample(), sample_of(series.current)
        if method == "psi":
            return Reading(psi(reference, current, self._settings.psi_bins), samples, detail)
        result = ks_test(reference, current)
        return Reading(result.statistic, samples, detail | {"p_value": result.p_value})

    def _adwin(self, series: LengthSeries) -> Reading:
        width = series.adwin_width
        detail = {"changes": float(series.changes)}
        if (mean := series.adwin_mean) is not None:
            detail["mean_tokens"] = mean
        if series.fed < self._settings.current_requests:
            return Reading(None, width, detail)
        return Reading(float(series.changes > 0), width, detail)


def _asked(track: tuple[int, _Group, str]) -> str:
    over_us, by, quantity = track
    return f"drift of {quantity} over {over_us / 1e6:g} s by {', '.join(by)}"


def _track(query: SignalQuery) -> tuple[int, _Group, str]:
    return max(1, round(query.over_s * 1e6)), query.by, _QUANTITIES[query.signal][0]
