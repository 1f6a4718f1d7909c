"""What an export will do with each namespace: its schema, how its files are written, and what the rules make of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

import pyarrow as pa

from flows.core.errors import ConfigurationError
from flows.core.names import Namespace
from flows.core.parquet.changes import PUBLIC, IdentityForm, public_secret, with_change_columns
from flows.core.parquet.dataset import Dataset
from flows.core.parquet.dataset_keys import schema_key
from flows.core.parquet.dictionary import data_dictionary
from flows.core.parquet.growth import SchemaChange, grown
from flows.core.parquet.listing import ruled_columns_page
from flows.core.parquet.parts import FileFormat, check_bloom
from flows.core.parquet.profile import Profile
from flows.core.parquet.profile_rules import ruled_profiles
from flows.core.parquet.pseudonymise import apply, transformed, unused
from flows.core.parquet.pseudonyms import Keys
from flows.core.parquet.records import FileRole, SchemaRecord
from flows.core.parquet.rules import Action, NamespaceRules, RuleSet
from flows.core.parquet.schema import EXTRA, NULLS, PATH, ExportSchema
from flows.core.parquet.statistics import safe_statistics
from flows.core.parquet.unit import Columns
from flows.core.parquet.views import ID
from flows.core.parquet.wishes import Wishes

OWN_COLUMNS = (NULLS, EXTRA)  # of every schema, besides those of fields


@dataclass(frozen=True)
class Ruling:
    """The rules for personal data of an export, and their keys."""

    rules: RuleSet
    keys: Keys


@dataclass(frozen=True)
class Linking:
    """How exports are made to be compared with the next ones.

    Attributes:
        secret: The key of the hashes.
        hash_key: Its id.
    """

    secret: bytes = field(repr=False)
    hash_key: str

    @classmethod
    def of(cls, dataset: str, ruling: Ruling | None) -> Linking:
        """The key of a data set: where rules hide values, one that nobody has who has only the files.

        Raises:
            ConfigurationError: There are rules and no key.
        """
        if ruling is None:
            return cls(public_secret(dataset), PUBLIC)
        if not ruling.keys.id:
            raise ConfigurationError(
                "an export of changes under rules for personal data needs a key",
                hint="Its hashes would tell who guesses a document right. Put a key into the MongoDB Export Rules "
                "block; `python -m flows keys` makes one.",
                dataset=dataset,
            )
        pseudonyms = ruling.keys.pseudonyms(f"identities {dataset}")
        return cls(bytes.fromhex(pseudonyms.of(b"mongo-backup-flows identities v1", 256)), ruling.keys.id)


@dataclass(frozen=True)
class NamespacePlan:
    """What happens to one namespace.

    Attributes:
        profile: What its documents are made of.
        schema: The version of its schema in the registry after this export.
        changes: What this export adds to it.
        record: What the manifest will say of the schema.
        columns: How documents become rows.
        rules: For personal data; None: there are none.
        since: Id of the export that this one gives the changes since; empty: all documents are written.
    """

    profile: Profile
    schema: ExportSchema
    changes: tuple[SchemaChange, ...]
    record: SchemaRecord
    columns: Columns
    rules: NamespaceRules | None = None
    since: str = ""

    @property
    def namespace(self) -> Namespace:
        """Its name."""
        return self.record.namespace

    @property
    def dictionary(self) -> str:
        """What the columns are, as Markdown."""
        page = data_dictionary(self.schema, self.profile, self.record.first_seen)
        return page + ruled_columns_page(self.columns.arrow)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Rules that no field has: a misspelt one lets leave what was to stay."""
        found = unused(self.columns.schema.arrow, self.rules) if self.rules and self.profile.documents else ()
        text = f"no field of {self.namespace} is meant by the rules for {', '.join(found)}: look for typing errors"
        return (text,) if found else ()


