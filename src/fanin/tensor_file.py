"""One safetensors file with tensors, a JSON text and a checksum over both.

The JSON travels in the header's metadata under one key, because safetensors writes several
keys in an order of its own from run to run, and the same model should give the same bytes.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import msgspec
import numpy as np
import safetensors
from safetensors.numpy import save

from fanin.atomic_file import reason, write_atomically
from fanin.errors import ModelFileError

KEY = "fanin"
LARGEST_HEADER = 100_000_000  # bytes; the bound that the safetensors library itself keeps
_LENGTH_BYTES = 8  # the header's length stands in front of it, little-endian

_DTYPES = {"F32": np.float32, "U8": np.uint8, "U16": np.uint16, "U32": np.uint32, "I32": np.int32}


class _Envelope(msgspec.Struct, forbid_unknown_fields=True):
    sha256: str
    content: msgspec.Raw


def pack(tensors: Mapping[str, np.ndarray], content: bytes) -> bytes:
    """The bytes of a file with these tensors and this JSON text."""
    # np.ascontiguousarray would make a row of a single number.
    whole = {name: np.asarray(tensors[name], order="C") for name in sorted(tensors)}
    envelope = _Envelope(_checksum(whole, content), msgspec.Raw(content))
    return save(whole, {KEY: msgspec.json.encode(envelope).decode()})


def unpack(data: bytes, name: str = "the file") -> tuple[dict[str, np.ndarray], bytes]:
    """Tensors and JSON text of a file's bytes; raises ModelFileError, which begins with name."""
    envelope = _envelope(data[_LENGTH_BYTES : _LENGTH_BYTES + _header_length(data, name)], name)
    try:
        entries = safetensors.deserialize(data)
    except safetensors.SafetensorError as error:
        raise ModelFileError(f"{name}: damaged or cut short ({error})") from None
    tensors: dict[str, np.ndarray] = {}
    for key, entry in entries:
        if entry["dtype"] not in _DTYPES:
            raise ModelFileError(
                f"{name}: the tensor {key!r} is of type {entry['dtype']}; "
                f"fanin writes only {', '.join(_DTYPES)}"
            )
        flat = np.frombuffer(entry["data"], _DTYPES[entry["dtype"]])
        tensors[key] = flat.reshape(entry["shape"])
    content = bytes(envelope.content)
    if _checksum(tensors, content) != envelope.sha256:
        raise ModelFileError(
            f"{name}: damaged: its contents do not give the checksum that it was written with; "
            "use another copy"
        )
    return tensors, content


def write_tensors(path: str | Path, tensors: Mapping[str, np.ndarray], content: bytes) -> None:
    """Writes the file atomically; raises ModelFileError, and the old file is then untouched."""
    try:
        write_atomically(path, pack(tensors, content))
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be written: {reason(error)}") from error


def read_tensors(path: str | Path) -> tuple[dict[str, np.ndarray], bytes]:
    """Tensors and JSON text of a file; a file that is none is refused before it is all read."""
    try:
        with Path(path).open("rb") as file:
            start = file.read(_LENGTH_BYTES)
            length = _header_length(start, str(path))
            start += file.read(length)
            _envelope(start[_LENGTH_BYTES:], str(path))
            data = start + file.read()
    except (OSError, ValueError) as error:  # ValueError: a name with a NUL in it
        raise ModelFileError(f"{path}: cannot be read: {reason(error)}") from error
    return unpack(data, str(path))


def _header_length(data: bytes, name: str) -> int:
    length = int.from_bytes(data[:_LENGTH_BYTES], "little")
    if len(data) < _LENGTH_BYTES or not 2 <= length <= LARGEST_HEADER:
        raise ModelFileError(f"{name}: not a model file (no safetensors header at its start)")
    return length


def _envelope(header: bytes, name: str) -> _Envelope:
    try:
        metadata = msgspec.json.decode(header, type=dict[str, msgspec.Raw]).get("__metadata__")
        text = None if metadata is None else msgspec.json.decode(metadata, type=dict[str, str])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ModelFileError(
            f"{name}: not a model file, or cut short (its safetensors header cannot be read)"
        ) from None
    if text is None or set(text) != {KEY}:
        raise ModelFileError(f"{name}: a safetensors file, but not one that fanin wrote")
    try:
        return msgspec.json.decode(text[KEY], type=_Envelope)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise ModelFileError(f"{name}: its description is damaged ({error})") from None


def _checksum(tensors: Mapping[str, np.ndarray], content: bytes) -> str:
    """SHA-256 over names, types, shapes and bytes in the order of names, then the JSON text."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(repr((name, tensor.dtype.str, tensor.shape)).encode("utf-8", "replace"))
        digest.update(tensor.tobytes())
    digest.update(content)
    return digest.hexdigest()
