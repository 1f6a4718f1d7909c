"""The blocks that the settings ask for, and their names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any

from prefect.blocks.core import Block
from prefect_aws import AwsCredentials
from pydantic import SecretStr, ValidationError

from blocks import BackupEncryption, BackupIdentities, BackupStore, MongoDBSource, MongoDBTarget
from deployments.setup.changes import Secret, Thing
from deployments.setup.settings import Common, Plan
from deployments.setup.stanzas import KEYS, Names
from deployments.setup.variables import PREFIX
from flows.core.errors import BackupError, ConfigurationError


@dataclass(frozen=True, slots=True)
class Wanted:
    """A block that should be there.

    Attributes:
        refers: Fields that are other blocks, with their names, which come first.
    """

    kind: type[Block]
    name: str
    about: str
    fields: Mapping[str, Any]
    refers: Mapping[str, str]

    def thing(self) -> Thing:
        """For the comparison."""
        fields = {name: plain(value) for name, value in self.fields.items()}
        return Thing("block", block_name(self.kind, self.name), self.about, fields | dict(self.refers))


def block_name(kind: type[Block], name: str) -> str:
    """How a block is called in texts."""
    return f"{kind.get_block_type_slug()}/{name}"


def plain(value: Any) -> Any:
    """A field of a block for the comparison."""
    if isinstance(value, SecretStr):
        return Secret(value.get_secret_value()) if value else None
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Block):
        return block_name(type(value), value._block_document_name or "(a copy)")
    return value or None if isinstance(value, str) else value


def wanted_blocks(
    plans: Sequence[Plan], common: Common, problems: list[BackupError]
) -> tuple[list[Wanted], dict[str, Names]]:
    """The blocks of the plans; what is the same in two plans is one block.

    Args:
        plans: The first one has the blocks `source`, `target` and `backups`.
        common: With the keys.
        problems: Gets what a block refuses.

    Returns:
        The blocks in the order in which they are saved, and the names of each plan's.
    """
    wanted: list[Wanted] = []
    made: dict[tuple[str, Any], str] = {}
    names: dict[str, Names] = {}

    def block(kind: type[Block], base: str, plan: Plan, about: str, same: Any, fields: Mapping[str, Any],
              **refers: str) -> str:  # fmt: skip
        """The name of the block with these settings: that of an earlier plan, where it has the same."""
        if (base, same) not in made:
            taken = base in {name for (other, _), name in made.items() if other == base}
            made[base, same] = f"{base}-{plan.name}" if taken else base
            wanted.append(Wanted(kind, made[base, same], about, fields, refers))
        return made[base, same]

    for plan in plans:
        bucket = plan.bucket
        where = f"{bucket.bucket}/{bucket.prefix}".rstrip("/")
        keys = block(
            AwsCredentials,
            "backups-keys",
            plan,
            "access key of the store" if bucket.access_key else "the role of the worker's machine",
            (bucket.access_key, bucket.secret_key),
            {
                "aws_access_key_id": bucket.access_key or None,
                "aws_secret_access_key": SecretStr(bucket.secret_key) if bucket.secret_key else None,
            },
        )
        store = {
            name: value
            for name, value in _secret(asdict(bucket), ("customer_key",)).items()
            if name not in ("access_key", "secret_key")
        }
        read = {**_secret(asdict(plan.source), _SECRETS), "read_preference": plan.read_preference}
        names[plan.name] = Names(
            source=block(
                MongoDBSource, "source", plan, plan.source.address, (plan.source, plan.read_preference), read
            ),
            target=block(
                MongoDBTarget, "target", plan, plan.target.address, plan.target, _secret(asdict(plan.target), _SECRETS)
            ),
            store=block(
                BackupStore, "backups", plan, f"{bucket.endpoint or 'AWS'} {where}", bucket, store,
                credentials=f"aws-credentials/{keys}",
            ),
        )  # fmt: skip
    given = common.keys
    if given.protect:
        fields = {"recipients": given.recipients, "passphrase": given.passphrase, "signing_key": given.signing_key}
        about = f"{len(given.recipients.split())} recipients" if given.recipients else "by passphrase"
        about += ", signed" if given.signing_key else ""
        wanted.append(Wanted(BackupEncryption, KEYS, about, _secret(fields, ("passphrase", "signing_key")), {}))
    if given.open:
        fields = {
            "identities": given.identities,
            "passphrases": given.passphrases,
            "trusted_signers": given.trusted_signers,
        }
        about = "what opens backups" if given.identities or given.passphrases else "whom to trust"
        wanted.append(Wanted(BackupIdentities, KEYS, about, _secret(fields, ("identities", "passphrases")), {}))
    return [_checked(block, problems) for block in wanted], names


_SECRETS = ("connection_string", "password", "tls_certificate_key_password")


def _secret(fields: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: SecretStr(value) if name in names and value is not None else value for name, value in fields.items()}


def _variable(kind: type[Block], location: tuple[int | str, ...]) -> str:
    """The variable behind a field, or all those of a block."""
    start = {MongoDBSource: "SOURCE_", MongoDBTarget: "TARGET_", BackupStore: "S3_"}.get(kind, "")
    if not location:
        return f"{PREFIX}{start}…"
    field = str(location[0])
    other = {"endpoint": "URL", "connection_string": "URI", "passphrases": "IDENTITY_PASSPHRASES"}
    return f"{PREFIX}{start}{other.get(field, field.upper())}"


def _checked(wanted: Wanted, problems: list[BackupError]) -> Wanted:
    """The block with its values as it writes them; what it refuses is noted."""
    stand_in = {name: AwsCredentials() for name in wanted.refers}
    try:
        block = wanted.kind(**wanted.fields, **stand_in)
    except ValidationError as error:
        for item in error.errors(include_input=False, include_url=False):
            problems.append(
                ConfigurationError(
                    f"the block {block_name(wanted.kind, wanted.name)} cannot be made of these settings",
                    hint="Correct it; --variables lists what there is.",
                    variable=_variable(wanted.kind, item["loc"]),
                    why=item["msg"].removeprefix("Value error, "),
                )
            )
        return wanted
    written = {name: getattr(block, name) for name in wanted.fields}
    return Wanted(wanted.kind, wanted.name, wanted.about, written, wanted.refers)
