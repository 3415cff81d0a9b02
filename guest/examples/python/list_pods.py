"""Lists the pods of its namespace: code for a container, without the interfaces of Attaché.

The example reads the CA, the token and the namespace from the service account's files, and sends a request to the API
server's usual name through `wasi:http`. componentize-py has an event loop for `wasi:http`. The grant needs
`credentials: scoped`.

    componentize-py --wit-path ../../../wit --wit-path wit --world attache:example/container \\
        componentize list_pods -o list-pods.wasm
"""

import asyncio
import json
from pathlib import Path

import poll_loop
from wit_world import exports
from wit_world.imports.types import Fields, OutgoingRequest, Scheme_Https

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class Run(exports.Run):
    """The export `wasi:cli/run`, which `attache run` calls."""

    def run(self) -> None:
        loop = poll_loop.PollLoop()
        asyncio.set_event_loop(loop)
        loop.run_until_complete(list_pods())


async def list_pods() -> None:
    ca, token, namespace = ((ACCOUNT / file).read_text() for file in ("ca.crt", "token", "namespace"))
    print("the CA begins with", ca.splitlines()[0])

    status, body = await get("kubernetes", f"/api/v1/namespaces/{namespace}/pods", token)
    print("status", status)
    for pod in json.loads(body)["items"]:
        print("pod", pod["metadata"]["name"])


async def get(authority: str, path: str, token: str) -> tuple[int, bytes]:
    """Returns the status and the body of the answer."""
    headers = [("Accept", b"application/json"), ("Authorization", f"Bearer {token}".encode())]
    request = OutgoingRequest(Fields.from_list(headers))
    request.set_scheme(Scheme_Https())
    request.set_authority(authority)
    request.set_path_with_query(path)
    response = await poll_loop.send(request)
    stream, pieces = poll_loop.Stream(response.consume()), []
    while (piece := await stream.next()) is not None:
        pieces.append(piece)
    return response.status(), b"".join(pieces)
