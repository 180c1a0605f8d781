"""A phone as a `Device`: connected when it is needed, waited for when it is lost."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import math
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from netadapt.android_runner.building.binary import RunnerBinary
from netadapt.android_runner.device import (
    DeviceInfo,
    Failure,
    Measurement,
    Program,
    RunProgress,
    RunSpec,
    check_names,
)
from netadapt.android_runner.errors import (
    CoresAsleepError,
    DeviceError,
    DeviceLostError,
    DeviceStateError,
    FullStorageError,
    NoSuchDeviceError,
    ProtocolError,
    UnsupportedDeviceError,
)
from netadapt.android_runner.phone.adb import Adb, AdbServer
from netadapt.android_runner.phone.cores import (
    asleep_among,
    asleep_by_runner,
    asleep_error,
    choose_cpus,
    learn,
    remembered,
    wake,
)
from netadapt.android_runner.phone.discovery import (
    PhoneInfo,
    check_usable,
    choose_phone,
    find_phone,
)
from netadapt.android_runner.phone.keeper import Keeper
from netadapt.android_runner.phone.lock import PhoneLock
from netadapt.android_runner.phone.parsing import Core
from netadapt.android_runner.phone.readings import Reading, cool_down, read
from netadapt.android_runner.phone.runners import runner_for
from netadapt.android_runner.phone.settings import Cluster, PhoneSettings
from netadapt.android_runner.phone.throttling import ThrottledError, Watch
from netadapt.android_runner.phone.transport import STORE_BYTES, AdbTransport, PhoneStore
from netadapt.android_runner.runner.batch import greet, run_batch
from netadapt.android_runner.runner.protocol import Hello

logger = logging.getLogger(__name__)

MAX_THROTTLED = 3
"""Runs in a row that are aborted because the phone throttles; the next is kept, flagged."""

_READING_AGE_S = 5.0  # asking takes a phone a while
_RETRY_S = 1.0
_NOTIFY_S = 10.0
_MAX_NONSENSE = 3
_MAX_REFUSED = 2

# What a phone comes back from by itself or with somebody's help: the run waits. Storage that is
# not writable stays so.
_PASSING = (DeviceLostError, DeviceStateError, FullStorageError)


class _WeakPhoneError(DeviceError):
    """The battery is low, or its saver on: measured now, figures would be of another phone."""


@dataclass(slots=True)
class _Session:
    """A connected, prepared phone."""

    phone: PhoneInfo
    adb: Adb
    store: PhoneStore
    keeper: Keeper
    watch: Watch
    transport: AdbTransport
    reading: Reading
    read_at: float
    cores_at_start: tuple[Core, ...]

    def close(self) -> None:
        """Leave the phone as it was found, but for the programs in its store."""
        self.keeper.restore()
        self.store.trim(STORE_BYTES)


class PhoneDevice:
    """A phone reached through adb.

    Connects when it is first asked something. A phone that is lost, locked or full is waited for
    (`PhoneSettings.wait_s`), and what was under way is run again. Usable as a context manager;
    closing puts the phone's settings back, which the interpreter's exit does as well.

    Parameters
    ----------
    serial: its serial in `adb devices`, its own serial number, or ``host:port``; None is the only
        phone there is.
    cluster: whose cores are taken when the run names none, the fastest or the slowest.
    runner: None takes the one that is there for the phone's ABI
        (`netadapt.android_runner.phone.runners`).
    notify: is called with what the phone is waited for; None logs it.
    """

    def __init__(
        self,
        serial: str | None = None,
        settings: PhoneSettings | None = None,
        *,
        cluster: Cluster = "big",
        runner: RunnerBinary | None = None,
        server: AdbServer | None = None,
        notify: Callable[[str], None] | None = None,
    ) -> None:
        self.settings = settings or PhoneSettings()
        self._name = serial
        self._cluster = cluster
        self._runner = runner
        self._server = server
        self._notify = notify or (lambda line: logger.warning("%s", line))
        self._phone: PhoneInfo | None = None  # which it is, once known, also while it is lost
        self._info: DeviceInfo | None = None
        self._open = _Open()
        self._screen_on: bool | None = None
        self._trouble_since: float | None = None
        self._notified_at = 0.0
        weakref.finalize(self, self._open.close)  # also at the interpreter's exit

    def __enter__(self) -> PhoneDevice:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Put the phone's settings back. A phone that is gone gets that when it is next used."""
        self._open.close()

    def info(self) -> DeviceInfo:
        """See `Device.info`. Waits for a phone that is lost."""
        while self._info is None:
            try:
                self._connected()
            except _PASSING as error:
                self._wait(error)
        return self._info

    def cpus(self, spec: RunSpec) -> tuple[int, ...]:
        """See `Device.cpus`. Raises `UnsupportedDeviceError` where the phone lacks the cores.

        Waits for cores of unknown speed that sleep, unless the spec names its cores.
        """
        self.info()
        assert self._phone is not None
        self._trouble_since = None
        while spec.cpus is None:
            try:
                if self._trouble_since is not None:
                    self._connected()
                return self._chosen(self._phone, spec.threads)
            except _PASSING as error:
                self._wait(error)
                self._open.drop()  # a new session looks at the cores anew
        there = {core.number for core in self._phone.cores}
        if missing := sorted(set(spec.cpus) - there):
            raise UnsupportedDeviceError(
                f"cpus must be cores of the phone ({_listed(there)}), got {_listed(missing)}; "
                "see `netadapt devices`"
            )
        return spec.cpus

    def run(
        self,
        programs: Sequence[Program],
        spec: RunSpec,
        on_progress: Callable[[RunProgress], None] | None = None,
    ) -> Iterator[Measurement | Failure]:
        """See `Device.run`.

        A program fails for good when it failed twice, in processes of their own: a phone kills
        processes, cuts output and damages files for reasons that are not the program's.
        Raises `DeviceLostError` and its like when the phone was waited for in vain.
        """
        check_names(programs)
        return self._time(list(programs), spec, self.cpus(spec), on_progress)

    def _time(
        self,
        programs: list[Program],
        spec: RunSpec,
        cpus: tuple[int, ...],
        on_progress: Callable[[RunProgress], None] | None,
    ) -> Iterator[Measurement | Failure]:
        pending = {program.name: program for program in programs}
        failed: set[str] = set()
        throttled = nonsense = refused = 0
        course = _Course(len(programs), spec, on_progress)
        self._trouble_since = None
        while pending:
            try:
                session = self._connected()
                tolerant = throttled >= MAX_THROTTLED
                reading = self._fresh_reading(session, tolerant=tolerant)
                self._see_awake(session, cpus)
                session.watch.begin(cpus, tolerant=tolerant)
                course.begin(len(pending))
                process = None
                for answer in run_batch(
                    session.transport, list(pending.values()), spec, cpus, course.show
                ):
                    self._trouble_since = None
                    if isinstance(answer, Measurement):
                        if process is not answer.conditions:  # a process ends with all its answers
                            process = answer.conditions
                            session.watch.review(process)
                        answer = _with_conditions(answer, session, reading)
                    elif answer.program not in failed:
                        logger.info("%s failed, once more: %s", answer.program, answer.message)
                        failed.add(answer.program)
                        continue
                    del pending[answer.program]
                    yield answer
            except ThrottledError as error:
                throttled += 1
                self._notify(f"{error}; pausing")
                self._cool_down()
                if throttled == MAX_THROTTLED and self._open.session is not None:
                    self._open.session.watch.settle()
            except ProtocolError as error:
                nonsense += 1
                if nonsense == _MAX_NONSENSE:
                    raise
                logger.warning("once more: %s", error)
            except (*_PASSING, _WeakPhoneError) as error:
                self._wait(error)
            except DeviceError as error:
                if type(error) is DeviceError and (asleep := self._fallen_asleep(error, cpus)):
                    self._wait(asleep)
                    continue
                # A sentinel damaged on the way, a runner killed before it began: files are checked
                # again before the second try
                refused += 1
                if refused == _MAX_REFUSED or type(error) is not DeviceError:
                    raise
                logger.warning("once more: %s", error)

    def _connected(self) -> _Session:
        """The session under way, or a new one."""
        session = self._open.session
        if session is not None:
            return session
        server = self._server = self._server or AdbServer.from_environment()
        phone = self._found(server)
        check_usable(phone)
        if self._phone is not None:
            known = remembered(phone.cores, self._phone.cores)
            phone = dataclasses.replace(phone, cores=known)
        self._phone = phone  # seen once, it is waited for from now on
        self._open.lock(phone.id)
        adb = Adb(server, phone.serial)
        _see_that_it_is_up(adb, phone)
        phone = dataclasses.replace(phone, cores=learn(adb, phone.cores))
        runner = self._runner = self._runner or runner_for(phone)
        store = PhoneStore(adb)
        store.prepare()
        keeper = Keeper(adb, phone, self.settings)
        keeper.apply(self._chosen(phone, 1) if self.settings.sets_clock else ())
        try:
            # What limits the clocks have now may be this session's own doing: only later ones count
            reading = cool_down(adb, self.settings, (), self._notify)
            watch = Watch(adb, reading.cores, self.settings.watch_s)
            transport = AdbTransport(store, runner, watch.look)
            info = self._described(phone, transport, keeper.performance)
        except BaseException:
            with contextlib.suppress(DeviceError):
                keeper.restore()
            raise
        if reading.temperature_of and self._info is None:
            self._notify(
                f"phone {phone.serial} reports no temperature of its cores; that of its sensor "
                f"{reading.temperature_of!r} is watched instead"
            )
        if self._info is not None and info != self._info:
            keeper.restore()
            raise DeviceError(
                f"phone {phone.serial} must stay as it was, it was {self._info} and is {info}; "
                "start again, for a table of its own"
            )
        self._phone, self._info = phone, info
        self._open.session = _Session(
            phone, adb, store, keeper, watch, transport, reading, time.monotonic(), reading.cores
        )
        return self._open.session

    def _found(self, server: AdbServer) -> PhoneInfo:
        if self._phone is None:
            return choose_phone(server, self._name)
        known = self._phone
        try:
            phone = find_phone(server, known.serial)
        except NoSuchDeviceError as error:
            raise DeviceLostError(
                f"phone {known.serial} must be connected, it is not; plug it in again"
            ) from error
        if phone.ready and phone.id != known.id:
            raise DeviceLostError(
                f"phone {known.serial} must be the one called {known.id}, it is {phone.id}; "
                "connect the other one again"
            )
        return phone

    def _described(self, phone: PhoneInfo, transport: AdbTransport, performance: str) -> DeviceInfo:
        hello = _greeted(transport)
        return DeviceInfo(
            id=phone.id,
            kind="adb",
            model=phone.model,
            soc=phone.soc,
            os=phone.os,
            abi=hello.abi,
            cores=len(phone.cores),
            runtime_version=hello.runtime,
            runner_sha256=transport.binary.sha256,
            build_options=f"{hello.options} {hello.layout}-layout",
            performance=performance,
        )

    def _chosen(self, phone: PhoneInfo, threads: int) -> tuple[int, ...]:
        return choose_cpus(phone.cores, threads, self._cluster, phone.serial)

    def _see_awake(self, session: _Session, cpus: Sequence[int]) -> None:
        """Wake those cores that sleep. Raises `CoresAsleepError` where load does not."""
        cores: Sequence[Core] = session.reading.cores
        if not asleep_among(cores, cpus):
            return
        session.read_at = -math.inf
        if asleep := asleep_among(wake(session.adb, cores), cpus):
            raise asleep_error(session.phone.serial, asleep, "work did not wake them")

    def _fallen_asleep(self, error: DeviceError, cpus: Sequence[int]) -> CoresAsleepError | None:
        """Whether a run was refused for cores that slept; the next one looks at them anew."""
        session, asleep = self._open.session, asleep_by_runner(str(error), cpus)
        if session is None or not asleep:
            return None
        session.read_at = -math.inf
        return asleep_error(session.phone.serial, asleep, "they fell asleep")

    def _fresh_reading(self, session: _Session, *, tolerant: bool) -> Reading:
        """How the phone is. Raises `_WeakPhoneError` where nothing should be measured now.

        Raises `ThrottledError` for one that is too warm, unless ``tolerant``.
        """
        now = time.monotonic()
        if now - session.read_at > _READING_AGE_S or self._trouble_since is not None:
            session.reading, session.read_at = read(session.adb), now
        reading = session.reading
        self._see_screen(session, reading)
        battery = reading.battery
        if reading.low_power:
            raise _WeakPhoneError(
                f"phone {session.phone.serial} must not save its battery; switch battery saver off"
            )
        level = battery.level_pct
        if level is not None and level < self.settings.min_battery_pct and battery.powered is False:
            raise _WeakPhoneError(
                f"phone {session.phone.serial} must have a charge of "
                f"{self.settings.min_battery_pct} % or a charger, it has {level} %; charge it"
            )
        if reading.thermal_status and not tolerant:
            raise ThrottledError(
                f"phone {session.phone.serial} must be cool, Android's thermal status is "
                f"{reading.thermal_status}; cool it"
            )
        return reading

    def _see_screen(self, session: _Session, reading: Reading) -> None:
        """Report when the screen was switched on or off since it was last looked at."""
        before, self._screen_on = self._screen_on, reading.screen_on
        if before is None or reading.screen_on in (None, before):
            return
        now = "on" if reading.screen_on else "off"
        self._notify(
            f"the screen of phone {session.phone.serial} went {now} amid the measurements, and "
            "phones run slower without; leave it as it was (the rows record it)"
        )

    def _cool_down(self) -> None:
        session = self._open.session
        if session is None:
            return
        try:
            session.reading = cool_down(
                session.adb, self.settings, session.cores_at_start, self._notify
            )
            session.read_at = time.monotonic()
        except _PASSING as error:
            self._wait(error)

    def _wait(self, error: DeviceError) -> None:
        """Until the next try; raises ``error`` when there were enough of them."""
        now = time.monotonic()
        if not isinstance(error, (_WeakPhoneError, CoresAsleepError)):
            self._open.drop()
        if self._trouble_since is None:
            self._trouble_since, self._notified_at = now, 0.0
        waited_s = now - self._trouble_since
        if waited_s >= self.settings.wait_s:
            raise error
        if now - self._notified_at >= _NOTIFY_S:
            self._notified_at = now
            self._notify(f"{error}; waiting, {waited_s:.0f} of {self.settings.wait_s:.0f} s")
        # The first failure may have been a hiccup of the connection
        time.sleep(0.1 if waited_s < 0.5 else _RETRY_S)


