"""Virtual phones, the real adb with a server of its own, and a raw client that speaks bytes."""

from __future__ import annotations

import base64
import contextlib
import os
import shutil
import socket
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import adbutils
import pytest
import sympy

from netadapt.virtual_phone import PIXEL_1, PhoneDescription, VirtualPhone, wire
from netadapt.virtual_phone.sandbox import Isolation
from netadapt.virtual_phone.wire import (
    CNXN,
    VERSION,
    Packet,
    PacketReader,
    ShellFrame,
    ShellFrameReader,
)

ISOLATIONS: tuple[Isolation, ...] = ("namespaces", "paths")


@contextlib.contextmanager
def switched_on(
    root: Path, isolation: Isolation | None = None, described: PhoneDescription = PIXEL_1
) -> Iterator[VirtualPhone]:
    """A phone; skips where namespaces are asked for and not allowed."""
    phone = VirtualPhone(described, root, isolation=isolation)
    try:
        phone.start()
    except OSError as error:
        if isolation == "namespaces":
            pytest.skip(f"no namespaces here: {error}")
        raise
    try:
        yield phone
    finally:
        phone.stop()


@pytest.fixture
def phone(tmp_path: Path) -> Iterator[VirtualPhone]:
    """A Pixel 1, isolated as this machine allows."""
    with switched_on(tmp_path / "phone") as on:
        yield on


