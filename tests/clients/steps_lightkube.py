"""Steps with lightkube; each value is what a kube-apiserver 1.36 gives."""

import uuid

from lightkube import ApiError, Client
from lightkube.generic_resource import create_namespaced_resource
from lightkube.models.core_v1 import ServicePort, ServiceSpec
from lightkube.models.meta_v1 import ObjectMeta, OwnerReference
from lightkube.resources.apiextensions_v1 import CustomResourceDefinition
from lightkube.resources.core_v1 import ConfigMap, Namespace, Service
from lightkube.types import PatchType

namespace = f"clients-{uuid.uuid4().hex[:8]}"
client = Client(namespace=namespace, field_manager="lightkube")
group = f"{namespace}.example"


def refused(code, call, *args, **kwargs):
    try:
        call(*args, **kwargs)
    except ApiError as error:
        assert error.status.code == code, (code, error.status)
        return error.status
    raise AssertionError(f"it was not refused with {code}")


def owned(found, manager):
    entries = [entry for entry in found.metadata.managedFields or [] if entry.manager == manager]
    return entries[0].fieldsV1 if entries else None


def ports_keep_the_order_of_the_patch():
    def service(*numbers):
        ports = [ServicePort(name=f"p{number}", port=number) for number in numbers]
        return Service(metadata=ObjectMeta(name="s"), spec=ServiceSpec(ports=ports))

    client.apply(service(80, 82))
    assert [port.port for port in client.apply(service(80, 81)).spec.ports] == [80, 81]
    other = client.apply(service(83, 81), field_manager="other")
    assert [port.port for port in other.spec.ports] == [80, 83, 81], other.spec.ports
    patch = {"spec": {"ports": [{"name": "p84", "port": 84}, {"name": "p80", "port": 80}]}}
    patched = client.patch(Service, "s", patch, patch_type=PatchType.STRATEGIC)
    assert [port.port for port in patched.spec.ports] == [84, 80, 83, 81], patched.spec.ports


def nobody_owns_anything_after_an_empty_apply():
    client.apply(ConfigMap(metadata=ObjectMeta(name="m"), data={"a": "1"}))
    bare = client.apply(ConfigMap(metadata=ObjectMeta(name="m")))
    assert not bare.data and not bare.metadata.managedFields, bare
    patched = client.patch(ConfigMap, "m", {"data": {"x": "1"}}, patch_type=PatchType.MERGE)
    assert patched.data == {"x": "1"} and not patched.metadata.managedFields, patched
    status = refused(409, client.apply, ConfigMap(metadata=ObjectMeta(name="m"), data={"x": "2"}))
    assert "before-first-apply" in status.message, status


def an_owner_that_never_was_is_missed():
    owner = OwnerReference(apiVersion="v1", kind="ConfigMap", name="never", uid=str(uuid.uuid4()))
    client.create(ConfigMap(metadata=ObjectMeta(name="child", ownerReferences=[owner])))
    for event, found in client.watch(ConfigMap, server_timeout=30):
        if found.metadata.name == "child" and event == "DELETED":
            return
    raise AssertionError("the child is still there")


def custom_objects():
    text = {"type": "string"}
    spec = {"type": "object", "properties": {
        "map": {"type": "object", "additionalProperties": text},
        "set": {"type": "array", "x-kubernetes-list-type": "set", "items": text},
    }}
    schema = {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}}
    definition = CustomResourceDefinition.from_dict({"metadata": {"name": f"toys.{group}"}, "spec": {
        "group": group, "scope": "Namespaced", "names": {"plural": "toys", "kind": "Toy"},
        "versions": [{"name": "v1", "served": True, "storage": True, "schema": schema}],
    }})
    client.create(definition)
    try:
        client.wait(CustomResourceDefinition, f"toys.{group}", for_conditions=["Established"])
        toy = create_namespaced_resource(group, "v1", "Toy", "toys")
        made = client.apply(toy(apiVersion=f"{group}/v1", kind="Toy", metadata=ObjectMeta(name="t"), spec={"map": {}, "set": []}))
        assert made["spec"] == {"map": {}, "set": []}, made
        assert owned(made, "lightkube") == {"f:spec": {"f:map": {}}}, made.metadata
        filled = {"map": {"a": "1"}, "set": ["a"]}
        made = client.apply(toy(apiVersion=f"{group}/v1", kind="Toy", metadata=ObjectMeta(name="t"), spec=filled))
        assert made["spec"] == filled, made
    finally:
        client.delete(CustomResourceDefinition, f"toys.{group}")


client.create(Namespace(metadata=ObjectMeta(name=namespace)))
try:
    for step in (
        ports_keep_the_order_of_the_patch,
        nobody_owns_anything_after_an_empty_apply,
        an_owner_that_never_was_is_missed,
        custom_objects,
    ):
        step()
        print("done:", step.__name__)
finally:
    client.delete(Namespace, namespace)
