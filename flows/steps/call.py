"""Making an HTTP call, again and again where it is a health check."""

from __future__ import annotations

import logging
import time

import httpx

from flows.core.maintenance import Call
from flows.steps.outcome import Outcome

logger = logging.getLogger(__name__)

_KEPT_BYTES = 1024 * 1024  # of an answer, from its beginning


def make_call(call: Call) -> Outcome:
    """Call until an answer is right or the attempts are used up; the last one is what is told."""
    for attempt in range(1, call.attempts + 1):
        outcome = _attempt(call)
        if not outcome.problem or attempt == call.attempts:
            break
        logger.info("attempt %d of %d: not yet as expected", attempt, call.attempts)
        time.sleep(call.pause_seconds)
    return outcome


def _attempt(call: Call) -> Outcome:
    answer, cut = bytearray(), False
    deadline = time.monotonic() + call.timeout_seconds
    try:
        with httpx.stream(
            call.method,
            call.url,
            headers=[(name.encode(), value.encode()) for name, value in call.headers.items()],
            content=None if call.body is None else call.body.encode(),
            timeout=call.timeout_seconds,
        ) as response:
            for chunk in response.iter_bytes():
                answer += chunk
                if len(answer) > _KEPT_BYTES:
                    del answer[_KEPT_BYTES:]
                    cut = True
                    break
                if time.monotonic() > deadline:
                    raise httpx.ReadTimeout("too slow")
    except httpx.TimeoutException:
        return Outcome(f"there was no whole answer within {call.timeout_seconds:g} s", bytes(answer), cut_end=True)
    except httpx.LocalProtocolError:
        # Its own text quotes the header, in a form in which a secret would not be found.
        return Outcome("a header holds characters that HTTP does not allow, such as a line break")
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        return Outcome(f"the call failed: {error}", bytes(answer), cut_end=True)
    return Outcome(call.objection(response.status_code, bytes(answer)), bytes(answer), cut_end=cut)
