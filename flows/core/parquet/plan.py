"""What an export will do with each namespace: its schema, how its files are written, and what the rules make of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa

from flows.core.errors import ConfigurationError
from flows.core.names import Namespace
from flows.core.parquet.dataset import Dataset
from flows.core.parquet.dataset_keys import schema_key
from flows.core.parquet.dictionary import data_dictionary
from flows.core.parquet.growth import SchemaChange, grown
from flows.core.parquet.partitions import Partitioning
from flows.core.parquet.parts import FileFormat, check_bloom
from flows.core.parquet.profile import Profile
from flows.core.parquet.records import SchemaRecord
from flows.core.parquet.schema import PATH, ExportSchema
from flows.core.parquet.unit import Columns


@dataclass(frozen=True, slots=True)
class Wishes:
    """How the operator wants files to be.

    Attributes:
        level: Of zstd, 1 to 19.
        partition: Namespaces, with the field that they are partitioned by.
        bloom: Namespaces, with the columns that get a bloom filter, commas between.
    """

    level: int = 3
    partition: Mapping[str, str] | None = None
    bloom: Mapping[str, str] | None = None

    def check(self) -> None:
        """Refuse what can never work.

        Raises:
            ConfigurationError: For a level that zstd does not have, a namespace or a field that is none.
        """
        if not 1 <= self.level <= 19:
            raise ConfigurationError(
                "there is no such level of compression",
                hint="3 is the default; 9 is 3 % smaller and takes twice as long.",
                expected="1 to 19",
                got=self.level,
            )
        for name in (*(self.partition or {}), *(self.bloom or {})):
            Namespace.parse(name)
        for text in (self.partition or {}).values():
            Partitioning.parse(text)

    def check_used(self, namespaces: Iterable[Namespace]) -> None:
        """Refuse wishes for namespaces that are not exported.

        Raises:
            ConfigurationError: With the first.
        """
        exported = {str(namespace) for namespace in namespaces}
        for name in (*(self.partition or {}), *(self.bloom or {})):
            if name not in exported:
                raise ConfigurationError(
                    "a setting is for a collection that is not exported",
                    hint="Check the name; `include` and `exclude` say what is exported.",
                    got=name,
                )

    def partitioning(self, namespace: Namespace) -> Partitioning | None:
        """By what a namespace is partitioned; None: it is not."""
        text = (self.partition or {}).get(str(namespace))
        return Partitioning.parse(text) if text else None

    def bloom_columns(self, namespace: Namespace) -> tuple[str, ...]:
        """The columns of a namespace that get a bloom filter."""
        return tuple(part.strip() for part in (self.bloom or {}).get(str(namespace), "").split(",") if part.strip())


@dataclass(frozen=True)
class NamespacePlan:
    """What happens to one namespace.

    Attributes:
        profile: What its documents are made of.
        schema: The version of its schema in the registry after this export.
        changes: What this export adds to it.
        record: What the manifest will say of the schema.
        columns: How documents become rows.
    """

    profile: Profile
    schema: ExportSchema
    changes: tuple[SchemaChange, ...]
    record: SchemaRecord
    columns: Columns

    @property
    def namespace(self) -> Namespace:
        """Its name."""
        return self.record.namespace

    @property
    def dictionary(self) -> str:
        """What the columns are, as Markdown."""
        return data_dictionary(self.schema, self.profile, self.record.first_seen)

    @property
    def id_columns(self) -> tuple[str, ...]:
        """The columns that hold `_id`."""
        return id_columns(self.columns.arrow)


def plan_namespace(
    dataset: Dataset,
    export: str,
    profile: Profile,
    known: ExportSchema | None,
    wishes: Wishes,
    metadata: Mapping[str, str],
) -> NamespacePlan:
    """Decide what happens to a namespace.

    Args:
        dataset: The newest version.
        export: Id of this export.
        profile: Of all its documents.
        known: The newest version of its schema; None: it was never exported.
        wishes: Of the operator.
        metadata: For all files of this export.

    Raises:
        ConfigurationError: A wish does not fit the schema.
    """
    namespace = Namespace.parse(profile.namespace)
    schema, changes = grown(known, profile)
    before = dataset.schema(namespace)
    first_seen = dict(before.first_seen) if before is not None else {}
    for change in changes:
        first_seen.setdefault(change.path, export)
    record = SchemaRecord(
        namespace, schema.version, schema.sha256, schema_key(dataset.name, namespace, schema.sha256), first_seen
    )
    arrow = schema.arrow
    partitioning = wishes.partitioning(namespace)
    if partitioning is not None and profile.documents:
        partitioning.check(arrow, str(namespace))
    bloom = wishes.bloom_columns(namespace)
    if profile.documents:
        check_bloom(arrow, bloom, str(namespace))
    form = FileFormat(
        level=wishes.level,
        bloom=bloom,
        metadata={**metadata, "namespace": str(namespace), "schema": schema.sha256},
    )
    return NamespacePlan(profile, schema, changes, record, Columns(schema, arrow, form, partitioning))


def file_metadata(
    *,
    dataset: str,
    export: str,
    plan: str,
    backup: str,
    cluster_time: object,
    data_time: datetime,
    tool: str,
    rules: str = "",
    keys: Iterable[str] = (),
) -> dict[str, str]:
    """What every file says of itself, besides its namespace and schema. What is not known is left out."""
    value = {
        "dataset": dataset,
        "export": export,
        "plan": plan,
        "backup": backup,
        "cluster-time": str(cluster_time) if cluster_time is not None else "",
        "data-time": data_time.isoformat(timespec="seconds"),
        "tool": tool,
        "rules": rules,
        "keys": " ".join(keys),
    }
    return {name: text for name, text in value.items() if text}


def id_columns(arrow: pa.Schema) -> tuple[str, ...]:
    """The columns of a schema that hold `_id`: its own, and the one beside it for values of other types."""
    return tuple(field.name for field in arrow if (field.metadata or {}).get(PATH) == b"/_id")
