"""The pages of the Prefect UI for the server of the tests, by Prefect's own program.

That server has none, and another one with pages would take ten seconds of its own to make a database.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from prefect.server.api.server import create_ui_app
from prefect.settings import PREFECT_UI_STATIC_DIRECTORY, temporary_settings

from flows.mongo.children import HOST


@contextmanager
def prefect_pages(folder: Path) -> Iterator[str]:
    """Serve them while the block runs; gives their address. They ask the API at `PREFECT_API_URL`.

    Args:
        folder: Where to unpack them.
    """
    with temporary_settings({PREFECT_UI_STATIC_DIRECTORY: str(folder)}):
        app = create_ui_app(ephemeral=False)
    server = uvicorn.Server(uvicorn.Config(app, host=HOST, port=0, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://{HOST}:{port}"
    finally:
        server.should_exit = True
        thread.join()
