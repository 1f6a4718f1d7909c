"""What is told of a maintenance window: never a secret, whole or in part, and always what may be down."""

from __future__ import annotations

import pytest

from flows.core.maintenance import (
    HIDDEN,
    KEPT_BYTES,
    Call,
    Command,
    Mask,
    Phase,
    Procedure,
    StepResult,
    fill,
    maintenance_section,
    may_be_down,
    not_closed,
    not_opened,
    placeholders,
)

SECRET = "s3cr3t-töken|*+"
MASK = Mask.of([SECRET])


def test_every_secret_is_replaced_the_longest_first() -> None:
    mask = Mask.of(["abc", "abcdef", ""])
    assert mask.text("x abcdef y abc z") == f"x {HIDDEN} y {HIDDEN} z"


def test_a_secret_is_hidden_without_the_line_break_it_was_typed_with() -> None:
    assert Mask.of(["token-1\n"]).text("'token-1'") == f"'{HIDDEN}'"


def test_a_mask_without_secrets_changes_nothing() -> None:
    assert Mask.of([]).output(b"as it is", cut_end=True) == "as it is"


@pytest.mark.parametrize("distance", range(KEPT_BYTES - 20, KEPT_BYTES + 3))
def test_a_secret_at_the_place_of_the_cut_is_hidden_before_the_cut(distance: int) -> None:
    shown = MASK.output(b"x" * KEPT_BYTES + SECRET.encode() + b"y" * distance)
    assert set(shown) <= set("… x*y")
    assert len(shown) == KEPT_BYTES + 2


@pytest.mark.parametrize("kept", range(4, len(SECRET.encode())))
def test_a_piece_of_a_secret_at_an_end_of_what_was_kept_is_hidden(kept: int) -> None:
    secret = SECRET.encode()
    assert MASK.hide(secret[-kept:] + b" rest", cut_start=True) == HIDDEN.encode() + b" rest"
    assert MASK.hide(b"rest " + secret[:kept], cut_end=True) == b"rest " + HIDDEN.encode()
    assert MASK.hide(secret[-kept:] + b" rest") == secret[-kept:] + b" rest"


def test_colours_and_zero_bytes_are_not_shown() -> None:
    assert MASK.output(b"\0a\x1b[1mb\r\n\tc\xff\n") == "a[1mb\n\tc�"


def test_secrets_are_put_where_a_text_asks_for_them() -> None:
    text = "Bearer {{ token }}, {{token}}, {{ .State }} {}"
    assert placeholders(text) == {"token"}
    assert fill(text, {"token": r"\1{{ token }}"}) == r"Bearer \1{{ token }}, \1{{ token }}, {{ .State }} {}"


def test_secrets_are_in_no_repr() -> None:
    command = Command("c", ("a",), 1.0, environment={"A": SECRET})
    call = Call("c", "GET", "http://h", 1.0, headers={"A": SECRET}, body=SECRET)
    procedure = Procedure((command,), (call,), MASK)
    assert "cr3t" not in repr(procedure) + str(procedure)


@pytest.mark.parametrize(
    ("call", "status", "objection"),
    [
        (Call("c", "GET", "u", 1.0), 204, ""),
        (Call("c", "GET", "u", 1.0), 302, "the answer has the status 302, expected 200 to 299"),
        (Call("c", "GET", "u", 1.0, statuses=(401, 404)), 404, ""),
        (Call("c", "GET", "u", 1.0, statuses=(401, 404)), 200, "the answer has the status 200, expected 401 or 404"),
        (Call("c", "GET", "u", 1.0, contains="ok"), 200, ""),
        (Call("c", "GET", "u", 1.0, contains="UP"), 200, "the answer does not contain 'UP'"),
    ],
)
def test_an_answer_is_right_or_the_objection_says_why_not(call: Call, status: int, objection: str) -> None:
    assert call.objection(status, b"it is ok") == objection


PROCEDURE = Procedure(
    (Command("stop", ("docker", "compose", "stop", "main backend"), 1.0), Call("pause", "POST", "http://h/pause", 1.0)),
    (Command("start", ("docker", SECRET), 1.0), Command("x", ("y" * 200,), 1.0)),
    MASK,
)


def test_a_plan_lists_the_steps() -> None:
    assert maintenance_section(PROCEDURE, []).split("\n") == [
        "## Maintenance window",
        "",
        "| when | step | does | result | took |",
        "| --- | --- | --- | --- | --- |",
        "| before | stop | docker compose stop 'main backend' | not run | - |",
        "| before | pause | POST http://h/pause | not run | - |",
        f"| after | start | docker '{HIDDEN}' | not run | - |",
        f"| after | x | {'y' * 160} … | not run | - |",
    ]
    assert maintenance_section(Procedure(), []) == ""


def test_a_report_says_what_may_be_down_and_shows_the_output_of_what_failed() -> None:
    results = [
        StepResult(Phase.BEFORE, "stop", 1.5, output="stopped"),
        StepResult(Phase.BEFORE, "pause", 0.1, problem="the call failed"),
        StepResult(Phase.AFTER, "start", 61.0, output="no\n such | service", problem="it ended with the exit status 1"),
        StepResult(Phase.AFTER, "x", 0.0),
    ]
    assert maintenance_section(PROCEDURE, results).split("\n")[2:] == [
        "**Services may be down: 'start' failed. Do by hand what it does.**",
        "",
        "| when | step | does | result | took |",
        "| --- | --- | --- | --- | --- |",
        "| before | stop | docker compose stop 'main backend' | ok | 1.5 s |",
        "| before | pause | POST http://h/pause | the call failed | 0.1 s |",
        f"| after | start | docker '{HIDDEN}' | it ended with the exit status 1 | 1 min 1 s |",
        f"| after | x | {'y' * 160} … | ok | 0.0 s |",
        "",
        "The end of the output of 'start':",
        "",
        "    no",
        "     such | service",
    ]
    assert str(not_opened(results[1])) == (
        "nothing was restored, because the step 'pause' before it failed: the call failed\n"
        "HINT: Its output is in the log and in the report. Correct it in the block, or in what it calls, and run again."
    )
    assert str(not_closed(results)) == (
        "the restore is complete, but 1 of the steps after it failed: 'start': it ended with the exit status 1\n"
        "HINT: Services may be down: 'start' failed. Do by hand what it does."
    )
    assert may_be_down(results[:2]) == ""
