"""Pings and pushes to a real server, and metrics in a file."""

from __future__ import annotations

import os
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from flows.core.errors import ConfigurationError
from flows.core.messages import Bells, Signal
from flows.core.watch import Limits, StoreWatch
from flows.core.watch_metrics import gauges
from flows.core.watch_report import WatchReport
from flows.steps.announce import announce, announce_start
from flows.steps.metrics import check_metrics_file, exposition, write_metrics
from flows.steps.signals import ping, push
from tests.support.watches import HOUR, NOW, contents, judged, seen, sighting
from tests.support.webhook import Service, service

SECRET = "/s3cret-8f2e"
WELL = judged(sighting(contents=(contents(12 * HOUR, {}),)))
LATE = judged(sighting(seen(75 * HOUR)))
GONE = StoreWatch("mpg", "offsite", "", NOW, False, ())


@pytest.fixture
def outside(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    monkeypatch.setattr("flows.steps.signals._PAUSE_SECONDS", 0.01)
    with service() as server:
        yield server


def told(*stores: StoreWatch) -> WatchReport:
    return WatchReport("mpg", NOW, Limits(), stores)


def test_a_switch_is_told_start_success_and_failure_with_the_reason(outside: Service) -> None:
    bells = Bells(ping_url=outside.url + SECRET)
    assert announce_start(bells).done == ("ping: start",)
    assert announce(bells, told(WELL), None).done == ("ping: success",)
    assert announce(bells, told(WELL, LATE), None).done == ("ping: fail",)
    assert outside.lines == [f"POST {SECRET}/start", f"POST {SECRET}", f"POST {SECRET}/fail"]
    assert [one.body for one in outside.called] == [
        "",
        "plan mpg: all is well",
        "ALARM plan mpg, store backups: the newest good backup is 3 d 3 h old, at most 26 h",
    ]
    assert announce_start(Bells()).lines == ()


def test_a_ping_that_fails_says_why_and_not_where(outside: Service) -> None:
    outside.status = 503
    told_start = announce_start(Bells(ping_url=outside.url + SECRET))
    assert told_start.problems == ("ping: start: the answer has the status 503, expected 200 to 299",)
    assert outside.lines == [f"POST {SECRET}/start"] * 2  # once more: it may have been a passing moment
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    problem = ping(f"http://127.0.0.1:{port}{SECRET}", Signal.FAIL, "x")
    assert problem.startswith("the call failed: ")
    assert SECRET not in problem


def test_a_switch_that_hangs_is_not_waited_for(outside: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.steps.signals._TIMEOUT_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as hangs:
        url = f"http://127.0.0.1:{hangs.getsockname()[1]}{SECRET}"
        assert ping(url, Signal.START) == "there was no whole answer within 0.2 s"


def test_a_reason_without_end_is_cut(outside: Service) -> None:
    assert ping(outside.url, Signal.FAIL, "x" * 100_000) == ""
    assert len(outside.called[0].body) == 10_000


def test_a_gateway_gets_the_metrics_of_each_store_as_a_group(outside: Service) -> None:
    done = announce(Bells(push_url=f"{outside.url}/gateway/"), told(WELL, GONE), None)
    assert done.done == ("metrics of backups to the push gateway", "metrics of offsite to the push gateway")
    assert outside.lines == [
        "PUT /gateway/metrics/job/mongo_backup/plan/mpg/store/backups",
        "PUT /gateway/metrics/job/mongo_backup/plan/mpg/store/offsite",
    ]
    sent = outside.called[0]
    assert sent.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert sent.body == exposition(gauges([WELL]))
    password = push(outside.url.replace("//", "//user:pa55word@"), "mpg", "backups", sent.body)
    assert password == ""
    assert outside.called[-1].headers["Authorization"].startswith("Basic ")
    outside.status = 400
    problem = push(outside.url.replace("//", "//user:pa55word@"), "mpg", "backups", sent.body)
    assert problem == "the answer has the status 400, expected 200 to 299"


def samples(text: str) -> dict[tuple[str, str], float]:
    """What a strict reader reads of all that is about plan mpg: by name and store."""
    found = {}
    assert text.endswith("\n")
    for family in text_string_to_metric_families(text):
        # What `promtool check metrics` asks for: a help, a base unit at the end, no `_total` for a gauge.
        assert family.type == "gauge"
        assert family.documentation
        assert re.fullmatch(r"mongo_backup_[a-z_]+(seconds|bytes|documents|backups|readable|facts)", family.name)
        for sample in family.samples:
            assert sample.labels["plan"] == "mpg"
            key = (sample.name, sample.labels["store"] + sample.labels.get("severity", ""))
            assert key not in found
            found[key] = sample.value
    return found


def test_metrics_say_what_was_found_and_leave_out_what_is_not_known(tmp_path: Path) -> None:
    never = judged(sighting(seen(damage="x"), verified=None, drills=type(sighting().drills)()), verification=None)
    found = samples(exposition(gauges([WELL, GONE])))
    assert found["mongo_backup_last_success_timestamp_seconds", "backups"] == (NOW - 12 * HOUR).timestamp()
    assert found["mongo_backup_last_attempt_timestamp_seconds", "backups"] == (NOW - 12 * HOUR).timestamp()
    assert found["mongo_backup_last_success_duration_seconds", "backups"] == 60.0
    assert found["mongo_backup_last_success_stored_bytes", "backups"] == 1000
    assert found["mongo_backup_last_verification_timestamp_seconds", "backups"] == (NOW - 4 * HOUR).timestamp()
    assert found["mongo_backup_last_verification_age_seconds", "backups"] == 4 * 3600
    assert found["mongo_backup_last_drill_age_seconds", "backups"] == 9 * 86400
    assert found["mongo_backup_watch_facts", "backupsalarm"] == 0
    # Of a store that cannot be read nothing is known but that.
    assert {name for name, store in found if store == "offsite"} == {
        "mongo_backup_store_readable",
        "mongo_backup_last_watch_timestamp_seconds",
    }
    assert found["mongo_backup_store_readable", "offsite"] == 0
    # Zero is never: an alert on `time() - …` needs no case of its own for it.
    found = samples(exposition(gauges([never])))
    assert found["mongo_backup_last_success_timestamp_seconds", "backups"] == 0
    assert found["mongo_backup_last_drill_timestamp_seconds", "backups"] == 0
    assert ("mongo_backup_last_drill_age_seconds", "backups") not in found
    assert found["mongo_backup_good_backups", "backups"] == 0


def test_a_metrics_file_is_replaced_in_one_step(tmp_path: Path) -> None:
    path = tmp_path / "backup.prom"
    assert write_metrics(path, gauges([WELL])) == ""
    assert path.read_text() == exposition(gauges([WELL]))
    assert path.stat().st_mode & 0o444 == 0o444 & ~_umask()
    stop = threading.Event()
    halves: list[str] = []

    def read() -> None:
        while not stop.is_set():
            text = path.read_text()
            halves.extend([] if text in wanted else [text])

    wanted = {exposition(gauges([WELL])), exposition(gauges([WELL, LATE]))}
    reader = threading.Thread(target=read)
    reader.start()
    for number in range(100):
        assert write_metrics(path, gauges([WELL, LATE] if number % 2 else [WELL])) == ""
    stop.set()
    reader.join()
    assert halves == []
    assert [entry.name for entry in tmp_path.iterdir()] == ["backup.prom"]


def test_a_metrics_file_that_cannot_be_written_is_told_and_leaves_the_old_one(tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    bells = Bells()
    done = announce(bells, told(WELL), folder / "backup.prom")
    assert done.problems == (f"the metrics could not be written to {folder}/backup.prom: No such file or directory",)
    for wrong in (tmp_path / "backup.txt", folder / "backup.prom"):
        with pytest.raises(ConfigurationError):
            check_metrics_file(wrong)
    check_metrics_file(tmp_path / "backup.prom")


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
