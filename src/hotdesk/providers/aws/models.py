"""Read the descriptions of AWS's services faster than botocore reads them itself.

botocore lists every service that it knows before it reads one, and makes a method of each of EC2's 830
operations for the client of every region, which took most of the time of `hotdesk ls`.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from hotdesk.providers.aws.iam import actions

_GZIP = 31  # zlib's number for a gzip file


class Files:
    """What botocore wants of a `JSONFileLoader`: the same values from the same files."""

    def exists(self, file_path: str) -> bool:
        return any(Path(f"{file_path}{ending}").is_file() for ending in (".json", ".json.gz"))

    def load_file(self, file_path: str) -> Any:
        """The content of FILE_PATH.json or FILE_PATH.json.gz; None if there is neither."""
        for path, packed in ((Path(f"{file_path}.json"), False), (Path(f"{file_path}.json.gz"), True)):
            if path.is_file():
                data = path.read_bytes()
                return msgspec.json.decode(zlib.decompress(data, _GZIP) if packed else data)
        return None


class Services:
    """The names of all services, looked up one by one unless somebody wants all of them."""

    def __init__(self, loader: Any, type_name: str) -> None:
        self._loader, self._type_name = loader, type_name

    def __contains__(self, name: object) -> bool:
        files = self._loader.file_loader
        return any(
            files.exists(str(version / self._type_name))
            for folder in self._loader.search_paths
            for version in Path(folder, str(name)).glob("*")
        )

    def __iter__(self) -> Iterator[str]:
        return iter(type(self._loader).list_available_services(self._loader, self._type_name))


class Used(dict[str, Any]):
    """EC2's operations, of which a client gets only those that hotdesk may use, as methods."""

    def __iter__(self) -> Iterator[str]:
        return (name for name in super().__iter__() if f"ec2:{name}" in actions())


def loader(data_path: str) -> Any:
    """botocore's loader, with those three. `data_path`: as AWS_DATA_PATH."""
    from botocore.loaders import Loader

    folders = [str(Path(os.path.expandvars(f)).expanduser()) for f in data_path.split(os.pathsep) if f]
    made = Loader(extra_search_paths=folders, file_loader=Files())
    made.list_available_services = lambda type_name: Services(made, type_name)
    whole = made.load_service_model

    def load_service_model(service_name: str, type_name: str, api_version: str | None = None) -> Any:
        model = whole(service_name, type_name, api_version)  # the same one each time
        if service_name == "ec2" and type(model.get("operations")) is dict:
            model["operations"] = Used(model["operations"])
        return model

    made.load_service_model = load_service_model
    return made
