"""A question over TCP, for an answer that does not fit a datagram."""

import asyncio
import os

from providers.resolver import library, wire
from providers.resolver.lane import FINISHED, Heard
from providers.resolver.nouns import Outcome, Question, Silence


async def stream(question: Question, address: str, port: int, timeout_seconds: float) -> Heard:
    """Ask once, over a connection of its own."""
    number = os.urandom(2)
    query = number + question.wire
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(timeout_seconds):
            reader, writer = await asyncio.open_connection(address, port)
            writer.write(len(query).to_bytes(2) + query)
            data = await reader.readexactly(int.from_bytes(await reader.readexactly(2)))
    except TimeoutError:
        return FINISHED
    except (OSError, EOFError) as error:
        return Silence(Outcome.BROKEN if isinstance(error, EOFError) else Outcome.TIMEOUT, type(error).__name__)
    finally:
        if writer is not None:
            writer.close()
    if data[:2] != number:
        return Silence(Outcome.BROKEN, "WRONG-ID")
    try:
        return wire.read(question, data) or library.read(question, data)
    except library.NotOurs as error:
        return Silence(Outcome.BROKEN, str(error))
