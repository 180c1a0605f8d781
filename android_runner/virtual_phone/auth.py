"""Which computers a phone trusts: RSA signatures over a token, as the adb protocol has it."""

from __future__ import annotations

import base64
import binascii
import secrets
import struct
from dataclasses import dataclass
from typing import Final

TOKEN_BYTES: Final = 20
_WORDS: Final = 64  # 2048 bits
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
        encoded, _, name = data.rstrip(b"\0").partition(b" ")
        try:
            raw = base64.b64decode(encoded, validate=True)
            (words,) = struct.unpack_from("<I", raw)
            (exponent,) = struct.unpack_from("<I", raw, 8 + 2 * 4 * _WORDS)
        except (binascii.Error, struct.error):
            return None
        if words != _WORDS:
            return None
        modulus = int.from_bytes(raw[8 : 8 + 4 * _WORDS], "little")
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


def new_token() -> bytes:
    """What the other side must sign."""
    return secrets.token_bytes(TOKEN_BYTES)
