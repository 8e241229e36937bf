"""Read the descriptions of AWS's services faster than botocore reads them itself.

EC2's is ten megabytes of JSON, and botocore lists every service that it knows before it reads one.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

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


def loader(data_path: str) -> Any:
    """botocore's loader, with those two. `data_path`: as AWS_DATA_PATH."""
    from botocore.loaders import Loader

    folders = [str(Path(os.path.expandvars(f)).expanduser()) for f in data_path.split(os.pathsep) if f]
    made = Loader(extra_search_paths=folders, file_loader=Files())
    made.list_available_services = lambda type_name: Services(made, type_name)
    return made