class _Open:
    """What has to be closed: apart from the device, so that it can be when that is gone."""

    def __init__(self) -> None:
        self.session: _Session | None = None
        self._lock: PhoneLock | None = None

    def lock(self, phone_id: str) -> None:
        """See that no other process measures on this phone."""
        if self._lock is None:
            self._lock = PhoneLock(phone_id)

    def drop(self) -> None:
        """Forget a session whose phone is gone."""
        self.session = None

    def close(self) -> None:
        session, self.session = self.session, None
        try:
            if session is not None:
                session.close()
        except DeviceError as error:
            logger.warning("left as it is, put back when it is next used: %s", error)
        finally:
            if self._lock is not None:
                self._lock.release()
                self._lock = None


class _Course:
    """Progress over all runs of a batch, never backwards."""

    def __init__(
        self, programs: int, spec: RunSpec, on_progress: Callable[[RunProgress], None] | None
    ) -> None:
        self._steps = spec.rounds + 2  # as `run_batch` counts
        self._programs = programs
        self._base = self._shown = 0
        self._on_progress = on_progress

    def begin(self, pending: int) -> None:
        """A run of the programs that are left."""
        self._base = (self._programs - pending) * self._steps

    def show(self, progress: RunProgress) -> None:
        total = self._programs * self._steps
        self._shown = max(self._shown, min(self._base + progress.done, total))
        if self._on_progress is not None:
            self._on_progress(RunProgress(self._shown, total, progress.program))


