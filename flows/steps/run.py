"""One step from its beginning to its result, whatever that is."""

from __future__ import annotations

import time

from flows.core.maintenance import Command, Mask, Phase, Step, StepResult
from flows.steps.call import make_call
from flows.steps.command import run_command


def perform(step: Step, phase: Phase, mask: Mask) -> StepResult:
    """Run a step.

    Returns:
        What became of it, with every secret hidden. A step that fails raises nothing.
    """
    begun = time.monotonic()
    outcome = run_command(step) if isinstance(step, Command) else make_call(step)
    return StepResult(
        phase=phase,
        name=mask.text(step.name),
        seconds=time.monotonic() - begun,
        output=mask.output(outcome.output, cut_start=outcome.cut_start, cut_end=outcome.cut_end),
        problem=mask.text(outcome.problem),
    )
