"""A process that serves one small flow every five seconds, as `python -m flows serve` serves ours."""

import logging

from prefect import flow

logging.disable(logging.INFO)


@flow(name="tick", retries=0)
async def tick() -> str:
    """Nothing, on time."""
    return "done"


if __name__ == "__main__":
    tick.serve("every-5-seconds", interval=5, pause_on_shutdown=False)
