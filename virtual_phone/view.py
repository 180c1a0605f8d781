"""What a phone's programs see of this machine: as little as they can run with, read-only.

Put together by this machine's own ``unshare`` and ``mount`` (util-linux), as its own user.
"""

from __future__ import annotations

import sysconfig
from importlib.util import find_spec
from pathlib import Path
from typing import Final

# The phone's own folders; of this machine's nothing else is there than programs and libraries.
PHONE_FOLDERS: Final = ("data", "sys", "system", "vendor", "sdcard", "state")
_SEALED_FOLDERS: Final = ("system", "vendor")  # read-only, as on a phone
PROC_FILES: Final = ("cpuinfo", "meminfo", "sys/kernel/random/boot_id")

# $1 the phone's files, $2 where its view is put together, $3 its folders, $4 those of them that are
# read-only, $5 files of /proc that are the phone's own, $6 a library for its programs or nothing,
# $7 libraries of this machine's, one a line.
# The view stays a chroot: in one, a program cannot make namespaces in which it would be root.
_BOOT_SCRIPT: Final = r"""
set -e
root=$1 view=$2
seal() {
  mounts=$(cat /proc/self/mountinfo)
  while read -r _ _ _ _ point _; do
    case $point in *\\*) point=$(printf %b "$point") ;; esac
    case $point in "$1" | "$1"/*) mount -o remount,bind,ro "$point" ;; esac
  done <<END
$mounts
END
}
mount -t tmpfs -o mode=755,nosuid,nodev none "$view"
for name in usr bin sbin lib lib32 lib64 libx32 etc/alternatives etc/ld.so.cache; do
  mkdir -p "$(dirname "$view/$name")"
  if [ -L "/$name" ]; then cp -P "/$name" "$view/$name"; continue
  elif [ -d "/$name" ]; then mkdir "$view/$name"; mount --rbind "/$name" "$view/$name"
  elif [ -f "/$name" ]; then touch "$view/$name"; mount --bind "/$name" "$view/$name"
  else continue
  fi
  seal "$view/$name"
done
while IFS= read -r path; do
  [ -e "$path" ] && ! [ -e "$view$path" ] || continue
  if [ -d "$path" ]; then mkdir -p "$view$path"; mount --rbind "$path" "$view$path"
  else mkdir -p "$view$(dirname "$path")"; touch "$view$path"; mount --bind "$path" "$view$path"
  fi
  seal "$view$path"
done <<END
$7
END
for name in $3; do
  mkdir "$view/$name"
  mount --bind "$root/$name" "$view/$name"
  case " $4 " in *" $name "*) seal "$view/$name" ;; esac
done
mount --bind "$root/state/dumpsys" "$view/state/dumpsys"
seal "$view/state/dumpsys"
mkdir "$view/proc"
mount -t proc -o nosuid,nodev,noexec proc "$view/proc"
for name in acpi asound bus fs irq scsi sys sysrq-trigger; do
  [ -e "$view/proc/$name" ] || continue
  mount --bind "$view/proc/$name" "$view/proc/$name"
  seal "$view/proc/$name"
done
for name in $5; do
  mount --bind "$root/proc/$name" "$view/proc/$name"
  seal "$view/proc/$name"
done
mkdir -p "$view/dev/pts"
for name in null zero full random urandom tty; do
  touch "$view/dev/$name"
  mount --bind "/dev/$name" "$view/dev/$name"
done
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620,nosuid,noexec none "$view/dev/pts"
ln -s pts/ptmx "$view/dev/ptmx"
ln -s /proc/self/fd "$view/dev/fd"
for pair in 0:stdin 1:stdout 2:stderr; do
  ln -s "/proc/self/fd/${pair%:*}" "$view/dev/${pair#*:}"
done
if [ -n "$6" ]; then mkdir -p "$view$(dirname "$6")"; cp "$6" "$view$6"; fi
mount -o remount,bind,ro "$view"
cd /
exec chroot "$view" /bin/sh -c 'trap "" CHLD; cd /; echo ready; exec cat >/dev/null'
"""


def boot_command(root: Path, view: Path, library: Path | None) -> list[str]:
    """What makes the namespaces, prints ``ready`` and holds them until its input ends.

    Parameters
    ----------
    root: the phone's files.
    view: an empty folder.
    library: one that its programs are to find at the same path.
    """
    return [
        "unshare", "--user", "--map-root-user", "--mount", "--pid", "--net", "--ipc", "--fork",
        "--kill-child", "--propagation", "private", "sh", "-c", _BOOT_SCRIPT, "boot",
        str(root), str(view), " ".join(PHONE_FOLDERS), " ".join(_SEALED_FOLDERS),
        " ".join(PROC_FILES), str(library or ""), "\n".join(map(str, _libraries())),
    ]  # fmt: skip


def _libraries() -> list[Path]:
    """What the runner that is built for this machine needs of it: a real phone's is static."""
    found = []
    for package, below in (("executorch", ""), ("torch", "lib")):
        spec = find_spec(package)
        folders = spec.submodule_search_locations if spec is not None else None
        found += [Path(folder) / below for folder in folders or ()]
    library = sysconfig.get_config_var("INSTSONAME")
    for folder in map(sysconfig.get_config_var, ("LIBDIR", "LIBPL")):
        if library and folder:
            found.append(Path(folder) / library)
    return found
