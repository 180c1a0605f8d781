"""The seam between a run and how it finds its networks. No torch here: a run file names it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from netadapt.android_runner.plugins import Registry

if TYPE_CHECKING:
    from torch import nn

    from netadapt.runs.budgets import Budget
    from netadapt.runs.context import Context
    from netadapt.runs.folder import RunFolder
    from netadapt.runs.parts import Parts
    from netadapt.search.driver import SearchResult
    from netadapt.search.space import Arch


@dataclass(frozen=True, slots=True)
class SearchForecast:
    """What a strategy has left to do for all of a run's budgets together, roughly.

    Parameters
    ----------
    supernet_steps: of a super-network's training; None: it trains none.
    evaluations, measured: networks judged, and of them those measured whole; None: cannot be said.
    seconds: of what can be said of that, but for measuring.
    """

    supernet_steps: int | None = None
    evaluations: int | None = None
    measured: int | None = None
    seconds: float = 0.0


class Strategy(ABC):
    """How a run finds the arch for a budget; made for one run, as `Class(settings)`.

    Parameters
    ----------
    settings: of its `settings_class`.
    """

    settings_class: ClassVar[type]
    """The frozen dataclass of its settings; every field has a default."""

    prepares: ClassVar[str]
    """The name of the step that `prepare` is, e.g. "train the super-network"."""

    def __init__(self, settings: Any = None) -> None:
        self.settings = self.settings_class() if settings is None else settings

    @abstractmethod
    def prepare(self, context: Context) -> None:
        """Do what all budgets have in common; resumes where it was interrupted."""

    @abstractmethod
    def find(self, context: Context, budget: Budget, budget_ms: float | None) -> SearchResult:
        """Find the arch for one budget, and confirm it on the device.

        Resumes where it was interrupted. `budget_ms` is the latency to meet; None: latency has no
        budget. The result's `confirmed_ms` are of the network timed twice by itself.
        """

    @abstractmethod
    def network(self, context: Context, arch: Arch) -> nn.Module:
        """The arch's network with the weights that the final training starts from."""

    def forecast(self, parts: Parts, folder: RunFolder) -> SearchForecast:
        """What is left to do for a run in `folder`; makes and changes nothing there.

        Asked of an object that prepared nothing.
        """
        return SearchForecast()


STRATEGIES: Registry[Strategy] = Registry(
    "strategy",
    Strategy,
    {
        "supernet": "netadapt.runs.supernet:SuperNetworkSearch",
        "dmasking": "netadapt.runs.dmasking:DMaskingSearch",
        "netadapt_v1": "netadapt.runs.netadapt_v1:NetAdaptV1",
    },
    {
        "supernet": "netadapt.android_runner.plugins:NoSettings",
        "dmasking": "netadapt.search.dmasking.settings:DMaskingSettings",
        "netadapt_v1": "netadapt.search.fine_tuning_settings:FineTuningSettings",
    },
)
"""What comes along; a run file names one, or `package.module:Class`."""


def make_strategy(name: str, settings: object = None) -> Strategy:
    """The strategy called `name`, of `STRATEGIES` or `package.module:Class`.

    Raises `PluginError`, and what the strategy raises.
    """
    return STRATEGIES.find(name)(settings)
