"""The records of a latency and of a verification: their types, their JSON Schemas, and reading them.

They are written by edge_benchmark.py, by the Android app and by ghostedge serve alike, one JSON document a run. Units
are in the names; None means that the system does not tell. `python -m ghostedge.latency.records` writes the schemas
after a change here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired, TypedDict

from msgspec import Meta

from ghostedge.errors import DeviceError
from ghostedge.files import atomic_write
from ghostedge.stored import as_type, json_schema, parse_json

__all__ = ["SCHEMA", "VERIFICATION_SCHEMA", "parse_record", "read_record", "schemas"]

SCHEMA = Path(__file__).with_name("latency_record.schema.json")
VERIFICATION_SCHEMA = Path(__file__).with_name("verification_record.schema.json")

#: Version 1 did not say whether the answers were right.
_SCHEMA_VERSIONS = (1, 2)

# No device gives more than these; what is larger is damage, as an infinity is.
Amount = Annotated[float, Meta(ge=0, le=1e12)]
Count = Annotated[int, Meta(ge=0, le=2**53)]
Positive = Annotated[int, Meta(ge=1, le=2**53)]
Share = Annotated[float, Meta(ge=0, le=1)]
Number = Annotated[float, Meta(ge=-1e12, le=1e12)]
#: A logit, and a difference of two: float32 ends at 3.4e38.
Logit = Annotated[float, Meta(ge=-1e39, le=1e39)]
LogitError = Annotated[float, Meta(ge=0, le=1e39)]
Sha256 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
Time = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
Megahertz = list[Number | None] | None


class Benchmark(TypedDict):
    """What measured."""

    program: str
    version: str
    sha256: Annotated[Sha256 | None, Meta(description="of the script; null for the app and the page")]


class File(TypedDict):
    """One file of a model."""

    file: str
    sha256: Sha256


class Artifact(TypedDict):
    """The model."""

    file: str
    format: Literal["tflite", "openvino", "onnx"]
    size_bytes: Count
    sha256: Sha256
    files: Annotated[list[File], Meta(min_length=1)]
    precision: Annotated[str | None, Meta(description="as the artifact describes itself: fp32, fp16, int8, ...")]


class Device(TypedDict):
    """What the device is."""

    host: str | None
    model: str | None
    soc: str | None
    cpu: str | None
    architecture: str
    cores: Count | None
    max_frequency_mhz: Megahertz
    memory_mib: Amount | None
    system: str
    kernel: str | None
    python: Annotated[str | None, Meta(description="null for the app and the page")]
    emulated: Annotated[bool, Meta(description="the processor is QEMU's: times mean nothing")]
    browser: NotRequired[Annotated[str, Meta(description="user agent, of the page")]]


class Settings(TypedDict):
    """The settings of the run."""

    threads: Positive
    xnnpack: Annotated[bool | None, Meta(description="null where the runtime has no such choice")]
    precision_hint: str | None
    cpus: Annotated[list[Count] | None, Meta(description="the CPUs the process was bound to; null for all")]


class VerifiedRuntime(TypedDict):
    """What ran the model."""

    name: Literal["litert", "tflite-runtime", "openvino", "onnxruntime", "litert.js", "null"]
    version: str
    inference_precision: NotRequired[Annotated[str, Meta(description="of floating-point operators: f32, f16, bf16")]]
    accelerator: NotRequired[
        Annotated[
            Literal["cpu", "gpu", "wasm", "webgpu", "webnn"],
            Meta(description="that was asked for: cpu and gpu of the app, the others of litert.js"),
        ]
    ]
    build: NotRequired[Annotated[str, Meta(description="of litert.js: the file that was loaded")]]


class Runtime(VerifiedRuntime):
    """What ran the model that was timed."""

    import_ms: Annotated[Amount | None, Meta(description="null for the app")]


class Delegate(TypedDict):
    """What the delegate runs of the model."""

    name: str | None
    nodes: Count
    delegated_nodes: Count
    delegated_share: Share
    partitions: Count


class Input(TypedDict):
    """What the model was given."""

    shape: list[Positive]
    dtype: str
    source: Annotated[str, Meta(description="a photo's file name, or noise")]


class Class(TypedDict):
    """One of the largest values of the output."""

    index: Count
    value: Logit


class Output(TypedDict):
    """What the model gave."""

    shape: list[Count]
    finite: bool
    top5: Annotated[list[Class], Meta(max_length=5)]


class Golden(TypedDict):
    """The pictures and answers that it was asked."""

    file: str
    sha256: Sha256
    images: Positive
    source_sha256: Annotated[str, Meta(description="of the checkpoint or MindIR whose answers these are")]


#: What the answers are held to, and who said so. (`from` is no name for a field of a class.)
Bounds = TypedDict(
    "Bounds",
    {"min_snr_db": Number, "min_top1_agreement": Number, "from": Literal["model", "default", "command line"]},
)


class Repeats(TypedDict):
    """One picture again and again."""

    inferences: Annotated[Positive, Meta(description="100, or as many as a slow device makes in 20 s")]
    identical: Annotated[bool, Meta(description="whether all of them gave the first one's logits to the bit")]
    first_different: Annotated[int, Meta(ge=2, le=2**53)] | None
    snr_db: Annotated[Number | None, Meta(description="of the worst to the first; null where identical or not finite")]
    after_timing_identical: Annotated[
        bool | None, Meta(description="of the same picture after the timed samples; null where there are none")
    ]


class Verification(TypedDict):
    """Whether the model gives MindSpore's answers to golden pictures, asked on the device before the timer starts."""

    golden: Golden
    snr_db: Annotated[Number | None, Meta(description="of all logits; null where identical or not finite")]
    max_abs: Annotated[
        LogitError | None, Meta(description="the largest difference of one logit; null where not finite")
    ]
    finite: bool
    top1_agreement: Annotated[Share, Meta(description="the share of pictures with the same best class")]
    disagreeing: Annotated[list[str], Meta(max_length=5, description="of pictures with another best class")]
    bounds: Bounds
    repeats: Repeats
    duration_s: Amount
    correct: bool
    reason: Annotated[str | None, Meta(description="why the answers are wrong")]


