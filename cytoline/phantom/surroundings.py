"""What else lies on a slide: red cells, neutrophils, mucus, bacilli, debris, anucleate squames."""

from __future__ import annotations

import cv2
import numpy as np

from cytoline.phantom.drawing import EOSIN, GREEN, HEMATOXYLIN, ORANGE, SUPER, Layers, paste
from cytoline.phantom.outlines import blob, polygon
from cytoline.phantom.textures import Noise, Plane, blurred, filled, smooth_noise


def add_surroundings(layers: Layers, noise: Noise, rng: np.random.Generator, amount: float, dominant: int) -> None:
    """Add everything that nobody annotates; carcinoma brings blood and necrosis along."""
    scale = amount * (1.6 if dominant == 3 else 1.0)
    if rng.random() < 0.45 * amount:
        _mucus(layers, rng)
    _squames(layers, noise, rng, int(rng.poisson(0.3 * amount)))
    _bacilli(layers, rng, int(rng.random() < 0.5) * int(60 * amount * rng.random()))
    _red_cells(layers, noise, rng, int(rng.random() < 0.55) * int(rng.gamma(1.2, 14.0 * scale)) if scale else 0)
    _neutrophils(layers, rng, int(rng.gamma(0.9, 6.0 * scale)) if scale else 0)
    _specks(layers, rng, int(rng.poisson(9 * scale)))
    if dominant == 3:
        _necrosis(layers, rng, scale)


def _red_cells(layers: Layers, noise: Noise, rng: np.random.Generator, count: int) -> None:
    """Biconcave, salmon, often in drifts."""
    height, width = layers.shape[1:]
    drift = rng.uniform((0, 0), (width, height))
    for number in range(count):
        where = drift + rng.standard_normal(2) * 70 * SUPER if number % 3 else rng.uniform((0, 0), (width, height))
        r = rng.uniform(5.5, 7.5)
        side = int(26 * SUPER)
        outline = blob(rng, r, rng.uniform(1.0, 1.5), rng.uniform(0, np.pi), 0.05)
        disc = filled(outline * SUPER + side / 2, (side, side))
        hollow = blurred(disc, 2.2 * SUPER) ** 2
        body = blurred(disc * (1 - 0.45 * hollow), 0.5 * SUPER) * np.float32(rng.uniform(0.5, 0.95))
        patch = np.zeros((4, side, side), np.float32)
        patch[EOSIN], patch[ORANGE] = 0.42 * body, 0.34 * body
        paste(layers, patch, (where - side / 2).astype(int))


def _neutrophils(layers: Layers, rng: np.random.Generator, count: int) -> None:
    """Three or four dark lobes in a hardly visible body of 20 to 24 px."""
    height, width = layers.shape[1:]
    swarm = rng.uniform((0, 0), (width, height))
    side = 40 * SUPER
    for number in range(count):
        where = swarm + rng.standard_normal(2) * 55 * SUPER if number % 2 else rng.uniform((0, 0), (width, height))
        dots = np.zeros((side, side), np.uint8)
        heading, bend = rng.uniform(0, 2 * np.pi), rng.uniform(0.9, 1.6)
        for lobe in range(int(rng.integers(2, 5))):
            turn = heading + bend * lobe
            away = rng.uniform(3.4, 5.8) * SUPER
            x, y = (side / 2 + away * np.array([np.cos(turn), np.sin(turn)])).astype(int).tolist()
            axes = (int(rng.uniform(3.0, 5.0) * SUPER), int(rng.uniform(2.2, 3.3) * SUPER))
            cv2.ellipse(dots, (x, y), axes, float(np.degrees(turn) + 90), 0, 360, 255, -1, cv2.LINE_AA)
        patch = np.zeros((4, side, side), np.float32)
        patch[HEMATOXYLIN] = blurred(dots.astype(np.float32) / 255, 0.45 * SUPER) * np.float32(rng.uniform(0.9, 1.4))
        body = filled(blob(rng, 11.5, 1.1, heading, 0.08) * SUPER + side / 2, (side, side))
        patch[GREEN] = 0.09 * blurred(body, 0.8 * SUPER)
        paste(layers, patch, (where - side / 2).astype(int))


