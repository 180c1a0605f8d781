"""Rooms that are rendered: boxes and spheres between four walls, seen by a camera with depth.

Everything about a room is drawn from its number, everything about a view from its own, so that no
file is needed and rooms of different splits have nothing in common. What a picture has to tell the
depth by is what a real one has: perspective, shading, the size of textures, what stands before what
and where it meets the floor. The sensor is like a Kinect's: nothing nearer than 0.7 m, noise that
grows with the square of the depth, holes at edges and where a surface is seen at a grazing angle.
All of it is ours (assumptions).

Symbols: `R` rays, one a pixel; coordinates in metres, z upwards.
"""

from __future__ import annotations

import itertools
import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from netadapt.search.tasks.depth.settings import RoomSettings
from netadapt.search.tasks.depth.views import Pair

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

NEAREST_M: Final = 0.7
_ROOM, _VIEW = range(2)
"""What is drawn from a seed."""
_FIELD_DEG: Final = 62.0
"""The camera's view from left to right; a Kinect's is 57 to 62 degrees."""
_GRAZING: Final = 0.1
"""Cosine between ray and surface under which a sensor sees no depth."""
_JUMP: Final = 0.1
"""A depth that differs from its left neighbour's by more than this share is an edge."""
_KEPT: Final = 20_000
"""Views that are kept once they are rendered."""


@dataclass(frozen=True, slots=True)
class _Texture:
    """Colours `(3,)` from 0 to 1, and how they alternate along a surface."""

    kind: int
    one: Floats
    other: Floats
    period_m: float
    turn: float

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> _Texture:
        one = rng.uniform(0.15, 0.95, 3)
        other = (one + rng.uniform(-0.35, 0.35, 3)).clip(0.05, 1)
        period = math.exp(rng.uniform(math.log(0.1), math.log(0.8)))
        return cls(int(rng.integers(4)), one, other, period, rng.uniform(0, math.pi))

    def at(self, a: Floats, b: Floats) -> Floats:
        """Colours `(R, 3)` at places `a, b` `(R,)` of the surface, in metres."""
        cos, sin = math.cos(self.turn), math.sin(self.turn)
        u, v = (cos * a - sin * b) / self.period_m, (sin * a + cos * b) / self.period_m
        if self.kind == 0:  # plain
            share = np.zeros_like(u)
        elif self.kind == 1:  # checked
            share = (np.floor(u) + np.floor(v)) % 2
        elif self.kind == 2:  # striped
            share = np.floor(u) % 2
        else:  # mottled
            share = 0.5 + 0.25 * (np.sin(5 * u + 2 * np.sin(v)) + np.sin(4 * v + u))
        return self.one + share[:, None] * (self.other - self.one)


@dataclass(frozen=True, slots=True)
class _Box:
    """Centre `(3,)`, half of its sides `(3,)`, turned about the vertical."""

    centre: Floats
    half: Floats
    turn: float
    textures: tuple[_Texture, ...]


@dataclass(frozen=True, slots=True)
class _Sphere:
    centre: Floats
    radius: float
    texture: _Texture


@dataclass(frozen=True, slots=True)
class _Room:
    """From 0 to `size` `(3,)`; textures of floor, ceiling and walls by axis and side."""

    size: Floats
    textures: tuple[_Texture, ...]
    boxes: tuple[_Box, ...]
    spheres: tuple[_Sphere, ...]
    lights: Floats

    @classmethod
    def drawn(cls, settings: RoomSettings, rng: np.random.Generator) -> _Room:
        size = np.array([rng.uniform(3, 7), rng.uniform(3, 9.5), rng.uniform(2.3, 3.2)])
        boxes = []
        for _ in range(int(rng.integers(settings.boxes[0], settings.boxes[1] + 1))):
            half = np.array([rng.uniform(0.1, 0.8), rng.uniform(0.1, 0.8), rng.uniform(0.1, 1.0)])
            hung = rng.random() < 0.15
            z = rng.uniform(1.2, size[2]) if hung else half[2]
            centre = np.array([rng.uniform(0, size[0]), rng.uniform(0, size[1]), z])
            textures = tuple(_Texture.drawn(rng) for _ in range(2))
            boxes.append(_Box(centre, half, rng.uniform(0, math.pi), textures))
        spheres = []
        for _ in range(int(rng.integers(settings.spheres[0], settings.spheres[1] + 1))):
            radius = rng.uniform(0.1, 0.45)
            height = radius if rng.random() < 0.6 else rng.uniform(radius, size[2] - radius)
            centre = np.array([rng.uniform(0, size[0]), rng.uniform(0, size[1]), height])
            spheres.append(_Sphere(centre, radius, _Texture.drawn(rng)))
        lights = rng.uniform(0.15, 0.85, (int(rng.integers(1, 3)), 3)) * size
        lights[:, 2] = size[2] - 0.1
        textures = tuple(_Texture.drawn(rng) for _ in range(6))
        return cls(size, textures, tuple(boxes), tuple(spheres), lights)


