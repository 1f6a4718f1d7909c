"""Block for what has to happen around a restore: services that are stopped before it, and started again after it."""

from __future__ import annotations

import re
import shlex
from enum import StrEnum
from typing import Annotated, Any
from urllib.parse import urlsplit

from prefect.blocks.core import Block
from prefect.types import SecretDict
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, field_validator, model_validator

from flows.core.maintenance import Call, Command, Mask, Procedure, Step, fill, placeholders

_SECRET_NAME = re.compile(r"[A-Za-z0-9_-]+")


class Method(StrEnum):
    """What an HTTP call asks for."""

    GET = "GET"
    POST = "POST"
    PUT = "PUT"
    PATCH = "PATCH"
    DELETE = "DELETE"


class _Step(BaseModel):
    """What both kinds of steps have in common."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    name: str = Field(
        min_length=1,
        max_length=100,
        title="Name",
        description="What the step does, as the log and the report show it.",
    )


class CommandStep(_Step):
    """A program that is run on the worker."""

    model_config = ConfigDict(title="Command")

    command: str | list[str] = Field(
        title="Command",
        description="Program and arguments, as one line with quotes as in a shell, or as a list. No shell reads it: "
        "no pipes, no variables. Everybody on the machine can see it, so no secrets in it.",
    )
    folder: str | None = Field(
        default=None,
        title="Folder",
        description="Folder on the worker in which it is run; empty: the one in which the flow runs.",
    )
    environment: dict[str, str] = Field(
        default_factory=dict,
        title="Environment",
        description="What is added to the environment of the worker. `{{ name }}` stands for a secret of this block.",
    )
    timeout_seconds: float = Field(
        default=120,
        gt=0,
        title="Timeout",
        description="After which it is killed, with everything that it started [s].",
    )

    @field_validator("command")
    @classmethod
    def _names_a_program(cls, value: str | list[str]) -> str | list[str]:
        if not _words(value):  # raises ValueError for a quote that is not closed
            raise ValueError("there is no program in it")
        return value

    def texts(self) -> list[str]:
        """Where secrets may stand."""
        return list(self.environment.values())

    def open(self, secrets: dict[str, str]) -> Command:
        """The step with its secrets, for the layer below."""
        return Command(
            name=self.name,
            argv=tuple(_words(self.command)),
            timeout_seconds=self.timeout_seconds,
            folder=self.folder or None,
            environment={name: fill(text, secrets) for name, text in self.environment.items()},
        )


class HttpStep(_Step):
    """A request to a service: to stop it, to start it, or to see that it is well."""

    model_config = ConfigDict(title="HTTP call")

    method: Method = Field(default=Method.GET, title="Method", description="What is asked for.")
    url: str = Field(
        title="URL",
        description="Address, http:// or https://. It is shown in the report, so no user and no password in it.",
    )
    headers: dict[str, str] = Field(
        default_factory=dict,
        title="Headers",
        description="Headers of the request. `{{ name }}` stands for a secret, as in `Bearer {{ name }}`.",
    )
    body: str | None = Field(
        default=None,
        title="Body",
        description="Body of the request. `{{ name }}` stands for a secret of this block.",
    )
    expected_status: list[int] = Field(
        default_factory=list,
        title="Expected status",
        description="Status codes that are right; none means any from 200 to 299. Redirections are not followed.",
    )
    contains: str = Field(
        default="", title="Answer contains", description="Text that must be in the answer; empty: any answer will do."
    )
    attempts: int = Field(
        default=1, ge=1, le=1000, title="Attempts", description="How often to ask, until an answer is right."
    )
    pause_seconds: float = Field(default=5, ge=0, title="Pause", description="How long to wait between attempts [s].")
    timeout_seconds: float = Field(
        default=30, gt=0, title="Timeout", description="How long to wait for the answer to one attempt [s]."
    )

    @field_validator("url")
    @classmethod
    def _can_be_called_and_shown(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("it has to begin with http:// or https:// and a host")
        if parts.username is not None or parts.password is not None:
            raise ValueError("user and password do not belong here: put them into a header, as a secret")
        return value

    def texts(self) -> list[str]:
        """Where secrets may stand."""
        return [*self.headers.values(), self.body or ""]

    def open(self, secrets: dict[str, str]) -> Call:
        """The step with its secrets, for the layer below."""
        return Call(
            name=self.name,
            method=self.method.value,
            url=self.url,
            timeout_seconds=self.timeout_seconds,
            headers={name: fill(text, secrets) for name, text in self.headers.items()},
            body=None if self.body is None else fill(self.body, secrets),
            statuses=tuple(self.expected_status),
            contains=self.contains,
            attempts=self.attempts,
            pause_seconds=self.pause_seconds,
        )


def _words(command: str | list[str]) -> list[str]:
    return shlex.split(command) if isinstance(command, str) else command


def _kind(value: Any) -> str:
    given = value if isinstance(value, dict) else vars(value)
    return "http" if "url" in given else "command"


# Told apart by what they hold, so that the form of the UI needs no field that only says which of the two it is.
AnyStep = Annotated[
    Annotated[CommandStep, Tag("command")] | Annotated[HttpStep, Tag("http")],
    Discriminator(_kind),
]


class MaintenanceWindow(Block):
    """
    What has to happen around a restore: stop what writes, and start it again.

    The steps before run in their order, and if one fails, nothing is restored. The steps after run whatever
    happens: also when a step before, or the restore, failed or was cancelled.

    Example:
        ```python
        from blocks import MaintenanceWindow

        window = MaintenanceWindow.load("BLOCK_NAME")
        print(window.before, window.after)
        ```
    """

    _block_type_name = "MongoDB Backup Maintenance Window"
    _block_type_slug = "mongodb-backup-maintenance-window"
    _description = "What has to happen around a restore: services that are stopped before it and started after it."

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    before: list[AnyStep] = Field(
        default_factory=list,
        title="Before",
        description="Steps before the restore, in order, as a list: "
        '`[{"name": "stop", "command": "docker compose stop app", "folder": "/srv/app"}]`, or `{"name": …, "url": …}` '
        "for an HTTP call. If one fails, the rest is skipped and nothing is restored.",
    )
    after: list[AnyStep] = Field(
        default_factory=list,
        title="After",
        description="Steps after the restore, in order, as a list like the one above. All are run, whatever became of "
        "it, and even if one fails.",
    )
    # One place for all of them: Prefect neither keeps nor hides a secret inside a list.
    secrets: SecretDict = Field(
        default_factory=lambda: SecretDict({}),
        title="Secrets",
        description='Secrets of the steps, by name, as in {"token": "…"}: `{{ token }}` in a header, a body or the '
        "environment stands for it. They are hidden in logs and reports.",
    )

    @model_validator(mode="after")
    def _secrets_fit(self) -> MaintenanceWindow:
        secrets = self.secrets.get_secret_value()
        for name, secret in secrets.items():
            if not _SECRET_NAME.fullmatch(name):
                raise ValueError(f"the secret {name!r} needs a name of letters, digits, - and _")
            if not isinstance(secret, str) or not secret.strip():
                raise ValueError(f"the secret {name!r} has to be a text, and not an empty one")
        for step in (*self.before, *self.after):
            for unknown in sorted(set().union(*map(placeholders, step.texts())) - secrets.keys()):
                raise ValueError(f"the step {step.name!r} asks for the secret {unknown!r}, which is not in `secrets`")
        return self

    def open(self) -> Procedure:
        """The steps with their secrets, for the layer below."""
        secrets: dict[str, str] = self.secrets.get_secret_value()
        before: list[Step] = [step.open(secrets) for step in self.before]
        after: list[Step] = [step.open(secrets) for step in self.after]
        return Procedure(tuple(before), tuple(after), Mask.of(secrets.values()))
