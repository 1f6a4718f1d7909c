"""Everything together: what should be on the server, and making it so."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prefect.client.orchestration import SyncPrefectClient, get_client

from deployments.setup import server, server_blocks, server_deployments
from deployments.setup.alarms import alarms
from deployments.setup.changes import Act, Change, Thing, compare
from deployments.setup.server_deployments import Deployment, form_of
from deployments.setup.settings import Common, Plan
from deployments.setup.stanzas import fill_in, yaml_text
from deployments.setup.wanted import Wanted, block_name, wanted_blocks
from flows.core.errors import BackupError


@dataclass(frozen=True, slots=True)
class Setup:
    """What should be there, before any server is asked."""

    plans: Sequence[Plan]
    common: Common
    blocks: Sequence[Wanted]
    document: Mapping[str, Any]
    deployments: Sequence[Deployment]

    @classmethod
    def of(
        cls, plans: Sequence[Plan], common: Common, document: Mapping[str, Any], problems: list[BackupError]
    ) -> Setup:
        """Work out blocks and deployments.

        Args:
            plans: At least one.
            common: What they have in common.
            document: The file of deployments.
            problems: Gets what a block refuses.
        """
        blocks, names = wanted_blocks(plans, common, problems)
        forms = {stanza["entrypoint"]: form_of(stanza["entrypoint"]) for stanza in document["deployments"]}
        filled = fill_in(document, plans, names, common, lambda entrypoint: forms[entrypoint].parameters)
        deployments = [
            Deployment.of(stanza, forms[stanza["entrypoint"]], filled.get("pull")) for stanza in filled["deployments"]
        ]
        return cls(plans, common, blocks, filled, deployments)

    def file(self) -> str:
        """The deployments as a file for `prefect deploy`."""
        return yaml_text(self.document)

    def next_steps(self) -> str:
        """What the operator does now."""
        first = next(item.name for item in self.deployments if item.form.flow == "backup")
        return (
            f"Start a worker, and take a backup:\n\n"
            f"  python -m deployments.worker --pool {self.common.pool}\n"
            f"  prefect deployment run {first} --watch"
        )

    @contextlib.contextmanager
    def connected(self, notes: list[str]) -> Iterator[Live]:
        """Compare with the server; nothing is changed.

        Args:
            notes: Gets what the operator should know of the server.

        Raises:
            ConfigurationError: What is there cannot be changed to what is wanted.
            BackupError: The server does not answer.
        """
        with server.server() as client:
            yield Live.of(self, client, notes)

    @contextlib.contextmanager
    def on_this_machine(self) -> Iterator[Live]:
        """Compare the blocks alone, with those that Prefect keeps in a file of this machine; nothing is changed.

        Prefect starts a server of its own for it, which ends with this process.
        """
        with get_client(sync_client=True) as client:
            wanted = [*server_blocks.type_things(), *(block.thing() for block in self.blocks)]
            existing = {**server_blocks.existing_types(client), **server_blocks.existing_blocks(client, self.blocks)}
            yield Live(self, client, (), compare(wanted, existing))


@dataclass(frozen=True, slots=True)
class Live:
    """What is to be done on a server."""

    setup: Setup
    client: SyncPrefectClient
    automations: Sequence[Mapping[str, Any]]
    changes: Sequence[Change]

    @classmethod
    def of(cls, setup: Setup, client: SyncPrefectClient, notes: list[str]) -> Live:
        """Compare; see `Setup.connected`."""
        common = setup.common
        automations: list[dict[str, Any]] = []
        if common.watch_alarms:
            server_blocks.check_watch_alarms(client, common.watch_alarms)
        if common.alert_block:
            block = server_blocks.notification_block(client, common.alert_block)
            automations = alarms(setup.plans, common, setup.document["deployments"], str(block))
        else:
            notes.append("There will be no alarms: MONGO_BACKUP_ALERT_BLOCK names no notification block.")
        deployments = [deployment.thing() for deployment in setup.deployments]
        wanted: list[Thing] = [
            *server_blocks.type_things(),
            *(block.thing() for block in setup.blocks),
            server.pool_thing(common.pool, common.pool_type),
            *deployments,
            *map(server.automation_thing, automations),
        ]
        old_automations = server.existing_automations(client, notes)
        existing = {
            **server_blocks.existing_types(client),
            **server_blocks.existing_blocks(client, setup.blocks),
            **server.existing_pool(client, common.pool, common.pool_type),
            **server_deployments.existing_deployments(client, deployments, notes),
            **old_automations,
        }
        names = {(thing.kind, thing.name) for thing in wanted}
        notes += [
            f"{name} is on the server, not from here, and stays: `prefect deployment delete {name}` removes it."
            for name in server_deployments.other_deployments(client, deployments)
        ]
        notes += [
            f"The automation {name!r} is on the server, not from here, and stays: the UI can remove it."
            for kind, name in old_automations
            if (kind, name) not in names
        ]
        return cls(setup, client, automations, compare(wanted, existing))

    def apply(self) -> None:
        """Do it. What was done stays done where something fails, and the next time goes on from there.

        Raises:
            BackupError: The server refuses something.
        """
        blocks = {block_name(block.kind, block.name): block for block in self.setup.blocks}
        automations = {automation["name"]: automation for automation in self.automations}
        deployments = {deployment.name: deployment for deployment in self.setup.deployments}
        for change in self.changes:
            thing = change.thing
            if change.act is Act.LEAVE:
                continue
            if thing.kind == "block type":
                server_blocks.save_type(thing.name)
            elif thing.kind == "block":
                server_blocks.save_block(self.client, blocks[thing.name])
            elif thing.kind == "work pool":
                server.save_pool(self.client, thing.name, self.setup.common.pool_type)
            elif thing.kind == "deployment":
                deployments[thing.name].save(self.client)
            else:
                server.save_automation(self.client, automations[thing.name])