class Warmup(TypedDict):
    """Between the first inference and the samples."""

    samples: Count
    duration_s: Amount
    steady: bool
    spread_percent: Annotated[Amount | None, Meta(description="of the last three windows' medians")]
    window_medians_ms: list[Amount]


class Summary(TypedDict):
    """Of samples, in their unit."""

    p50: Amount
    p90: Amount
    p95: Amount
    p99: Amount
    mean: Amount
    std: Amount
    min: Amount
    max: Amount


class Split(TypedDict):
    """The parts of the way from a photo's file to the logits."""

    decode: Summary
    preprocess: Summary
    inference: Summary


class Look(TypedDict):
    """What the device was doing at one moment of a run."""

    t_s: Amount
    frequency_mhz: Megahertz
    temperature_c: Number | None
    load_average_1m: Amount | None


class Stretch(Look):
    """A stretch of a lasting load."""

    samples: Positive
    p50_ms: Amount
    p90_ms: Amount


class ThrottleFlags(TypedDict):
    """Flags of the Raspberry Pi firmware, or Android's thermal status."""

    value: str
    now: list[str]
    since_boot: list[str]


class Power(TypedDict):
    """Where the power comes from."""

    source: Literal["mains", "battery", None]
    battery_percent: Amount | None


class Snapshot(TypedDict):
    """What the device was doing before or after a run."""

    time_utc: Time
    governor: list[str | None] | None
    frequency_mhz: Megahertz
    temperature_c: Annotated[Number | None, Meta(description="of the processor")]
    temperatures_c: dict[str, Number] | None
    throttle_flags: Annotated[ThrottleFlags | None, Meta(description="null on devices that have none")]
    load_average_1m: Amount | None
    power: Power


class Sustained(TypedDict):
    """Minutes of load."""

    minutes: Amount
    stretch_s: Amount
    last_to_first: Annotated[Amount | None, Meta(description="the last tenth's median to the first's")]
    after: Snapshot
    curve: list[Stretch]


class Memory(TypedDict):
    """Resident memory of the process that ran the model."""

    rss_before_mib: Amount | None
    rss_loaded_mib: Amount | None
    rss_peak_mib: Amount | None


class Context(TypedDict):
    """What the device was doing."""

    before: Snapshot
    during: list[Look]
    after: Snapshot
    other_cores: Annotated[Amount | None, Meta(description="used by other programs while the samples were taken")]


class Finding(TypedDict):
    """Something that spoils a number, or that should be known beside it."""

    code: Annotated[str, Meta(pattern="^[a-z0-9_]+$")]
    text: str


class _Run(TypedDict):
    created_utc: Time
    benchmark: Benchmark
    name: Annotated[str, Meta(description="the record's file name without its suffix")]
    device: Device
    settings: Settings
    delegate: Annotated[Delegate | None, Meta(description="null for runtimes without delegates")]
    load_ms: Annotated[Amount, Meta(description="from file to model, without importing the runtime")]
    first_ms: Annotated[Amount, Meta(description="the first inference")]


