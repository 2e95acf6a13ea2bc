"""A page that is made anew for every text that is typed, served to this machine alone."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock
from urllib.parse import parse_qs, urlsplit

from ostinato.errors import InputError
from ostinato.inspect import report

HOST = "127.0.0.1"
FORM = """<form><p><label for="input">What the model reads:</label><br>
<textarea id="input" name="input" rows="2" style="width:100%;font:inherit" autofocus>@text</textarea><br>
<button style="font:inherit">Read</button></p></form>"""


def live(page: Callable[[str | None], str], port: int = 0) -> ThreadingHTTPServer:
    """A server of a page with a field for the text that it is about; ``serve_forever()`` starts it.

    Args:
        page: the page about a text, or None: about one of its own choice.
        port: where it listens; 0: any that is free, ``server_port`` says which.

    Raises:
        InputError: the port is taken.
    """
    one = Lock()  # a model reads one text at a time

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = urlsplit(self.path)
            if asked.path != "/":
                return self.send_error(404)
            text = parse_qs(asked.query, keep_blank_values=True).get("input", [None])[0]
            status, made = 200, ""
            try:
                with one:
                    made = page(text.replace("\r\n", "\n") if text else None)
            except InputError as error:
                status, made = 422, report.page("This cannot be read", [("Why", report.paragraphs([str(error)], ""))])
            form = FORM.replace("@text", escape(text or ""))
            body = made.replace("</h1>", f"</h1>{form}", 1).encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing: the terminal is for what goes wrong."""

    try:
        return ThreadingHTTPServer((HOST, port), Handler)
    except OSError as error:
        raise InputError(f"port {port} cannot be used ({error.strerror}): choose another --port") from None