def _mucus(layers: Layers, rng: np.random.Generator) -> None:
    """Long pale strands that run roughly one way."""
    height, width = layers.shape[1:]
    strands = np.zeros((height, width), np.uint8)
    heading, start = rng.uniform(0, np.pi), rng.uniform((0, 0), (width, height))
    for _ in range(int(rng.integers(10, 26))):
        steps = heading + 0.12 * np.cumsum(rng.standard_normal(40))
        walk = np.cumsum(np.stack([np.cos(steps), np.sin(steps)], axis=1) * 0.045 * width, axis=0)
        at = start + rng.standard_normal(2) * 45 * SUPER + walk - walk[20]
        thick = int(np.exp(rng.uniform(0, 3)))
        cv2.polylines(strands, [at.astype(np.int32)], False, int(rng.integers(50, 170)), thick, cv2.LINE_AA)
    veil = 0.4 * blurred(strands.astype(np.float32) / 255, 1.0 * SUPER)
    veil = veil + blurred(veil, 5 * SUPER)
    layers[GREEN] += 0.20 * veil
    layers[EOSIN] += 0.10 * veil


def _bacilli(layers: Layers, rng: np.random.Generator, count: int) -> None:
    """Doederlein's rods: thin, short, blue-grey."""
    height, width = layers.shape[1:]
    rods = np.zeros((height, width), np.uint8)
    for _ in range(count):
        x, y = rng.uniform((0, 0), (width, height))
        turn, half = rng.uniform(0, np.pi), rng.uniform(1.5, 4.0) * SUPER
        dx, dy = half * np.cos(turn), half * np.sin(turn)
        cv2.line(rods, (int(x - dx), int(y - dy)), (int(x + dx), int(y + dy)), 255, 1, cv2.LINE_AA)
    if count:
        layers[HEMATOXYLIN] += 0.30 * (rods.astype(np.float32) / 255)


def _specks(layers: Layers, rng: np.random.Generator, count: int) -> None:
    """Debris: small, shapeless, of any dye."""
    height, width = layers.shape[1:]
    side = 24 * SUPER
    for _ in range(count):
        outline = blob(rng, rng.uniform(0.8, 4.5), rng.uniform(1, 2.4), rng.uniform(0, np.pi), 0.25)
        mask = blurred(filled(outline * SUPER + side / 2, (side, side)), rng.uniform(0.3, 1.2) * SUPER)
        patch = np.zeros((4, side, side), np.float32)
        patch[int(rng.choice([HEMATOXYLIN, HEMATOXYLIN, GREEN, ORANGE]))] = np.float32(rng.uniform(0.15, 0.7)) * mask
        paste(layers, patch, rng.uniform((-side / 2, -side / 2), (width, height)).astype(int))


def _squames(layers: Layers, noise: Noise, rng: np.random.Generator, count: int) -> None:
    """Anucleate squames: pale orange plates without a nucleus; not cells that anybody grades."""
    height, width = layers.shape[1:]
    side = 150 * SUPER
    for _ in range(count):
        outline = polygon(rng, rng.uniform(24, 46), rng.uniform(0, 6.3))
        mask = filled(outline * SUPER + side / 2, (side, side))
        body = mask * (1 + 0.2 * noise.cut(rng, "wide", (side, side)) + 0.12 * noise.cut(rng, "fine", (side, side)))
        patch = np.zeros((4, side, side), np.float32)
        patch[EOSIN], patch[ORANGE] = 0.10 * body, 0.16 * body
        paste(layers, patch, rng.uniform((-side / 2, -side / 2), (width - side / 2, height - side / 2)).astype(int))


def _necrosis(layers: Layers, rng: np.random.Generator, amount: float) -> None:
    """Tumour diathesis: granular, dirty background in drifts."""
    height, width = layers.shape[1:]
    drifts: Plane = np.clip(smooth_noise(rng, (height, width), 130 * SUPER) - 0.25, 0, 1.2)
    grains = 0.6 * smooth_noise(rng, (height, width), 3.1 * SUPER) + smooth_noise(rng, (height, width), 11 * SUPER)
    grains = blurred(np.asarray(np.clip(grains, 0, 2), np.float32), 0.5 * SUPER)
    layers[GREEN] += np.float32(0.04 * amount) * drifts * (1 + grains)
    layers[EOSIN] += np.float32(0.05 * amount) * drifts * (0.5 + grains)