class Rooms:
    """Views of rendered rooms: pair number `i` is view `i % views` of room `i // views`.

    Parameters
    ----------
    settings: how many, and what is in them; rooms to train in come first, then those held out,
        then the test's.
    height, width: H and W of a picture.
    max_depth_m: what is farther is unknown.
    seed: decides everything.
    """

    def __init__(
        self, settings: RoomSettings, height: int, width: int, max_depth_m: float, seed: int
    ) -> None:
        self._settings = settings
        self._height, self._width = height, width
        self._max_depth_m = max_depth_m
        self._seed = seed
        self._kept: OrderedDict[int, Pair] = OrderedDict()
        counts = (settings.rooms, settings.validation_rooms, settings.test_rooms)
        ends = np.cumsum([0, *counts]) * settings.views
        self.train, self.validation, self.test = (
            np.arange(begin, end) for begin, end in itertools.pairwise(ends.tolist())
        )

    def __getstate__(self) -> dict[str, object]:
        return self.__dict__ | {"_kept": OrderedDict()}

    def place(self, number: int) -> str:
        """Which view of which room, for people."""
        room, view = divmod(number, self._settings.views)
        return f"view {view} of room {room}"

    def read(self, number: int) -> Pair:
        """Picture `(H, W, 3)` and depth `(H, W)`."""
        pair = self._kept.get(number)
        if pair is None:
            pair = self._kept[number] = self._rendered(number)
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return pair

    def _rendered(self, number: int) -> Pair:
        room_number = number // self._settings.views
        room = _Room.drawn(self._settings, np.random.default_rng((self._seed, _ROOM, room_number)))
        rng = np.random.default_rng((self._seed, _VIEW, number))
        eye, rays = _camera(room, self._height, self._width, rng)
        depth, normals, colours = _hit(room, eye, rays)
        points = eye + depth[:, None] * rays
        shaded = colours * _light(room, points, normals)[:, None]
        picture = shaded + rng.normal(0, 0.012, shaded.shape)
        grazing = np.abs((normals * rays).sum(1)) < _GRAZING * np.linalg.norm(rays, axis=1)
        sensed = self._sensed(depth, grazing, rng)
        shape = (self._height, self._width)
        pixels = (255 * picture.clip(0, 1)).round().astype(np.uint8).reshape(*shape, 3)
        return Pair(pixels, sensed.astype(np.float32).reshape(shape))

    def _sensed(
        self, depth: Floats, grazing: NDArray[np.bool_], rng: np.random.Generator
    ) -> Floats:
        """What the sensor says of true depths `(R,)`; 0 where it says nothing."""
        shape = (self._height, self._width)
        seen = depth + rng.normal(0, 1, depth.shape) * self._settings.noise * depth**2
        true = depth.reshape(shape)
        edges = np.zeros(shape, bool)
        edges[:, 1:] = np.abs(true[:, 1:] / true[:, :-1] - 1) > _JUMP
        lost = edges.ravel() | (grazing & (rng.random(depth.shape) < 0.7))
        lost |= rng.random(depth.shape) < self._settings.holes
        lost |= (seen < NEAREST_M) | (seen > self._max_depth_m)
        return np.where(lost, 0.0, seen)


