"""An encoder-decoder space's file, read and checked; every mistake is one line that names it."""

from __future__ import annotations

from typing import Any, Final

from netadapt.profiler.kernels import UPSAMPLINGS
from netadapt.search.families.encoder_decoder.space import (
    DECODER_ACTIVATION,
    STRIDES,
    DecoderLayer,
    EncoderLayer,
)
from netadapt.search.space_file import TableReader

_OUTPUTS: Final = ("none", DECODER_ACTIVATION)
_MOST: Final = 1 << 16


def read_file(table: dict[str, Any], where: str) -> dict[str, Any]:
    """The fields of an `EncoderDecoderSpace`. Raises `SpaceFileError`."""
    read = TableReader(table, where)
    step = _whole(read, "width_step", 8)
    upsamplings = tuple(read.many("upsamplings", str, ["nearest"]))
    for name in upsamplings:
        if name not in UPSAMPLINGS:
            raise read.refuse("upsamplings", f"is a list of {', '.join(UPSAMPLINGS)}", name)
    if not upsamplings:
        raise read.refuse("upsamplings", "names one or more", upsamplings)
    stem_table = read.table("stem")
    encoder = tuple(
        _encoder(TableReader(row, f"{where}: encoder {number + 1}"), step)
        for number, row in enumerate(read.many("encoder", dict))
    )
    decoder = tuple(
        _decoder(TableReader(row, f"{where}: decoder {number + 1}"), step, upsamplings)
        for number, row in enumerate(read.many("decoder", dict))
    )
    if stem_table is None or not encoder or not decoder:
        raise read.refuse("a space", "has a [stem], an encoder and a decoder", sorted(table))
    fields = {
        "name": read.take("name", str),
        "in_channels": _whole(read, "in_channels", 3),
        "resolution": _resolution(read),
        "classes": _whole(read, "classes", 1),
        "width_step": step,
        "kernel_sizes": _kernel_sizes(read),
        "upsamplings": upsamplings,
        "bypass": read.take("bypass", bool, True),
        "optional_skips": read.take("optional_skips", bool, True),
        "stem": _encoder(stem_table, step),
        "encoder": encoder,
        "decoder": decoder,
        "output_activation": read.take("output_activation", str, "none"),
    }
    if fields["output_activation"] not in _OUTPUTS:
        rule = f"is one of {', '.join(_OUTPUTS)}"
        raise read.refuse("output_activation", rule, fields["output_activation"])
    _check_sizes(read, fields)
    read.finish()
    return fields


def _whole(read: TableReader, key: str, default: int | None = None) -> int:
    found = read.take(key, int) if default is None else read.take(key, int, default)
    if not 1 <= found <= _MOST:
        raise read.refuse(key, f"is from 1 to {_MOST}", found)
    return int(found)


def _resolution(read: TableReader) -> tuple[int, int]:
    found = read.take("resolution", (int, list))
    sides = found if isinstance(found, list) else [found, found]
    whole = all(isinstance(side, int) and not isinstance(side, bool) for side in sides)
    if not whole or len(sides) != 2 or not all(1 <= side <= _MOST for side in sides):
        raise read.refuse("resolution", "is a side in pixels, or [height, width]", found)
    height, width = sides
    return height, width


def _kernel_sizes(read: TableReader) -> tuple[int, ...]:
    found = tuple(sorted(set(read.many("kernel_sizes", int, []))))
    if any(size < 1 or size % 2 == 0 for size in found):
        raise read.refuse("kernel_sizes", "is a list of odd numbers from 1", list(found))
    return found


def _width(read: TableReader, step: int) -> tuple[int, int]:
    width = _whole(read, "width")
    max_width = _whole(read, "max_width", width)
    for key, value in (("width", width), ("max_width", max_width)):
        if value % step:
            raise read.refuse(key, f"is a multiple of width_step = {step}", value)
    if max_width < width:
        raise read.refuse("max_width", f"is at least the reference's width = {width}", max_width)
    return width, max_width


def _kernel(read: TableReader, usual: int) -> int:
    size = _whole(read, "kernel_size", usual)
    if size % 2 == 0:
        raise read.refuse("kernel_size", "is an odd number", size)
    return size


def _encoder(read: TableReader, step: int) -> EncoderLayer:
    width, max_width = _width(read, step)
    kernel, stride = _kernel(read, 3), _whole(read, "stride", 1)
    if stride not in STRIDES:
        raise read.refuse("stride", "is 1 or 2", stride)
    read.finish()
    return EncoderLayer(width, max_width, kernel, stride)


def _decoder(read: TableReader, step: int, upsamplings: tuple[str, ...]) -> DecoderLayer:
    width, max_width = _width(read, step)
    upsampling = read.take("upsampling", str, upsamplings[0])
    if upsampling not in upsamplings:
        raise read.refuse("upsampling", f"is one of {', '.join(upsamplings)}", upsampling)
    skip = read.take("skip", int, 0)
    layer = DecoderLayer(width, max_width, _kernel(read, 5), upsampling, skip - 1 if skip else None)
    read.finish()
    return layer


def _check_sizes(read: TableReader, fields: dict[str, Any]) -> None:
    """What is joined fits, and what comes out is as large as what went in."""
    stem, encoder, decoder = fields["stem"], fields["encoder"], fields["decoder"]
    strides = [stem.stride, *(layer.stride for layer in encoder)]
    doublings = sum(stride == 2 for stride in strides)
    if doublings != len(decoder):
        rule = f"doubles as often as stem and encoder halve, {doublings} times"
        raise read.refuse("decoder", rule, len(decoder))
    for side in fields["resolution"]:
        if side % (1 << doublings):
            rule = f"can be halved {doublings} times"
            raise read.refuse("resolution", rule, list(fields["resolution"]))
    taken: set[int] = set()
    for index, layer in enumerate(decoder):
        if layer.skip is None:
            continue
        if not 0 <= layer.skip < len(encoder) or layer.skip in taken:
            rule = f"is the number of an encoder's layer, 1 to {len(encoder)}, each once"
            raise read.refuse(f"skip of decoder {index + 1}", rule, layer.skip + 1)
        taken.add(layer.skip)
        source = encoder[layer.skip]
        halved = sum(stride == 2 for stride in strides[: layer.skip + 2])
        if doublings - (index + 1) != halved:
            rule = "starts where the encoder has the size that the decoder has there"
            raise read.refuse(f"skip of decoder {index + 1}", rule, layer.skip + 1)
        if (source.width, source.max_width) != (layer.width, layer.max_width):
            rule = f"has the width of encoder {layer.skip + 1}, which is added behind it"
            raise read.refuse(f"decoder {index + 1}", rule, layer.width)
