"""Build hook: generates the protobuf modules beside their sources with protoc."""

from __future__ import annotations

import importlib.resources
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PROTOS = Path("protos")


class ProtocBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """Compiles ``protos/**/*.proto`` and adds the results to whatever is being built."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        from grpc_tools import protoc

        root = Path(self.root)
        sources = sorted((root / PROTOS).rglob("*.proto"))
        well_known = importlib.resources.files("grpc_tools") / "_proto"
        outputs = [f"--{kind}_out={root / PROTOS}" for kind in ("python", "grpc_python", "mypy", "mypy_grpc")]
        arguments = ["protoc", f"-I{root / PROTOS}", f"-I{well_known}", *outputs, *map(str, sources)]
        if protoc.main(arguments) != 0:
            raise RuntimeError(f"protoc failed for {[str(source) for source in sources]}")
        for pattern in ("*_pb2.py", "*_pb2.pyi", "*_pb2_grpc.py", "*_pb2_grpc.pyi"):
            build_data["artifacts"].append(f"/{PROTOS}/**/{pattern}")