class LatencyRecord(_Run):
    """How long one picture takes on one device with one model, runtime and setting."""

    schema_version: Annotated[Literal[1, 2], Meta(description="2: it says whether the answers were right")]
    kind: Literal["latency_record"]
    mode: Annotated[Literal["full", "quick", "custom"], Meta(description="full: 1,024 samples and 60 s or more")]
    artifact: Annotated[Artifact | None, Meta(description="null for the script itself")]
    runtime: Runtime
    input: Input
    output: Output | None
    verification: NotRequired[Annotated[Verification | None, Meta(description="null without golden vectors")]]
    warmup: Warmup
    duration_s: Annotated[Amount, Meta(description="that the samples took, together")]
    latency_ms: Annotated[Summary, Meta(description="of samples_ms")]
    samples_ms: Annotated[list[Amount], Meta(min_length=1, description="each: copy in, infer, copy out")]
    overhead_us: Annotated[Amount, Meta(description="what the script adds to a sample")]
    split_ms: Annotated[Split | None, Meta(description="of a photo; null without one")]
    sustained: Annotated[Sustained | None, Meta(description="null unless asked for")]
    memory: Memory
    context: Context
    valid: bool
    invalid_reasons: Annotated[list[Finding], Meta(description="empty when valid")]
    warnings: Annotated[list[Finding], Meta(description="what should be known beside the number")]


class VerificationRecord(_Run):
    """Whether one model gives the right answers on one device in one runtime and setting."""

    schema_version: Literal[2]
    kind: Literal["verification_record"]
    mode: Literal["verify"]
    artifact: Artifact
    runtime: VerifiedRuntime
    verification: Verification


_KINDS: dict[str, type[Any]] = {"latency_record": LatencyRecord, "verification_record": VerificationRecord}


def read_record(path: Path, kind: str | None = None) -> dict[str, Any]:
    """A record, checked against its type; an older one without ``verification`` gets None for it.

    Args:
        path: the file.
        kind: which it must be; None for either.

    Raises:
        DeviceError: damaged, of another kind or of another schema version.
    """
    try:
        content = path.read_bytes()
    except OSError as exc:
        raise DeviceError(f"{path} cannot be read: {exc.strerror}") from exc
    return parse_record(content, str(path), kind)


def parse_record(content: bytes, what: str, kind: str | None = None) -> dict[str, Any]:
    """As `read_record`, of a file's bytes; `what` names them in messages."""
    record = parse_json(content, what, DeviceError)
    said = str(record.get("kind")) if isinstance(record, dict) else ""
    if said not in (_KINDS if kind is None else (kind,)):
        raise DeviceError(f"{what} is not a {(kind or 'latency record').replace('_', ' ')}; measure again")
    version = record.get("schema_version")
    if isinstance(version, int) and version not in _SCHEMA_VERSIONS:
        known = " and ".join(map(str, _SCHEMA_VERSIONS))
        raise DeviceError(f"{what} has schema version {version}, this ghostedge reads {known}")
    as_type(record, _KINDS[said], what, DeviceError)
    found: dict[str, Any] = record  # as it was written: what a later version adds is kept
    found.setdefault("verification", None)
    return found


def schemas() -> dict[Path, Mapping[str, Any]]:
    """The JSON Schema of each record, by its file.

    A type says which fields there are and what each may hold. What depends on another field stands here.
    """

    def where(**fields: Any) -> dict[str, Any]:
        return {"properties": fields}

    valid = where(valid={"const": True})
    rules = [
        {"if": valid, "then": where(invalid_reasons={"maxItems": 0}), "else": where(invalid_reasons={"minItems": 1})},
        {"if": valid, "then": where(samples_ms={"minItems": 1024}, duration_s={"minimum": 60})},
        {"if": where(schema_version={"const": 2}), "then": {"required": ["verification"]}},
    ]
    found = {}
    for path, kind, further in (
        (SCHEMA, LatencyRecord, {"allOf": rules}),
        (VERIFICATION_SCHEMA, VerificationRecord, {}),
    ):
        title = "ghostedge " + path.name.partition(".")[0].replace("_", " ")
        found[path] = json_schema(kind, **{"$id": path.name, "title": title, **further})
        for part in found[path]["$defs"].values():
            part["additionalProperties"] = False
    return found


if __name__ == "__main__":
    for path, schema in schemas().items():
        atomic_write(path, json.dumps(schema, indent=2) + "\n")
