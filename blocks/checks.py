"""Block for what an operator wants to know of a restored backup: checks that a drill runs on it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Annotated, Any, TypeVar

from prefect.blocks.core import Block
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, field_validator, model_validator

from flows.core import drill_checks
from flows.core.errors import ConfigurationError
from flows.core.names import Namespace

T = TypeVar("T")

_FILTER = (
    'Which documents, as for `find`, in Extended JSON: {"status": "open"}. Empty: all of them. Where it holds `$ref`, '
    "give it as text."
)


class _Check(BaseModel):
    """What all checks have in common."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    name: str = Field(
        min_length=1,
        max_length=100,
        title="Name",
        description="What is checked, as the report shows it: the last invoice is from yesterday.",
    )
    namespace: str = Field(
        title="Collection", description="Collection in the backup, as database.collection; a view will do."
    )
    timeout_seconds: float = Field(
        default=60, gt=0, le=3600, title="Timeout", description="How long the server may look for the answer [s]."
    )

    @field_validator("namespace")
    @classmethod
    def _is_namespace(cls, value: str) -> str:
        _understood(Namespace.parse, value)
        return value

    def _common(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "namespace": Namespace.parse(self.namespace),
            "timeout_seconds": self.timeout_seconds,
        }


class CountCheck(_Check):
    """So many documents match a filter."""

    model_config = ConfigDict(title="Count")

    filter: dict[str, Any] | str = Field(default_factory=dict, title="Filter", description=_FILTER)
    at_least: int | None = Field(default=None, ge=0, title="At least", description="Fewer documents are a failure.")
    at_most: int | None = Field(default=None, ge=0, title="At most", description="More documents are a failure.")

    @model_validator(mode="after")
    def _can_fail(self) -> CountCheck:
        _understood(drill_checks.read_criteria, self.filter)
        if self.at_least is None and self.at_most is None:
            raise ValueError("set `at_least`, `at_most` or both: otherwise it could not fail")
        return self

    def open(self) -> drill_checks.Check:
        """The check for the layer below."""
        criteria = drill_checks.read_criteria(self.filter)
        return drill_checks.CountCheck(
            **self._common(), criteria=criteria, at_least=self.at_least, at_most=self.at_most
        )


class NewestCheck(_Check):
    """The newest date in a field is young enough."""

    model_config = ConfigDict(title="Newest")

    field: str = Field(min_length=1, title="Field", description="Field with a date, with dots for one within another.")
    younger_than_hours: float = Field(
        gt=0,
        title="Younger than",
        description="So many hours before the time that the backup shows, the newest date has to be later than that.",
    )
    filter: dict[str, Any] | str = Field(default_factory=dict, title="Filter", description=_FILTER)

    @model_validator(mode="after")
    def _is_understood(self) -> NewestCheck:
        _understood(drill_checks.read_criteria, self.filter)
        return self

    def open(self) -> drill_checks.Check:
        """The check for the layer below."""
        return drill_checks.NewestCheck(
            **self._common(),
            criteria=drill_checks.read_criteria(self.filter),
            path=self.field,
            younger_than=timedelta(hours=self.younger_than_hours),
        )


class NothingCheck(_Check):
    """An aggregation finds nothing."""

    model_config = ConfigDict(title="Nothing")

    pipeline: list[dict[str, Any]] | str = Field(
        title="Pipeline",
        description="Stages of an aggregation in Extended JSON. Any document that comes out is a failure. Stages that "
        "write, and JavaScript, are refused. Where it holds `$ref`, give it as text.",
    )

    @model_validator(mode="after")
    def _is_understood(self) -> NothingCheck:
        _understood(drill_checks.read_pipeline, self.pipeline)
        return self

    def open(self) -> drill_checks.Check:
        """The check for the layer below."""
        return drill_checks.NothingCheck(**self._common(), pipeline=drill_checks.read_pipeline(self.pipeline))


def _understood(read: Callable[[Any], T], value: Any) -> None:
    """Raise what Pydantic shows beside the field."""
    try:
        read(value)
    except ConfigurationError as error:
        raise ValueError(f"{error.message}. {error.hint}") from error


def _kind(value: Any) -> str:
    given = value if isinstance(value, dict) else vars(value)
    return "nothing" if "pipeline" in given else "newest" if "field" in given else "count"


# Told apart by what they hold, so that the form of the UI needs no field that only says which of them it is.
AnyCheck = Annotated[
    Annotated[CountCheck, Tag("count")]
    | Annotated[NewestCheck, Tag("newest")]
    | Annotated[NothingCheck, Tag("nothing")],
    Discriminator(_kind),
]


class DrillChecks(Block):
    """
    What must be true of every backup of an application: checks that a drill runs on what it restored.

    Example:
        ```python
        from blocks import DrillChecks

        checks = DrillChecks.load("BLOCK_NAME")
        print(checks.checks)
        ```
    """

    _block_type_name = "MongoDB Drill Checks"
    _block_type_slug = "mongodb-drill-checks"
    _description = "What must be true of every backup of an application: checks that a drill runs on what it restored."

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    checks: list[AnyCheck] = Field(
        default_factory=list,
        title="Checks",
        description="A count within bounds, a newest date that is young enough, or an aggregation that finds nothing.",
    )

    def open(self) -> tuple[drill_checks.Check, ...]:
        """The checks for the layer below."""
        return tuple(check.open() for check in self.checks)
