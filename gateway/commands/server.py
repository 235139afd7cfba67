"""`serve` and `demo`."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway.commands.session import Session

Port = Annotated[int, typer.Option("--port", help="Port to listen on.", min=1, max=65535)]


def add_to(app: typer.Typer, session: Session) -> None:
    """Add the commands that run the gateway."""

    @app.command()
    def serve(
        host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1", port: Port = 8042
    ) -> None:
        """Run the gateway; it is ready when GET /readyz answers 200."""
        session.serve(host, port)

    @app.command()
    def demo(port: Port = 8042) -> None:
        """Set up sample studies, two outside facilities and a staff account, print what to try, and serve."""
        from gateway.demo import prepare  # noqa: PLC0415 - reads pydicom's sample files, which no other command needs

        for line in prepare(session, port):
            typer.echo(line)
        session.serve("127.0.0.1", port)
