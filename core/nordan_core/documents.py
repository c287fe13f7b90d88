"""The job document: what people write in YAML and programs send as JSON, checked field by field.

Used by the api at submission, and by whatever wants to check a document without a server.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Strict,
    StringConstraints,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails

from nordan_core.domain.errors import Invalid
from nordan_core.domain.ids import is_name
from nordan_core.domain.jobs import JobKind, JobSpec, Objective, Resources, Retry
from nordan_core.domain.money import Price
from nordan_core.domain.reasons import RETRIED_BY_DEFAULT, RETRYABLE, Reason
from nordan_core.wire import ManifestMessage

MAX_NODES = 4096
MAX_GPUS_PER_NODE = 32
MAX_ENV_BYTES = 32 * 1024
#: Larger amounts fit nothing that exists, and overflow what reckons with them.
MAX_DURATION_S = 10 * 365 * 86_400
MAX_MEMORY_MIB = 1 << 30
MAX_PRICE_EUR = 10_000
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_MEMORY = re.compile(r"(\d+)(MiB|GiB|TiB)")
_MIB = {"MiB": 1, "GiB": 1024, "TiB": 1024 * 1024}
_GPU = re.compile(r"(?:(?P<models>[A-Za-z0-9_.+|-]*[A-Za-z_.+|-][A-Za-z0-9_.+|-]*):)?(?P<count>-?\d+)")


def _duration(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("expected seconds or a text such as 90s, 15m, 4h")
    if isinstance(value, str):
        match = _DURATION.fullmatch(value)
        if not match:
            raise ValueError(f"{value!r} is not a duration; write 90s, 15m, 4h or 2d")
        value = float(match[1]) * _SECONDS[match[2]]
    if not 0 < value <= MAX_DURATION_S:
        raise ValueError("a duration must be above zero and at most ten years")
    return float(value)


def _memory(value: object) -> int:
    match = _MEMORY.fullmatch(value) if isinstance(value, str) else None
    if not match:
        raise ValueError(f"{value!r} is not an amount of memory; write 512MiB or 64GiB")
    amount = int(match[1]) * _MIB[match[2]]
    if not 1 <= amount <= MAX_MEMORY_MIB:
        raise ValueError(f"{value!r} per node; give 1MiB to 1024TiB")
    return amount


def _gpu(value: object) -> tuple[tuple[str, ...], int]:
    if isinstance(value, int) and not isinstance(value, bool):
        models: tuple[str, ...] = ()
        count = value
    else:
        match = _GPU.fullmatch(value) if isinstance(value, str) else None
        if not match:
            raise ValueError(f'{value!r} is not a GPU request; write 8, "H100:8" or "H100|H200:8"')
        models = tuple(part for part in (match["models"] or "").split("|") if part)
        count = int(match["count"])
    if not 1 <= count <= MAX_GPUS_PER_NODE:
        raise ValueError(f"{count} GPUs per node; give 1 to {MAX_GPUS_PER_NODE}")
    return models, count


def _price(value: object) -> Price:
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        amount = Decimal(-1)
    if isinstance(value, bool) or not amount.is_finite() or not 0 < amount <= MAX_PRICE_EUR:
        raise ValueError(f"{value!r} is not a price; give EUR per GPU-hour above zero, such as 2.50")
    return Price.per_gpu_hour(amount)


def _name(value: object) -> str:
    if not isinstance(value, str) or not is_name(value):
        raise ValueError(f"{value!r} is not a name; use a-z, 0-9 and '-', at most 63 characters")
    return value


Name = Annotated[str, BeforeValidator(_name)]
Whole = Annotated[int, Strict()]
"""A whole number as JSON has it: neither `true`, nor `"2"`, nor `2.0`."""
Seconds = Annotated[float, BeforeValidator(_duration)]
Argument = Annotated[str, StringConstraints(max_length=64 * 1024, pattern=r"^[^\x00]*$")]
EnvName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,255}$")]
InputName = Annotated[str, StringConstraints(pattern=r"^(dataset|artifact)/[A-Za-z0-9_-]{1,63}(/[a-z0-9-]{1,63})?$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


class ResourcesDocument(_Strict):
    """What each node of the gang must give."""

    gpu: Annotated[tuple[tuple[str, ...], int], BeforeValidator(_gpu)] = ((), 1)
    cpu: Annotated[Whole, Field(ge=1, le=1024)] = 1
    memory: Annotated[int, BeforeValidator(_memory)] = 1024


class RetryDocument(_Strict):
    """When another attempt is made."""

    limit: Annotated[Whole, Field(ge=0, le=100)] = 3
    on: frozenset[Reason] = RETRIED_BY_DEFAULT

    @model_validator(mode="after")
    def _only_what_a_retry_can_mend(self) -> RetryDocument:
        if wrong := self.on - RETRYABLE:
            raise ValueError(f"cannot retry on {', '.join(sorted(wrong))}; may be {', '.join(sorted(RETRYABLE))}")
        return self


class ReadinessDocument(_Strict):
    """How a replica says that it can serve."""

    path: Annotated[str, StringConstraints(pattern=r"^/[^\s]*$", max_length=255)] = "/"


class JobDocument(_Strict):
    """A job as a person writes it."""

    name: Name
    kind: JobKind = JobKind.BATCH
    image: Annotated[str, StringConstraints(max_length=255)] = ""
    command: Annotated[tuple[Argument, ...], Field(min_length=1, max_length=1000)]
    files: ManifestMessage = ManifestMessage()
    env: dict[EnvName, Argument] = Field(default_factory=dict)
    nodes: Annotated[Whole, Field(ge=1, le=MAX_NODES)] = 1
    resources: ResourcesDocument = ResourcesDocument()
    inputs: Annotated[tuple[InputName, ...], Field(max_length=64)] = ()
    outputs: Annotated[tuple[Name, ...], Field(max_length=64)] = ()
    policy: dict[str, Any] = Field(default_factory=dict)  # Any: the residency package checks it
    objective: Objective = Objective.START
    max_price: Annotated[Price | None, BeforeValidator(lambda value: None if value is None else _price(value))] = None
    max_duration: Seconds | None = None
    max_wait: Seconds | None = None
    grace: Seconds = 10.0
    retry: RetryDocument = RetryDocument()
    preemptible: Annotated[bool, Strict()] = False
    priority: Annotated[Whole, Field(ge=-1000, le=1000)] = 0
    port: Annotated[Whole | None, Field(ge=1024, le=65535)] = None
    readiness: ReadinessDocument = ReadinessDocument()

    @model_validator(mode="after")
    def _parts_fit_together(self) -> JobDocument:
        if self.command and not self.command[0]:
            raise ValueError("the command's first word is empty; give the program to run")
        if self.kind is not JobKind.INFERENCE and self.port is not None:
            raise ValueError("only a job of kind inference has a port")
        if sum(len(name) + len(value.encode()) for name, value in self.env.items()) > MAX_ENV_BYTES:
            raise ValueError(f"env holds over {MAX_ENV_BYTES} bytes; put large values into a file")
        if reserved := sorted(name for name in self.env if name.startswith("NORDAN_")):
            raise ValueError(f"env sets {reserved[0]}; names that begin with NORDAN_ are ours")
        for group in (self.inputs, self.outputs):
            if len(set(group)) != len(group):
                raise ValueError("an input or output is named twice")
        return self

    def to_domain(self) -> JobSpec:
        """Return the frozen form."""
        models, gpus = self.resources.gpu
        return JobSpec(
            name=self.name,
            kind=self.kind,
            command=self.command,
            resources=Resources(gpus, models, self.resources.cpu, self.resources.memory),
            image=self.image,
            nodes=self.nodes,
            env=tuple(sorted(self.env.items())),
            files=self.files.to_domain(),
            inputs=self.inputs,
            outputs=self.outputs,
            policy=self.policy,
            objective=self.objective,
            max_price=self.max_price,
            max_duration_s=self.max_duration,
            max_wait_s=self.max_wait,
            grace_s=self.grace,
            retry=Retry(self.retry.limit, self.retry.on),
            is_preemptible=self.preemptible,
            priority=self.priority,
            port=self.port,
            readiness_path=self.readiness.path,
        )


def parse_job(document: Mapping[str, Any]) -> JobSpec:
    """Check a job document and return its frozen form.

    Raises:
        Invalid: for the first fault, with the field's path and what would be right.
    """
    try:
        return JobDocument.model_validate(document).to_domain()
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        raise Invalid(".".join(str(part) for part in first["loc"]), _plain(first)) from None
    except ValueError as error:
        raise Invalid("files", str(error)) from None


#: What a person understands, where the checker would quote its own rule: by field and kind of fault.
_WORDS: Mapping[tuple[object, str], str] = {
    ("command", "too_short"): "give the program to run",
    ("inputs", "string_pattern_mismatch"): "write dataset/NAME, artifact/ID or artifact/JOB/OUTPUT",
    ("env", "string_pattern_mismatch"): "a name has letters, digits and _ only, and does not begin with a digit",
}


def _plain(fault: ErrorDetails) -> str:
    if fault["type"] == "extra_forbidden":
        return "no such field; see docs/reference/job-document.md"
    told = _WORDS.get((fault["loc"][0], fault["type"])) if fault["loc"] else None
    return told or fault["msg"].removeprefix("Value error, ")
