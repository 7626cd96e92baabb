"""The saturation map, batch × unit: a small PNG whose unsaturated places are see-through."""

import struct
import zlib
from base64 import b64encode
from collections.abc import Sequence

import numpy as np

from fanin.pictures.figures import GREY

HIGH, LOW = "#d9702a", "#2f7fd0"
COLOURS = {"+": HIGH, "-": LOW, "0": GREY}
"""Of the characters of `Layer.map`; any other is transparent, on a light page and on a dark one."""
MOST_UNITS = 512


def saturation_png(rows: Sequence[str]) -> bytes:
    """A pixel for each example (down) and each of the first units (across)."""
    table = np.frombuffer("".join(row[:MOST_UNITS] for row in rows).encode("ascii"), np.uint8)
    table = table.reshape(len(rows), -1)
    codes = np.zeros(table.shape, np.uint8)
    for code, character in enumerate(COLOURS, 1):
        codes[table == ord(character)] = code
    return _png(codes, ("#000000", *COLOURS.values()))


def data_uri(png: bytes) -> str:
    """The picture as an address that holds it."""
    return "data:image/png;base64," + b64encode(png).decode("ascii")


def _png(codes: np.ndarray, colours: Sequence[str]) -> bytes:
    """At most four colours, two bits a pixel; the first one is transparent."""
    height, width = codes.shape
    padded = np.zeros((height, -(-width // 4), 4), np.uint8)
    padded.reshape(height, -1)[:, :width] = codes
    packed = padded @ np.array([64, 16, 4, 1], np.uint8)
    # Each line begins with the number of its filter: none.
    lines = np.concatenate([np.zeros((height, 1), np.uint8), packed.astype(np.uint8)], axis=1)
    header = struct.pack(">IIBBBBB", width, height, 2, 3, 0, 0, 0)
    palette = b"".join(bytes.fromhex(colour[1:]) for colour in colours)
    chunks = [(b"IHDR", header), (b"PLTE", palette), (b"tRNS", b"\0")]
    chunks += [(b"IDAT", zlib.compress(lines.tobytes(), 9)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
