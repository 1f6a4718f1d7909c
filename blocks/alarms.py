"""Block for who is told when something is wrong with backups, and how."""

from __future__ import annotations

import re
from datetime import timedelta

from prefect.blocks.core import Block
from pydantic import ConfigDict, Field, SecretStr, field_validator

from blocks.form import lines
from flows.core.errors import ConfigurationError
from flows.core.messages import Bells, check_url

_NAME = re.compile(r"[a-z0-9-]+/[a-z0-9-]+")


class BackupAlarms(Block):
    """
    Who is told when a backup is late, damaged or looks wrong, and how.

    Example:
        ```python
        from blocks import BackupAlarms

        alarms = BackupAlarms.load("BLOCK_NAME")
        print(alarms.notify)
        ```
    """

    _block_type_name = "MongoDB Backup Alarms"
    _block_type_slug = "mongodb-backup-alarms"
    _description = "Who is told when a backup is late, damaged or looks wrong, and how."

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    notify: str = Field(
        default="",
        title="Notification blocks",
        description="Blocks of Prefect that send messages, one a line, each with its type: `slack-webhook/ops`, "
        "`ms-teams-webhook/ops`, `sendgrid-email/ops`, `custom-webhook/pager`. Each gets one message per fact.",
    )
    remind_hours: float = Field(
        default=24,
        ge=0,
        le=8760,
        title="Remind after",
        description="So many hours later a fact is told again that still holds. 0: never again.",
    )
    ping_url: SecretStr = Field(
        default=SecretStr(""),
        title="Ping",
        description="Address of a dead-man's switch such as healthchecks.io. A watch calls it with /start when it "
        "begins, then as it is where all is well, else with /fail and the reasons. Tell it your schedule: it raises an "
        "alarm when watches no longer run.",
    )
    push_url: SecretStr = Field(
        default=SecretStr(""),
        title="Push gateway",
        description="Address of a Prometheus push gateway, without /metrics. A watch puts its metrics there.",
    )

    _as_lines = field_validator("notify", mode="before")(lines)

    @field_validator("notify")
    @classmethod
    def _are_names(cls, value: str) -> str:
        for name in value.split():
            if not _NAME.fullmatch(name):
                raise ValueError(f"{name!r} is not type/name of a block, such as slack-webhook/ops")
        return "\n".join(dict.fromkeys(value.split()))

    @field_validator("ping_url", "push_url")
    @classmethod
    def _can_be_called(cls, value: SecretStr) -> SecretStr:
        text = value.get_secret_value().strip()
        try:
            return SecretStr(check_url(text, "address") if text else "")
        except ConfigurationError as error:
            raise ValueError(f"{error.message}. {error.hint}") from None

    def open(self) -> Bells:
        """The same for the layers below."""
        return Bells(
            tuple(self.notify.split()),
            self.ping_url.get_secret_value(),
            self.push_url.get_secret_value(),
            timedelta(hours=self.remind_hours) if self.remind_hours else None,
        )