def _camera(
    room: _Room, height: int, width: int, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Where the camera is `(3,)`, and its rays `(R, 3)`: 1 m of depth long each."""
    share = rng.uniform(0.12, 0.88, 2)
    eye = np.array([*(share * room.size[:2]), rng.uniform(0.9, min(1.8, room.size[2] - 0.4))])
    # It looks to where there is most of the room, more or less.
    towards = room.size[:2] * rng.uniform(0.2, 0.8, 2) + (0.5 - share) * room.size[:2]
    yaw = math.atan2(towards[1] - eye[1], towards[0] - eye[0]) + rng.normal(0, 0.4)
    pitch, roll = rng.normal(-0.15, 0.12), rng.normal(0, 0.03)
    forward = np.array(
        [math.cos(pitch) * math.cos(yaw), math.cos(pitch) * math.sin(yaw), math.sin(pitch)]
    )
    right = np.array([math.sin(yaw), -math.cos(yaw), 0.0])
    up = np.cross(right, forward)
    right, up = (
        math.cos(roll) * right + math.sin(roll) * up,
        math.cos(roll) * up - math.sin(roll) * right,
    )
    reach = math.tan(math.radians(_FIELD_DEG / 2))
    x = reach * ((np.arange(width) + 0.5) / width * 2 - 1)
    y = reach * height / width * (1 - (np.arange(height) + 0.5) / height * 2)
    grid_y, grid_x = np.meshgrid(y, x, indexing="ij")
    rays = forward + grid_x.reshape(-1, 1) * right + grid_y.reshape(-1, 1) * up
    return eye, np.where(np.abs(rays) < 1e-9, 1e-9, rays)


def _hit(room: _Room, eye: Floats, rays: Floats) -> tuple[Floats, Floats, Floats]:
    """What each ray meets first: depth `(R,)`, normal and colour `(R, 3)`."""
    depth, axis, positive = _leaving(room.size / 2, eye - room.size / 2, rays)
    normals = np.zeros_like(rays)
    normals[np.arange(len(rays)), axis] = np.where(positive, -1.0, 1.0)
    points = eye + depth[:, None] * rays
    colours = np.empty_like(rays)
    for number, texture in enumerate(room.textures):
        face = (axis == number // 2) & (positive == bool(number % 2))
        colours[face] = _painted(texture, points[face], number // 2)
    for box in room.boxes:
        _add_box(box, eye, rays, depth, normals, colours)
    for sphere in room.spheres:
        _add_sphere(sphere, eye, rays, depth, normals, colours)
    return depth, normals, colours


def _leaving(
    half: Floats, eye: Floats, rays: Floats
) -> tuple[Floats, NDArray[np.int64], NDArray[np.bool_]]:
    """Where rays from within a box about the origin leave it: depth, axis and side of the face."""
    ends = np.where(rays > 0, half, -half)
    depths = (ends - eye) / rays
    axis = depths.argmin(1)
    rows = np.arange(len(rays))
    return depths[rows, axis], axis, rays[rows, axis] > 0


def _painted(texture: _Texture, points: Floats, axis: int) -> Floats:
    a, b = (n for n in range(3) if n != axis)
    return texture.at(points[:, a], points[:, b])


def _add_box(
    box: _Box, eye: Floats, rays: Floats, depth: Floats, normals: Floats, colours: Floats
) -> None:
    """Let a box stand before what was met so far."""
    cos, sin = math.cos(box.turn), math.sin(box.turn)
    into = np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]])
    own_rays, own_eye = rays @ into.T, into @ (eye - box.centre)
    own_rays = np.where(np.abs(own_rays) < 1e-9, 1e-9, own_rays)
    if (np.abs(own_eye) <= box.half).all():
        return  # the camera stands in it
    ends = np.where(own_rays > 0, -box.half, box.half)
    entries, exits = (ends - own_eye) / own_rays, (-ends - own_eye) / own_rays
    axis = entries.argmax(1)
    entry = entries[np.arange(len(rays)), axis]
    met = np.flatnonzero((entry > 1e-6) & (entry < exits.min(1)) & (entry < depth))
    if not len(met):
        return
    axis, entry = axis[met], entry[met]
    normal = np.zeros((len(met), 3))
    normal[np.arange(len(met)), axis] = -np.sign(own_rays[met, axis])
    points = own_eye + entry[:, None] * own_rays[met]
    depth[met], normals[met] = entry, normal @ into
    for number in range(3):
        face = axis == number
        texture = box.textures[0 if number < 2 else 1]
        colours[met[face]] = _painted(texture, points[face], number)


def _add_sphere(
    sphere: _Sphere, eye: Floats, rays: Floats, depth: Floats, normals: Floats, colours: Floats
) -> None:
    """Let a sphere hang before what was met so far."""
    offset = eye - sphere.centre
    a, b = (rays**2).sum(1), rays @ offset
    inside = b**2 - a * (offset @ offset - sphere.radius**2)
    entry = (-b - np.sqrt(np.maximum(inside, 0))) / a
    met = np.flatnonzero((inside > 0) & (entry > 1e-6) & (entry < depth))
    if not len(met):
        return
    normal = (offset + entry[met, None] * rays[met]) / sphere.radius
    depth[met], normals[met] = entry[met], normal
    around = np.arctan2(normal[:, 1], normal[:, 0]) * sphere.radius
    upwards = np.arcsin(normal[:, 2].clip(-1, 1)) * sphere.radius
    colours[met] = sphere.texture.at(around, upwards)


def _light(room: _Room, points: Floats, normals: Floats) -> Floats:
    """How bright each point is `(R,)`: from all sides, and from the lamps, without shadows."""
    bright = np.full(len(points), 0.35)
    for lamp in room.lights:
        towards = lamp - points
        distance = np.linalg.norm(towards, axis=1) + 1e-6
        facing = ((towards * normals).sum(1) / distance).clip(0, None)
        bright += 0.9 / len(room.lights) * facing / (1 + 0.08 * distance**2)
    return bright
