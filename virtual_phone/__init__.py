"""A phone that is a process: for trying and testing the adb path without one at hand.

It speaks the adb daemon's protocol on the loopback, so that the real adb drives it, and plays what
goes wrong with real phones. Nothing outside this package depends on it.
"""

from netadapt.virtual_phone.description import (
    Battery,
    Cluster,
    PhoneDescription,
    ThermalZone,
    Throttling,
    bundled_names,
)
from netadapt.virtual_phone.faults import Cue, Event, Fault, Moment
from netadapt.virtual_phone.phone import VirtualPhone

PIXEL_1 = PhoneDescription.bundled("pixel_1")

__all__ = [
    "PIXEL_1",
    "Battery",
    "Cluster",
    "Cue",
    "Event",
    "Fault",
    "Moment",
    "PhoneDescription",
    "ThermalZone",
    "Throttling",
    "VirtualPhone",
    "bundled_names",
]
