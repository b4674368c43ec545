"""Answers a certificate authority over HTTP-01 and nothing else: http01.py PORT TOKEN ANSWER [TOKEN ANSWER ...].

Runs on the host as a unit that ends by itself. Tokens and answers are public. Standard library only.
"""

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

FOLDER = "/.well-known/acme-challenge/"  # RFC 8555 section 8.3
LINE_SECONDS = 10
ANSWERS: dict[str, bytes] = {}  # by path


class Answer(BaseHTTPRequestHandler):
    """One request."""

    timeout = LINE_SECONDS
    server_version = "http01"
    sys_version = ""

    def do_GET(self) -> None:
        """The answer to a token of ours; 404 for all else."""
        body = ANSWERS.get(self.path)
        self.send_response(404 if body is None else 200)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()
        self.wfile.write(body or b"")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  its name there
        """Strangers knock here: nothing is logged."""


if __name__ == "__main__":
    port, *pairs = sys.argv[1:]
    ANSWERS.update((FOLDER + token, answer.encode()) for token, answer in zip(pairs[::2], pairs[1::2], strict=True))
    ThreadingHTTPServer(("0.0.0.0", int(port)), Answer).serve_forever()  # noqa: S104  the authority comes from anywhere