def plan_namespace(
    dataset: Dataset,
    export: str,
    profile: Profile,
    known: ExportSchema | None,
    wishes: Wishes,
    metadata: Mapping[str, str],
    *,
    ruling: Ruling | None = None,
    linking: Linking | None = None,
    since: str = "",
) -> NamespacePlan:
    """Decide what happens to a namespace.

    Args:
        dataset: The newest version.
        export: Id of this export.
        profile: Of all its documents.
        known: The newest version of its schema; None: it was never exported.
        wishes: Of the operator.
        metadata: For all files of this export.
        ruling: What of personal data leaves; None: everything, as it is.
        linking: How the next export is to find what has changed; None: there will be none that does.
        since: Id of the export that this one gives the changes since; empty: all documents are written.

    Raises:
        ConfigurationError: A wish or a rule does not fit the schema.
    """
    namespace = Namespace.parse(profile.namespace)
    rules = ruling.rules.of(str(namespace)) if ruling is not None else None
    leaves, whole = ruled_profiles(profile, rules) if rules is not None else (profile, profile)
    schema, changes = grown(known, leaves)
    working, _ = grown(schema, whole)
    before = dataset.schema(namespace)
    first_seen = dict(before.first_seen) if before is not None else {}
    for change in changes:
        first_seen.setdefault(change.path, export)
    key = schema_key(dataset.name, namespace, schema.sha256)
    record = SchemaRecord(namespace, schema.version, schema.sha256, key, first_seen)
    arrow = transformed(working.arrow, rules) if rules is not None and profile.documents else schema.arrow
    partitioning, bloom = wishes.partitioning(namespace), wishes.bloom_columns(namespace)
    if profile.documents:
        check_bloom(arrow, bloom, str(namespace))
        if partitioning is not None:
            partitioning.check(arrow, str(namespace))
    form = FileFormat(
        level=wishes.level,
        statistics=tuple(safe_statistics(arrow, rules)),
        bloom=bloom,
        metadata={**metadata, "namespace": str(namespace), "schema": schema.sha256},
    )
    columns = Columns(
        working,
        with_change_columns(arrow) if since else arrow,
        form,
        partitioning,
        partial(apply, rules=rules, keys=ruling.keys) if rules is not None and ruling is not None else None,
        _identities(namespace, arrow, linking, rules) if linking is not None else None,
        FileRole.CHANGES if since else FileRole.ROWS,
    )
    return NamespacePlan(leaves, schema, changes, record, columns, rules, since)


def _identities(
    namespace: Namespace, arrow: pa.Schema, linking: Linking, rules: NamespaceRules | None
) -> IdentityForm | None:
    """How identities are made; None where there is no document yet."""
    kept = rules is None or rules.decide((ID,)).action in (Action.KEEP, Action.HMAC)
    names = id_columns(arrow)
    if not kept or (not names and len(arrow) > len(OWN_COLUMNS)):
        raise ConfigurationError(
            "a collection whose `_id` does not leave as it is, or as a pseudonym, cannot be exported by its changes",
            hint="Give `_id` the action keep or hmac in the rules, or export without `incremental`.",
            namespace=str(namespace),
        )
    return IdentityForm.of(linking.secret, arrow, names) if names else None


def since_of(dataset: Dataset, namespace: Namespace, *, linking: Linking | None, rules: str, full_every: int) -> str:
    """The export that the next one can give the changes since; empty where it has to be a whole one.

    Args:
        dataset: The newest version.
        namespace: Of what.
        linking: How exports are compared; None: they are not.
        rules: Id of the rules of the next export.
        full_every: So many exports one after the other at most, the first of them a whole one; 0: any number.
    """
    chain = dataset.chain(namespace)
    if linking is None or not chain or (full_every and len(chain) >= full_every):
        return ""
    export, last = chain[-1]
    record = dataset.named(export)
    same = record is not None and record.rules == rules and last.hash_key == linking.hash_key
    return export if same and last.of(FileRole.IDENTITIES) else ""


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
