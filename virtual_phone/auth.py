"""Which computers a phone trusts: RSA signatures over a token, as the adb protocol has it.

A phone trusts a computer that its owner has accepted. A virtual one knows its owner, whose keys
lie in adb's own folder, and asks about others.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import os
import secrets
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

TOKEN_BYTES: Final = 20
_WORDS: Final = 64  # 2048 bits
_LONGEST_KEY_BYTES: Final = 8192
_SHA1_PREFIX: Final = bytes.fromhex("3021300906052b0e03021a05000414")


@dataclass(frozen=True, slots=True)
class PublicKey:
    """An adb computer's key; ``name`` is what it calls itself (``user@host``)."""

    modulus: int
    exponent: int
    name: str

    @classmethod
    def decode(cls, data: bytes) -> PublicKey | None:
        """Read the packet's text (base64 of Android's own structure, a space, a name).

        None when it is not such a key.
        """
        encoded, _, name = data.rstrip(b"\0\n").partition(b" ")
        try:
            raw = base64.b64decode(encoded, validate=True)
            (words,) = struct.unpack_from("<I", raw)
            (exponent,) = struct.unpack_from("<I", raw, 8 + 2 * 4 * _WORDS)
        except (binascii.Error, struct.error):
            return None
        if words != _WORDS:
            return None
        modulus = int.from_bytes(raw[8 : 8 + 4 * _WORDS], "little")
        if modulus.bit_length() != 32 * _WORDS or not modulus & 1 or exponent < 3:
            return None  # of such a key anybody could forge a signature
        return cls(modulus, exponent, name.decode(errors="replace").strip())

    def signed(self, token: bytes, signature: bytes) -> bool:
        """Whether the key's owner signed ``token`` (PKCS#1 v1.5; the token stands for a SHA-1)."""
        size = 4 * _WORDS
        if len(signature) != size:
            return False
        opened = pow(int.from_bytes(signature, "big"), self.exponent, self.modulus)
        digest = _SHA1_PREFIX + token
        padding = b"\xff" * (size - len(digest) - 3)
        return opened.to_bytes(size, "big") == b"\0\1" + padding + b"\0" + digest


def owners_keys(environment: Mapping[str, str] = os.environ) -> list[PublicKey]:
    """Public halves of the keys that an adb server of this user's shows to phones.

    They lie in ``~/.android``, and beside the private ones that ``ADB_VENDOR_KEYS`` names (files,
    or folders of ``*.adb_key``). Those that cannot be read are left out.
    """
    paths = [Path(environment.get("HOME") or Path.home(), ".android", "adbkey.pub")]
    for name in filter(None, environment.get("ADB_VENDOR_KEYS", "").split(os.pathsep)):
        named = Path(name)
        paths += sorted(named.glob("*.adb_key.pub")) if named.is_dir() else [Path(f"{name}.pub")]
    keys = []
    for path in paths:
        with contextlib.suppress(OSError):
            keys.append(PublicKey.decode(path.read_bytes()[:_LONGEST_KEY_BYTES]))
    return [key for key in keys if key is not None]


def new_token() -> bytes:
    """What the other side must sign."""
    return secrets.token_bytes(TOKEN_BYTES)
