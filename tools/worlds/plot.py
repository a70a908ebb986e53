"""Exposures over time of the best, the median and the worst notes of a world, as an SVG that any browser shows."""

from __future__ import annotations

import math

import numpy as np

from tools.worlds.world import World

WIDTH, HEIGHT, LEFT, TOP = 760, 420, 70, 40
SHOWN = 12
"""notes of each kind"""
KINDS = {"best": "#c0392b", "median": "#2471a3", "worst": "#7f8c8d"}


def svg(world: World) -> str:
    """The picture: hours since publication to the right, exposures upwards (logarithmic)."""
    order = np.argsort(-world.value)
    middle = len(order) // 2 - SHOWN // 2
    groups = {"best": order[:SHOWN], "median": order[middle : middle + SHOWN], "worst": order[-SHOWN:]}
    ceiling = max(4.0, math.ceil(math.log10(max(1.0, world.exposures.max()))))
    lines = [line(world, note, KINDS[kind], ceiling) for kind, notes in groups.items() for note in notes.tolist()]
    marks = [
        f'<text x="{LEFT - 8}" y="{height(10.0**k, ceiling) + 4:.0f}" text-anchor="end">{10**k:,}</text>'
        f'<line x1="{LEFT}" x2="{WIDTH - 20}" y1="{height(10.0**k, ceiling):.0f}" y2="{height(10.0**k, ceiling):.0f}" stroke="#ddd"/>'
        for k in range(int(ceiling) + 1)
    ]
    legend = [
        f'<text x="{LEFT + 110 * i}" y="24" fill="{colour}">{SHOWN} {kind} notes</text>' for i, (kind, colour) in enumerate(KINDS.items())
    ]
    label = f'<text x="{WIDTH - 20}" y="{HEIGHT - 8}" text-anchor="end">hours since publication, to {world.round}</text>'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">'
    return "\n".join([head, '<rect width="100%" height="100%" fill="white"/>', *marks, *lines, *legend, label, "</svg>\n"])


def line(world: World, note: int, colour: str, ceiling: float) -> str:
    seen = [float(after[note]) for after in world.story[world.arrival[note] :]]
    step = (WIDTH - LEFT - 20) / max(1, world.round)
    points = " ".join(f"{LEFT + step * (hour + 1):.1f},{height(count, ceiling):.1f}" for hour, count in enumerate(seen))
    return f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-opacity="0.7" stroke-width="1.5"/>'


def height(count: float, ceiling: float) -> float:
    return HEIGHT - 30 - (HEIGHT - 30 - TOP) * math.log10(max(1.0, count)) / ceiling
