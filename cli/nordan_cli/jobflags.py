"""The flags from which a job can be made without a document; `submit` and `plan` share them.

Each is named after the field that it sets. `-f FILE` and flags go together: flags win.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, get_type_hints

import typer

from nordan_cli import jobs, policies
from nordan_cli.jobs import Draft, Flags
from nordan_core.domain.jobs import JobKind, Objective

Document = Annotated[Path | None, typer.Option("-f", "--document", metavar="FILE", help="Job document, YAML or JSON.")]
Command = Annotated[list[str] | None, typer.Argument(metavar="[-- COMMAND...]", help="What to run, after --.")]
Name = Annotated[str | None, typer.Option(help="Name; after the program if unsaid.")]
Kind = Annotated[JobKind | None, typer.Option(help="Kind of work.")]
Image = Annotated[str | None, typer.Option(help="Container image; the local executor ignores it.")]
Gpus = Annotated[str | None, typer.Option(metavar="GPUS", help='GPUs per node: 8, H100:8 or "H100|H200:8".')]
Cpus = Annotated[int | None, typer.Option(help="CPUs per node.")]
Memory = Annotated[str | None, typer.Option(metavar="SIZE", help="Memory per node: 64GiB.")]
Nodes = Annotated[int | None, typer.Option(help="Nodes; all of them start together or none.")]
Env = Annotated[list[str] | None, typer.Option("--env", "-e", metavar="NAME=VALUE", help="Variable; may be repeated.")]
Inputs = Annotated[list[str] | None, typer.Option("--input", metavar="DATASET", help="Input; may be repeated.")]
Outputs = Annotated[list[str] | None, typer.Option("--output", metavar="NAME", help="Output; may be repeated.")]
AddFiles = Annotated[
    list[str] | None, typer.Option("--add-file", metavar="PATH", help="File or folder to run with; may be repeated.")
]
ObjectiveFlag = Annotated[Objective | None, typer.Option("--objective", help="What to favour among lawful places.")]
MaxPrice = Annotated[float | None, typer.Option("--max-price", "--price", help="EUR per GPU-hour at most.")]
MaxDuration = Annotated[str | None, typer.Option(metavar="TIME", help="Stop it after running this long: 4h.")]
MaxWait = Annotated[str | None, typer.Option(metavar="TIME", help="Give up after waiting this long: 2d.")]
Priority = Annotated[int | None, typer.Option(help="-1000 to 1000; higher starts first.")]
Preemptible = Annotated[bool | None, typer.Option("--preemptible/--no-preemptible", help="May be stopped for others.")]
Port = Annotated[int | None, typer.Option(help="Port that an inference job listens on.")]


def draft_of(  # one parameter for each field of the document that has a flag
    command: Command = None,
    *,
    document: Document = None,
    name: Name = None,
    kind: Kind = None,
    image: Image = None,
    gpus: Gpus = None,
    cpus: Cpus = None,
    memory: Memory = None,
    nodes: Nodes = None,
    env: Env = None,
    inputs: Inputs = None,
    outputs: Outputs = None,
    add_files: AddFiles = None,
    policy: policies.PolicyFile = None,
    residency: policies.Residency = None,
    forbid_exposure: policies.ForbidExposure = None,
    egress: policies.Egress = None,
    klass: policies.Class = None,
    objective: ObjectiveFlag = None,
    max_price: MaxPrice = None,
    max_duration: MaxDuration = None,
    max_wait: MaxWait = None,
    priority: Priority = None,
    preemptible: Preemptible = None,
    port: Port = None,
) -> Draft:
    """Return the document that the flags and their file make, with its files digested."""
    fields: dict[str, object] = {"name": name, "kind": kind, "image": image, "nodes": nodes, "objective": objective}
    limits: dict[str, object] = {"max_price": max_price, "max_duration": max_duration, "max_wait": max_wait}
    ways: dict[str, object] = {"priority": priority, "preemptible": preemptible, "port": port}
    flags = Flags(
        fields=fields | limits | ways,
        resources={"gpu": gpus, "cpu": cpus, "memory": memory},
        env=tuple(env or ()),
        inputs=tuple(inputs or ()),
        outputs=tuple(outputs or ()),
        add_files=tuple(add_files or ()),
        policy=policies.build(policy, residency=residency, forbid_exposure=forbid_exposure, egress=egress, klass=klass),
        command=tuple(command or ()),
    )
    return jobs.draft(document, flags)


def with_draft(verb: Callable[..., None]) -> Callable[..., None]:
    """Give a verb all flags of `draft_of`; it gets what they make as its parameter `draft`.

    Typer reads a function's signature, so the two signatures become one.
    """
    shared = _parameters(draft_of)
    own = [parameter for parameter in _parameters(verb) if parameter.name != "draft"]

    def run(**given: object) -> None:
        flags = {parameter.name: given.pop(parameter.name) for parameter in shared}
        verb(draft=draft_of(**flags), **given)  # type: ignore[arg-type]  # the values have passed Typer's own check

    everything = sorted([*own, *shared], key=lambda parameter: parameter.kind)
    run.__signature__ = inspect.Signature(everything)  # type: ignore[attr-defined]  # a function takes any attribute
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in everything}
    run.__doc__, run.__name__ = verb.__doc__, verb.__name__
    return run


def _parameters(function: Callable[..., object]) -> list[inspect.Parameter]:
    hints = get_type_hints(function, include_extras=True)
    return [
        parameter.replace(annotation=hints[parameter.name])
        for parameter in inspect.signature(function).parameters.values()
    ]
