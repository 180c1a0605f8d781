"""What the depth task can be set to. No torch here: a run file is read without it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

from annotated_types import Ge, Gt, Interval

from netadapt.android_runner.bounds import check_bounds
from netadapt.search.errors import InvalidSettingError
from netadapt.search.tasks.settings import Images

Share = Annotated[float, Interval(ge=0, le=1)]
Count = Annotated[int, Interval(ge=0, le=100)]
Side = Annotated[int, Interval(ge=8, le=4096)]

LOSSES = Literal["l1", "berhu"]
SOURCES = Literal["rooms", "pairs", "nyu"]


@dataclass(frozen=True, slots=True)
class DepthAugmentation:
    """What a training pair goes through; all 0 and 1 is none of it.

    The defaults are those of FastDepth (Wofk et al. 2019).

    Parameters
    ----------
    zoom: enlarged by 1 to this; depths are divided by it.
    rotation_deg: turned by at most this, either way; corners without picture have no depth.
    flip: probability of being mirrored left to right.
    jitter: brightness, contrast and saturation change by up to this share, in random order.

    Raises `InvalidSettingError`.
    """

    zoom: Annotated[float, Interval(ge=1, le=10)] = 1.5
    rotation_deg: Annotated[float, Interval(ge=0, le=180)] = 5.0
    flip: Share = 0.5
    jitter: Annotated[float, Interval(ge=0, lt=1)] = 0.4

    def __post_init__(self) -> None:
        check_bounds(self, InvalidSettingError)


@dataclass(frozen=True, slots=True)
class RoomSettings:
    """Rendered rooms (assumptions throughout).

    Parameters
    ----------
    rooms: to train in; held-out and test pictures are of other ones.
    views: pictures of each.
    validation_rooms, test_rooms: as many, with as many views.
    boxes, spheres: (least, most) of them in a room.
    noise: of the depth sensor, in metres at 1 m; it grows with the square of the depth.
    holes: share of pixels of an otherwise whole view that the sensor loses by chance.

    Raises `InvalidSettingError`.
    """

    rooms: Images = 500
    views: Annotated[int, Interval(ge=1, le=1_000)] = 4
    validation_rooms: Images = 60
    test_rooms: Images = 100
    boxes: tuple[Count, Count] = (3, 8)
    spheres: tuple[Count, Count] = (0, 3)
    noise: Annotated[float, Ge(0)] = 0.0015
    holes: Share = 0.01

    def __post_init__(self) -> None:
        check_bounds(self, InvalidSettingError)
        for name, pair in (("boxes", self.boxes), ("spheres", self.spheres)):
            if len(pair) != 2 or pair[0] > pair[1]:
                raise InvalidSettingError(
                    f"{name} goes up, got {pair}; give the least and the most"
                )


@dataclass(frozen=True, slots=True)
class DepthSettings:
    """Pairs of a picture and its depth.

    Parameters
    ----------
    source: "rooms", rendered here; "pairs", a folder of pictures and depths; "nyu", the HDF5 files
        of NYU Depth V2 as FastDepth's authors release them.
    root: where pairs or nyu lie. A relative one starts at the run file.
    size: height and width of a network's input, in pixels.
    mean, std: of the pixels, from 0 to 1, that inputs are normalised by.
    resized_height, crop: a picture gets this height, and of that the middle (height, width) is what
        a network sees, squeezed to a square; all in pixels of an input of 224.
    loss: "l1", or "berhu" (Laina et al. 2016), over the pixels whose depth is known.
    max_depth_m: what is farther counts as unknown.
    unit_m: metres that 1 of a depth's file in whole numbers is, 0.001 for millimetres.
    validation_images: held out of the training pairs, drawn by the seed; None: a tenth, and for
        nyu the files 00001 and 00201 of each scene.
    test_images: None: all of the test folder, or, where there is none, a fifth.
    seed: decides what is held out, the order and every augmentation; None: the run's.
    workers: processes that make pairs ready; None: one for each core, for rooms none; 0: none.
    augmentation: what training pairs go through.
    rooms: how many, and what is in them.

    Raises `InvalidSettingError`.
    """

    paths: ClassVar[tuple[str, ...]] = ("root",)

    source: SOURCES = "rooms"
    root: str = ""
    size: Side = 224
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    resized_height: Side = 250
    crop: tuple[Side, Side] = (228, 304)
    loss: LOSSES = "l1"
    max_depth_m: Annotated[float, Gt(0)] = 10.0
    unit_m: Annotated[float, Gt(0)] = 0.001
    validation_images: Images | None = None
    test_images: Images | None = None
    seed: Annotated[int, Interval(ge=0, lt=2**63)] | None = None
    workers: Annotated[int, Interval(ge=0, le=1_000)] | None = None
    augmentation: DepthAugmentation = field(default_factory=DepthAugmentation)
    rooms: RoomSettings = field(default_factory=RoomSettings)

    def __post_init__(self) -> None:
        check_bounds(self, InvalidSettingError)
        if min(self.std) <= 0:
            raise InvalidSettingError(f"a std is above 0, got {self.std}; the usual ones are 1")
        if self.crop[0] > self.resized_height:
            raise InvalidSettingError(
                f"a crop lies inside a picture {self.resized_height} px high, got {self.crop}; "
                "the usual one is (228, 304) of 250"
            )
        if (self.source == "rooms") == bool(self.root):
            raise InvalidSettingError(
                "rooms are rendered and have no root, pairs and nyu lie in one, got source = "
                f"{self.source!r} and root = {self.root!r}; change one of them"
            )
