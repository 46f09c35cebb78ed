"""Generates the stubs of `tokenauthority.v1`, with types, when the package is built."""

from __future__ import annotations

import pathlib

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

HERE = pathlib.Path(__file__).resolve().parent


class Generate(BuildHookInterface):
    """Runs protoc, as grpcio-tools brings it, over the repository's protos."""

    def initialize(self, version: str, build_data: dict) -> None:
        # Where hatchling only wants to know of dependencies, grpcio-tools need not be there yet.
        from grpc_tools import protoc

        # Within a source distribution they stand beside this file.
        proto = next(p for p in (HERE / "proto", HERE.parents[1] / "proto") if p.is_dir())
        well_known = pathlib.Path(protoc.__file__).parent / "_proto"
        into = HERE / "src"
        # Of google.rpc Python has a package of its own: googleapis-common-protos.
        files = sorted(str(path) for path in (proto / "tokenauthority").rglob("*.proto"))
        outs = [f"--{kind}_out={into}" for kind in ("python", "pyi", "grpc_python")]
        if protoc.main(["protoc", f"-I{proto}", f"-I{well_known}", *outs, *files]) != 0:
            raise RuntimeError("protoc does not accept the protos")
        (into / "tokenauthority" / "py.typed").touch()
