"""ghostedge takes a MindSpore GhostNetV2 checkpoint to the edge and proves that it arrived.

Everything here is imported when it is first used: ``import ghostedge`` alone loads no other library, not even NumPy.
"""

TYPE_CHECKING = False  # as type checkers know it; importing typing for it would take longer than all else here
if TYPE_CHECKING:
    from ghostedge.accuracy.parity import ParityResult
    from ghostedge.errors import GhostedgeError
    from ghostedge.evaluation.api import evaluate
    from ghostedge.evaluation.run import Evaluation, Options
    from ghostedge.formats import open_model
    from ghostedge.ghostnet.import_weights import Imported, import_weights
    from ghostedge.inspection import ModelSummary, inspect
    from ghostedge.latency.api import DeviceRecord, Measured, RunSettings, benchmark, verify
    from ghostedge.model import InputSpec, Model
    from ghostedge.pipeline.export import Exported, export
    from ghostedge.prediction import Prediction, predict
    from ghostedge.regression.gate import GateReport, gate
    from ghostedge.reports.parity import ParityReport, parity

__version__ = "0.3.0.dev0"

__all__ = [
    "DeviceRecord",
    "Evaluation",
    "Exported",
    "GateReport",
    "GhostedgeError",
    "Imported",
    "InputSpec",
    "Measured",
    "Model",
    "ModelSummary",
    "Options",
    "ParityReport",
    "ParityResult",
    "Prediction",
    "RunSettings",
    "benchmark",
    "evaluate",
    "export",
    "gate",
    "import_weights",
    "inspect",
    "open_model",
    "parity",
    "predict",
    "verify",
]

#: Module -> the public names that it has, the same as above for type checkers.
_HOMES = {
    "accuracy.parity": "ParityResult",
    "errors": "GhostedgeError",
    "evaluation.api": "evaluate",
    "evaluation.run": "Evaluation Options",
    "formats": "open_model",
    "ghostnet.import_weights": "Imported import_weights",
    "inspection": "ModelSummary inspect",
    "latency.api": "DeviceRecord Measured RunSettings benchmark verify",
    "model": "InputSpec Model",
    "pipeline.export": "Exported export",
    "prediction": "Prediction predict",
    "regression.gate": "GateReport gate",
    "reports.parity": "ParityReport parity",
}

if not TYPE_CHECKING:  # a type checker reads the imports above, and would take any name for known if it saw this

    def __getattr__(name):
        import importlib

        for module, names in _HOMES.items():
            if name in names.split():
                globals()[name] = getattr(importlib.import_module(f"ghostedge.{module}"), name)
                return globals()[name]
        raise AttributeError(f"module 'ghostedge' has no attribute '{name}'")

    def __dir__():
        return sorted({*globals(), *__all__})
