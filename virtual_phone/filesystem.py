"""Lays out a phone's private folder and keeps its files in step with the phone's state."""

from __future__ import annotations

import os
import platform
import shutil
import uuid
from pathlib import Path
from typing import Final

from netadapt.virtual_phone.description import PhoneDescription
from netadapt.virtual_phone.no_links import create_plain, folder_of, open_plain

TOOLS: Final = Path(__file__).parent / "tools"
TMP: Final = "data/local/tmp"

# Of this machine's tools, those that Android has under the same names, by the first version (as
# API level) that has them: from the lists of its ``shell_and_utilities``.
_HOST_TOOLS: Final = {
    24: (
        "base64", "basename", "cat", "chmod", "cksum", "cmp", "comm", "cp", "cut", "dd", "dirname",
        "du", "echo", "env", "expr", "false", "find", "flock", "grep", "head", "ionice", "kill",
        "ln", "ls", "md5sum", "mkdir", "mktemp", "mv", "nice", "nl", "nohup", "od", "paste",
        "printenv", "printf", "ps", "pwd", "readlink", "realpath", "renice", "rm", "rmdir", "sed",
        "seq", "setsid", "sh", "sha1sum", "sleep", "sort", "split", "stat", "sync", "tail", "tar",
        "taskset", "tee", "time", "timeout", "touch", "tr", "true", "truncate", "tty", "uniq",
        "wc", "which", "xargs", "xxd", "yes",
    ),
    26: ("diff", "gunzip", "gzip", "mkfifo", "sha256sum"),
    28: ("awk", "stty"),
    30: ("[", "getconf", "test"),
}  # fmt: skip


def lay_out(root: Path, description: PhoneDescription) -> None:
    """Make what a boot makes; files under ``/data`` stay as they are."""
    for folder in ("system/bin", "system/xbin", "vendor", "sdcard", "state/dumpsys", "proc"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / TMP).mkdir(parents=True, exist_ok=True)
    _lay_out_tools(root / "system/bin", description)
    write(root, "state/properties", _properties(description))
    write(root, "state/clock_offset_s", "0\n")
    write(root, "state/sdk", f"{description.sdk}\n")
    (root / "state/fixed_performance").unlink(missing_ok=True)
    write(root, "proc/sys/kernel/random/boot_id", f"{uuid.uuid4()}\n")
    write(root, "proc/cpuinfo", _cpuinfo(description))
    write(root, "proc/meminfo", _meminfo(description))
    _lay_out_cores(root / "sys/devices/system/cpu", description)
    _lay_out_zones(root / "sys/class/thermal", description)


def _lay_out_tools(folder: Path, description: PhoneDescription) -> None:
    for since, names in _HOST_TOOLS.items():
        for name in names:
            target = folder / name
            target.unlink(missing_ok=True)
            if description.sdk >= since and (found := shutil.which(name)):
                target.symlink_to(os.path.realpath(found) if name == "awk" else found)
    for tool in TOOLS.iterdir():
        target = folder / tool.name
        target.unlink(missing_ok=True)
        if tool.name == "su" and description.root == "none":
            continue
        shutil.copy(tool, target)
        target.chmod(0o755)


def _lay_out_zones(folder: Path, description: PhoneDescription) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)
    if description.zones_readable:
        for number, zone in enumerate(description.zones):
            write(folder / f"thermal_zone{number}", "type", f"{zone.kind}\n", 0o444)
            write(folder / f"thermal_zone{number}", "mode", "enabled\n", 0o444)
        return
    for entry in folder.iterdir():
        shutil.rmtree(entry, ignore_errors=True)
    folder.chmod(0)  # what policy forbids looks like what modes forbid


def _lay_out_cores(folder: Path, description: PhoneDescription) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    everyone = f"0-{description.core_count - 1}\n" if description.core_count > 1 else "0\n"
    for name in ("possible", "present", "online"):
        write(folder, name, everyone, 0o444)
    biggest = max(cluster.frequencies_khz[-1] for cluster in description.clusters)
    for index, cluster in enumerate(description.clusters):
        policy = folder / "cpufreq" / f"policy{cluster.cores[0]}"
        steps = cluster.frequencies_khz
        facts = {
            "affected_cpus": " ".join(map(str, cluster.cores)),
            "related_cpus": " ".join(map(str, cluster.cores)),
            "cpuinfo_max_freq": steps[-1],
            "cpuinfo_min_freq": steps[0],
            "scaling_available_frequencies": " ".join(map(str, steps)),
            "scaling_available_governors": f"performance powersave {cluster.governor}",
            "scaling_cur_freq": steps[0],
            "scaling_driver": "virtual",
            "scaling_governor": cluster.governor,
            "scaling_max_freq": steps[-1],
            "scaling_min_freq": steps[0],
        }
        for name, value in facts.items():
            write(policy, name, f"{value}\n", 0o444)
        for core in cluster.cores:
            own = folder / f"cpu{core}"
            write(own, "online", "1\n", 0o444)
            if description.sdk >= 30:  # of kernels from 4.13 on; which phones have one: assumption
                write(own, "cpu_capacity", f"{1024 * steps[-1] // biggest}\n", 0o444)
            write(own, "topology/core_id", f"{core}\n", 0o444)
            write(own, "topology/physical_package_id", f"{index}\n", 0o444)
            write(
                own, "topology/core_siblings_list", ",".join(map(str, cluster.cores)) + "\n", 0o444
            )
            (own / "cpufreq").symlink_to(f"../cpufreq/{policy.name}")


