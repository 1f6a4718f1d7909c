"""Connections that break: whatever the server was asked, it is our error, and one that is tried again."""

from __future__ import annotations

import pytest

from deployments.embedded import Mongod
from flows.mongo.client import SOURCE, TARGET, MongoOptions, Side, connect
from flows.mongo.identity import server_identity
from tests.support.mongo_proxy import Cut, Moment, MongoProxy


@pytest.mark.parametrize("moment", [Moment.BEFORE, Moment.REPLY])
@pytest.mark.parametrize("command", ["buildInfo", "replSetGetConfig"])
@pytest.mark.parametrize("side", [SOURCE, TARGET], ids=["source", "target"])
def test_a_server_that_goes_away_while_it_says_who_it_is_is_unavailable(
    mongod: Mongod, side: Side, command: str, moment: Moment
) -> None:
    with MongoProxy(mongod.host, mongod.port) as proxy:
        proxy.plan(Cut(command, moment=moment))
        with (
            connect(MongoOptions(f"mongodb://127.0.0.1:{proxy.port}/?replicaSet={mongod.replica_set}"), side) as client,
            pytest.raises(side.unavailable, match=f"the connection to the {side.name} broke") as caught,
        ):
            server_identity(client, side)
    assert proxy.cuts == 1
    assert caught.value.retryable
