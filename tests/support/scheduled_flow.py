"""A process that serves one small flow every five seconds, as `python -m flows serve` serves ours."""

import logging

from prefect import flow

logging.disable(logging.INFO)


@flow(name="tick", retries=0)
async def tick() -> str:
    """Nothing, on time."""
    return "done"


if __name__ == "__main__":
    # One at a time: on a loaded machine a run takes longer than the time to the next.
    tick.serve("every-5-seconds", interval=5, limit=1, pause_on_shutdown=False)
