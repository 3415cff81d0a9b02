"""Prints its pod, the pod's labels and the pods of the namespace, and writes a greeting to a config map.

    componentize-py --wit-path ../../../wit --world attache:pod/command componentize hello_pod -o hello-pod.wasm
"""

import json
import sys
from pathlib import Path

from componentize_py_types import Err
from wit_world import exports
from wit_world.imports import api, metadata


class Run(exports.Run):
    """The export `wasi:cli/run`, which `attache run` calls."""

    def run(self) -> None:
        try:
            hello()
        except Err as failed:
            # A denial names the missing rule of the grant; a refusal has the API server's answer.
            print(f"hello_pod: {failed.value}", file=sys.stderr)
            raise Err(None)


def hello() -> None:
    identity = metadata.get_identity()
    namespace = identity.namespace or "default"
    print(f"I am {identity.name or 'nobody'} in {namespace}")
    print("labels:", labels())

    pods = api.open(api.ResourceType("", "v1", "pods"), namespace)
    print("pods:", ", ".join(names(pods)))

    greeting = {"data": {"greeting": f"hello from Python, {identity.name}"}}
    body = json.dumps(greeting).encode()
    config_maps = api.open(api.ResourceType("", "v1", "configmaps"), namespace)
    patch = api.Patch_Apply(api.ApplyPatch(body, field_manager="hello-pod", force=False))
    stored = json.loads(config_maps.patch("hello-from-python", patch, api.WriteOptions(0)))
    print("stored:", stored["metadata"]["name"], stored["data"]["greeting"])


def labels() -> str:
    """Returns the file of labels, at the path of a container."""
    try:
        return Path("/etc/podinfo/labels").read_text().strip()
    except OSError as failed:
        return f"none ({failed.strerror})"


def names(objects: api.Collection) -> list[str]:
    """Returns the names of all objects, page by page."""
    everything = api.Selector(labels="", fields="")
    found: list[str] = []
    cursor = None
    while True:
        page = objects.list(everything, 500, cursor)
        found += [json.loads(item)["metadata"]["name"] for item in page.items]
        cursor = page.cursor
        if cursor is None:
            return found