def write(folder: Path, name: str, text: str, mode: int = 0o644) -> None:
    """Put ``text`` at ``folder/name`` whole, unless it is there already.

    Programs of the phone's may write in the same folders, so no link is followed.
    """
    path = folder / name
    temporary = f".{path.name}.new"
    with folder_of(path.absolute(), make=True) as parent:
        try:
            with os.fdopen(open_plain(path.absolute(), os.O_RDONLY)) as file:
                if file.read() == text:
                    return
        except (OSError, UnicodeDecodeError):
            pass  # nothing there, or nothing of ours
        with os.fdopen(create_plain(path.absolute().with_name(temporary)), "w") as file:
            file.write(text)
            os.fchmod(file.fileno(), mode)
        os.replace(temporary, path.name, src_dir_fd=parent, dst_dir_fd=parent)


def read(path: Path) -> str:
    """The file's text without surrounding space; empty when there is none."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def used_bytes(root: Path) -> int:
    """What the files under the phone's ``/data`` hold."""
    total = 0
    for folder, _, names in os.walk(root / "data"):
        for name in names:
            try:
                total += os.lstat(os.path.join(folder, name)).st_size
            except OSError:
                continue  # gone meanwhile
    return total


def _properties(description: PhoneDescription) -> str:
    abis = ",".join(description.abis)
    made = {
        "ro.serialno": description.serial,
        "ro.boot.serialno": description.serial,
        "ro.product.manufacturer": description.manufacturer,
        "ro.product.brand": description.manufacturer.lower(),
        "ro.product.model": description.model,
        "ro.product.device": description.device,
        "ro.product.name": description.device,
        "ro.product.board": description.device,
        "ro.product.cpu.abi": description.abis[0],
        "ro.product.cpu.abilist": abis,
        "ro.product.cpu.abilist64": ",".join(abi for abi in description.abis if "64" in abi),
        "ro.board.platform": description.platform,
        "ro.hardware": description.platform,
        "ro.build.version.release": description.android,
        "ro.build.version.sdk": str(description.sdk),
        "ro.build.fingerprint": (
            f"{description.manufacturer.lower()}/{description.device}/{description.device}:"
            f"{description.android}/VIRTUAL/1:user/release-keys"
        ),
        "ro.build.type": "user",
        "ro.debuggable": str(int(description.root == "adb")),
        "ro.kernel.qemu": "0",
        "sys.boot_completed": "1",
    }
    if description.sdk >= 31:  # where these came in
        made["ro.soc.manufacturer"] = description.soc_manufacturer
        made["ro.soc.model"] = description.soc
    made.update(description.properties)
    return "".join(f"{key}={value}\n" for key, value in sorted(made.items()))


def _cpuinfo(description: PhoneDescription) -> str:
    """Cores as this machine describes its first one: its programs read it, and must understand it.

    A phone of another ABI, whose programs cannot run here, has ARM cores.
    """
    blocks: list[str] = []
    first = read(Path("/proc/cpuinfo")).split("\n\n")[0]
    for core in range(description.core_count):
        if description.abis[0] == "x86_64" and platform.machine() == "x86_64":
            lines = [_with_core(line, core, description.core_count) for line in first.split("\n")]
            blocks.append("\n".join(lines))
        else:
            blocks.append(f"processor\t: {core}\nCPU implementer\t: 0x51\nCPU architecture: 8")
    hardware = f"{description.soc_manufacturer} {description.soc}".strip()
    return "\n\n".join([*blocks, f"Hardware\t: {hardware}\n"])


def _with_core(line: str, core: int, count: int) -> str:
    key = line.partition(":")[0]
    if key.strip() in ("processor", "core id", "apicid", "initial apicid"):
        return f"{key}: {core}"
    if key.strip() in ("siblings", "cpu cores"):
        return f"{key}: {count}"
    return line


def _meminfo(description: PhoneDescription) -> str:
    total = description.ram_bytes // 1024
    return (
        f"MemTotal:       {total:>8} kB\n"
        f"MemFree:        {total // 4:>8} kB\n"
        f"MemAvailable:   {total // 2:>8} kB\n"
    )
