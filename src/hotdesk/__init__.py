"""hotdesk: a deep-learning desk. Open it when you need it, leave when you are done, lose nothing.

    from hotdesk import Hotdesk

    with Hotdesk() as desks:
        desks.up("blue")
        print(desks.ssh("blue", "nvidia-smi").output)
        desks.park("blue")

`Hotdesk` has a method for each command; what they return is exported here. The public names are loaded on
first use, so that importing the package costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = [
    "Answer",
    "Around",
    "BenchRequest",
    "Busy",
    "Cheapest",
    "Choice",
    "ClusterRun",
    "ClusterView",
    "Clusters",
    "Compared",
    "Completed",
    "Counts",
    "Curve",
    "Damaged",
    "Dashboard",
    "Desk",
    "Disk",
    "Exported",
    "Finding",
    "Forward",
    "FunctionSweep",
    "Goal",
    "GpuLoad",
    "Grown",
    "Hotdesk",
    "HotdeskError",
    "Image",
    "Instance",
    "Job",
    "JobView",
    "KeptImage",
    "KeptImages",
    "Latency",
    "Limits",
    "Line",
    "Load",
    "Lost",
    "Machine",
    "Made",
    "Market",
    "Measured",
    "Missing",
    "NeedsDecision",
    "NotAllowed",
    "Notebook",
    "Offer",
    "Orphan",
    "Orphans",
    "Outcome",
    "PerTrace",
    "PlanAnswer",
    "PlanRequest",
    "PredictRequest",
    "Predicted",
    "Prediction",
    "Public",
    "PublishedSpot",
    "Pulled",
    "Query",
    "Remark",
    "RemovedSweep",
    "Result",
    "Retained",
    "Returned",
    "Row",
    "RunningJob",
    "SeenJob",
    "Sent",
    "Setting",
    "Space",
    "SpotPrices",
    "SpotQuery",
    "State",
    "Statement",
    "Study",
    "Sweep",
    "SweepOptions",
    "SweepRequest",
    "SweepResult",
    "SweepView",
    "Sweeps",
    "Task",
    "TaskFailed",
    "Terms",
    "Top",
    "Uninstalled",
    "Unknown",
    "Unreachable",
    "Unread",
    "Usage",
    "View",
    "Wait",
    "Want",
    "ZonePrices",
    "__version__",
]

if TYPE_CHECKING:
    from hotdesk.api import Hotdesk
    from hotdesk.api.clustering import Clusters
    from hotdesk.api.sweeping import SweepOptions, Sweeps
    from hotdesk.core.billing.statement import Line
    from hotdesk.core.errors import (
        Busy,
        Damaged,
        HotdeskError,
        Missing,
        NeedsDecision,
        NotAllowed,
        Unknown,
        Unreachable,
        Usage,
    )
    from hotdesk.core.findings import Finding, Remark
    from hotdesk.core.jobs import Job, Result, SeenJob
    from hotdesk.core.load import Curve, GpuLoad, Load
    from hotdesk.core.matching import Query
    from hotdesk.core.model import Desk, Disk, Goal, Image, Instance, Market, Offer, Retained, Want
    from hotdesk.core.sizing.frontier import Answer, Choice, Lost
    from hotdesk.core.sizing.speed import Prediction
    from hotdesk.core.spot.policy import Terms
    from hotdesk.core.spot.prices import Cheapest, ZonePrices
    from hotdesk.core.steps import Outcome, Row, Wait
    from hotdesk.core.sweep.model import Counts, Machine, State, Sweep, Task
    from hotdesk.core.sweep.params import Space
    from hotdesk.market.job_model import Around
    from hotdesk.market.latency import Latency
    from hotdesk.services.billing import Compared, Statement
    from hotdesk.services.choosing import PublishedSpot, SpotPrices, SpotQuery
    from hotdesk.services.cleanup import Orphans, Unread
    from hotdesk.services.clusters import ClusterRun, ClusterView, Dashboard
    from hotdesk.services.files import Completed, Pulled
    from hotdesk.services.forwarding import Forward
    from hotdesk.services.growing import Grown
    from hotdesk.services.jobs import JobView
    from hotdesk.services.limits import Limits
    from hotdesk.services.measuring import BenchRequest, Measured
    from hotdesk.services.move_shapes import KeptImage, KeptImages
    from hotdesk.services.notebook import Notebook
    from hotdesk.services.notices import Sent
    from hotdesk.services.orphans import Orphan
    from hotdesk.services.planning import PlanAnswer, PlanRequest
    from hotdesk.services.predicting import Predicted, PredictRequest
    from hotdesk.services.settings import Setting
    from hotdesk.services.sweep_function import FunctionSweep, Returned, TaskFailed
    from hotdesk.services.sweep_kept import RemovedSweep
    from hotdesk.services.sweep_request import SweepRequest
    from hotdesk.services.sweep_view import SweepResult, SweepView
    from hotdesk.services.template import Exported
    from hotdesk.services.tops import RunningJob, Top
    from hotdesk.services.uninstall import Made, Uninstalled
    from hotdesk.services.view import Public, View
    from hotdesk.simulate.study import PerTrace, Study

_HOMES = {
    "Answer": "hotdesk.core.sizing.frontier",
    "Around": "hotdesk.market.job_model",
    "BenchRequest": "hotdesk.services.measuring",
    "Busy": "hotdesk.core.errors",
    "Cheapest": "hotdesk.core.spot.prices",
    "Clusters": "hotdesk.api.clustering",
    "ClusterView": "hotdesk.services.clusters",
    "ClusterRun": "hotdesk.services.clusters",
    "Choice": "hotdesk.core.sizing.frontier",
    "Counts": "hotdesk.core.sweep.model",
    "Compared": "hotdesk.services.billing",
    "Completed": "hotdesk.services.files",
    "Curve": "hotdesk.core.load",
    "Dashboard": "hotdesk.services.clusters",
    "Damaged": "hotdesk.core.errors",
    "Desk": "hotdesk.core.model",
    "Disk": "hotdesk.core.model",
    "Exported": "hotdesk.services.template",
    "Finding": "hotdesk.core.findings",
    "FunctionSweep": "hotdesk.services.sweep_function",
    "Forward": "hotdesk.services.forwarding",
    "Goal": "hotdesk.core.model",
    "GpuLoad": "hotdesk.core.load",
    "Grown": "hotdesk.services.growing",
    "Hotdesk": "hotdesk.api",
    "HotdeskError": "hotdesk.core.errors",
    "Image": "hotdesk.core.model",
    "Instance": "hotdesk.core.model",
    "Job": "hotdesk.core.jobs",
    "JobView": "hotdesk.services.jobs",
    "KeptImage": "hotdesk.services.move_shapes",
    "KeptImages": "hotdesk.services.move_shapes",
    "Latency": "hotdesk.market.latency",
    "Limits": "hotdesk.services.limits",
    "Line": "hotdesk.core.billing.statement",
    "Load": "hotdesk.core.load",
    "Machine": "hotdesk.core.sweep.model",
    "Lost": "hotdesk.core.sizing.frontier",
    "Market": "hotdesk.core.model",
    "Measured": "hotdesk.services.measuring",
    "Missing": "hotdesk.core.errors",
    "NeedsDecision": "hotdesk.core.errors",
    "NotAllowed": "hotdesk.core.errors",
    "Notebook": "hotdesk.services.notebook",
    "Offer": "hotdesk.core.model",
    "Orphans": "hotdesk.services.cleanup",
    "Made": "hotdesk.services.uninstall",
    "Uninstalled": "hotdesk.services.uninstall",
    "Outcome": "hotdesk.core.steps",
    "PerTrace": "hotdesk.simulate.study",
    "PlanAnswer": "hotdesk.services.planning",
    "PlanRequest": "hotdesk.services.planning",
    "PredictRequest": "hotdesk.services.predicting",
    "Predicted": "hotdesk.services.predicting",
    "Prediction": "hotdesk.core.sizing.speed",
    "Public": "hotdesk.services.view",
    "PublishedSpot": "hotdesk.services.choosing",
    "Pulled": "hotdesk.services.files",
    "Query": "hotdesk.core.matching",
    "RemovedSweep": "hotdesk.services.sweep_kept",
    "Remark": "hotdesk.core.findings",
    "Result": "hotdesk.core.jobs",
    "Returned": "hotdesk.services.sweep_function",
    "Retained": "hotdesk.core.model",
    "Row": "hotdesk.core.steps",
    "RunningJob": "hotdesk.services.tops",
    "SeenJob": "hotdesk.core.jobs",
    "Sent": "hotdesk.services.notices",
    "Setting": "hotdesk.services.settings",
    "State": "hotdesk.core.sweep.model",
    "Space": "hotdesk.core.sweep.params",
    "SpotPrices": "hotdesk.services.choosing",
    "SpotQuery": "hotdesk.services.choosing",
    "Statement": "hotdesk.services.billing",
    "Study": "hotdesk.simulate.study",
    "Sweep": "hotdesk.core.sweep.model",
    "SweepOptions": "hotdesk.api.sweeping",
    "SweepRequest": "hotdesk.services.sweep_request",
    "SweepResult": "hotdesk.services.sweep_view",
    "Sweeps": "hotdesk.api.sweeping",
    "SweepView": "hotdesk.services.sweep_view",
    "TaskFailed": "hotdesk.services.sweep_function",
    "Task": "hotdesk.core.sweep.model",
    "Terms": "hotdesk.core.spot.policy",
    "Orphan": "hotdesk.services.orphans",
    "Top": "hotdesk.services.tops",
    "Unknown": "hotdesk.core.errors",
    "Unreachable": "hotdesk.core.errors",
    "Unread": "hotdesk.services.cleanup",
    "Usage": "hotdesk.core.errors",
    "View": "hotdesk.services.view",
    "Wait": "hotdesk.core.steps",
    "Want": "hotdesk.core.model",
    "ZonePrices": "hotdesk.core.spot.prices",
}


def __getattr__(name: str) -> Any:
    if home := _HOMES.get(name):
        from importlib import import_module

        return getattr(import_module(home), name)
    raise AttributeError(f"module 'hotdesk' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
