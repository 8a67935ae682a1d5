"""Line charts as inline SVG: no script, colours follow the page's light or dark theme, words for a screen reader."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

Point = tuple[float, float]

WIDTH, HEIGHT = 440, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 14, 12, 44


@dataclass(frozen=True)
class Series:
    """One curve; ``colour`` is a CSS colour; ``weights``, if any, are what each point stands on (its dot's area)."""

    name: str
    points: tuple[Point, ...]
    colour: str
    dots: bool = False
    weights: tuple[float, ...] = ()


@dataclass(frozen=True)
class Axis:
    """``low`` to ``high`` with ``ticks``; logarithmic to base 2 if ``log``."""

    label: str
    low: float
    high: float
    ticks: tuple[float, ...]
    log: bool = False

    def place(self, value: float) -> float:
        """0 to 1 along the axis; values beyond are kept at its ends."""
        value = min(max(value, self.low), self.high)
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


SHARE = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


def unit_axis(label: str) -> Axis:
    """From 0 to 1."""
    return Axis(label, 0.0, 1.0, SHARE)


def fitting_axis(label: str, values: Sequence[float], whole: bool = False) -> Axis:
    """Round numbers around ``values``; ``whole`` asks for whole ticks (epochs)."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    if high <= low:
        low, high = low - 0.5, high + 0.5
    rough = (high - low) / 5
    scale = 10.0 ** math.floor(math.log10(rough))
    step = next(scale * factor for factor in (1, 2, 5, 10) if scale * factor >= rough)
    step = max(step, 1.0) if whole else step
    start, end = math.floor(low / step), math.ceil(high / step)
    if whole:
        ticks = tuple(number * step for number in range(start, end + 1) if low <= number * step <= high)
        return Axis(label, low, high, ticks or (low, high))
    return Axis(label, start * step, end * step, tuple(round(n * step, 10) for n in range(start, end + 1)))


def line_chart(title: str, series: Sequence[Series], x: Axis, y: Axis, guide: Sequence[Point] = ()) -> Markup:
    """A chart with its legend; ``guide`` is a dashed line to compare with."""
    shown = [item for item in series if item.points]
    if not shown:
        return Markup('<p class="soft">{}: nothing to draw.</p>').format(title)
    words = f"{title}: {x.label} against {y.label} for {', '.join(item.name for item in shown)}"
    parts = [f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(words)}">']
    parts += _grid(x, y)
    if guide:
        parts.append(f'<polyline class="guide" points="{_path(guide, x, y)}"/>')
    for item in shown:
        parts.append(
            f'<polyline class="curve" style="stroke:{item.colour}" points="{_path(item.points, x, y)}">'
            f"<title>{escape(item.name)}</title></polyline>"
        )
        if item.dots:
            parts += [_dot(number, item, x, y) for number in range(len(item.points))]
    parts.append("</svg>")
    caption = Markup("<figcaption>{}</figcaption>").format(title)
    return Markup("<figure>{}{}{}</figure>").format(caption, Markup("".join(parts)), _legend(shown))


def interval_bar(value: float, low: float | None, high: float | None) -> Markup:
    """A figure between 0 and 1 as a dot on a line, its interval as a band."""
    band = ""
    if low is not None and high is not None:
        width = max(1.0, 196 * (high - low))
        place = f'x="{2 + 196 * low:.1f}" y="4" width="{width:.1f}" height="6" rx="3"'
        band = f'<rect {place} fill="var(--s1)" opacity=".35"/>'
    return Markup(
        '<svg viewBox="0 0 200 14" preserveAspectRatio="none" aria-hidden="true">'
        '<rect x="2" y="6.4" width="196" height="1.2" fill="var(--line)"/>'
        f'{band}<rect x="{2 + 196 * value - 1.5:.1f}" y="1" width="3" height="12" rx="1.5" fill="var(--s1)"/></svg>'
    )


def short(value: float) -> str:
    """A tick's number without needless digits."""
    return f"{value:.4g}"


def _grid(x: Axis, y: Axis) -> list[str]:
    left, right, top, bottom = _LEFT, WIDTH - _RIGHT, _TOP, HEIGHT - _BOTTOM
    parts = []
    for tick in y.ticks:
        at = _y(tick, y)
        parts.append(f'<line class="grid" x1="{left}" x2="{right}" y1="{at:.1f}" y2="{at:.1f}"/>')
        parts.append(f'<text x="{left - 7}" y="{at + 4:.1f}" text-anchor="end">{short(tick)}</text>')
    for tick in x.ticks:
        at = _x(tick, x)
        parts.append(f'<line class="axis" x1="{at:.1f}" x2="{at:.1f}" y1="{bottom}" y2="{bottom + 4}"/>')
        parts.append(f'<text x="{at:.1f}" y="{bottom + 17}" text-anchor="middle">{_tick(tick, x)}</text>')
    parts.append(f'<line class="axis" x1="{left}" x2="{right}" y1="{bottom}" y2="{bottom}"/>')
    middle = (top + bottom) / 2
    parts.append(f'<text x="{(left + right) / 2}" y="{HEIGHT - 6}" text-anchor="middle">{escape(x.label)}</text>')
    parts.append(f'<text transform="translate(13 {middle}) rotate(-90)" text-anchor="middle">{escape(y.label)}</text>')
    return parts


def _tick(value: float, axis: Axis) -> str:
    if axis.log and value < 1:
        return f"1/{round(1 / value)}"
    return short(value)


def _dot(number: int, item: Series, x: Axis, y: Axis) -> str:
    point, radius, words = item.points[number], 3.2, ""
    if item.weights:
        radius = 1.5 + 7.5 * math.sqrt(item.weights[number] / max(item.weights))
        words = f" ({item.weights[number]:g} cells)"
    return (
        f'<circle cx="{_x(point[0], x):.1f}" cy="{_y(point[1], y):.1f}" r="{radius:.1f}" style="fill:{item.colour}">'
        f"<title>{short(point[0])}: {short(point[1])}{words}</title></circle>"
    )


def _path(points: Sequence[Point], x: Axis, y: Axis) -> str:
    return " ".join(f"{_x(a, x):.1f},{_y(b, y):.1f}" for a, b in points)


def _x(value: float, axis: Axis) -> float:
    return _LEFT + (WIDTH - _LEFT - _RIGHT) * axis.place(value)


def _y(value: float, axis: Axis) -> float:
    return HEIGHT - _BOTTOM - (HEIGHT - _TOP - _BOTTOM) * axis.place(value)


def _legend(series: Sequence[Series]) -> Markup:
    if len(series) < 2:
        return Markup("")
    rows = Markup("").join(
        Markup('<li><span class="key" style="background:{}"></span>{}</li>').format(item.colour, item.name)
        for item in series
    )
    return Markup('<ul class="legend">{}</ul>').format(rows)