def _greeted(transport: AdbTransport) -> Hello:
    """The runner's hello. A runner that dies over it gets a second chance, as programs do."""
    for _ in range(_MAX_REFUSED - 1):
        try:
            return greet(transport)
        except DeviceError as error:
            if type(error) is not DeviceError:
                raise
            logger.warning("once more: %s", error)
    return greet(transport)


def _see_that_it_is_up(adb: Adb, phone: PhoneInfo) -> None:
    """Raises `DeviceLostError` while Android starts, `UnsupportedDeviceError` for an old one."""
    if "shell_v2" not in adb.features():
        raise UnsupportedDeviceError(
            f"phone {phone.serial} must report exit codes (adb feature shell_v2), it does not; use "
            "one with Android 7 or newer"
        )
    if adb.ask("getprop sys.boot_completed").strip() != "1":
        raise DeviceLostError(f"phone {phone.serial} must have started, it has not; wait for it")


def _with_conditions(answer: Measurement, session: _Session, reading: Reading) -> Measurement:
    """A measurement with what only this side of the cable knows."""
    conditions = answer.conditions
    latest = session.watch.reading or reading
    before_c, after_c = conditions.temperature_c_before, conditions.temperature_c_after
    return dataclasses.replace(
        answer,
        conditions=dataclasses.replace(
            conditions,
            # Many phones let no program see their sensors, but adb's shell
            temperature_c_before=reading.temperature_c if before_c is None else before_c,
            temperature_c_after=latest.temperature_c if after_c is None else after_c,
            performance=session.keeper.performance,
            battery_pct=reading.battery.level_pct,
            charging=reading.battery.powered,
            screen_on=reading.screen_on,
            thermal_status=reading.thermal_status,
            throttled=session.watch.throttled,
        ),
    )


def _listed(numbers: Sequence[int] | set[int]) -> str:
    return ", ".join(map(str, sorted(numbers)))