@pytest.fixture(scope="module", params=ISOLATIONS)
def each_phone(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[VirtualPhone]:
    """A Pixel 1 for a whole file, once for each isolation; its folder's name wants quoting."""
    with switched_on(tmp_path_factory.mktemp("a phone") / "it's", request.param) as on:
        yield on


class SigningKey:
    """An RSA key as adb's: 2048 bits, and signatures over a token of 20 bytes (PKCS#1 v1.5)."""

    def __init__(self) -> None:
        primes = [sympy.randprime(3 << 1022, 1 << 1024) for _ in range(2)]
        self.modulus = int(primes[0] * primes[1])
        self._private = pow(65537, -1, int((primes[0] - 1) * (primes[1] - 1)))

    def sign(self, token: bytes) -> bytes:
        """The packet's data."""
        digest = bytes.fromhex("3021300906052b0e03021a05000414") + token
        block = b"\0\1" + b"\xff" * (256 - 3 - len(digest)) + b"\0" + digest
        return pow(int.from_bytes(block, "big"), self._private, self.modulus).to_bytes(256, "big")

    def public(self, name: str) -> bytes:
        """Android's own structure in base64 and a name: ``adbkey.pub``, and the packet's data."""
        raw = struct.pack("<II", 64, 0) + self.modulus.to_bytes(256, "little") + bytes(256)
        return base64.b64encode(raw + struct.pack("<I", 65537)) + b" " + name.encode()


OWNERS_KEY = SigningKey()


@pytest.fixture(scope="session", autouse=True)
def _known_key(owners_keys: Path) -> None:
    (owners_keys / "raw.adb_key.pub").write_bytes(OWNERS_KEY.public("owner@here"))


class RawClient:
    """A TCP client that sends and receives packets as bytes."""

    def __init__(self, address: str, source: tuple[str, int] | None = None) -> None:
        host, _, port = address.rpartition(":")
        self.socket = socket.create_connection((host, int(port)), 10, source)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._packets = PacketReader()
        self._waiting: list[Packet] = []

    def send(self, *packets: Packet | bytes) -> None:
        """Send them in one piece."""
        self.socket.sendall(b"".join(p if isinstance(p, bytes) else p.encode() for p in packets))

    def receive_bytes(self, count: int) -> bytes:
        """Exactly ``count`` bytes as they came."""
        data = b""
        while len(data) < count:
            piece = self.socket.recv(count - len(data))
            assert piece, f"hung up after {data!r}"
            data += piece
        return data

    def receive(self) -> Packet:
        """The next packet. Raises `ConnectionError` at the connection's end."""
        while not self._waiting:
            data = self.socket.recv(1 << 16)
            if not data:
                raise ConnectionError("hung up")
            self._waiting += self._packets.feed(data)
        return self._waiting.pop(0)

    def greet(self, version: int = VERSION, max_data: int = 1 << 20) -> Packet:
        """Say CNXN and show the owner's key; what the phone says then: mostly its CNXN."""
        self.send(Packet(CNXN, version, max_data, b"host::features=shell_v2\0"))
        challenge = self.receive()
        assert (challenge.command, challenge.arg0) == (wire.AUTH, wire.AUTH_TOKEN)
        self.send(Packet(wire.AUTH, wire.AUTH_SIGNATURE, 0, OWNERS_KEY.sign(challenge.data)))
        return self.receive()

    def close(self) -> None:
        """Hang up."""
        self.socket.close()


@contextlib.contextmanager
def raw_client(phone: VirtualPhone) -> Iterator[RawClient]:
    """A client of the phone's that hangs up afterwards."""
    client = RawClient(phone.address)
    try:
        yield client
    finally:
        client.close()


class Shell:
    """Runs commands on one connection."""

    def __init__(self, client: RawClient, *, greeted: bool = False) -> None:
        self._client = client
        self._number = int(greeted)  # of the streams so far
        if not greeted:
            client.greet()

    def __call__(self, command: str, stdin: bytes = b"") -> tuple[bytes, bytes, int]:
        """Output, errors and exit code of a command."""
        self._number += 1
        mine = self._number
        client = self._client
        client.send(Packet(wire.OPEN, mine, 0, f"shell,v2,raw:{command}".encode() + b"\0"))
        theirs = client.receive().arg0
        frames = ShellFrameReader()
        got = dict.fromkeys(range(4), b"")
        end = ShellFrame(wire.SHELL_STDIN, stdin).encode() if stdin else b""
        end += ShellFrame(wire.SHELL_CLOSE_STDIN).encode()
        client.send(Packet(wire.WRTE, mine, theirs, end))
        while (packet := client.receive()).command != wire.CLSE:
            if packet.command == wire.WRTE:
                for frame in frames.feed(packet.data):
                    got[frame.channel] += frame.data
                client.send(Packet(wire.OKAY, mine, theirs))
        client.send(Packet(wire.CLSE, mine, theirs))
        return got[wire.SHELL_STDOUT], got[wire.SHELL_STDERR], got[wire.SHELL_EXIT][0]


class Sync:
    """One ``sync:`` stream."""

    def __init__(self, client: RawClient) -> None:
        client.greet()
        client.send(Packet(wire.OPEN, 1, 0, b"sync:\0"))
        assert client.receive() == Packet(wire.OKAY, 1, 1)
        self.client = client

    def send(self, data: bytes) -> None:
        """Send a piece; the phone takes it."""
        self.client.send(Packet(wire.WRTE, 1, 1, data))

    def answer(self, count: int) -> bytes:
        """The next ``count`` bytes that the phone says on the stream."""
        said = b""
        while len(said) < count:
            packet = self.client.receive()
            if packet.command == wire.WRTE:
                said += packet.data
                self.client.send(Packet(wire.OKAY, 1, 1))
            else:
                assert packet.command == wire.OKAY, packet
        assert len(said) == count
        return said

    def refusal(self) -> bytes:
        """What a FAIL says, after which the phone closes the stream."""
        said = b""
        while (packet := self.client.receive()).command != wire.CLSE:
            if packet.command == wire.WRTE:
                said += packet.data
                self.client.send(Packet(wire.OKAY, 1, 1))
        self.client.send(Packet(wire.CLSE, 1, 1))
        assert said == sync_request(b"FAIL", said[8:])
        return said[8:]


def sync_request(name: bytes, text: bytes) -> bytes:
    """A request's bytes."""
    return name + struct.pack("<I", len(text)) + text


@dataclass(frozen=True)
class RealAdb:
    """The adb binary with a server and keys of its own."""

    environment: dict[str, str]

    def __call__(
        self, *words: str | Path, data: bytes | None = None, timeout: float = 20
    ) -> subprocess.CompletedProcess[bytes]:
        """Run adb."""
        binary = Path(adbutils.__file__).parent / "binaries" / "adb"
        return subprocess.run(
            [binary, *words],
            env=self.environment,
            capture_output=True,
            check=False,
            timeout=timeout,
            **({"stdin": subprocess.DEVNULL} if data is None else {"input": data}),  # type: ignore[arg-type]
        )

    def connect(self, phone: VirtualPhone) -> str:
        """Connect to a phone; its serial."""
        answer = self("connect", phone.address).stdout
        assert b"connected to" in answer, answer
        return phone.address

    def state(self, serial: str) -> str:
        """The phone's state in ``adb devices``; empty when it is not listed."""
        for line in self("devices").stdout.decode().splitlines():
            name, _, state = line.partition("\t")
            if name == serial:
                return state
        return ""


@pytest.fixture(scope="session")
def adb(owners_keys: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealAdb]:
    """The real adb; its server ends with the tests."""
    home = tmp_path_factory.mktemp("home")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        **os.environ,
        "HOME": str(home),
        "ANDROID_ADB_SERVER_PORT": str(port),
        "ADB_MDNS_OPENSCREEN": "0",
    }
    for name in ("ADB_SERVER_SOCKET", "ANDROID_SERIAL", "ADB_VENDOR_KEYS"):
        environment.pop(name, None)
    real = RealAdb(environment)
    real("start-server")
    shutil.copy(home / ".android" / "adbkey.pub", owners_keys / "real.adb_key.pub")
    try:
        yield real
    finally:
        real("kill-server")
